"""Connections to Postgres: a small pool for single statements, and lanes, each one connection for one kind of batch.

Errors are sorted here by the only question that matters: was something committed, perhaps?
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import asyncpg

from paymux_core.errors import Overloaded, Refused, StorageUnavailable
from paymux_postgres.losses import CommitUnknown, once_more

Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = asyncpg.Connection

ACQUIRE_SECONDS = 0.5
"""Longer than this and the pool is not busy but drowning: refuse before anything was stored."""
RECONNECT_SECONDS = 5.0
"""A restart of Postgres takes one to three seconds; a client waits through it rather than being refused."""
RETRY_SQLSTATES = frozenset({"40001", "40P01", "55P03"})
_LOST_SQLSTATE_CLASSES = ("08", "57P")
"""Connection trouble and a server going down: the answer is about the connection, not about the commit."""

APPLICATION_ROLE = "paymux_app"

_SESSION = {
    "role": APPLICATION_ROLE,
    "timezone": "UTC",
    "search_path": "public",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "jit": "off",
}
# Batches are planned once, before the tables have statistics: only index plans are right at every size.
_LANE_SESSION = _SESSION | {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_memoize": "off",
}


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """How to reach the database. `statement_cache` 0 is for a PgBouncer older than 1.21."""

    dsn: str
    application_name: str = "paymux"
    pool_connections: int = 3
    statement_cache: int = 200


_DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The last is what asyncpg says of a statement on a connection that has just failed, before it is seen as closed."""


def is_connection_lost(error: BaseException) -> bool:
    """Tell a lost connection (commit unknown) from an error the server reported (nothing committed)."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "08000").startswith(_LOST_SQLSTATE_CLASSES)
    return isinstance(error, (*_DRIVER_ERRORS, asyncio.IncompleteReadError, EOFError))


def is_conflict(error: BaseException) -> bool:
    """Tell an error that only says that somebody else is at it: nothing was committed, and it may be tried again."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in RETRY_SQLSTATES


_TROUBLE_SQLSTATES = ("53", "25006", "57014")
"""No room, no memory, too many connections; a standby; a statement that somebody cancelled. Nothing was committed."""


def refused_for(error: BaseException) -> Refused | None:
    """Say what a client is told of operating trouble; None for an error that is our own bug."""
    if is_conflict(error):
        return Overloaded("other requests are changing the same thing; try again soon", retry_after_seconds=1)
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_TROUBLE_SQLSTATES):
        return StorageUnavailable("the database cannot take this now; try again soon", retry_after_seconds=5)
    return None


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """Do nothing: the pool's own reset is a hidden round trip on every release, and no code here sets anything."""


async def connect(settings: DatabaseSettings, *, session: dict[str, str] | None = None) -> asyncpg.Connection:
    """Open one connection as the application's role."""
    return await asyncpg.connect(
        settings.dsn,
        server_settings={**(session or _SESSION), "application_name": settings.application_name},
        statement_cache_size=settings.statement_cache,
        timeout=RECONNECT_SECONDS,
    )


class Pool:
    """A small pool for reads and rare writes. More connections lose: 8 gave more confirms than 64."""

    def __init__(
        self, settings: DatabaseSettings, *, connections: int | None = None, acquire_seconds: float = ACQUIRE_SECONDS
    ) -> None:
        """Remember the settings; nothing is opened yet. `connections` replaces the settings' number."""
        self._settings = settings
        self._connections = connections or settings.pool_connections
        self._acquire_seconds = acquire_seconds
        self._pool: asyncpg.Pool | None = None
        self._slots = asyncio.Semaphore(self._connections)

    async def open(self) -> None:
        """Open the connections. Raises: OSError, asyncpg.PostgresError."""
        self._pool = await asyncpg.create_pool(
            self._settings.dsn,
            min_size=1,
            max_size=self._connections,
            reset=_keep_session,
            server_settings={**_SESSION, "application_name": self._settings.application_name},
            statement_cache_size=self._settings.statement_cache,
            max_inactive_connection_lifetime=0,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            self._pool.terminate()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises: Overloaded after `acquire_seconds` without one, or without a lock it needs; StorageUnavailable;
        CommitUnknown.
        """
        if self._pool is None:
            raise StorageUnavailable("the database is not connected yet; try again soon", retry_after_seconds=1)
        try:
            async with asyncio.timeout(self._acquire_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise Overloaded("the database is busy; try again soon", retry_after_seconds=1) from None
        try:
            connection = await self._borrow()
            try:
                yield connection
            except _DRIVER_ERRORS as error:
                if is_connection_lost(error):
                    raise CommitUnknown from error
                refused = refused_for(error)
                if refused is None:
                    raise
                raise refused from error
            finally:
                await self._give_back(connection)
        finally:
            self._slots.release()

    async def _borrow(self) -> Connection:
        assert self._pool is not None
        try:
            return cast("Connection", await self._pool.acquire(timeout=RECONNECT_SECONDS))
        except (*_DRIVER_ERRORS, TimeoutError) as error:
            raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2) from error

    async def _give_back(self, connection: Connection) -> None:
        assert self._pool is not None
        with contextlib.suppress(*_DRIVER_ERRORS):
            await self._pool.release(connection)  # type: ignore[arg-type]

    async def fetch(self, statement: str, *values: object) -> Sequence[Row]:
        """Run a reading statement; once more on another connection if this one is gone. Raises: as connection()."""

        async def read() -> Sequence[Row]:
            async with self.connection() as connection:
                return await connection.fetch(statement, *values)

        return await once_more(read)


class Lane:
    """One connection of its own for one kind of batch, opened when needed, reopened after a loss."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Remember the settings."""
        self._settings = settings
        self._connection: asyncpg.Connection | None = None

    async def connection(self) -> asyncpg.Connection:
        """Give the open connection, reconnecting for up to 5 s. Raises: StorageUnavailable."""
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + RECONNECT_SECONDS
        pause = 0.02
        while True:
            try:
                self._connection = await connect(self._settings, session=_LANE_SESSION)
            except (*_DRIVER_ERRORS, TimeoutError) as error:
                if loop.time() + pause > give_up_at:
                    raise StorageUnavailable(
                        "the database cannot be reached; try again soon", retry_after_seconds=2
                    ) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
            else:
                return self._connection

    async def fetch(self, statement: str, *values: object) -> Sequence[Row]:
        """Run one statement, which is one commit. Raises: CommitUnknown, StorageUnavailable, asyncpg.PostgresError."""
        connection = await self.connection()
        try:
            return await connection.fetch(statement, *values)
        except _DRIVER_ERRORS as error:
            if is_connection_lost(error):
                self._drop()
                raise CommitUnknown from error
            raise

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Run several statements as one commit. Raises: as fetch()."""
        connection = await self.connection()
        try:
            async with connection.transaction():
                yield connection
        except _DRIVER_ERRORS as error:
            if is_connection_lost(error):
                self._drop()
                raise CommitUnknown from error
            raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def close(self) -> None:
        """Close the connection."""
        self._drop()
