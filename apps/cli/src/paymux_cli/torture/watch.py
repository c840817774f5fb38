"""What was ever seen of each payment, by clients and by polling: a final status that was seen must stay."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from paymux_core.transitions import PAYMENT_TERMINAL

FINAL = frozenset(str(status) for status in PAYMENT_TERMINAL)


@dataclass(frozen=True, slots=True)
class Seen:
    """A status that somebody was told. Units: seconds on the monotonic clock; `asked_at` when it was asked for."""

    payment_id: str
    status: str
    asked_at: float
    told_at: float


@dataclass(slots=True)
class Watch:
    """Everything seen so far. `promised` holds every payment that an answer 2xx spoke of."""

    promised: set[str] = field(default_factory=set)
    regressions: dict[str, str] = field(default_factory=dict)
    looks: int = 0
    _ends: dict[str, Seen] = field(default_factory=dict)

    def see(self, seen: Seen) -> None:
        """Note a status. Whoever asked before the end was told may have been told of the time before it."""
        self.looks += 1
        end = self._ends.get(seen.payment_id)
        if end is None:
            if seen.status in FINAL:
                self._ends[seen.payment_id] = seen
            return
        if seen.status == end.status:
            return
        if seen.status in FINAL or seen.asked_at > end.told_at:
            self.regressions[seen.payment_id] = f"was seen {end.status}, then {seen.status}"

    def see_all(self, found: Iterable[tuple[str, str]], *, asked_at: float, told_at: float) -> None:
        """Note the statuses of one poll."""
        for payment_id, status in found:
            self.see(Seen(payment_id, status, asked_at, told_at))
