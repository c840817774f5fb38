"""One simulated world: the clock, the seed's choices, the faults and who is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.model.oracle import Oracle
from tests.model.store import Store

if TYPE_CHECKING:
    import asyncio
    from random import Random

    from tests.model.gateways import Gateway
    from tests.model.loop import SimulationLoop
    from tests.model.mutants import Mutant
    from tests.model.protocol import ApiNode, Worker


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
    ZOMBIE = "zombie"
    ANSWER_LOST = "answer_lost"
    RATE_LIMITED = "rate_limited"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    SLOW_GATEWAY = "slow_gateway"
    LOOKUP_FAILS = "lookup_fails"
    WEBHOOK_LOST = "webhook_lost"
    WEBHOOK_TWICE = "webhook_twice"
    WEBHOOK_LATE = "webhook_late"


# Probability per place, before the seed makes each fault absent, ordinary or frequent.
BASE_RATES: dict[Fault, float] = {
    Fault.CRASH: 0.008,
    Fault.PAUSE: 0.015,
    Fault.STALL: 0.009,
    Fault.SLOW: 0.1,
    Fault.LOST_BEFORE: 0.02,
    Fault.LOST_AFTER: 0.04,
    Fault.LATE_COMMIT: 0.02,
    Fault.CONNECT_REFUSED: 0.1,
    Fault.REQUEST_LOST: 0.05,
    Fault.ZOMBIE: 0.25,
    Fault.ANSWER_LOST: 0.1,
    Fault.RATE_LIMITED: 0.06,
    Fault.ERROR_BEFORE: 0.04,
    Fault.ERROR_AFTER: 0.05,
    Fault.SLOW_GATEWAY: 0.1,
    Fault.LOOKUP_FAILS: 0.08,
    Fault.WEBHOOK_LOST: 0.15,
    Fault.WEBHOOK_TWICE: 0.15,
    Fault.WEBHOOK_LATE: 0.2,
}


@dataclass(slots=True)
class World:
    """Hold everything a seed decides; `faulty` turns false at the horizon."""

    loop: SimulationLoop
    rng: Random
    mutant: Mutant | None
    rates: dict[Fault, float]
    faulty: bool = True
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    clients: list[asyncio.Task[None]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    nodes: list[ApiNode] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    store: Store = field(init=False)
    oracle: Oracle = field(init=False)

    def __post_init__(self) -> None:
        """Give the world its store and its oracle."""
        self.oracle = Oracle(self)
        self.store = Store(self)

    def hit(self, fault: Fault) -> bool:
        """Roll whether a fault strikes here."""
        return self.faulty and self.rng.random() < self.rates[fault]

    def chance(self, probability: float) -> bool:
        """Roll a choice that is no fault."""
        return self.rng.random() < probability

    def between(self, low: float, high: float) -> float:
        """Draw a duration."""
        return low + (high - low) * self.rng.random()

    def wake_workers(self) -> None:
        """Let idle workers see a check that is due before they meant to wake."""
        idle = [worker for worker in self.workers if worker.idle is not None]
        if not idle:
            return
        due_at = self.store.next_due_at()
        for worker in idle:
            # A worker wakes up to 3 s after the due time by itself.
            if due_at < worker.sleeps_until - 4.0:
                worker.wake()

    def note(self, actor: str, what: str) -> None:
        """Add one line to the trace."""
        self.trace.append((self.loop.now, actor, what))
