"""The shared store: each public method that changes something is one atomic commit with compare-and-sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.model import rules
from tests.model.mutants import Mutant
from tests.model.rules import AttemptStatus, Outcome, PaymentStatus, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.model.world import World


@dataclass(slots=True, kw_only=True)
class Item:
    """Something a worker looks at when its time has come, under a lease."""

    id: str
    next_check_at: float | None
    leased_until: float = 0.0
    lease_token: int = 0
    checks: int = 0

    def due_at(self) -> float:
        """Tell when a worker may claim it."""
        return float("inf") if self.next_check_at is None else max(self.next_check_at, self.leased_until)


@dataclass(slots=True, kw_only=True)
class LateCharge(Item):
    """Money taken for a closed attempt; it goes back to the customer."""

    attempt: Attempt
    refunded: bool = False


@dataclass(slots=True, kw_only=True)
class GatewayEvent(Item):
    """A stored webhook: a hint, never a fact."""

    attempt_id: str
    told: Outcome


@dataclass(slots=True, kw_only=True)
class Attempt(Item):
    """One try through one gateway account; the row is the intent, written before the call."""

    payment: Payment
    account: str
    opened_by: str
    opened_at: float
    # The commit that opened it had no time to call: the worker sends the first request.
    for_the_worker: bool
    status: AttemptStatus = AttemptStatus.STARTED
    retryable: bool = True
    object_id: str | None = None
    last_sent_at: float = 0.0
    watch_until: float = 0.0
    late_charge: LateCharge | None = None


@dataclass(slots=True, kw_only=True)
class Payment:
    """What is to be paid once."""

    id: str
    route: tuple[str, str]
    status: PaymentStatus = PaymentStatus.REQUIRES_CONFIRMATION
    accepted_at: float | None = None
    deadline_at: float = float("inf")
    attempts: list[Attempt] = field(default_factory=list)
    cancel_requested: bool = False
    review: str | None = None


@dataclass(slots=True, kw_only=True)
class Key:
    """An idempotency key; it never exists without its attempt."""

    payment_id: str
    owned_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """One HTTP request to confirm a payment."""

    request_id: str
    payment_id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a caller knows of an attempt after a commit; later changes do not show."""

    attempt_id: str
    payment_id: str
    account: str
    accepted_at: float
    deadline_at: float
    object_id: str | None
    last_sent_at: float
    attempts: int
    is_first: bool
    is_open: bool
    cancel_requested: bool


class NextBy(StrEnum):
    """Who sends the first request of an attempt that phase 2 opens."""

    CALLER = "caller"
    WORKER = "worker"


class Answer(StrEnum):
    """What phase 1 tells a confirm."""

    ACCEPTED = "accepted"
    IN_USE = "in_use"
    LIVE = "live"
    UNEXPECTED_STATE = "unexpected_state"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A confirm's answer, with the attempt it concerns."""

    answer: Answer
    intent: Intent | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's hold on an item."""

    item: Item
    lease_token: int
    claimed_at: float
    intent: Intent | None


