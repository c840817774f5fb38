"""Which account the server's programs run as: Postgres refuses root, and we add no user to anybody's machine."""

import asyncio
import os
import pwd
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paymux_cli.postgres_errors import NoAccount

LAUNCHER = Path(__file__).with_name("postgres_launcher.py")
# Nothing of our environment reaches the server: a PGPORT or LC_MESSAGES meant for somebody else would change it.
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"}


class Account(StrEnum):
    """Who the server is, as the launcher spells it."""

    SELF = "self"
    """We are an ordinary user, and so is the server."""

    NAMESPACE = "namespace"
    """We are root; inside a user namespace the same root looks like an ordinary user. Its files stay root's."""

    NOBODY = "nobody"
    """We are root and namespaces are off: the server gives up root for good and owns only its own folders."""

    @property
    def owner(self) -> tuple[int, int]:
        """Uid and gid, seen from outside, of the files this account writes."""
        if self is Account.NOBODY:
            entry = pwd.getpwnam("nobody")
            return entry.pw_uid, entry.pw_gid
        return os.geteuid(), os.getegid()


@dataclass(frozen=True, slots=True)
class Launch:
    """One program to start under an account, with what it inherits from us."""

    account: Account
    program: str
    arguments: tuple[str, ...]
    output: int
    inherits: tuple[int, ...] = ()

    async def start(self) -> asyncio.subprocess.Process:
        """Start the program in a session of its own, so that Ctrl-C reaches us alone; it is told to stop when we die.

        The kernel ties it to the *thread* that starts it: start from one that lives as long as the server should.
        """
        launcher = (sys.executable, "-I", "-S", str(LAUNCHER), self.account, str(os.getpid()))
        return await asyncio.create_subprocess_exec(
            *launcher,
            self.program,
            *self.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=self.output,
            # One stream, so that whoever reads the output sees what went wrong too.
            stderr=asyncio.subprocess.STDOUT,
            env=ENVIRONMENT,
            pass_fds=self.inherits,
            start_new_session=True,
        )


async def choose_account(*, program: str, directory: Path) -> Account:
    """Take the first account that can run the program and reach the directory. Raises: NoAccount."""
    refusals = []
    for account in (Account.NAMESPACE, Account.NOBODY) if os.geteuid() == 0 else (Account.SELF,):
        refusal = await why_not(account, program=program, directory=directory)
        if refusal is None:
            return account
        refusals.append(f"as {account}: {refusal}")
    message = (
        f"the embedded Postgres cannot run here ({'; '.join(refusals)}). "
        "Set PAYMUX_DATABASE_URL to a server of yours, or run paymux as an ordinary user."
    )
    raise NoAccount(message)


async def why_not(account: Account, *, program: str, directory: Path) -> str | None:
    """Try an account out; return what keeps it from the program or the directory, None when nothing does."""
    for tried in ((program, "--version"), ("/bin/sh", "-c", 'cd "$1"', "sh", str(directory))):
        launch = Launch(account, tried[0], tried[1:], output=asyncio.subprocess.PIPE)
        process = await launch.start()
        output, _ = await process.communicate()
        if process.returncode != 0:
            return output.decode(errors="replace").strip() or f"{tried[0]} ended with {process.returncode}"
    return None


def account_of(data_directory: Path) -> Account:
    """Tell from the owner of an existing data directory who has to run the server on it. Raises: NoAccount."""
    uid = data_directory.stat().st_uid
    if uid == os.geteuid():
        return Account.NAMESPACE if uid == 0 else Account.SELF
    if os.geteuid() == 0 and uid == pwd.getpwnam("nobody").pw_uid:
        return Account.NOBODY
    message = (
        f"{data_directory} belongs to uid {uid}, and only that user can start a server on it. "
        "Run paymux as that user, choose another PAYMUX_HOME, or set PAYMUX_DATABASE_URL."
    )
    raise NoAccount(message)
