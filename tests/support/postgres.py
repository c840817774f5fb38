"""Give every test a migrated database of its own on one real server per session.

The server is PAYMUX_DATABASE_URL's, or an embedded one that the session starts. A session holds an advisory lock of its
own number; databases carry that number, so whoever comes next can tell what a killed session left, and drops it.
"""

import asyncio
import hashlib
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.postgres_errors import AlreadyRunning
from paymux_postgres.logins import login_name, make_application_login
from paymux_postgres.migrate import APPLICATION, OWNER, _prepare_roles, migrate

MIGRATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
# Any constant: it only has to differ from what else takes advisory locks in the database `postgres`.
LOCK_CLASS = 729_688
HOMES_MAX = 16
# Set by the process that controls parallel workers.
SERVER_DSN = "PAYMUX_TEST_SERVER_DSN"
SETTINGS = {"max_connections": "120", "shared_buffers": "64MB", "max_wal_size": "512MB"}

_Result = TypeVar("_Result")


class LoopThread:
    """An event loop that outlives those of single tests: the session's server and connections live here."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres-for-tests", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[object, object, _Result]) -> _Result:
        """Run to the end and return the result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Run without waiting for the end."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Stop the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def running_server() -> Iterator[str]:
    """Give the administrator's DSN of a server: the configured one, or an embedded one for as long as this lasts."""
    if configured := os.environ.get("PAYMUX_DATABASE_URL"):
        yield configured
        return
    thread = LoopThread()
    try:
        server, dsn = thread.run(_start_embedded())
        try:
            yield dsn
        finally:
            thread.run(server.stop())
    finally:
        thread.close()


async def _start_embedded() -> tuple[EmbeddedPostgres, str]:
    """Start a server in the first home that no other session uses; what a killed session left there is taken over."""
    homes = Path(tempfile.gettempdir()) / f"paymux-tests-{os.geteuid()}"
    for number in range(HOMES_MAX):
        server = EmbeddedPostgres(homes / str(number), settings=SETTINGS)
        try:
            return server, await server.start()
        except AlreadyRunning:
            continue
    message = f"{HOMES_MAX} test sessions use the homes in {homes} already"
    raise RuntimeError(message)


def serve_workers(session: ExitStack) -> None:
    """Start the server of parallel workers, once; they inherit its address. `session` ends it."""
    if SERVER_DSN not in os.environ:
        os.environ[SERVER_DSN] = session.enter_context(running_server())
        session.callback(os.environ.pop, SERVER_DSN)


@contextmanager
def session_databases() -> Iterator["Databases"]:
    """Make databases on the server of parallel workers, or on one of this process's own."""
    with ExitStack() as stack:
        server_dsn = os.environ.get(SERVER_DSN) or stack.enter_context(running_server())
        yield stack.enter_context(Databases(server_dsn))


@dataclass(frozen=True, slots=True)
class Database:
    """One database. `dsn` is the administrator's, `app_dsn` that of a login which can only act as the application."""

    name: str
    dsn: str
    app_dsn: str

    @property
    def owner_dsn(self) -> str:
        """Connect as the owner of the tables."""
        return self.as_role(OWNER)

    def as_role(self, role: str) -> str:
        """Connect and become `role` before the first statement."""
        return _as_role(self.dsn, role)


class Databases:
    """Make and drop the databases of one session (of one worker of it) on a running server."""

    def __init__(self, server_dsn: str) -> None:
        self._server_dsn = server_dsn
        self._thread = LoopThread()
        self._session = secrets.randbelow(2**31)
        self._app_dsn = ""
        self._numbers = count(1)
        self._template: Database | None = None

    def __enter__(self) -> Self:
        self._thread.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.run(self._close())
        self._thread.close()

    def fresh(self) -> Database:
        """Make a migrated database."""
        return self._thread.run(self._fresh())

    def empty(self) -> Database:
        """Make a database without any tables."""
        return self._thread.run(self._create(self._named(f"e{next(self._numbers)}"), template="template1"))

    def drop(self, database: Database) -> None:
        """Drop a database, while the next test runs: it takes a checkpoint."""
        self._thread.start(self._drop(database.name))

    async def _open(self) -> None:
        # Two connections, because a drop must not hold up a create.
        self._creating = await asyncpg.connect(self._server_dsn_of("postgres"))
        self._dropping = await asyncpg.connect(self._server_dsn_of("postgres"))
        self._drop_lock = asyncio.Lock()
        await self._creating.execute("select pg_advisory_lock($1, $2)", LOCK_CLASS, self._session)
        await _prepare_roles(self._creating)
        self._app_dsn = await make_application_login(self._server_dsn, password=self._password_of(self._session))
        await self._drop_leftovers()

    async def _close(self) -> None:
        rows = await self._dropping_names(f"paymux_test_{self._session}_")
        for name in rows:
            await self._drop(name)
        async with self._drop_lock:
            await self._drop_login(self._session)
            await self._creating.close()
            await self._dropping.close()

    async def _drop_leftovers(self) -> None:
        """Drop what sessions left that are gone: their advisory lock is free."""
        for name in await self._dropping_names("paymux_test_"):
            match = re.match(r"paymux_test_(\d+)_", name)
            if match is None or int(match[1]) == self._session:
                continue
            key = (LOCK_CLASS, int(match[1]))
            if await self._dropping.fetchval("select pg_try_advisory_lock($1, $2)", *key):
                await self._drop(name)
                await self._drop_login(int(match[1]))
                await self._dropping.execute("select pg_advisory_unlock($1, $2)", *key)

    async def _drop_login(self, session: int) -> None:
        await self._dropping.execute(f"drop role if exists {login_name(self._password_of(session))}")

    def _password_of(self, session: int) -> str:
        return hashlib.sha256(f"{session} {self._server_dsn}".encode()).hexdigest()

    async def _dropping_names(self, prefix: str) -> list[str]:
        async with self._drop_lock:
            rows = await self._dropping.fetch("select datname from pg_database where starts_with(datname, $1)", prefix)
        return [row["datname"] for row in rows]

    async def _fresh(self) -> Database:
        if self._template is None:
            self._template = await self._create(self._named("template"), template="template1")
            await migrate(self._template.dsn, now=MIGRATED_AT, progress=lambda _: None)
        return await self._create(self._named(str(next(self._numbers))), template=self._template.name)

    async def _create(self, database: Database, *, template: str) -> Database:
        # wal_log copies a small database in half the time of file_copy, which takes two checkpoints (49 against 92 ms).
        await self._creating.execute(f"create database {database.name} template {template} strategy wal_log")
        return database

    async def _drop(self, name: str) -> None:
        async with self._drop_lock:
            await self._dropping.execute(f"drop database if exists {name} with (force)")

    def _named(self, suffix: str) -> Database:
        name = f"paymux_test_{self._session}_{suffix}"
        return Database(name, self._server_dsn_of(name), _as_role(_in_database(self._app_dsn, name), APPLICATION))

    def _server_dsn_of(self, database: str) -> str:
        return _in_database(self._server_dsn, database)


def _in_database(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def _as_role(dsn: str, role: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}options={quote(f'-c role={role}')}"
