"""The judge: it sees the gateways' own ledgers and every status change, and never the protocol's opinion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.model import rules
from tests.model.rules import PaymentStatus

if TYPE_CHECKING:
    from tests.model.store import Payment
    from tests.model.world import World

# Clocks of two processes may differ by this much; the window itself is judged on the true clock.
CLOCK_TOLERANCE_SECONDS = 3.0


@dataclass(slots=True, eq=False)
class Charge:
    """One real charge in a gateway's ledger."""

    payment_id: str
    attempt_id: str
    gateway: str
    sent_at: float
    returned: bool = False
    # The gateway first declined for good and charged later by itself: no request of ours did it.
    by_gateway_alone: bool = False


@dataclass(slots=True, kw_only=True)
class Reply:
    """What one HTTP request of a client was answered."""

    request_id: str
    payment_id: str
    http_status: int


@dataclass(slots=True)
class Oracle:
    """Collect what must never happen."""

    world: World
    ledger: list[Charge] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def charged(self, charge: Charge) -> None:
        """Book a charge and judge it at once."""
        self.ledger.append(charge)
        self.world.note(charge.gateway, f"CHARGES {charge.attempt_id}")
        if charge.by_gateway_alone:
            return
        payment = self.world.store.payments[charge.payment_id]
        if len(self._kept(payment.id, caused_by_us=True)) > 1:
            self._violated("double charge", payment.id)
        if payment.status in (PaymentStatus.FAILED, PaymentStatus.CANCELED):
            self._violated(f"{payment.status} but charged", payment.id)
        latest = rules.CHARGE_WINDOW_SECONDS + rules.FIRST_BYTE_SECONDS + CLOCK_TOLERANCE_SECONDS
        if payment.accepted_at is not None and charge.sent_at > payment.accepted_at + latest:
            self._violated("charged after leaving the checkout", payment.id)

    def opened_further(self, payment: Payment) -> None:
        """Judge that a further attempt was opened."""
        if payment.cancel_requested:
            self._violated("further attempt after a cancel", payment.id)

    def moved(self, payment: Payment, to: PaymentStatus) -> None:
        """Judge a change of a payment's status."""
        self.world.note("store", f"{payment.id} {payment.status} -> {to}")
        if payment.status in rules.TERMINAL and to is not payment.status:
            self._violated(f"terminal regress {payment.status} -> {to}", payment.id)
        lost = to in (PaymentStatus.FAILED, PaymentStatus.CANCELED)
        if lost and self._kept(payment.id, caused_by_us=True):
            self._violated(f"{to} but charged", payment.id)

    def judge_the_end(self) -> None:
        """Judge what the quiet phase has left."""
        for payment in self.world.store.payments.values():
            self._judge_payment(payment)
        opened_by = {attempt.opened_by for attempt in self.world.store.attempts.values()}
        for reply in self.replies:
            status = self.world.store.payments[reply.payment_id].status
            if reply.http_status == 409 and reply.request_id in opened_by:
                self._violated("409 for a request that was accepted", reply.payment_id)
            if reply.http_status < 300 and status is PaymentStatus.REQUIRES_CONFIRMATION:
                self._violated("an accepted request was lost", reply.payment_id)

    def _judge_payment(self, payment: Payment) -> None:
        kept = self._kept(payment.id, caused_by_us=False)
        recorded = any(attempt.late_charge is not None for attempt in payment.attempts)
        explained = recorded or payment.review is not None
        if len(kept) > 1 and not explained:
            self._violated("double charge, unexplained", payment.id)
        match payment.status:
            case PaymentStatus.REQUIRES_CONFIRMATION if kept:
                self._violated("orphan charge", payment.id)
            case PaymentStatus.PROCESSING if payment.review is None:
                self._violated("unresolved without a review", payment.id)
            case PaymentStatus.SUCCEEDED if not kept:
                self._violated("succeeded but not charged", payment.id)
            case PaymentStatus.FAILED | PaymentStatus.CANCELED if kept and not explained:
                self._violated(f"{payment.status} but charged, unexplained", payment.id)
            case _:
                pass
        for attempt in payment.attempts:
            if attempt.status in rules.OPEN and attempt.next_check_at is None:
                self._violated("open attempt without a next check", payment.id)

    def _kept(self, payment_id: str, *, caused_by_us: bool) -> list[Charge]:
        return [
            charge
            for charge in self.ledger
            if charge.payment_id == payment_id
            and not charge.returned
            and not (caused_by_us and charge.by_gateway_alone)
        ]

    def _violated(self, what: str, payment_id: str) -> None:
        self.world.note("ORACLE", f"{what}: {payment_id}")
        self.violations.append(f"{what} ({payment_id} at {self.world.loop.now:.1f} s)")
