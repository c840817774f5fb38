"""Which processes of a server live, and which files they hold: found by looking, never by trusting a pid file."""

import fcntl
import os
from pathlib import Path


def try_lock(path: Path) -> int | None:
    """Open and lock a file; return the descriptor, or None when somebody else has the lock.

    The lock belongs to the open file, so a child that inherits the descriptor keeps it after we die, and the kernel
    frees it with the last of them. It also tells apart what a pid cannot: a zombie, a reused number, another container.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def servers_in(data_directory: Path) -> list[int]:
    """List the live processes of Postgres on a data directory: each of them has it as its working directory."""
    numbered = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(int(entry.name) for entry in numbered if _is_server_in(entry, data_directory))


def recorded_pid(data_directory: Path) -> int | None:
    """Read the pid that the last postmaster wrote down, whether it lives or not."""
    try:
        return int((data_directory / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def pid_exists(pid: int) -> bool:
    """Tell whether the number is taken, be it by a zombie: this is all that Postgres itself looks at."""
    return Path(f"/proc/{pid}").exists()


def _is_server_in(entry: Path, data_directory: Path) -> bool:
    try:
        # A zombie has neither program nor directory left; that of a stranger may not be ours to see.
        is_postgres = (entry / "exe").readlink().name.removesuffix(" (deleted)") == "postgres"
        return is_postgres and (entry / "cwd").samefile(data_directory)
    except OSError:
        return False
