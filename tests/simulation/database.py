"""Real Postgres, one statement at a time: a statement is a step that runs to its end, or to the lock it waits for."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from paymux_postgres import connections
from tests.support.empty import EMPTY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

# Virtual time decides about waiting: the server's own timers would make a seed depend on the machine.
_NO_TIMERS = {
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "deadlock_timeout": "10min",
    "synchronous_commit": "off",
    # Which of several equal plans runs depends on statistics; the order of rows must not.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
SESSIONS = {"pool": connections._SESSION | _NO_TIMERS, "lane": connections._LANE_SESSION | _NO_TIMERS}
_BUSY_SECONDS = 0.05

Outcome = Sequence[asyncpg.Record] | Exception


@dataclass(slots=True, eq=False)
class Work:
    """A statement that was sent to the server, and whom to tell how it ended."""

    task: asyncio.Task[Any]
    connection: asyncpg.Connection
    name: str
    deliver: Callable[[Outcome], None]


class Server:
    """The real server, reached by a loop of real time that runs only inside a step of the virtual one."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._loop = asyncio.new_event_loop()
        self._free: dict[str, list[asyncpg.Connection]] = defaultdict(list)
        self._kinds: dict[asyncpg.Connection, str] = {}
        self.parked: list[Work] = []
        self.statements = 0
        self._admin: asyncpg.Connection = self._run(self._connect_admin())
        self._monitor: asyncpg.Connection = self._run(asyncpg.connect(dsn))

    async def _connect_admin(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(self._dsn)
        await connection.execute("set synchronous_commit to off")
        return connection

    def close(self) -> None:
        """Close every connection."""
        for connection in (self._admin, self._monitor, *self._kinds):
            self._run(connection.close())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        outer = events._get_running_loop()
        events._set_running_loop(None)
        try:
            return self._loop.run_until_complete(work)
        finally:
            events._set_running_loop(outer)

    # For the test itself, seen by nobody ----------------------------------------------------------------------

    def read(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Read as the administrator, between two steps."""
        return list(self._run(self._admin.fetch(query, *values)))

    def clean(self) -> None:
        """Empty all tables for the next seed."""
        self._run(self._admin.execute(EMPTY))

    def make_merchant(self, merchant_id: UUID, gateways: Sequence[str], *, at: datetime) -> None:
        """Make a merchant with one account per gateway; the number of an account is its place in the order."""
        self.read("insert into merchants (id, name, created_at) values ($1, 'shop', $2)", merchant_id, at)
        for priority, gateway in enumerate(gateways):
            self.read(
                "insert into gateway_accounts (merchant_id, id, gateway, name, status, livemode, base_url, priority, "
                "created_at, updated_at) values ($1, $2, $3, $3, 'enabled', false, 'http://' || $3, $4, $5, $5)",
                merchant_id,
                UUID(int=100 + priority),
                gateway,
                priority,
                at,
            )

    # Connections of the product -------------------------------------------------------------------------------

    def take(self, kind: str) -> asyncpg.Connection:
        """Lend a real connection; they outlive seeds, because each one has to prepare its statements."""
        if self._free[kind]:
            return self._free[kind].pop()
        made: asyncpg.Connection = self._run(asyncpg.connect(self._dsn, server_settings=SESSIONS[kind]))
        self._kinds[made] = kind
        return made

    def drop(self, connection: asyncpg.Connection) -> None:
        """See a client gone: whatever it was doing is rolled back."""
        for work in [work for work in self.parked if work.connection is connection]:
            self._cancel(work)
        if connection.is_in_transaction():
            self._run(connection.execute("rollback"))
        self._free[self._kinds[connection]].append(connection)
        self._look_at_parked()

    def send(
        self,
        connection: asyncpg.Connection,
        query: str,
        values: tuple[object, ...],
        *,
        name: str,
        deliver: Callable[[Outcome], None],
    ) -> Work | None:
        """Run a statement to its end and deliver; or park it at the lock it waits for, and give it."""
        self.statements += 1
        run = connection.fetch(query, *values) if values or name not in CONTROL else connection.execute(query)
        work = Work(self._loop.create_task(run), connection, name, deliver)
        if not self._run(self._ended(work)):
            self.parked.append(work)
            return work
        self._tell(work)
        self._look_at_parked()
        return None

    def give_up(self, work: Work) -> None:
        """Tell a statement that it waited too long for its lock, if it still waits."""
        if work in self.parked:
            self._cancel(work)
            work.deliver(asyncpg.LockNotAvailableError("canceling statement due to lock timeout"))

    def _cancel(self, work: Work) -> None:
        self.parked.remove(work)
        self._run(self._cancelled(work))

    async def _cancelled(self, work: Work) -> None:
        await self._monitor.fetchval("select pg_cancel_backend($1)", work.connection.get_server_pid())
        await asyncio.wait({work.task})
        work.task.exception()

    async def _ended(self, work: Work) -> bool:
        """Wait until a statement has ended or waits for a lock; say whether it ended."""
        await asyncio.wait({work.task}, timeout=_BUSY_SECONDS)
        while not work.task.done():
            pid = work.connection.get_server_pid()
            if await self._monitor.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid):
                return False
            await asyncio.wait({work.task}, timeout=_BUSY_SECONDS)
        return True

    def _look_at_parked(self) -> None:
        """Find the statements that the last step has freed; each may free others."""
        while freed := next((work for work in self.parked if self._run(self._ended(work))), None):
            self.parked.remove(freed)
            self._tell(freed)

    def _tell(self, work: Work) -> None:
        error = work.task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        work.deliver(error if error is not None else work.task.result())


CONTROL = ("begin", "commit", "rollback")
