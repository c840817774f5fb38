"""Database time: the monotonic clock plus its offset to `clock_timestamp()`, so that all machines agree."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from paymux_core.errors import Refused
from paymux_postgres.connections import Pool
from paymux_postgres.losses import CommitUnknown

MEASURE_SECONDS = 30.0
DRIFT_SECONDS_MAX = 1.0
ROUND_TRIP_SECONDS_MAX = 0.2
"""A tenth of a second more or less moves no deadline that matters."""
TRIES = 5

log = structlog.get_logger()


def _monotonic() -> float:
    # Also counts while the machine is suspended: what waited through that is late.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class DatabaseClock:
    """Implements the `Clock` port. `offset_seconds` shifts the time of day in tests of processes."""

    def __init__(self, *, offset_seconds: float = 0.0) -> None:
        """Start from the machine's own clock until the first measurement."""
        self._shift_seconds = offset_seconds
        self._epoch_seconds = time.time() - _monotonic()  # noqa: TID251  this is the Clock port
        self._measured = False

    def now(self) -> datetime:
        """Give the database's time of day, aware, UTC."""
        return datetime.fromtimestamp(self._epoch_seconds + _monotonic() + self._shift_seconds, tz=UTC)

    def monotonic(self) -> float:
        """Give seconds that never jump."""
        return _monotonic()

    async def measure(self, pool: Pool) -> None:
        """Measure the offset once: the middle of one round trip, known to half of it.

        A slow one (a pause of this process, a database that comes back) says too little: it is asked again, and if
        nothing better comes the last offset stays.
        """
        for tries_left in reversed(range(TRIES)):
            before = _monotonic()
            rows = await pool.fetch("select clock_timestamp() as at")
            after = _monotonic()
            if after - before <= ROUND_TRIP_SECONDS_MAX or (tries_left == 0 and not self._measured):
                self._take(rows[0]["at"], at=(before + after) / 2)
                return
        log.warning("clock.not_measured", reason="slow_round_trips")

    def _take(self, database: datetime, *, at: float) -> None:
        epoch = database.timestamp() - at
        drift = epoch - self._epoch_seconds
        if self._measured and abs(drift) > DRIFT_SECONDS_MAX:
            log.warning("clock.drift", drift_seconds=round(drift, 3), limit=str(timedelta(seconds=DRIFT_SECONDS_MAX)))
        self._epoch_seconds = epoch
        self._measured = True

    async def keep_measuring(self, pool: Pool) -> None:
        """Measure every 30 s until cancelled; an unreachable database keeps the last offset."""
        while True:
            await asyncio.sleep(MEASURE_SECONDS)
            try:
                await self.measure(pool)
            except (Refused, CommitUnknown) as error:
                log.warning("clock.not_measured", reason=type(error).__name__)


async def machine_drift_seconds(pool: Pool, *, machine: Callable[[], float]) -> float:
    """Measure how far this machine's clock is ahead of the database's, by the quickest of a few round trips."""
    drift, quickest = 0.0, float("inf")
    for _ in range(TRIES):
        before = machine()
        rows = await pool.fetch("select clock_timestamp() as at")
        after = machine()
        if after - before < quickest:
            quickest = after - before
            drift = (before + after) / 2 - rows[0]["at"].timestamp()
    return drift
