"""Every duration of the protocol in one table, so that a test stack can run the same protocol in a shorter time."""

from datetime import datetime, timedelta
from typing import Self

from msgspec import Struct

CHECK_PAUSES_SECONDS = (30, 45, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200)
"""Pauses between checks; afterwards daily, and weekly once an attempt is older than 30 days."""
DAY_SECONDS = 86_400
_ORDINARY_DEADLINE = 3600.0


class Clocks(Struct, frozen=True, gc=False):
    """Units: seconds. Defaults are the product's; only tests shorten them."""

    request_budget: float = 26.0
    """From phase 1 to the reply; then 202."""
    gateway_call: float = 20.0
    """One gateway call, everything included."""
    call_reserve: float = 1.0
    """What a call leaves of the request budget for phase 2."""
    connect: float = 2.0
    further_attempt_minimum: float = 5.0
    """A next attempt starts inside the request only with this much budget left."""
    first_byte: float = 10.0
    """A money request whose first byte would leave later than this after its phase 1 is not sent."""
    first_check: float = 30.0
    """Also the key owner's deadline: later than any call of the owner can still run."""
    charge_window: float = 120.0
    """No re-send of a charge and no further attempt later than this after the confirm was accepted."""
    action_deadline: float = 1800.0
    processing_deadline: float = _ORDINARY_DEADLINE
    """Of an ordinary gateway; one that takes its time has its own, shortened alike: `unknown_deadline`."""
    look_interval: float = 10.0
    """`?sync=true` and a same-key retry ask the gateway at most this often per payment."""
    same_account_pauses: tuple[float, float] = (0.2, 1.0)
    lease: float = 60.0
    authorization_check: float = 6.0 * DAY_SECONDS
    watch_closed: float = 7.0 * DAY_SECONDS
    """A closed attempt whose request was sent is still looked at daily for this long."""
    webhook_send: float = 15.0
    """One try of a delivery, everything included."""
    webhook_hold: float = 60.0
    """A try that is not recorded by then was its worker's last; longer than it can take."""
    unconfirmed: float = 1.0 * DAY_SECONDS
    """A payment that nobody confirmed expires after this long, unless its merchant chose another time."""
    divisor: float = 1.0

    def shortened(self, divisor: float) -> Self:
        """Divide every duration, for a test stack; the processing deadline becomes a minute at the least."""
        if divisor == 1:
            return self
        values: dict[str, float | tuple[float, float]] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            values[name] = tuple(v / divisor for v in value) if isinstance(value, tuple) else value / divisor
        values["divisor"] = divisor
        values["processing_deadline"] = min(60.0, self.processing_deadline)
        return type(self)(**values)  # type: ignore[arg-type]

    def unknown_deadline(self, capability_seconds: int) -> float:
        """Say how long an unknown lasts at a gateway until a person is told."""
        return capability_seconds * (self.processing_deadline / _ORDINARY_DEADLINE)


ATTEMPTS_MAX = 3
"""A fourth decline would not become a yes, and each try is a risk."""
KEY_LIFE = timedelta(days=7)


def pause_after_check(*, checks: int, age: timedelta, jitter: float, clocks: Clocks) -> timedelta:
    """Say how long to wait before the next check: the table with ±20 % jitter.

    `checks` counts the checks done so far (0: phase 1 just committed); `jitter` is uniform in [0, 1).
    """
    if checks < len(CHECK_PAUSES_SECONDS):
        seconds = CHECK_PAUSES_SECONDS[checks] / clocks.divisor
    elif age < timedelta(days=30):
        seconds = DAY_SECONDS / clocks.divisor
    else:
        seconds = 7 * DAY_SECONDS / clocks.divisor
    if checks == 0:
        # The first check is also the owner's deadline: earlier would ask while our own call may run.
        return timedelta(seconds=clocks.first_check * (1 + 0.2 * jitter))
    return timedelta(seconds=seconds * (0.8 + 0.4 * jitter))


def after(moment: datetime, seconds: float) -> datetime:
    """Add seconds to a moment."""
    return moment + timedelta(seconds=seconds)
