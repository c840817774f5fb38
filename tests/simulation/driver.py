"""In place of asyncpg's sockets: connections whose every statement travels, arrives as one step, and may get lost."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from paymux_postgres import clock, connections, queries
from tests.simulation.database import CONTROL, Outcome
from tests.simulation.world import BEGINS_AT, NODE, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from tests.simulation.nodes import Node
    from tests.simulation.world import World

LOCK_SECONDS = 2.0
IDLE_IN_TRANSACTION_SECONDS = 10.0
CLAIMS = frozenset({"claim_due_attempts", "claim_suspect"})
_ACCOUNTS = frozenset({"lease_lookups", "hold_lookups", "crowds", "begin_list", "end_list", "waiting"})
"""They make nothing due."""
_READS = frozenset(
    {"read_payments", "load_payments", "read_keys", "find_keys", "begin", "rollback", *CLAIMS, *_ACCOUNTS}
)
_MODULES = ("payments", "payment_attempts", "outcomes", "idempotency_keys", "lookup_budgets")


def _names() -> dict[str, str]:
    directory = re.sub(r"[^/]*$", "", queries.__file__)
    return {text: name for module in _MODULES for name, text in queries.load(f"{directory}{module}.py").items()}


_NAME_OF = _names()


@dataclass(slots=True, eq=False)
class Message:
    """One statement on its way."""

    name: str
    query: str
    values: tuple[object, ...]
    answered: asyncio.Future[Any]
    answer_lost: bool


class Connection:
    """What the product takes for an asyncpg connection."""

    def __init__(self, world: World, node: Node, kind: str) -> None:
        self._world = world
        self._node = node
        self._real = world.server.take(kind)
        self._closed = False
        self._dropped = False
        self._in_transaction = False
        self._sent = 0
        node.connections.append(self)

    def is_closed(self) -> bool:
        """Tell whether the connection is of no use any more."""
        return self._closed

    def terminate(self) -> None:
        """Close at once; the server learns of it."""
        if not self._closed:
            self._lose()

    async def fetch(self, query: str, *values: object) -> Any:
        """Run one statement."""
        return await self._send(_NAME_OF.get(query, query), query, values)

    def transaction(self) -> _Transaction:
        """Run several as one commit."""
        return _Transaction(self)

    async def _send(self, name: str, query: str, values: tuple[object, ...] = ()) -> Any:
        world = self._world
        await world.at_port()
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")
        if world.hit(Fault.LOST_BEFORE):
            world.note(self._node.name, f"loses the connection before {name}")
            self._lose()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        answered: asyncio.Future[Any] = world.loop.create_future()
        message = Message(name, query, values, answered, answer_lost=world.hit(Fault.LOST_AFTER))
        self._sent += 1
        if not self._in_transaction and world.hit(Fault.LATE_COMMIT):
            world.note(self._node.name, f"loses the connection, {name} is still on its way")
            self._closed = True
            world.outside(world.between(0.5, 15.0), self._arrive_last, message)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed")
        world.outside(world.hop(), self._arrive, message)
        answer = await answered
        await world.at_port()
        return answer

    def _arrive(self, message: Message) -> None:
        """Run what arrived; of a dead process's last words some are heard."""
        if self._dropped or (not self._node.alive and self._world.chance(0.5)):
            return
        if "clock_timestamp()" in message.query:
            self._world.outside(self._world.hop(), self._answer, message, [{"at": self._world.now()}])
            return
        self._execute(message)

    def _arrive_last(self, message: Message) -> None:
        if self._dropped:
            return
        message.answer_lost = True
        self._execute(message)

    def _execute(self, message: Message) -> None:
        server, name = self._world.server, message.name

        def deliver(outcome: Outcome) -> None:
            told = type(outcome).__name__ if isinstance(outcome, Exception) else str(len(outcome))
            self._world.note(self._node.name, f"sql {name}: {told if name not in CONTROL else 'done'}")
            if name in CONTROL:
                self._in_transaction = name == "begin"
            elif name in CLAIMS and not isinstance(outcome, Exception):
                # The statement promises no order, and a seed must repeat itself.
                outcome = sorted(outcome, key=lambda row: (row["payment_id"], row["number"]))
                self._world.oracle.claimed(self._node.name, outcome)
            if name not in _READS:
                self._world.wrote()
            self._world.outside(self._world.hop(), self._answer, message, outcome)

        work = server.send(self._real, message.query, message.values, name=name, deliver=deliver)
        if work is not None:
            self._world.note(self._node.name, f"sql {name}: waits for a lock")
            self._world.outside(LOCK_SECONDS, server.give_up, work)

    def _answer(self, message: Message, outcome: Outcome) -> None:
        if message.answer_lost:
            self._world.note(self._node.name, f"loses the answer of {message.name}")
            self._lose()
            outcome = asyncpg.ConnectionDoesNotExistError("connection was closed")
        if self._in_transaction:
            self._world.outside(IDLE_IN_TRANSACTION_SECONDS, self._end_idle, self._sent)
        if message.answered.done():
            return
        if isinstance(outcome, Exception):
            message.answered.set_exception(outcome)
        else:
            message.answered.set_result(outcome)

    def _end_idle(self, sent: int) -> None:
        if self._in_transaction and self._sent == sent and not self._closed:
            self._world.note(self._node.name, "idle in a transaction: the server ends the session")
            self._lose()

    def _lose(self) -> None:
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Let the server see that its client is gone."""
        if not self._dropped:
            self._dropped = True
            self._in_transaction = False
            self._world.server.drop(self._real)


class _Transaction:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        await self._connection._send("begin", "begin")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._connection._send("commit", "commit")
        elif not self._connection.is_closed():
            await self._connection._send("rollback", "rollback")


class _Pool:
    """What the product takes for an asyncpg pool."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._idle: list[Connection] = []

    async def acquire(self, *, timeout: float) -> Connection:  # noqa: ASYNC109 - the driver's own signature
        """Lend a connection."""
        assert timeout > 0
        while self._idle:
            found = self._idle.pop()
            if not found.is_closed():
                return found
        return await _connect(self._world, "pool")

    async def release(self, connection: Connection) -> None:
        """Take it back."""
        self._idle.append(connection)

    def terminate(self) -> None:
        """Close all that is idle."""
        for connection in self._idle:
            connection.terminate()


async def _connect(world: World, kind: str) -> Connection:
    if world.hit(Fault.LOST_BEFORE):
        raise ConnectionRefusedError
    await asyncio.sleep(world.hop())
    return Connection(world, NODE.get(), kind)


@contextlib.contextmanager
def simulated_driver(world: World) -> Iterator[None]:
    """Give the product's connections and its clock this world instead of sockets and the machine's time."""

    async def connect(_settings: object, *, session: object = None) -> Connection:
        assert session is not None
        return await _connect(world, "lane")

    async def create_pool(*_values: object, **_named: object) -> _Pool:
        return _Pool(world)

    # A machine's wall clock is wrong by its own amount; what passes, passes for all.
    machine = SimpleNamespace(
        time=lambda: BEGINS_AT.timestamp() + world.loop.now + NODE.get().host.clock_error_seconds,
        monotonic=lambda: world.loop.now,
        CLOCK_BOOTTIME=None,
        clock_gettime=lambda _clock: world.loop.now,
    )
    replaced = [
        (connections, "connect", connect),
        (asyncpg, "create_pool", create_pool),
        (clock, "time", machine),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    try:
        for module, name, value in replaced:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
