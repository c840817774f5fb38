"""An event loop without sockets: time is virtual and the seed picks which ready handle runs next."""

from __future__ import annotations

import asyncio
from heapq import heappop
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from random import Random


class DeadlockFoundError(AssertionError):
    """Nothing is ready and no timer is set, yet the simulation has not ended."""


class SimulationLoop(asyncio.BaseEventLoop):
    """Run one ready handle per step; when nothing is ready, jump to the next timer."""

    # The lists of BaseEventLoop that hold what is ready and what waits for a time.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, rng: Random) -> None:
        """Start at second 0 with the seed's generator."""
        super().__init__()
        self.rng = rng
        self.now = 0.0
        self.steps = 0

    def time(self) -> float:
        """Tell the virtual second; it only moves when nothing is ready."""
        return self.now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        while scheduled and scheduled[0].cancelled():
            heappop(scheduled)
        if not ready:
            if not scheduled:
                raise DeadlockFoundError
            self.now = max(self.now, scheduled[0].when())
        while scheduled and scheduled[0].when() <= self.now:
            ready.append(heappop(scheduled))
        chosen = int(self.rng.random() * len(ready))
        handle = ready[chosen]
        del ready[chosen]
        if not handle.cancelled():
            self.run_handle(handle)

    def run_handle(self, handle: asyncio.Handle) -> None:
        """Take one step."""
        self.steps += 1
        handle._run()
