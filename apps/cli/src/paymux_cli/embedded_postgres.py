"""Run a real Postgres of our own below PAYMUX_HOME: for trial and tests, never for production.

The server is our child. It is reached only by a Unix socket in a folder that nobody else can enter, and only with a
password whose secret is in a file which only we can read. Two locks say who is there: `supervisor.lock` is ours alone;
`server.lock` is inherited by every process of the server, so that it is free exactly when the last of them is gone.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

from paymux_cli.postgres_account import Account, Launch, account_of, choose_account
from paymux_cli.postgres_binaries import PostgresBinaries
from paymux_cli.postgres_errors import AlreadyRunning, ServerFailed, WrongVersion
from paymux_cli.postgres_home import PORT, PostgresHome
from paymux_cli.postgres_initdb import SUPERUSER, make_data_directory
from paymux_cli.postgres_launcher import ACCOUNT_UNAVAILABLE
from paymux_cli.postgres_processes import pid_exists, recorded_pid, servers_in, try_lock

DATABASE = "paymux"
CLUSTER_NAME = "paymux_embedded"
# Replaying 2 GB of log (max_wal_size) takes a minute on a slow disk; beyond this somebody should look at the log.
START_SECONDS_MAX = 300
# A fast shutdown writes a checkpoint: up to all dirty buffers.
FAST_STOP_SECONDS_MAX = 60
# An immediate shutdown writes nothing.
IMMEDIATE_STOP_SECONDS_MAX = 10
# What a person notices is 100 ms; a look costs some 20 µs.
POLL_SECONDS = 0.01

SETTINGS = {
    # Tells whoever connects that this is no place for real money.
    "cluster_name": CLUSTER_NAME,
    "listen_addresses": "",
    "port": str(PORT),
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # A trial machine has 4 GB: a sixteenth of it holds the hot rows of a million payments.
    "shared_buffers": "256MB",
    # Fewer checkpoints, so fewer full-page images; the price is a longer recovery.
    "max_wal_size": "2GB",
    "wal_compression": "on",
    # API and worker hold pools of 8; the rest is for torture, psql and a second API process.
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


@dataclass(slots=True)
class EmbeddedPostgres:
    """Supervise one server on `home/postgres`. Start it from a thread that lives as long as the server should."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    binaries: PostgresBinaries | None = None
    account: Account | None = None
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)
    _supervisor_lock: int | None = field(default=None, init=False)
    _owns_socket: bool = field(default=False, init=False)

    async def start(self) -> str:
        """Start the server, making its data directory when there is none; return the superuser's DSN once it answers.

        Takes over from whatever a crash left behind. Raises: EmbeddedPostgresError.
        """
        self._place.make()
        self._take_supervisor_lock()
        try:
            binaries = self.binaries = self.binaries or PostgresBinaries.find()
            server_lock = await self._outlive_predecessor()
            try:
                account = await self._ready_data_directory(binaries)
                self._place.make_socket_directory(account)
                self._owns_socket = True
                self._process = await self._launch(binaries, account=account, server_lock=server_lock)
            finally:
                os.close(server_lock)  # the server has its own copy
            await self._wait_until_it_answers()
        except BaseException:
            await self.stop()
            raise
        return self.dsn()

    async def stop(self) -> None:
        """Stop the server by a fast shutdown, harder when it takes too long. Does nothing when it is not running."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            await _end(process)
        if self._owns_socket:
            self._place.remove_socket_directory()
            self._owns_socket = False
        if self._supervisor_lock is not None:
            os.close(self._supervisor_lock)
            self._supervisor_lock = None

    async def wait(self) -> int:
        """Return the exit status when the server ends, wanted or not."""
        assert self._process is not None, "wait() is for a server that was started"
        return await self._process.wait()

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while it runs."""
        return self._process.pid if self._process is not None and self.is_running() else None

    def is_running(self) -> bool:
        """Tell whether our server is alive."""
        return self._process is not None and self._process.returncode is None

    @property
    def socket_directory(self) -> Path:
        """Folder of the Unix socket, for run.json and for psql -h; the same for every start on this home."""
        return self._place.socket_directory

    @property
    def data_directory(self) -> Path:
        """The cluster itself; a cold copy of it is a backup."""
        return self._place.data_directory

    @property
    def log(self) -> Path:
        """What the server wrote to its standard error."""
        return self._place.log

    def dsn(self, role: str = SUPERUSER, database: str = DATABASE) -> str:
        """Address of a database for a role: libpq and asyncpg read it. Only roles of `allow_login` get in."""
        credentials = f"{quote(role, safe='')}:{self._place.password_of(role)}"
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{credentials}@/{quote(database, safe='')}?host={host}&port={PORT}"

    async def allow_login(self, role: str) -> str:
        """Give a role that the migrations made the password that `dsn(role)` carries; return that DSN."""
        connection = await asyncpg.connect(self.dsn())
        try:
            quoted = '"' + role.replace('"', '""') + '"'
            # The password is hexadecimal, and utility statements take no parameters.
            # tidy-skip: sql-in-place: roles of the trial server are no business of the store
            await connection.execute(f"alter role {quoted} login password '{self._place.password_of(role)}'")
        finally:
            await connection.close()
        return self.dsn(role)

    @property
    def _place(self) -> PostgresHome:
        return PostgresHome(self.home.absolute() / "postgres")

    def _take_supervisor_lock(self) -> None:
        assert self._supervisor_lock is None, "start() once; stop() comes before the next start()"
        path = self._place.supervisor_lock
        lock = try_lock(path)
        if lock is None:
            message = (
                f"the embedded Postgres in {self._place.folder} is already run by process {path.read_text().strip()}; "
                "stop that one first, or choose another PAYMUX_HOME"
            )
            raise AlreadyRunning(message)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._supervisor_lock = lock

    async def _outlive_predecessor(self) -> int:
        """Return server.lock, once every process of a server whose supervisor died is gone. Raises: AlreadyRunning."""
        path = self._place.server_lock
        lock = try_lock(path)
        # It has been told to stop already, by the death of its supervisor; then we ask again, harder each time.
        for sign, patience_seconds in (
            (signal.SIGINT, FAST_STOP_SECONDS_MAX),
            (signal.SIGKILL, IMMEDIATE_STOP_SECONDS_MAX),
        ):
            if lock is None:
                _signal_servers(self.data_directory, sign)
                lock = await _lock_within(path, patience_seconds=patience_seconds)
        if lock is None:
            message = f"a server we cannot see (in another container?) uses {self.data_directory}; stop it first"
            raise AlreadyRunning(message)
        try:
            self._forget_stale_pid()
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _forget_stale_pid(self) -> None:
        """Remove a pid file whose number now belongs to a zombie or a stranger: Postgres itself would not start."""
        pid = recorded_pid(self.data_directory)
        if pid is None or not pid_exists(pid):
            return  # Postgres deals with a number that is free
        alive = servers_in(self.data_directory)
        if alive:
            message = f"a server that we did not start (processes {alive}) uses {self.data_directory}; stop it first"
            raise AlreadyRunning(message)
        (self.data_directory / "postmaster.pid").unlink()

    async def _ready_data_directory(self, binaries: PostgresBinaries) -> Account:
        """Return the account to run as, after initdb when there are no data yet."""
        if not self.data_directory.exists():
            account = self.account or await choose_account(
                program=binaries.program("postgres"), directory=self._place.folder
            )
            await make_data_directory(self._place, binaries=binaries, account=account)
            return account
        version, has = (self.data_directory / "PG_VERSION").read_text().strip(), binaries.major_version()
        if version != str(has):
            message = (
                f"{self.data_directory} was made by PostgreSQL {version}, and {binaries.bindir} is {has}; "
                "dump and load it, choose another PAYMUX_HOME, or set PAYMUX_DATABASE_URL"
            )
            raise WrongVersion(message)
        return account_of(self.data_directory)

    async def _launch(
        self, binaries: PostgresBinaries, *, account: Account, server_lock: int
    ) -> asyncio.subprocess.Process:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket_directory), **self.settings}
        if binaries.has_library("pg_stat_statements"):
            settings.setdefault("shared_preload_libraries", "pg_stat_statements")
        arguments = ["-D", str(self.data_directory)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        log = self._place.open_log()
        try:
            return await Launch(
                account, binaries.program("postgres"), tuple(arguments), output=log, inherits=(server_lock,)
            ).start()
        finally:
            os.close(log)

    async def _wait_until_it_answers(self) -> None:
        """Return once a real connection was served; a socket that exists says nothing. Makes the database."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while self.is_running() and asyncio.get_running_loop().time() < deadline:
            try:
                await self._make_database()
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(POLL_SECONDS)
            else:
                return
        message = f"the embedded Postgres did not start; the end of {self.log}:\n{self._place.log_tail()}"
        if self._process is not None and self._process.returncode == ACCOUNT_UNAVAILABLE:
            message += "\nSet PAYMUX_DATABASE_URL to a server of yours, or run paymux as an ordinary user."
        raise ServerFailed(message)

    async def _make_database(self) -> None:
        try:
            connection = await asyncpg.connect(self.dsn())
        except asyncpg.InvalidCatalogNameError:
            connection = await asyncpg.connect(self.dsn(database="postgres"))
            # tidy-skip: sql-in-place: there is no database yet to keep statements for
            await connection.execute(f"create database {DATABASE}")
        await connection.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    for sign, patience_seconds in (
        (signal.SIGINT, FAST_STOP_SECONDS_MAX),
        (signal.SIGQUIT, IMMEDIATE_STOP_SECONDS_MAX),
    ):
        process.send_signal(sign)
        try:
            async with asyncio.timeout(patience_seconds):
                await process.wait()
        except TimeoutError:
            continue
        return
    process.kill()
    await process.wait()


async def _lock_within(path: Path, *, patience_seconds: int) -> int | None:
    deadline = asyncio.get_running_loop().time() + patience_seconds
    # Nothing wakes us when a process that is not our child lets go of a file.
    while (lock := try_lock(path)) is None and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
    return lock


def _signal_servers(data_directory: Path, sign: signal.Signals) -> None:
    """Ask the postmaster alone to stop; kill everything, or orphans that have no postmaster any more."""
    alive = servers_in(data_directory)
    postmaster = recorded_pid(data_directory)
    if sign is signal.SIGINT and postmaster in alive:
        alive = [pid for pid in alive if pid == postmaster]
    for pid in alive:
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            continue  # it went by itself
