"""What the figures have to be: every bar is a ratio or a count, so that it means the same on any machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Tables = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure of one table and its bounds. `goal` None: only what it has to be."""

    table: str
    figure: str
    least: float | None = None
    most: float | None = None
    goal: float | None = None

    @property
    def wanted(self) -> str:
        """Say what it has to be."""
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"

    def is_met(self, value: float) -> bool:
        """Tell whether a value is within the bounds."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


BARS = (
    Bar("main", "ratio_l1_32", least=1.2, goal=1.5),
    Bar("main", "p99_over_p50_32", most=3, goal=2),
    Bar("main", "p99_over_p50_128", most=3, goal=2),
    Bar("main", "p50_1_over_unbatched", most=1.1),
    Bar("main", "wal_bytes", most=4_500, goal=3_500),
    Bar("main", "hot_pct_payments", least=99),
    Bar("main", "hot_pct_idempotency_keys", least=99),
    Bar("main", "statements_per_confirm", most=2.05),
    Bar("growth", "p50_2m_over_10k", most=1.25, goal=1.1),
    Bar("growth", "load_seconds_2m", most=300),
    Bar("in_flight", "p50_over_gateway_ms_50", most=25, goal=10),
    Bar("in_flight", "connections_1000", most=10),
    Bar("webhooks", "webhooks", least=1_000),
    Bar("in_flight", "memory_kb_each_1000", most=float("inf"), goal=100),
)


def judged(tables: Tables) -> Iterator[tuple[Bar, float, bool]]:
    """Give each bar whose table was measured, with its value and whether it is met."""
    for bar in BARS:
        if bar.table in tables:
            value = tables[bar.table][bar.figure]
            yield bar, value, bar.is_met(value)
