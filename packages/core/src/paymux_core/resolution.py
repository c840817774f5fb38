"""From a payment, one of its attempts and an outcome to what phase 2 writes: pure, so that it can run again.

It runs again whenever the payment moved on while the gateway was asked.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked, History, Verdict, judge
from paymux_core.clocks import ATTEMPTS_MAX, DAY_SECONDS, Clocks, after, pause_after_check
from paymux_core.connector import Caching
from paymux_core.events import ANSWERED_BY_GATEWAY
from paymux_core.exchange import Interaction
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    Authorized,
    Captured,
    DeclineCode,
    NextAction,
    NotFound,
    Outcome,
    Pending,
    Refusal,
    RequiresAction,
)
from paymux_core.records import Attempt, LastError, Payment
from paymux_core.transitions import (
    ATTEMPT_CLOSED,
    ATTEMPT_CLOSED_WITHOUT_MONEY,
    PAYMENT_TERMINAL,
    AttemptStatus,
    PaymentEvent,
    PaymentStatus,
    next_attempt_status,
    next_payment_status,
)

_TIMED_OUT = Refusal(
    DeclineCode.GATEWAY_TIMEOUT,
    "The gateway gave no answer in time, and the charge was cancelled there.",
    Advice.DO_NOT_RETRY,
)


class Finding(Struct, frozen=True, gc=False):
    """What one call told us. `retry_account` says whether there is an account for a further attempt."""

    outcome: Outcome
    asked: Asked
    interactions: Sequence[Interaction]
    caching: Caching
    now: datetime
    jitter: float
    retry_account: bool
    retry_after_seconds: float | None = None
    unknown_deadline_seconds: int = 3600


class Resolution(Struct, frozen=True, gc=False):
    """The payment and attempt as they become; `verdict` says why; `moves_on` asks for a next attempt."""

    payment: Payment
    attempt: Attempt
    verdict: Verdict
    moves_on: bool


def resolve(payment: Payment, number: int, finding: Finding, *, clocks: Clocks) -> Resolution:
    """Work out what a finding does. The payment's attempts are replaced; counters and version are the caller's."""
    before = payment.attempts[number - 1]
    verdict = judge(finding.outcome, asked=finding.asked, history=_history(payment, before, finding))
    attempt = _checked_in_time(_attempt_after(before, verdict, finding, clocks), payment, finding.now)
    if any(review.reason == verdict.review for review in payment.reviews):
        # A person knows already.
        verdict = replace(verdict, review=None)
    moves_on = _may_move_on(payment, attempt, verdict, finding)
    attempts = tuple(attempt if a.number == number else a for a in payment.attempts)
    if verdict.event is None:
        return Resolution(replace(payment, attempts=attempts), attempt, verdict, moves_on=False)
    event = _payment_event(payment, attempt, moves_on=moves_on)
    if event is None or payment.status in PAYMENT_TERMINAL:
        changed = replace(payment, attempts=attempts, updated_at=finding.now)
    else:
        changed = _payment_after(payment, event, attempts, attempt, finding, clocks=clocks)
    return Resolution(_answered(changed), attempt, verdict, moves_on)


def _answered(payment: Payment) -> Payment:
    """Close the reviews that only asked how the payment would end."""
    if payment.finalized_at is None or not payment.reviews:
        return payment
    return replace(payment, reviews=tuple(r for r in payment.reviews if r.reason not in ANSWERED_BY_GATEWAY))


def _history(payment: Payment, attempt: Attempt, finding: Finding) -> History:
    earlier_in_call = any(i.verb.moves_money and i.bytes_sent for i in finding.interactions[:-1])
    return History(
        status=attempt.status,
        money=Money(attempt.amount, attempt.currency),
        money_requested=attempt.money_requested or earlier_in_call,
        was_requires_action=attempt.was_requires_action,
        fenced=attempt.fence_count > 0,
        caching=finding.caching,
        booked=_booked(payment, attempt),
    )


def _booked(payment: Payment, attempt: Attempt) -> frozenset[str]:
    late = {c.provider_payment_id for c in payment.late_charges if c.attempt_number == attempt.number}
    succeeded = attempt.status is AttemptStatus.SUCCEEDED and attempt.provider_payment_id is not None
    return frozenset(late | {attempt.provider_payment_id} if succeeded and attempt.provider_payment_id else late)


def _attempt_after(before: Attempt, verdict: Verdict, finding: Finding, clocks: Clocks) -> Attempt:
    status = before.status if verdict.event is None else next_attempt_status(before.status, verdict.event)
    sent = [
        i for i in finding.interactions if i.verb.moves_money and (i.bytes_sent or i.transport_error == "process_lost")
    ]
    money_requested = before.money_requested or bool(sent)
    closed = status in ATTEMPT_CLOSED
    closed_now = closed and before.status not in ATTEMPT_CLOSED
    watch_until = before.watch_until
    if closed_now and status in ATTEMPT_CLOSED_WITHOUT_MONEY and money_requested:
        # Gateways take back their word: a charge found later has to be found.
        watch_until = after(finding.now, clocks.watch_closed)
    provider_id = getattr(finding.outcome, "provider_payment_id", None)
    return replace(
        before,
        status=status,
        reason=verdict.reason if verdict.event is not None else before.reason,
        provider_payment_id=before.provider_payment_id or provider_id,
        error=_error_after(before, verdict, finding),
        money_requested=money_requested,
        was_requires_action=before.was_requires_action or status is AttemptStatus.REQUIRES_ACTION,
        fence_count=before.fence_count + (finding.asked is Asked.FENCE),
        last_request_at=_last_charge_at(before, finding, clocks),
        watch_until=watch_until,
        next_check_at=_unmoved_check(before, status, verdict, finding)
        or _next_check(before, status, watch_until, finding, clocks),
        finished_at=finding.now if closed_now else before.finished_at,
        updated_at=finding.now,
    )


def _error_after(before: Attempt, verdict: Verdict, finding: Finding) -> Refusal | None:
    """Keep the last refusal of an attempt, unless the gateway shows that the customer went on after it.

    How an attempt was closed stays: what a gateway says of it later is an interaction.
    """
    if before.status in ATTEMPT_CLOSED:
        return before.error
    if verdict.refusal is not None:
        return verdict.refusal
    went_on = isinstance(finding.outcome, (Captured, Authorized, RequiresAction, Pending, NotFound))
    return None if went_on else before.error


def _checked_in_time(attempt: Attempt, payment: Payment, now: datetime) -> Attempt:
    """Look at the deadline at the latest, and at once where the merchant wants it stopped before the customer acts."""
    deadline, due = payment.processing_deadline_at, attempt.next_check_at
    if attempt.status is AttemptStatus.REQUIRES_ACTION and payment.cancellation_requested_at is not None:
        return replace(attempt, next_check_at=now)
    if attempt.status in ATTEMPT_CLOSED or deadline is None or due is None or not now < deadline < due:
        return attempt
    return replace(attempt, next_check_at=deadline)


def _last_charge_at(before: Attempt, finding: Finding, clocks: Clocks) -> datetime | None:
    """When a request that can end in a charge was last on its way: an absence counts only some time after it."""
    lost = [i.sent_at for i in finding.interactions if i.transport_error == "process_lost"]
    if lost:
        # Nobody knows when it left; later than this it may not have.
        latest = after(max(lost), clocks.first_byte)
        return max(latest, before.last_request_at or latest)
    asking = finding.asked in {Asked.LOOK_UP, Asked.HINT, Asked.FENCE}
    return before.last_request_at if asking or not finding.interactions else finding.now


def _unmoved_check(before: Attempt, status: AttemptStatus, verdict: Verdict, finding: Finding) -> datetime | None:
    """Keep the check where it is while asking changes nothing: the end of a check moves it, a client's look never."""
    due = before.next_check_at
    if finding.asked is Asked.CHARGE or status is not before.status or status in ATTEMPT_CLOSED or due is None:
        return None
    # What declined a customer's action is to be cancelled, and only the worker does that.
    asked_only = finding.asked in {Asked.LOOK_UP, Asked.HINT}
    return min(finding.now, due) if asked_only and verdict.refusal is not None else due


