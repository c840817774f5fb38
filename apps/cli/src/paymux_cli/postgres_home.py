"""The folder of the embedded server below PAYMUX_HOME: what is in it, who may enter, and its one secret."""

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from paymux_cli.postgres_account import Account
from paymux_cli.postgres_errors import StrangerInTheWay

# The number is only part of the socket's name: no port is opened.
PORT = 5432
# sun_path holds 108 bytes, the last one is zero.
SOCKET_PATH_BYTES_MAX = 107
LOG_BYTES_MAX = 10 * 1024 * 1024
LOG_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class PostgresHome:
    """`PAYMUX_HOME/postgres`."""

    folder: Path

    @property
    def data_directory(self) -> Path:
        """The cluster itself; a cold copy of it is a backup."""
        return self.folder / "data"

    @property
    def supervisor_lock(self) -> Path:
        """Locked by the one supervisor; holds its pid."""
        return self.folder / "supervisor.lock"

    @property
    def server_lock(self) -> Path:
        """Locked by every process of the server, so free exactly when the last of them is gone."""
        return self.folder / "server.lock"

    @property
    def log(self) -> Path:
        """What the server wrote to its standard error."""
        return self.folder / "postgres.log"

    def make(self) -> None:
        """Make the folder when there is none."""
        # 0711: `nobody`, should the server have to be that, may pass through to what it owns, and list nothing. Each
        # secret has 0600 of its own. Folders that exist already keep their modes.
        for directory in (self.folder.parent, self.folder):
            if not directory.exists():
                directory.mkdir(parents=True)
                directory.chmod(0o711)  # whatever our umask is

    def password_of(self, role: str) -> str:
        """Derive a role's password from the one secret of this server, so that nothing but the secret is kept."""
        path = self.folder / "secret"
        if not path.exists():
            draft = path.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_hex(32))
            draft.rename(path)
        return hmac.new(path.read_bytes(), role.encode(), hashlib.sha256).hexdigest()

    @property
    def socket_directory(self) -> Path:
        """Folder of the Unix socket, the same for every start; elsewhere when ours is too deep for a socket."""
        inside = self.folder / "socket"
        if _fits_a_socket(inside):
            return inside
        name = f"paymux-{os.geteuid()}-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]}"
        outside = Path(tempfile.gettempdir()) / name
        # TMPDIR can be as deep as the home is.
        return outside if _fits_a_socket(outside) else Path("/tmp", name)  # noqa: S108  refused when it is not ours

    def make_socket_directory(self, account: Account) -> None:
        """Make the folder that the server alone may enter, without an old socket in it. Raises: StrangerInTheWay."""
        # The lock file of a killed server can name a zombie or a stranger, and would stop the next one.
        self.remove_socket_directory()
        make_owned_directory(self.socket_directory, account=account)

    def remove_socket_directory(self) -> None:
        """Remove what a server left of its socket, and its folder when it is outside of ours."""
        directory = self.socket_directory
        if not _is_private(directory):
            return
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (directory / name).unlink(missing_ok=True)
        if directory.parent != self.folder:
            directory.rmdir()

    def open_log(self) -> int:
        """Open the log for the server; begin a new one when it has grown."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.rename(self.log.with_suffix(".log.1"))
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def log_tail(self) -> str:
        """Return the last lines of the log, for the message of a failure."""
        if not self.log.exists():
            return "(nothing was written)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def make_owned_directory(path: Path, *, account: Account) -> None:
    """Make a folder that the account alone may enter. Raises: StrangerInTheWay when somebody was there first."""
    path.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(path):
        message = f"{path} is not a private folder of ours; remove it, or choose another PAYMUX_HOME"
        raise StrangerInTheWay(message)
    os.chown(path, *account.owner)


def _is_private(path: Path) -> bool:
    """Tell whether a folder is a true one, closed to others, and owned by us or by what we give it to."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    owners = {os.geteuid()} | ({Account.NOBODY.owner[0]} if os.geteuid() == 0 else set())
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077 and found.st_uid in owners


def _fits_a_socket(directory: Path) -> bool:
    return len(os.fsencode(directory / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES_MAX
