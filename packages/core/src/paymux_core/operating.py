"""What an operator watches, as values."""

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Figure(Struct, frozen=True, gc=False):
    """One metric: its samples by the value of its label, or under "" where it has none."""

    name: str
    about: str
    label: str | None
    samples: Mapping[str, float]  # tidy-skip: no-float: ages and counts, no money


class Figures(Struct, frozen=True, gc=False):
    """What could be read, and the names of what could not in its time."""

    read: Sequence[Figure]
    missing: Sequence[str]
