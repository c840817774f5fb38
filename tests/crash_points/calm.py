"""Stripe in the process, on the test's own time: it does what the truth says, and nothing else ever goes wrong."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from paymux_connectors.transport import Sent
from paymux_core.connector import Caching
from paymux_core.exchange import HttpReply, HttpRequest, NoReply, NotSent, TransportError
from tests.simulation.dialects import StripeGateway
from tests.simulation.gateways import Charge, Habits
from tests.simulation.world import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from paymux_core.ports import CallLimits
    from tests.support.one_account import VirtualClock

SOON_SECONDS = 5.0
_ODDS = {
    "sandbox_approve": (1.0, 0.0, 0.0, 0.0),
    "sandbox_decline_soft": (0.0, 1.0, 0.0, 0.0),
    "sandbox_decline_hard": (0.0, 0.0, 0.0, 0.0),
    "sandbox_pending": (0.0, 0.0, 1.0, 0.0),
    "sandbox_error_before_charge_always": (1.0, 0.0, 0.0, 0.0),
}


class CalmWorld:
    """What a simulated gateway asks of its world, without chance: what is due at once happens at once."""

    def __init__(self, clock: VirtualClock, truth: str) -> None:
        self._clock = clock
        self._fails = "error_before" in truth
        self._later: list[tuple[float, Callable[..., object], tuple[object, ...]]] = []
        self.rng = Random(0)
        self.loop = self
        self.oracle = self

    @property
    def now(self) -> float:
        return self._clock.seconds

    def hit(self, fault: Fault) -> bool:
        return self._fails and fault is Fault.ERROR_BEFORE

    def chance(self, _probability: float) -> bool:
        return True

    def between(self, low: float, _high: float) -> float:
        return low

    def note(self, _actor: str, _what: str) -> None:
        return

    def charged(self, _charge: Charge) -> None:
        return

    def outside(self, seconds: float, act: Callable[..., object], *values: object) -> None:
        if seconds < SOON_SECONDS:
            act(*values)
        else:
            self._later.append((self.now + seconds, act, values))

    def catch_up(self) -> None:
        """Let happen what has become due."""
        due = [entry for entry in self._later if entry[0] <= self.now]
        self._later = [entry for entry in self._later if entry[0] > self.now]
        for _, act, values in due:
            act(*values)


def calm_stripe(clock: VirtualClock, truth: str) -> StripeGateway:
    """Make a gateway for which one thing is true."""
    habits = Habits(
        caching=Caching.ALL,
        can_fence=True,
        can_look_up=True,
        late_success=False,
        lag_seconds=0.0,
        odds=_ODDS[truth],
    )
    world: Any = CalmWorld(clock, truth)
    return StripeGateway(world, "stripe", habits)


class DirectTransport:
    """Hands a request to the gateway, and its answer back, in one step."""

    def __init__(self, gateway: StripeGateway, clock: VirtualClock) -> None:
        self._gateway = gateway
        self._clock = clock

    async def send(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        now = self._clock.monotonic()
        if now >= limits.ends_at or (request.verb.moves_money and now >= limits.first_byte_before):
            return Sent(NotSent(TransportError.TOO_LATE))
        replies: list[HttpReply] = []
        world: Any = self._gateway.world
        world.catch_up()
        self._gateway.receive(request, self._clock.seconds, replies.append)
        return Sent(replies[0] if replies else NoReply(TransportError.TIMEOUT))