def next_check_after(
    payment: Payment,
    attempt: Attempt,
    *,
    checks: int,
    retry_after_seconds: float | None,
    now: datetime,
    jitter: float,
    clocks: Clocks,
) -> datetime:
    """Say when an attempt is checked again after a check that changed nothing: at the deadline at the latest."""
    if attempt.status is AttemptStatus.AUTHORIZED:
        return after(now, clocks.authorization_check)
    pause = pause_after_check(checks=checks, age=now - attempt.created_at, jitter=jitter, clocks=clocks)
    due = now + max(pause, timedelta(seconds=retry_after_seconds or 0))
    deadline = payment.processing_deadline_at
    return deadline if deadline is not None and now < deadline < due else due


def _next_check(
    before: Attempt, status: AttemptStatus, watch_until: datetime | None, finding: Finding, clocks: Clocks
) -> datetime | None:
    if status in ATTEMPT_CLOSED:
        tomorrow = after(finding.now, DAY_SECONDS / clocks.divisor)
        return tomorrow if watch_until is not None and tomorrow <= watch_until else None
    if status is AttemptStatus.AUTHORIZED:
        return after(finding.now, clocks.authorization_check)
    if status is AttemptStatus.REQUIRES_ACTION and before.status is not AttemptStatus.REQUIRES_ACTION:
        return after(finding.now, clocks.action_deadline)
    if finding.asked is Asked.CHARGE:
        return max(
            before.next_check_at or finding.now,
            after(finding.now, finding.retry_after_seconds or 0),
        )
    pause = pause_after_check(
        checks=before.check_count, age=finding.now - before.created_at, jitter=finding.jitter, clocks=clocks
    )
    return finding.now + max(pause, timedelta(seconds=finding.retry_after_seconds or 0))


