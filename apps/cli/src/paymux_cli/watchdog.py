"""A loop that no longer turns holds leases and answers nobody: how late it is, told as a metric; and an end after 20 s.

Two witnesses, because one of them may be held up too. A thread sees that the loop does not turn while others may run;
and the kernel counts what the process computes, which also ends code that never lets a thread run. Neither counts the
time in which the whole process was stopped.
"""

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Iterator

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

TICK_SECONDS = 0.25
LATE_SECONDS = 1.0
"""Later than this is logged and counted."""
STALL_SECONDS_MAX = 20.0
"""By then others have the leases; a process that ends is started again, and one that hangs is not."""
LOOK_SECONDS = 1.0
SHOWN_SECONDS = 60.0
"""The worst of the last minute is shown, so that a scrape does not miss it."""

log = structlog.get_logger()


class LoopWatchdog(Collector):
    """Measures one event loop, and ends the process when it stands still. Units: seconds."""

    def __init__(self, *, stall_seconds_max: float = STALL_SECONDS_MAX) -> None:
        """Watch nothing yet."""
        self._stall_seconds_max = stall_seconds_max
        self._ticks = 0
        self._ticked_at = time.monotonic()
        self._worst = [0.0, 0.0]
        self._window_began_at = self._ticked_at
        self._late = 0
        self._ended = threading.Event()

    async def tick(self) -> None:
        """Turn with the loop, for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            self._note(now - self._ticked_at - TICK_SECONDS, now)
            self._ticked_at = now
            self._ticks += 1
            signal.setitimer(signal.ITIMER_PROF, self._stall_seconds_max)

    def _note(self, lag_seconds: float, now: float) -> None:
        if now - self._window_began_at > SHOWN_SECONDS / 2:
            self._worst = [self._worst[1], 0.0]
            self._window_began_at = now
        self._worst[1] = max(self._worst[1], lag_seconds)
        if lag_seconds > LATE_SECONDS:
            self._late += 1
            log.warning("loop.late", lag_seconds=round(lag_seconds, 3))

    def watch(self, loop_thread: int) -> None:
        """Look from another thread whether the loop turns; a stop of the whole process is one look, however long."""
        seen, looks = self._ticks, 0
        while not self._ended.wait(LOOK_SECONDS):
            looks = looks + 1 if self._ticks == seen else 0
            seen = self._ticks
            if looks * LOOK_SECONDS >= self._stall_seconds_max:
                try:
                    frame = sys._current_frames().get(loop_thread)  # noqa: SLF001  the way to another thread's stack
                    log.critical("loop.stalled", seconds=looks, loop_stack="".join(traceback.format_stack(frame)))
                finally:
                    # With faulthandler on, what every thread does is the last that is written.
                    os.abort()

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def collect(self) -> Iterator[Metric]:
        """Give lag and count in the form of the library; a loop that stands still now is late already."""
        waiting = time.monotonic() - self._ticked_at - TICK_SECONDS
        worst = max(*self._worst, waiting, 0.0)
        yield GaugeMetricFamily("paymux_loop_lag_seconds", "How late the event loop was, at worst in a minute", worst)
        yield CounterMetricFamily(
            "paymux_loop_late", "How often the event loop was more than a second late", self._late
        )


@contextlib.asynccontextmanager
async def watched(registry: CollectorRegistry, watchdog: LoopWatchdog) -> AsyncIterator[None]:
    """Watch this loop for as long as this lasts."""
    faulthandler.enable()
    # In C, from the signal itself: code that lets no thread run lets no handler of ours run either.
    faulthandler.register(signal.SIGPROF, all_threads=True, chain=True)
    registry.register(watchdog)
    ticking = asyncio.create_task(watchdog.tick())
    thread = threading.Thread(target=watchdog.watch, args=(threading.get_ident(),), name="loop-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watchdog.end()
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
