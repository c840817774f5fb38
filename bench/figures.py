"""The bench's own arithmetic: percentiles, medians of rounds, ratios, and the bars they are held against."""

import math
from collections.abc import Mapping, Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """Give the smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median_of(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Give the median of each figure over the rounds; every round has the same figures."""
    return {name: median(figures[name] for figures in rounds) for name in rounds[0]}


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Round to what the measurement can carry: three digits, and whole numbers from a hundred on."""
    return {name: _rounded(value) for name, value in figures.items()}


def _rounded(value: float) -> float:
    if value == 0 or not math.isfinite(value):
        return value
    digits = 2 - math.floor(math.log10(abs(value)))
    return round(value, digits) if digits > 0 else round(value)
