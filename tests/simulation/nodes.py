"""Hosts and the processes on them: API nodes and workers made of the product's own parts, killed, paused, restarted."""

from __future__ import annotations

import asyncio
import hashlib
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from paymux_api.problems import PROBLEMS
from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import IN_PROCESS
from paymux_core.clocks import Clocks
from paymux_core.errors import Refused
from paymux_flows.deps import Deps
from paymux_postgres.clock import DatabaseClock
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import PostgresStore
from paymux_worker.loop import Worker
from tests.simulation.network import SimulatedTransport
from tests.simulation.world import BEGINS_AT, NODE
from tests.support.chance import TEST_SEALER, SeededIds, SeededRng

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from uuid import UUID

    from paymux_core.connector import Connector
    from paymux_core.phases import DueAttempt
    from paymux_core.routing import Candidate
    from paymux_flows.commands import Reply
    from tests.simulation.driver import Connection
    from tests.simulation.world import World

CLOCK_ERROR_SECONDS_MAX = 600.0

_ASK_DUE = """
    select extract(epoch from min(greatest(next_check_at, coalesce(lease_expires_at, next_check_at))))::float8 as at
    from payment_attempts where next_check_at is not null
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client got: a status and a body, and the payment's status if the body is a payment."""

    http_status: int
    code: str
    payment_id: str | None = None
    payment_status: str | None = None
    digest: str = ""


@dataclass(slots=True, eq=False)
class Directory:
    """The merchant's accounts, known to every process."""

    found: Sequence[Candidate]

    async def candidates(self, _merchant_id: UUID) -> Sequence[Candidate]:
        return self.found


@dataclass(slots=True, eq=False)
class Node:
    """One process, from its start to its death."""

    host: Host
    name: str
    alive: bool = True
    paused: bool = False
    held: list[asyncio.Handle] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    waiting: list[asyncio.Future[Answered | None]] = field(default_factory=list)
    deps: Deps | None = None

    @property
    def runs(self) -> bool:
        """Whether it takes steps now."""
        return self.alive and not self.paused


