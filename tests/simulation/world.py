"""One simulated world: virtual time, the seed's choices, the faults, and the hosts whose processes die and pause."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tests.model.loop import SimulationLoop

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.simulation.database import Server
    from tests.simulation.gateways import Gateway
    from tests.simulation.nodes import Host, Node
    from tests.simulation.oracle import Oracle

BEGINS_AT = datetime(2026, 1, 1, tzinfo=UTC)
NODE: ContextVar[Node] = ContextVar("node")
"""The process that a piece of code runs in; clients, gateways and the network have none."""


class Fault(StrEnum):
    """What may go wrong at one place of the world."""

    CRASH = "crash"
    PAUSE = "pause"
    STALL = "stall"
    SLOW = "slow"
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    LATE_COMMIT = "late_commit"
    CONNECT_REFUSED = "connect_refused"
    REQUEST_LOST = "request_lost"
    REQUEST_TWICE = "request_twice"
    RESET = "reset"
    ZOMBIE = "zombie"
    ANSWER_LOST = "answer_lost"
    RATE_LIMITED = "rate_limited"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    SLOW_GATEWAY = "slow_gateway"
    LOOKUP_FAILS = "lookup_fails"


# Probability per place, before the seed makes each fault absent, ordinary or frequent.
BASE_RATES: dict[Fault, float] = {
    Fault.CRASH: 0.004,
    Fault.PAUSE: 0.008,
    Fault.STALL: 0.004,
    Fault.SLOW: 0.06,
    Fault.LOST_BEFORE: 0.012,
    Fault.LOST_AFTER: 0.025,
    Fault.LATE_COMMIT: 0.012,
    Fault.CONNECT_REFUSED: 0.1,
    Fault.REQUEST_LOST: 0.06,
    Fault.REQUEST_TWICE: 0.05,
    Fault.RESET: 0.05,
    Fault.ZOMBIE: 0.25,
    Fault.ANSWER_LOST: 0.1,
    Fault.RATE_LIMITED: 0.08,
    Fault.ERROR_BEFORE: 0.05,
    Fault.ERROR_AFTER: 0.06,
    Fault.SLOW_GATEWAY: 0.1,
    Fault.LOOKUP_FAILS: 0.1,
}


class WorldLoop(SimulationLoop):
    """The seed's loop, where a dead process runs no further step and a paused one keeps its steps for later."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng)
        self._everybody_runs = False
        self._never_taken: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []

    def create_task(self, *work: Any, **named: Any) -> asyncio.Task[Any]:
        """Keep every task: what a killed process left would else be collected, and would run its last clauses."""
        task = super().create_task(*work, **named)
        self._tasks.append(task)
        return task

    def run_handle(self, handle: asyncio.Handle) -> None:
        """Take one step, if the process it belongs to is there to take it."""
        node = handle._context.get(NODE)  # type: ignore[attr-defined]
        if node is None or node.runs or self._everybody_runs:
            super().run_handle(handle)
        elif node.alive:
            node.held.append(handle)
        else:
            self._never_taken.append(handle)

    def unwind(self, nodes: list[Node]) -> None:
        """Cancel every task, of the dead as well: they have to give back what they hold."""
        self._everybody_runs = True
        for node in nodes:
            self._ready.extend(node.held)
        self._ready.extend(self._never_taken)
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


@dataclass(slots=True)
class World:
    """Hold everything a seed decides; `faulty` turns false at the horizon."""

    loop: WorldLoop
    rng: Random
    rates: dict[Fault, float]
    server: Server
    faulty: bool = False
    over: bool = False
    trace: list[str] = field(default_factory=list)
    hosts: list[Host] = field(default_factory=list)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    idle: list[asyncio.Future[bool]] = field(default_factory=list)
    """Workers that wait until something is due, or is written."""
    context: Context = field(default_factory=Context)
    oracle: Oracle = field(init=False)

    def now(self) -> datetime:
        """Tell the true time, which is also the database server's."""
        return BEGINS_AT + timedelta(seconds=self.loop.now)

    def hit(self, fault: Fault) -> bool:
        """Roll whether a fault strikes here."""
        return self.faulty and self.rng.random() < self.rates[fault]

    def chance(self, probability: float) -> bool:
        """Roll a choice that is no fault."""
        return self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        """Draw a duration."""
        return low + (high - low) * self.rng.random()

    def hop(self) -> float:
        """Draw the time of one way to the database."""
        return self.between(0.1, 2.5) if self.hit(Fault.SLOW) else self.between(0.0003, 0.003)

    def note(self, actor: str, what: str) -> None:
        """Add one line to the trace."""
        self.trace.append(f"{self.loop.now:14.4f}  {actor:10} {what}")

    def wrote(self) -> None:
        """Let idle workers see what may have become due."""
        idle, self.idle = self.idle, []
        for written in idle:
            if not written.done():
                written.set_result(True)

    def outside(self, seconds: float, act: Callable[..., object], *values: object) -> asyncio.TimerHandle:
        """Let something happen later that no crash of ours can stop."""
        return self.loop.call_later(seconds, act, *values, context=self.context)

    async def at_port(self) -> None:
        """Stand at a port of a process: it may die here, stop for a while, or just be slow."""
        if self.over:
            raise asyncio.CancelledError
        node = NODE.get()
        if self.hit(Fault.CRASH):
            node.host.crash()
            await self.loop.create_future()
        if self.hit(Fault.PAUSE):
            # A short one ends inside the request's budget, a long one after it.
            node.host.pause(60.0 if self.chance(0.6) else self.between(8.0, 25.0))
        elif self.hit(Fault.STALL):
            node.host.pause(self.between(90.0, 600.0))
        await asyncio.sleep(self.hop())