def _may_move_on(payment: Payment, attempt: Attempt, verdict: Verdict, finding: Finding) -> bool:
    """Whether a further attempt is allowed: the earlier ones are proven dead, and everything is still in time."""
    if verdict.event is None or attempt.status not in ATTEMPT_CLOSED_WITHOUT_MONEY:
        return False
    refused_for_good = attempt.error is not None and not attempt.error.retryable
    return (
        (attempt.status is AttemptStatus.NOT_EXECUTED or not refused_for_good)
        and payment.status is PaymentStatus.PROCESSING
        and payment.cancellation_requested_at is None
        and finding.now < attempt.charge_window_ends_at
        and len(payment.attempts) < ATTEMPTS_MAX
        and finding.retry_account
    )


def _payment_after(
    payment: Payment,
    event: PaymentEvent,
    attempts: tuple[Attempt, ...],
    attempt: Attempt,
    finding: Finding,
    *,
    clocks: Clocks,
) -> Payment:
    status = next_payment_status(payment.status, event)
    outcome = finding.outcome
    common = replace(
        payment,
        attempts=attempts,
        status=status,
        gateway=attempt.gateway,
        next_action=None,
        updated_at=finding.now,
        finalized_at=finding.now if status in PAYMENT_TERMINAL else None,
    )
    if status is PaymentStatus.SUCCEEDED and isinstance(outcome, Captured):
        return replace(
            common,
            succeeded_attempt=attempt.number,
            amount_captured=outcome.money.amount,
            last_error=None,
            cancellation_reason=None,
        )
    if status is PaymentStatus.REQUIRES_CAPTURE and isinstance(outcome, Authorized):
        # The money is held: from here on the attempt's own check looks after it, not the deadline of an unknown.
        return replace(common, amount_capturable=outcome.money.amount, processing_deadline_at=None)
    if status is PaymentStatus.REQUIRES_ACTION and isinstance(outcome, RequiresAction):
        deadline = after(finding.now, clocks.action_deadline)
        action: NextAction = outcome.next_action
        return replace(common, next_action=action, processing_deadline_at=deadline)
    if status is PaymentStatus.PROCESSING:
        seconds = clocks.unknown_deadline(finding.unknown_deadline_seconds)
        return replace(common, processing_deadline_at=after(finding.now, seconds))
    refusal = attempt.error or _TIMED_OUT
    if status is PaymentStatus.CANCELED:
        return replace(common, cancellation_reason=payment.cancellation_reason or "abandoned")
    return replace(common, last_error=LastError(refusal, attempt.gateway), cancellation_reason=None)


def _payment_event(payment: Payment, attempt: Attempt, *, moves_on: bool) -> PaymentEvent | None:
    """What an attempt's new status means for its payment; None: it stays as it is."""
    waiting_for_customer = payment.status is PaymentStatus.REQUIRES_ACTION
    match attempt.status:
        case AttemptStatus.SUCCEEDED:
            return PaymentEvent.SUCCEED
        case AttemptStatus.AUTHORIZED:
            return PaymentEvent.AUTHORIZE if payment.capture_method == "manual" else None
        case AttemptStatus.REQUIRES_ACTION:
            return None if waiting_for_customer else PaymentEvent.ACTION_NEEDED
        case AttemptStatus.UNKNOWN | AttemptStatus.PENDING:
            return PaymentEvent.CONTINUE if waiting_for_customer else None
        case AttemptStatus.STARTED:
            return None
        case AttemptStatus.VOIDED:
            if moves_on:
                return None
            if payment.cancellation_requested_at is not None:
                return PaymentEvent.CANCEL
            abandoned = attempt.was_requires_action and attempt.error is None
            return PaymentEvent.CANCEL if abandoned else PaymentEvent.FAIL
        case AttemptStatus.FAILED | AttemptStatus.NOT_EXECUTED:
            return None if moves_on else PaymentEvent.FAIL