class Host:
    """A machine that runs one process of ours, again whenever it died."""

    def __init__(self, world: World, name: str, *, connectors: dict[str, Connector], directory: Directory) -> None:
        self.world = world
        self.name = name
        self.clock_error_seconds = world.between(-CLOCK_ERROR_SECONDS_MAX, CLOCK_ERROR_SECONDS_MAX)
        self._connectors = connectors
        self._directory = directory
        self.node = Node(self, name, alive=False)

    def start(self) -> None:
        """Start a process with empty memory."""
        if not self.node.alive and not self.world.over:
            self.node = Node(self, self.name)
            self.run(self._boot)

    def run(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run work inside the process."""
        context = Context()
        context.run(NODE.set, self.node)
        self.world.loop.create_task(self._guarded(work), context=context)

    async def _guarded(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever the product raises past its borders is a finding
            self.world.oracle.raised(self.name, error)

    async def _boot(self) -> None:
        node = NODE.get()
        clock, rng = DatabaseClock(), SeededRng(self.world.rng)
        ids = SeededIds(clock, rng)
        store = PostgresStore(DatabaseSettings("simulated", pool_connections=4), rng=rng, sealer=TEST_SEALER)
        await store.open()
        while True:
            try:
                await clock.measure(store.pool)
                break
            except Refused:
                await asyncio.sleep(1.0)
        gateways = HttpGateways(
            self._connectors,
            transport=SimulatedTransport(self.world, clock),  # type: ignore[arg-type]
            clock=clock,
            ids=ids,
            in_process=IN_PROCESS,
        )
        node.deps = Deps(store, gateways, self._directory, clock, ids, rng, _sleep, Clocks())
        await self.work(node.deps)

    async def work(self, deps: Deps) -> None:
        """Do what this process is for, after its start."""

    def crash(self) -> None:
        """Kill the process; it comes back later."""
        node, world = self.node, self.world
        if not node.alive:
            return
        world.note(self.name, "is killed")
        node.alive = False
        for connection in node.connections:
            world.outside(world.between(0.0, 3.0), connection.drop)
        for answered in node.waiting:
            world.outside(world.between(0.0, 0.1), resolve, answered, None)
        world.outside(world.between(0.5, 60.0), self.start)

    def pause(self, seconds: float) -> None:
        """Stop the process for a while; it notices nothing but the time."""
        node = self.node
        if node.runs:
            self.world.note(self.name, f"stops for {seconds:.0f} s")
            node.paused = True
            self.world.outside(seconds, self._resume, node)

    def _resume(self, node: Node) -> None:
        self.world.note(node.name, "goes on")
        node.paused = False
        self.world.loop._ready.extend(node.held)
        node.held = []


class ApiHost(Host):
    """Serves requests of clients."""

    def receive(
        self, serve: Callable[[Deps], Coroutine[None, None, Reply]], answered: asyncio.Future[Answered | None]
    ) -> None:
        """Take a request that arrived; the answer may never come."""
        if not self.node.alive or self.node.deps is None:
            self.world.outside(0.01, resolve, answered, None)
            return
        self.node.waiting.append(answered)
        self.run(partial(self._serve, serve, self.node.deps, answered))

    async def _serve(
        self,
        serve: Callable[[Deps], Coroutine[None, None, Reply]],
        deps: Deps,
        answered: asyncio.Future[Answered | None],
    ) -> None:
        try:
            reply = await serve(deps)
            told = msgspec.json.decode(reply.body, type=dict[str, object])
            answer = Answered(reply.http_status, "", str(told["id"]), str(told["status"]), _digest(reply))
        except Refused as error:
            answer = Answered(PROBLEMS[error.code].status, error.code)
        except Exception as error:  # noqa: BLE001 - it would be a 500
            self.world.oracle.raised(self.name, error)
            answer = Answered(500, type(error).__name__)
        self.world.outside(self.world.between(0.001, 0.05), resolve, answered, answer)


class WorkerHost(Host):
    """Runs the worker's loop."""

    async def work(self, deps: Deps) -> None:
        await SimulatedWorker(replace(deps), self.name, asyncio.Event(), self.world).run()


@dataclass(slots=True)
class SimulatedWorker(Worker):
    """The worker, except that it looks up when something is due instead of polling for days."""

    world: World

    async def _wait(self, seconds: float) -> None:
        world = self.world
        await asyncio.sleep(seconds)
        while not world.over:
            due = world.server.read(_ASK_DUE)[0]["at"]
            wake_at = float("inf") if due is None else due - BEGINS_AT.timestamp() + world.between(0.1, 3.0)
            written: asyncio.Future[bool] = world.loop.create_future()
            world.idle.append(written)
            pause_seconds = min(max(wake_at - world.loop.now, 0.0), timedelta(days=1).total_seconds())
            timer = world.loop.call_later(pause_seconds, tell, written, False)  # noqa: FBT003 - a future's value
            if not await written:
                return
            timer.cancel()
        raise asyncio.CancelledError

    async def _put_off(self, due: DueAttempt, error: Exception) -> None:
        if not isinstance(error, Refused):
            self.world.oracle.raised(self.name, error)
        await Worker._put_off(self, due, error)


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _digest(reply: Reply) -> str:
    return hashlib.sha256(reply.body).hexdigest()[:12]


def tell(written: asyncio.Future[bool], value: bool) -> None:  # noqa: FBT001 - a future's value
    """Wake an idle worker: something was written, or its time has come."""
    if not written.done():
        written.set_result(value)


def resolve(answered: asyncio.Future[Answered | None], answer: Answered | None) -> None:
    """Give a client its answer, unless it stopped waiting."""
    if not answered.done():
        answered.set_result(answer)
