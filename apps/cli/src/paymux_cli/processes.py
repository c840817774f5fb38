"""Processes of the product as our children: started, asked whether they answer, and gone when we are."""

import asyncio
import ctypes
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen  # noqa: TID251  only to ask our own child whether it is ready

_PR_SET_PDEATHSIG = 1
_LAST_WORDS = 5


async def start_process(verb: str, environment: Mapping[str, str], *, log: Path) -> asyncio.subprocess.Process:
    """Start `paymux VERB` with its output in a file; it ends with us, even if we are killed."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "paymux_cli.main",
            verb,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A Ctrl-C in the terminal goes to us alone; we stop the others in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def die_with_parent() -> None:
    """Ask the kernel to end this child when we are killed: nothing of a run outlives it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def last_words(log: Path) -> str:
    """Give the end of a process's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_WORDS:])


def answers(url: str) -> bool:
    """Tell whether an address of ours answers 200. Blocks for up to 2 s."""
    try:
        with urlopen(url, timeout=2) as reply:  # noqa: S310  our own address
            return bool(reply.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
