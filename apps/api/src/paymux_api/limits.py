"""How often somebody may ask: token buckets in this process, bounded in memory."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from paymux_core.errors import RateLimited
from paymux_core.ports import Clock
from paymux_core.records import ApiKeyRow

_DETAIL = "Too many requests; wait for Retry-After."


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, refilled evenly over `seconds`."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The defaults; a merchant and a key may have others."""

    api_key: Rate = Rate(100, 1.0)
    merchant_confirms: Rate = Rate(25, 1.0)
    idempotency_key: Rate = Rate(5, 1.0)
    """Before any look-up: a client that retries without a pause costs nothing."""
    failed_authentications: Rate = Rate(20, 60.0)
    """Per address. A valid key from the same address goes on working: a proxy stands for many clients."""


class Buckets:
    """One token bucket per name; the least recently used is forgotten, which fills it up again."""

    def __init__(self, rate: Rate, *, buckets_max: int = 20_000) -> None:
        """Keep the rate as tokens per second."""
        self._burst = float(rate.count)
        self._per_second = rate.count / rate.seconds
        self._buckets_max = buckets_max
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, *, now: float, per_second: int | None = None) -> float:
        """Take a token; gives the seconds until one is there, 0 if it was. Units: `now` in monotonic seconds.

        `per_second` takes the place of the rate: so many at once, and per second.
        """
        burst, rate = (self._burst, self._per_second) if per_second is None else (float(per_second), float(per_second))
        found = self._buckets.get(name)
        if found is None:
            tokens = burst
            if len(self._buckets) >= self._buckets_max:
                self._buckets.popitem(last=False)
        else:
            tokens = min(burst, found[0] + (now - found[1]) * rate)
            self._buckets.move_to_end(name)
        if tokens >= 1.0:
            self._buckets[name] = (tokens - 1.0, now)
            return 0.0
        self._buckets[name] = (tokens, now)
        return (1.0 - tokens) / rate


class Limiter:
    """All limits of one process."""

    def __init__(self, limits: Limits, *, clock: Clock) -> None:
        """Start with full buckets."""
        self._clock = clock
        self._api_key = Buckets(limits.api_key)
        self._merchant_confirms = Buckets(limits.merchant_confirms)
        self._idempotency_key = Buckets(limits.idempotency_key)
        self._failed_authentications = Buckets(limits.failed_authentications)

    def check(self, row: ApiKeyRow, *, idempotency_key: str | None, charges: bool) -> None:
        """Count a request; `charges` says that it wants to open an attempt. Raises: RateLimited.

        A merchant without limits walks the same path, so that its figures are those of everybody.
        """
        now = self._clock.monotonic()
        merchant = row.merchant_id
        wait = 0.0
        if idempotency_key is not None:
            same = (merchant, idempotency_key)
            wait = self._idempotency_key.take(same, now=now, per_second=row.same_key_per_second)
        if not wait or row.limits_exempt:
            wait = max(wait, self._api_key.take(row.key_id, now=now, per_second=row.requests_per_second))
        if charges and (not wait or row.limits_exempt):
            wait = max(wait, self._merchant_confirms.take(merchant, now=now, per_second=row.confirms_per_second))
        if wait and not row.limits_exempt:
            raise RateLimited(_DETAIL, retry_after_seconds=math.ceil(wait))

    def count_failed_authentication(self, address: str) -> None:
        """Count a failure. Raises: RateLimited when there were too many from this address."""
        wait = self._failed_authentications.take(address, now=self._clock.monotonic())
        if wait:
            raise RateLimited(_DETAIL, retry_after_seconds=math.ceil(wait))
