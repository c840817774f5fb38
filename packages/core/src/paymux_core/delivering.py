"""When a delivery is tried again, when an endpoint is left alone for a while, and when it is given up."""

import re
from datetime import datetime, timedelta

from msgspec import Struct

from paymux_core.clocks import DAY_SECONDS

TRY_PAUSES_SECONDS = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The pause before each try, as Standard Webhooks proposes: ten tries in three days and a half."""
TRIES_MAX = len(TRY_PAUSES_SECONDS)
BREAKER_WINDOW_SECONDS = 60
BREAKER_TRIES_MIN = 10
BREAKER_FAILED_OF_TEN = 7
BREAKER_IN_A_ROW = 10
PROBE_PAUSE_SECONDS_MIN = 60
PROBE_PAUSE_SECONDS_MAX = 1800
FAILING_DAYS_MAX = 5
"""An endpoint that answered nothing well for this long is switched off, and its merchant told."""
GONE = 410
"""The receiver says that it wants no more."""

_DIGITS = re.compile("[0-9]{1,9}", re.ASCII)


class Answered(Struct, frozen=True, gc=False):
    """What a receiver said: a status, or why there is none. `retry_after` is the header as it came."""

    http_status: int | None
    error: str | None = None
    excerpt: str | None = None
    retry_after: str | None = None
    duration_ms: int = 0

    @property
    def accepted(self) -> bool:
        """Whether the event was taken: 2xx and nothing else; a redirect is not followed and is a failure."""
        return self.http_status is not None and 200 <= self.http_status <= 299  # noqa: PLR2004  the class of status


class EndpointHealth(Struct, frozen=True, gc=False):
    """What is known of an endpoint. `recent`: tries and failures by second, of the last minute and of one worker."""

    consecutive_failures: int = 0
    failing_since: datetime | None = None
    breaker_open_until: datetime | None = None
    probe_pause_seconds: int | None = None
    recent: tuple[tuple[int, int, int], ...] = ()

    def is_open(self, at: datetime) -> bool:
        """Whether nothing may be tried at this moment."""
        return self.breaker_open_until is not None and at < self.breaker_open_until

    def failed_for_good(self, at: datetime, *, divisor_seconds: float) -> bool:
        """Whether it has failed for so long, without one success, that it is switched off."""
        life = timedelta(seconds=FAILING_DAYS_MAX * DAY_SECONDS / divisor_seconds)
        return self.failing_since is not None and at - self.failing_since >= life


def pause_before_try(tries: int, *, jitter: float, retry_after: str | None, divisor_seconds: float) -> timedelta:
    """Say how long to wait after `tries` tries: the table with ±20 % jitter, or what the receiver asks, at most twice.

    `jitter` is uniform in [0, 1); `divisor_seconds` shortens everything in a test stack.
    """
    base_seconds = TRY_PAUSES_SECONDS[tries] / divisor_seconds
    if retry_after is not None and _DIGITS.fullmatch(retry_after):
        return timedelta(seconds=min(max(base_seconds, int(retry_after)), 2 * base_seconds))
    return timedelta(seconds=base_seconds * (0.8 + 0.4 * jitter))


def health_after(
    health: EndpointHealth, *, accepted: bool, at: datetime, jitter: float, divisor_seconds: float
) -> EndpointHealth:
    """Say what is known of an endpoint after one more try."""
    recent = _counted(health.recent, accepted=accepted, at=at, divisor_seconds=divisor_seconds)
    if accepted:
        # One success closes the breaker: what failed before it says nothing about now.
        return EndpointHealth(recent=() if health.breaker_open_until is not None else recent)
    failures = health.consecutive_failures + 1
    tries, failed = sum(second[1] for second in recent), sum(second[2] for second in recent)
    opens = failures >= BREAKER_IN_A_ROW or (
        tries >= BREAKER_TRIES_MIN and failed * BREAKER_TRIES_MIN >= tries * BREAKER_FAILED_OF_TEN
    )
    open_until, pause = health.breaker_open_until, health.probe_pause_seconds
    if (opens or open_until is not None) and not health.is_open(at):
        pause = PROBE_PAUSE_SECONDS_MIN if pause is None else min(2 * pause, PROBE_PAUSE_SECONDS_MAX)
        open_until = at + timedelta(seconds=pause / divisor_seconds * (0.8 + 0.4 * jitter))
    return EndpointHealth(failures, health.failing_since or at, open_until, pause, recent)


def _counted(
    recent: tuple[tuple[int, int, int], ...], *, accepted: bool, at: datetime, divisor_seconds: float
) -> tuple[tuple[int, int, int], ...]:
    second = int(at.timestamp())
    since = second - max(1, int(BREAKER_WINDOW_SECONDS / divisor_seconds))
    kept = tuple(one for one in recent if one[0] > since)
    if kept and kept[-1][0] == second:
        return (*kept[:-1], (second, kept[-1][1] + 1, kept[-1][2] + (not accepted)))
    return (*kept, (second, 1, int(not accepted)))
