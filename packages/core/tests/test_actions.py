"""From the customer's action to an end: what each answer does to a waiting attempt and to its payment."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.clocks import Clocks
from paymux_core.connector import Caching
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    Captured,
    DeclineCode,
    Declined,
    NextAction,
    NotExecuted,
    NotFound,
    Outcome,
    Pending,
    Refusal,
    RequiresAction,
    Unknown,
    UnknownReason,
    Voided,
)
from paymux_core.records import Attempt, Payment, PaymentMethod
from paymux_core.resolution import Finding, Resolution, next_check_after, resolve
from paymux_core.transitions import AttemptStatus, PaymentStatus

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
REFUSAL = Refusal(DeclineCode.AUTHENTICATION_FAILED, "No.", Advice.ASK_CUSTOMER, "authentication_failure")
OTHER_GATEWAY = replace(REFUSAL, advice=Advice.TRY_ANOTHER_GATEWAY)
DECLINED = Declined(REFUSAL, "pi_1")
ACTION = RequiresAction("pi_1", NextAction("redirect", "https://a"))
CAPTURED = Captured("pi_1", Money(1999, "eur"))
NO_ANSWER = Unknown(UnknownReason.NO_REPLY)
NOT_SENT = NotExecuted(Refusal(DeclineCode.GATEWAY_UNAVAILABLE, "x", Advice.TRY_ANOTHER_GATEWAY))
FENCE_REFUSED = Unknown(UnknownReason.FENCE_REFUSED, "RequiresAction")
CLOCKS = Clocks()

WAITS = Attempt(
    payment_id=UUID(int=1),
    number=1,
    gateway="stripe",
    gateway_account_id=UUID(int=2),
    status=AttemptStatus.REQUIRES_ACTION,
    amount=1999,
    currency="eur",
    payment_method=PaymentMethod("card", "pm_1"),
    request_digest=bytes(32),
    connector_version="1",
    request_id="req_1",
    created_at=NOW - timedelta(minutes=1),
    updated_at=NOW - timedelta(minutes=1),
    charge_window_ends_at=NOW,
    next_check_at=NOW,
    provider_payment_id="pi_1",
    money_requested=True,
    was_requires_action=True,
)
GIVEN_UP = replace(WAITS, status=AttemptStatus.UNKNOWN, fence_count=1)


def payment(attempt: Attempt, **fields: object) -> Payment:
    waits = attempt.status is AttemptStatus.REQUIRES_ACTION
    born = Payment(
        merchant_id=UUID(int=3),
        id=UUID(int=1),
        amount=1999,
        currency="eur",
        status=PaymentStatus.REQUIRES_ACTION if waits else PaymentStatus.PROCESSING,
        capture_method="automatic",
        livemode=False,
        metadata={},
        version=3,
        event_position=3,
        event_sequence=3,
        created_at=NOW - timedelta(minutes=2),
        updated_at=NOW - timedelta(minutes=1),
        processing_deadline_at=NOW,
        next_action=NextAction("redirect", "https://a") if waits else None,
        attempts=(attempt,),
    )
    return replace(born, **fields)


def found(outcome: Outcome, asked: Asked, attempt: Attempt, **fields: object) -> Resolution:
    finding = Finding(outcome, asked, (), Caching.ALL, NOW, jitter=0.5, retry_account=True)
    return resolve(payment(attempt, **fields), 1, finding, clocks=CLOCKS)


def ends(resolution: Resolution) -> tuple[str, str, str | None]:
    """The attempt's status, the payment's, and why the payment ended."""
    after = resolution.payment
    why = after.cancellation_reason or (after.last_error.refusal.code if after.last_error else None)
    return str(resolution.attempt.status), str(after.status), why


ACTION_OPEN = ("requires_action", "requires_action", None)
GONE = ("unknown", "processing", None)

FENCED: Mapping[str, tuple[Outcome, tuple[str, str, str | None]]] = {
    "acknowledged": (Voided("pi_1"), ("voided", "canceled", "abandoned")),
    "charged": (CAPTURED, ("succeeded", "succeeded", None)),
    "pending": (Pending("pi_1"), ("pending", "processing", None)),
    "no answer": (NO_ANSWER, GONE),
    "refused": (FENCE_REFUSED, GONE),
    "not sent": (NOT_SENT, GONE),
    "still open": (ACTION, GONE),
    "not found": (NotFound(), GONE),
}


@pytest.mark.parametrize("name", FENCED)
def test_a_fence_ends_the_customers_part_whatever_is_answered(name: str) -> None:
    outcome, expected = FENCED[name]
    assert ends(found(outcome, Asked.FENCE, WAITS)) == expected


@pytest.mark.parametrize("outcome", [NO_ANSWER, FENCE_REFUSED, NOT_SENT, ACTION])
def test_a_fence_without_a_definite_answer_starts_a_new_deadline_and_hides_the_action(outcome: Outcome) -> None:
    after = found(outcome, Asked.FENCE, WAITS)
    assert after.payment.processing_deadline_at == NOW + timedelta(seconds=CLOCKS.processing_deadline)
    assert after.payment.next_action is None
    assert after.attempt.next_check_at is not None
    assert NOW < after.attempt.next_check_at <= after.payment.processing_deadline_at


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (ACTION, ACTION_OPEN),
        (NotFound(), ACTION_OPEN),
        (NO_ANSWER, ACTION_OPEN),
        (NOT_SENT, ACTION_OPEN),
        (DECLINED, ACTION_OPEN),
        (CAPTURED, ("succeeded", "succeeded", None)),
        (Voided("pi_1"), ("voided", "canceled", "abandoned")),
    ],
)
def test_a_look_takes_the_action_from_nobody(outcome: Outcome, expected: tuple[str, str, str | None]) -> None:
    assert ends(found(outcome, Asked.LOOK_UP, WAITS)) == expected


def test_an_action_that_was_given_up_is_not_handed_out_again() -> None:
    assert ends(found(ACTION, Asked.LOOK_UP, GIVEN_UP)) == GONE


def test_an_action_of_an_attempt_nobody_fenced_is_handed_out() -> None:
    lost = replace(GIVEN_UP, was_requires_action=False, fence_count=0)
    assert ends(found(ACTION, Asked.LOOK_UP, lost)) == ACTION_OPEN


def test_a_decline_after_an_action_closes_the_attempt_only_once_its_cancel_is_acknowledged() -> None:
    declined = found(DECLINED, Asked.LOOK_UP, WAITS)
    assert (ends(declined), declined.attempt.error) == (ACTION_OPEN, REFUSAL)
    fenced = found(Voided("pi_1"), Asked.FENCE, declined.attempt)
    assert ends(fenced) == ("voided", "failed", "authentication_failed")
    assert fenced.attempt.error == REFUSAL


@pytest.mark.parametrize("outcome", [ACTION, NotFound(), Pending("pi_1")])
def test_a_customer_who_went_on_after_a_decline_and_left_is_abandoned_not_declined(outcome: Outcome) -> None:
    went_on = found(outcome, Asked.LOOK_UP, replace(WAITS, error=REFUSAL)).attempt
    assert went_on.error is None
    assert ends(found(Voided("pi_1"), Asked.FENCE, went_on))[1:] == ("canceled", "abandoned")


def test_a_customer_who_paid_after_a_decline_leaves_no_error() -> None:
    after = found(CAPTURED, Asked.LOOK_UP, replace(WAITS, error=REFUSAL))
    assert (ends(after)[:2], after.attempt.error) == (("succeeded", "succeeded"), None)


def test_a_merchants_cancel_is_the_reason_even_after_a_decline() -> None:
    declined = replace(WAITS, error=REFUSAL)
    asked_for = {"cancellation_requested_at": NOW, "cancellation_reason": "duplicate"}
    assert ends(found(Voided("pi_1"), Asked.FENCE, declined, **asked_for)) == ("voided", "canceled", "duplicate")


@pytest.mark.parametrize("refusal", [None, REFUSAL, OTHER_GATEWAY])
def test_a_voided_attempt_opens_the_next_one_unless_its_decline_forbids_it(refusal: Refusal | None) -> None:
    in_time = replace(GIVEN_UP, charge_window_ends_at=NOW + timedelta(seconds=1), error=refusal)
    after = found(Voided("pi_1"), Asked.FENCE, in_time)
    assert after.moves_on == (refusal is not REFUSAL)


def test_an_action_that_is_asked_for_after_a_cancel_is_looked_at_at_once() -> None:
    started = replace(WAITS, status=AttemptStatus.STARTED, was_requires_action=False, money_requested=False)
    waited = found(ACTION, Asked.CHARGE, started)
    assert waited.attempt.next_check_at == NOW + timedelta(seconds=CLOCKS.action_deadline)
    unwanted = found(ACTION, Asked.CHARGE, started, cancellation_requested_at=NOW)
    assert unwanted.attempt.next_check_at == NOW


SOON = NOW + timedelta(seconds=20)


@pytest.mark.parametrize("attempt", [WAITS, GIVEN_UP])
@pytest.mark.parametrize("outcome", [NO_ANSWER, NotFound(), NOT_SENT])
def test_a_look_out_of_turn_does_not_put_the_workers_check_off(attempt: Attempt, outcome: Outcome) -> None:
    looked = found(outcome, Asked.LOOK_UP, replace(attempt, next_check_at=SOON), processing_deadline_at=None)
    assert looked.attempt.next_check_at == SOON


def test_a_decline_that_a_look_out_of_turn_finds_makes_the_check_due() -> None:
    assert found(DECLINED, Asked.LOOK_UP, replace(WAITS, next_check_at=SOON)).attempt.next_check_at == NOW


@pytest.mark.parametrize("outcome", [NO_ANSWER, NotFound(), DECLINED])
def test_a_look_at_what_is_due_leaves_it_due_until_its_check_has_ended(outcome: Outcome) -> None:
    due = replace(GIVEN_UP, next_check_at=NOW - timedelta(seconds=1))
    assert found(outcome, Asked.LOOK_UP, due).attempt.next_check_at == NOW - timedelta(seconds=1)


def ended(attempt: Attempt, *, retry_after_seconds: float | None = None, deadline: datetime | None = None) -> datetime:
    of = replace(found(NO_ANSWER, Asked.LOOK_UP, attempt).payment, processing_deadline_at=deadline)
    return next_check_after(
        of, attempt, checks=1, retry_after_seconds=retry_after_seconds, now=NOW, jitter=0.5, clocks=CLOCKS
    )


def test_the_end_of_a_check_moves_it_by_a_pause() -> None:
    assert ended(GIVEN_UP) == NOW + timedelta(seconds=45)
    assert ended(GIVEN_UP, retry_after_seconds=90) == NOW + timedelta(seconds=90)
    assert ended(GIVEN_UP, deadline=NOW) == NOW + timedelta(seconds=45)


def test_the_end_of_a_check_does_not_move_it_past_the_deadline() -> None:
    assert ended(GIVEN_UP, deadline=SOON) == SOON
    assert ended(GIVEN_UP, retry_after_seconds=90, deadline=SOON) == SOON


def test_a_look_that_finds_more_is_followed_by_the_checks_of_what_it_found() -> None:
    looked = found(
        Pending("pi_1"), Asked.LOOK_UP, replace(WAITS, next_check_at=SOON + timedelta(hours=1), check_count=1)
    )
    assert looked.attempt.next_check_at == NOW + timedelta(seconds=45)
