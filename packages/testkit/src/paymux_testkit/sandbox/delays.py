"""Tell the time and how long the sandbox hesitates: the one file here that reads the clock."""

import time
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Delays:
    """How long each misbehaviour lasts. Units: seconds."""

    silence_seconds: float = 25.0  # longer than the 20 s a caller gives one gateway call
    conflict_seconds: float = 20.0
    pending_seconds: float = 60.0
    late_success_seconds: float = 120.0
    drip_seconds: float = 2.0  # between two bytes: passes every read timeout, never a deadline for the whole call
    zombie_seconds: float = 45.0  # after the caller's first look (30 s), which finds nothing

    lookup_lag_seconds: float = 0.0  # how far what is shown lags behind what was charged

    def divided_by(self, divisor: float) -> Self:
        """Shorten every delay by the same factor."""
        return type(self)(**{field.name: getattr(self, field.name) / divisor for field in fields(self)})


def wall_seconds() -> float:
    """Read the wall clock, which alone goes on through a restart. Units: seconds since 1970."""
    return time.time()  # noqa: TID251 - a process outside paymux has no Clock port


def iso_time(wall_at: float) -> str:
    """Write a moment the way the wire wants it."""
    return datetime.fromtimestamp(wall_at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
