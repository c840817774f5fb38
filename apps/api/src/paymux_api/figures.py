"""What `/metrics` shows of the book: asked at most every few seconds, by one at a time, and never a burden."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from paymux_core.operating import Figures
from paymux_core.ports import Clock

REMEMBER_SECONDS = 5.0
SECONDS_MAX = 8.0
"""A scrape waits no longer; it shows what was read before, and how old that is."""


class FigureSource(Protocol):
    """Where figures are read."""

    def figures(self, *, at: datetime) -> Awaitable[Figures]:
        """Read every figure, each within its time."""
        ...


Gather = Callable[[], Awaitable[None]]


async def nothing_to_gather() -> None:
    """Read nothing: everything is counted already."""


class BookMeasures(Collector):
    """Remembers the last figures, and tells how old they are."""

    def __init__(self, registry: CollectorRegistry, source: FigureSource, *, clock: Clock) -> None:
        """Register with a registry, with nothing read yet."""
        self._source = source
        self._clock = clock
        self._asking = asyncio.Lock()
        self._last: tuple[float, Figures] | None = None
        registry.register(self)

    async def gather(self) -> None:
        """Read the figures anew, unless that was just done. Whatever goes wrong shows in their age."""
        async with self._asking:
            now = self._clock.monotonic()
            if self._last is not None and now - self._last[0] < REMEMBER_SECONDS:
                return
            try:
                async with asyncio.timeout(SECONDS_MAX):
                    self._last = (now, await self._source.figures(at=self._clock.now()))
            except TimeoutError:
                return

    def collect(self) -> Iterator[Metric]:
        """Give everything in the form of the library."""
        if self._last is None:
            return
        read_at, figures = self._last
        for figure in figures.read:
            gauge = GaugeMetricFamily(figure.name, figure.about, labels=(figure.label,) if figure.label else ())
            for label, value in sorted(figure.samples.items()):
                gauge.add_metric((label,) if figure.label else (), value)
            yield gauge
        missing = GaugeMetricFamily("paymux_figures_missing", "Figures that took too long", labels=("figure",))
        for name in figures.missing:
            missing.add_metric((name,), 1)
        yield missing
        age = max(0.0, self._clock.monotonic() - read_at)
        yield GaugeMetricFamily("paymux_figures_age_seconds", "Age of what is shown of the book", value=age)
