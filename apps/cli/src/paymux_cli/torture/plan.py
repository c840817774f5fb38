"""What a seed decides before anything starts: who pays how and when, who is killed when, when the API is paused.

The same seed draws the same plan; how the processes interleave under it is up to the machine.
"""

import random  # noqa: TID251  a plan is drawn from its seed alone
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import accumulate

PAYMENTS_PER_SECOND = 20
"""Far below what a machine can do: the load has to meet the kills, not to hide them in a queue."""
SECONDS_PER_KILL = 3.0
"""A process is back in one to three seconds: kills come while others still recover, yet not only then."""
SECONDS_MIN = 5.0
PAUSES_SECONDS = (60.0, 15.0)
"""The first outlasts every clock of a request; in the second only the latest first byte (10 s) holds a charge back,
because the request's own budget (26 s) would still let it go. Shortened like all clocks.
"""
BURST_MAX = 60
"""Payments that arrive in the moment before a pause, so that it strikes between a commit and its call."""
MERCHANTS = (("mock", "flaky"), ("flaky", "mock"), ("mock", "mock"))
"""The gateway accounts of each merchant, in the order in which they are tried."""

FAULTS = ((("duplicate", "out_of_order"), ("new_event_id",)), (("duplicate",), ("late",)), ((), ("wrong_secret",)))
"""What befalls the webhooks of each of these accounts. They come before the answer, or after a kill, by themselves."""

_WEIGHTS = {
    "sandbox_approve": 40,
    "sandbox_decline_soft": 6,
    "sandbox_decline_hard": 4,
    "sandbox_timeout_before_charge": 5,
    "sandbox_timeout_after_charge": 5,
    "sandbox_error_before_charge": 4,
    "sandbox_error_after_charge": 4,
    "sandbox_reset_after_charge": 4,
    "sandbox_garbage_after_charge": 3,
    "sandbox_slow_drip": 3,
    "sandbox_conflict_in_flight": 4,
    "sandbox_rate_limited": 4,
    "sandbox_pending": 3,
    "sandbox_late_success": 3,
    "sandbox_zombie_charge": 6,
    "sandbox_timeout_after_charge_always": 1,
    "sandbox_reset_after_charge_always": 1,
}
_PENDING_FOR_EVER = "sandbox_pending_always"
"""Ends at the processing deadline only, so it is drawn while the run still lasts that long."""


class Victim(StrEnum):
    """Which process a kill is for."""

    API = auto()
    WORKER = auto()
    POSTGRES = auto()


class Way(StrEnum):
    """How a client pays."""

    AT_ONCE = auto()  # create with confirm: true
    IN_TWO_STEPS = auto()  # create, then confirm
    CANCELED_BEFORE = auto()  # create, then cancel
    CANCELED_DURING = auto()  # create, then confirm and cancel at the same time


class Company(StrEnum):
    """What else is sent at the same time."""

    ALONE = auto()
    SAME_KEY = auto()  # a double click
    OTHER_KEY = auto()  # two tabs: the same payment or reference under a key of its own


@dataclass(frozen=True, slots=True)
class Order:
    """One amount that one client wants to pay once. `at_seconds` from the start of the load."""

    number: int
    at_seconds: float
    merchant: int
    amount: int
    token: str
    way: Way
    company: Company
    has_reference: bool
    reads_with_sync: bool


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL. `at_seconds` from the start of the load."""

    at_seconds: float
    victim: Victim


@dataclass(frozen=True, slots=True)
class Pause:
    """The API is stopped for a while. The orders of its burst arrive with it, not at moments of their own."""

    at_seconds: float
    seconds: float
    burst: Sequence[Order]


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    seconds: float
    orders: Sequence[Order]
    kills: Sequence[Kill]
    pauses: Sequence[Pause]


def draw_plan(*, seed: int, payments: int, kills: int, deadline_seconds: float) -> Plan:
    """Draw everything that a seed decides."""
    rng = random.Random(seed)  # noqa: S311  chance, not secrets
    seconds = max(SECONDS_MIN, payments / PAYMENTS_PER_SECOND, kills * SECONDS_PER_KILL)
    moments = sorted(rng.uniform(0, seconds) for _ in range(payments))
    orders = [_order(number, at, rng, lasting=at < seconds - deadline_seconds) for number, at in enumerate(moments)]
    pauses = []
    for pause_seconds in PAUSES_SECONDS:
        at = rng.uniform(0.2, 0.8) * seconds
        size = min(BURST_MAX, payments // 5)
        first = min(sum(order.at_seconds < at for order in orders), len(orders) - size)
        pauses.append(Pause(at, pause_seconds, orders[first : first + size]))
        orders = orders[:first] + orders[first + size :]
    return Plan(seed=seed, seconds=seconds, orders=orders, kills=_kills(kills, seconds, rng), pauses=pauses)


def _order(number: int, at_seconds: float, rng: random.Random, *, lasting: bool) -> Order:
    tokens, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    if lasting:
        tokens, weights = [*tokens, _PENDING_FOR_EVER], [*weights, 1]
    company = rng.choices(list(Company), weights=(70, 15, 15))[0]
    return Order(
        number=number,
        at_seconds=at_seconds,
        merchant=rng.randrange(len(MERCHANTS)),
        amount=rng.randrange(100, 100_000),
        token=rng.choices(tokens, cum_weights=list(accumulate(weights)))[0],
        way=rng.choices(list(Way), weights=(40, 40, 5, 15))[0],
        company=company,
        # Without a reference nothing ties two keys to one collection: then two charges would be what was asked for.
        has_reference=company is Company.OTHER_KEY or rng.random() < 0.8,  # noqa: PLR2004  most shops give one
        reads_with_sync=rng.random() < 0.5,  # noqa: PLR2004  half of the clients press for an answer
    )


def _kills(count: int, seconds: float, rng: random.Random) -> list[Kill]:
    """Spread the kills evenly over the victims, in an order and at moments of chance."""
    victims = [list(Victim)[number % len(Victim)] for number in range(count)]
    rng.shuffle(victims)
    moments = sorted(rng.uniform(0, seconds) for _ in range(count))
    return [Kill(at, victim) for at, victim in zip(moments, victims, strict=True)]
