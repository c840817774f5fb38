"""What the API counts about itself, at a cost of a few dictionary look-ups per request."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ApiMeasures(Collector):
    """Requests by operation and status, their duration, those in flight, and refusals by code.

    Plain integers instead of the library's counters: those take a lock per bucket, and one process has one event loop.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with a registry; one per application, so that two in one process do not collide."""
        self.in_flight = 0
        self.refusals: Counter[str] = Counter()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        registry.register(self)

    def finished(self, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests[operation, status] += 1
        counts = self._durations.get(operation)
        if counts is None:
            counts = self._durations[operation] = [0] * (len(_BOUNDS_SECONDS) + 1)
        counts[bisect_left(_BOUNDS_SECONDS, seconds)] += 1
        self._seconds[operation] = self._seconds.get(operation, 0.0) + seconds

    def collect(self) -> Iterator[Metric]:
        """Give everything in the form of the library."""
        requests = CounterMetricFamily("paymux_api_requests", "Requests answered", labels=("operation", "status"))
        for (operation, status), count in sorted(self._requests.items()):
            requests.add_metric((operation, str(status)), count)
        yield requests
        durations = HistogramMetricFamily("paymux_api_seconds", "Time to answer", labels=("operation",))
        for operation, counts in sorted(self._durations.items()):
            durations.add_metric((operation,), _cumulative(counts), sum_value=self._seconds[operation])
        yield durations
        refusals = CounterMetricFamily("paymux_api_refusals", "Problems answered", labels=("code",))
        for code, count in sorted(self.refusals.items()):
            refusals.add_metric((code,), count)
        yield refusals
        yield GaugeMetricFamily("paymux_api_in_flight", "Requests under way", value=self.in_flight)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, _BOUNDS_SECONDS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
