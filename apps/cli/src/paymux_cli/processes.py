"""Processes of the product as our children: started, asked whether they answer, and gone when we are."""

import asyncio
import ctypes
import errno
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen  # noqa: TID251  only to ask our own child whether it is ready

from paymux_cli.refusals import NotPossible

BACKLOG = 2048
_PR_SET_PDEATHSIG = 1
_LAST_WORDS = 5


async def start_process(
    verb: str, environment: Mapping[str, str], *, log: Path, inherits: Sequence[int] = ()
) -> asyncio.subprocess.Process:
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
            pass_fds=inherits,
            # A Ctrl-C in the terminal goes to us alone; we stop the others in order.
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def die_with_parent() -> None:
    """Ask the kernel to end this child when we are killed: nothing of a run outlives it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def last_words(log: Path, *, since: int = 0) -> str:
    """Give the end of a process's log, of what it wrote after the first `since` bytes."""
    said = log.read_bytes()[since:].decode(errors="replace").splitlines()
    return "\n".join(said[-_LAST_WORDS:]) or "(it wrote nothing)"


def answers(url: str) -> bool:
    """Tell whether an address of ours answers 200. Blocks for up to 2 s."""
    try:
        with urlopen(url, timeout=2) as reply:  # noqa: S310  our own address
            return bool(reply.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def listen_on(host: str, port: int, *, setting: str = "PAYMUX") -> socket.socket:
    """Take a port before anything else is done; `port` 0 takes a free one. Raises: NotPossible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise NotPossible(f"{setting}_HOST: {host} is no address of this machine: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise NotPossible(f"port {port} of {host} is in use; set {setting}_PORT to another one, or to 0") from error
        raise NotPossible(
            f"{setting}_HOST, {setting}_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from error
    return listening


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