@dataclass(slots=True)
class Store:
    """Tables and the commits on them."""

    world: World
    payments: dict[str, Payment] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    gateway_events: dict[str, GatewayEvent] = field(default_factory=dict)
    late_charges: list[LateCharge] = field(default_factory=list)
    _leases: int = 0

    def confirm(self, command: Confirm, *, now: float) -> Verdict:
        """Run phase 1: key, payment, attempt, all or nothing."""
        verdict = self.diagnose(command, now=now)
        return self.accept(command, now=now) if verdict.answer is Answer.ACCEPTED else verdict

    def diagnose(self, command: Confirm, *, now: float) -> Verdict:
        """Tell what phase 1 would answer now."""
        payment = self.payments[command.payment_id]
        key = self.keys.get(command.key)
        if key is None:
            can_start = payment.status is PaymentStatus.REQUIRES_CONFIRMATION
            return Verdict(Answer.ACCEPTED if can_start else Answer.UNEXPECTED_STATE)
        settled = payment.status in rules.TERMINAL
        if not settled and now < key.owned_until:
            return Verdict(Answer.IN_USE)
        return Verdict(Answer.LIVE, intent_of(payment.attempts[-1]), settled)

    def accept(self, command: Confirm, *, now: float) -> Verdict:
        """Write phase 1. Only `confirm` may call it (and the mutant that checks before it acts)."""
        payment = self.payments[command.payment_id]
        self._move(payment, PaymentStatus.PROCESSING)
        payment.accepted_at = now
        payment.deadline_at = now + rules.PROCESSING_DEADLINE_SECONDS
        self.keys[command.key] = Key(payment_id=payment.id, owned_until=now + rules.OWNER_SECONDS)
        attempt = self._open_attempt(payment, payment.route[0], now=now, opened_by=command.request_id)
        return Verdict(Answer.ACCEPTED, intent_of(attempt))

    def remember(self, attempt_id: str, object_id: str) -> bool:
        """Commit a reserved object's id; false when the attempt is closed or has another one."""
        attempt = self.attempts[attempt_id]
        if attempt.status not in rules.OPEN or attempt.object_id not in (None, object_id):
            return False
        attempt.object_id = object_id
        return True

    def record(
        self, attempt_id: str, outcome: Outcome, *, source: Source, now: float, next_by: NextBy
    ) -> Intent | None:
        """Run phase 2; return the further attempt if this very commit opened one for its caller."""
        attempt = self.attempts[attempt_id]
        payment, mutant = attempt.payment, self.world.mutant
        caches = self.world.gateways[attempt.account].account.caches
        status = rules.status_after(attempt.status, outcome, source=source, caches=caches, mutant=mutant)
        if status is None:
            if outcome is Outcome.CHARGED and attempt.status is not AttemptStatus.SUCCEEDED:
                self._record_late_charge(attempt, now=now)
            return None
        self.world.note("store", f"{attempt.id} {attempt.status} -> {status} ({source} {outcome})")
        attempt.status = status
        attempt.retryable = outcome is not Outcome.DECLINED_HARD
        if status in rules.OPEN:
            return None
        attempt.next_check_at = None
        if status is AttemptStatus.SUCCEEDED:
            if payment.status is PaymentStatus.PROCESSING:
                self._move(payment, PaymentStatus.SUCCEEDED)
            else:
                self._record_late_charge(attempt, now=now)
            return None
        attempt.watch_until = now + rules.WATCH_SECONDS
        attempt.next_check_at = now + rules.DAY_SECONDS
        return self._follow(payment, attempt, now=now, next_by=next_by)

    def cancel(self, payment_id: str, *, now: float) -> None:
        """Cancel a payment, or ask for it while the charge is on its way."""
        payment = self.payments[payment_id]
        if payment.status is PaymentStatus.REQUIRES_CONFIRMATION:
            self._move(payment, PaymentStatus.CANCELED)
        elif payment.status is PaymentStatus.PROCESSING:
            payment.cancel_requested = True
            attempt = payment.attempts[-1]
            if attempt.next_check_at is not None:
                earliest = max(now, attempt.opened_at + rules.OWNER_SECONDS)
                attempt.next_check_at = min(attempt.next_check_at, earliest)

    def store_webhook(self, event_id: str, attempt_id: str, told: Outcome, *, now: float) -> None:
        """Keep a webhook, once."""
        if event_id not in self.gateway_events:
            event = GatewayEvent(id=event_id, next_check_at=now, attempt_id=attempt_id, told=told)
            self.gateway_events[event_id] = event

    def apply_unchecked(self, attempt_id: str, told: Outcome) -> None:
        """Do what no code may do: write a webhook's word as the state."""
        attempt = self.attempts[attempt_id]
        attempt.status, status = {
            Outcome.CHARGED: (AttemptStatus.SUCCEEDED, PaymentStatus.SUCCEEDED),
            Outcome.PENDING: (AttemptStatus.PENDING, PaymentStatus.PROCESSING),
        }.get(told, (AttemptStatus.FAILED, PaymentStatus.FAILED))
        self._move(attempt.payment, status)

    def items(self) -> Iterator[Item]:
        """List everything that may have a check."""
        yield from self.attempts.values()
        yield from self.gateway_events.values()
        yield from self.late_charges

    def next_due_at(self) -> float:
        """Tell when the next item may be claimed."""
        return min(map(Item.due_at, self.items()), default=float("inf"))

    def claim(self, *, now: float) -> Claim | None:
        """Lease the item that is due longest; a started attempt becomes unknown: its process is lost."""
        item = min(self.items(), key=Item.due_at, default=None)
        if item is None or item.due_at() > now:
            return None
        self._leases += 1
        item.lease_token, item.leased_until = self._leases, now + rules.LEASE_SECONDS
        item.checks += 1
        intent = None
        if isinstance(item, Attempt):
            is_first = item.for_the_worker and item.status is AttemptStatus.STARTED
            item.for_the_worker = False
            if item.status is AttemptStatus.STARTED and not is_first:
                self.world.note("store", f"{item.id} started -> unknown (process_lost)")
                item.status = AttemptStatus.UNKNOWN
            intent = intent_of(item, is_first=is_first)
        return Claim(item=item, lease_token=item.lease_token, claimed_at=now, intent=intent)

    def intent(self, attempt_id: str) -> Intent | None:
        """Read an attempt; None for one that nobody opened."""
        attempt = self.attempts.get(attempt_id)
        return None if attempt is None else intent_of(attempt)

    def note_refund(self, late_charge: LateCharge) -> None:
        """Close a late charge."""
        late_charge.refunded = True

    def note_resend(self, attempt_id: str, *, now: float) -> None:
        """Remember when money may last have been asked for."""
        self.attempts[attempt_id].last_sent_at = now

    def finish(self, claim: Claim, *, now: float) -> None:
        """Release a lease with the next check; nothing happens under a stale token."""
        item = claim.item
        if item.lease_token != claim.lease_token:
            return
        item.leased_until = 0.0
        if isinstance(item, Attempt):
            self._finish_attempt(item, claim, now=now)
        elif isinstance(item, LateCharge) and not item.refunded:
            item.next_check_at = now + 60.0
        else:
            item.next_check_at = None

    def _finish_attempt(self, attempt: Attempt, claim: Claim, *, now: float) -> None:
        payment, mutant = attempt.payment, self.world.mutant
        if attempt.status not in rules.OPEN:
            watched = attempt.status is not AttemptStatus.SUCCEEDED and now < attempt.watch_until
            attempt.next_check_at = now + rules.DAY_SECONDS if watched else None
            return
        pause = rules.CHECK_PAUSES_SECONDS[min(attempt.checks, len(rules.CHECK_PAUSES_SECONDS) - 1)]
        attempt.next_check_at = now + pause * self.world.between(0.8, 1.2)
        if mutant is Mutant.ASKED_ONCE:
            attempt.next_check_at = None
        if now < payment.deadline_at:
            attempt.next_check_at = attempt.next_check_at and min(attempt.next_check_at, payment.deadline_at)
        elif claim.claimed_at >= payment.deadline_at and mutant is Mutant.FAILED_AT_DEADLINE:
            attempt.status = AttemptStatus.FAILED
            self._move(payment, PaymentStatus.FAILED)
        elif claim.claimed_at >= payment.deadline_at and mutant is not Mutant.NO_REVIEW_AT_DEADLINE:
            payment.review = "deadline"

    def _follow(self, payment: Payment, attempt: Attempt, *, now: float, next_by: NextBy) -> Intent | None:
        """Open a further attempt or end the payment; only called with every attempt of it closed without money."""
        mutant = self.world.mutant
        if payment.status is not PaymentStatus.PROCESSING or any(a.status in rules.HOLDING for a in payment.attempts):
            return None
        in_window = now < (payment.accepted_at or 0.0) + rules.CHARGE_WINDOW_SECONDS
        may_follow = (
            all(earlier.retryable for earlier in payment.attempts)
            and len(payment.attempts) < rules.ATTEMPTS_MAX
            and (in_window or mutant is Mutant.CHARGE_AFTER_WINDOW)
            and (not payment.cancel_requested or mutant is Mutant.FAILOVER_AFTER_CANCEL)
        )
        if may_follow:
            account = payment.route[len(payment.attempts) % len(payment.route)]
            self.world.oracle.opened_further(payment)
            further = self._open_attempt(payment, account, now=now, opened_by=attempt.opened_by)
            if next_by is NextBy.CALLER:
                return intent_of(further)
            further.for_the_worker, further.next_check_at = True, now
        elif payment.cancel_requested and attempt.status is AttemptStatus.VOIDED:
            self._move(payment, PaymentStatus.CANCELED)
        else:
            self._move(payment, PaymentStatus.FAILED)
        return None

    def _open_attempt(self, payment: Payment, account: str, *, now: float, opened_by: str) -> Attempt:
        if self.world.mutant is None:
            # The partial unique index: one holding attempt of a payment.
            assert not any(earlier.status in rules.HOLDING for earlier in payment.attempts)
        attempt = Attempt(
            id=f"{payment.id}_{len(payment.attempts) + 1}",
            next_check_at=now + rules.OWNER_SECONDS,
            payment=payment,
            account=account,
            opened_by=opened_by,
            opened_at=now,
            for_the_worker=False,
            last_sent_at=now,
        )
        payment.attempts.append(attempt)
        self.attempts[attempt.id] = attempt
        self.world.note("store", f"{attempt.id} opened at {account}")
        return attempt

    def _record_late_charge(self, attempt: Attempt, *, now: float) -> None:
        if attempt.late_charge is None and self.world.mutant is not Mutant.LATE_CHARGE_FORGOTTEN:
            self.world.note("store", f"{attempt.id} late charge")
            attempt.late_charge = LateCharge(id=f"lc_{attempt.id}", next_check_at=now, attempt=attempt)
            self.late_charges.append(attempt.late_charge)

    def _move(self, payment: Payment, to: PaymentStatus) -> None:
        self.world.oracle.moved(payment, to)
        payment.status = to
        if to in rules.TERMINAL:
            # The gateway's answer closes the review by itself.
            payment.review = None


def intent_of(attempt: Attempt, *, is_first: bool = True) -> Intent:
    """Copy what a caller may know of an attempt."""
    payment = attempt.payment
    return Intent(
        attempt_id=attempt.id,
        payment_id=payment.id,
        account=attempt.account,
        accepted_at=payment.accepted_at or 0.0,
        deadline_at=payment.deadline_at,
        object_id=attempt.object_id,
        last_sent_at=attempt.last_sent_at,
        attempts=len(payment.attempts),
        is_first=is_first,
        is_open=attempt.status in rules.OPEN,
        cancel_requested=payment.cancel_requested,
    )
