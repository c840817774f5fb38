"""What is done once per period: one table, kind → period → task.

A task does whatever is due when it runs, so that a period nobody ran in is made up for by the next one. It may run
twice: a lease that is lost does not end its runner.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from paymux_flows.deps import Deps
from paymux_flows.expire import expire_unconfirmed

KEYS_AT_ONCE = 1_000
"""Short transactions: an expired key may be asked for while it goes."""
MONTHS_AHEAD = 3
"""A worker that does not run for a quarter of a year is noticed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a task. A task that asks `stopping` and is told so ends with Stopped."""

    deps: Deps
    actor: str
    stopping: Callable[[], bool]
    retention_months: int


class Stopped(Exception):
    """The process is to end; the slot is given back, and another worker goes on."""


@dataclass(frozen=True, slots=True)
class Task:
    """What runs once per slot; a slot is a whole number of periods since 1970. It answers what it did, in few words."""

    kind: str
    period: timedelta
    run: Callable[[Turn], Awaitable[str]]


async def _expire(turn: Turn) -> str:
    expired = await expire_unconfirmed(turn.deps, actor=turn.actor, stopping=turn.stopping)
    if expired is None:
        raise Stopped
    return f"{expired} payments expired"


async def _reap(turn: Turn) -> str:
    """Delete expired keys, and slots of long ago, in small pieces."""
    upkeep, now = turn.deps.store.upkeep, turn.deps.clock.now()
    deleted = prolonged = 0
    while True:
        gone, lives = await upkeep.reap_keys(at=now, limit=KEYS_AT_ONCE)
        deleted, prolonged = deleted + gone, prolonged + lives
        if gone + lives < KEYS_AT_ONCE:
            break
        if turn.stopping():
            raise Stopped
    slots = await upkeep.reap_slots(at=now, limit=KEYS_AT_ONCE)
    return f"{deleted} keys and {slots} slots deleted, {prolonged} keys prolonged"


async def _make_partitions(turn: Turn) -> str:
    upkeep, now = turn.deps.store.upkeep, turn.deps.clock.now()
    made: list[str] = []
    for parent in await upkeep.monthly_tables():
        made += await upkeep.make_partitions(parent, at=now, months=MONTHS_AHEAD)
    return f"made {', '.join(made)}" if made else "nothing to make"


async def _drop_partitions(turn: Turn) -> str:
    upkeep, now = turn.deps.store.upkeep, turn.deps.clock.now()
    dropped: list[str] = []
    for parent in await upkeep.monthly_tables():
        dropped += await upkeep.drop_partitions(parent, at=now, months=turn.retention_months)
    return f"dropped {', '.join(dropped)}" if dropped else "nothing to drop"


TASKS: Sequence[Task] = (
    Task("expire_unconfirmed", timedelta(minutes=5), _expire),
    Task("reap", timedelta(minutes=10), _reap),
    Task("make_partitions", timedelta(days=1), _make_partitions),
    Task("drop_partitions", timedelta(days=1), _drop_partitions),
)
"""A further one is a line here; its slots, leases, metric and finding of `paymux doctor` come with it."""
