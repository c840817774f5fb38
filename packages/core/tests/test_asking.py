"""What follows a look at the gateway, case by case."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from paymux_core.asking import NextStep, Rebuilt, is_over, next_step
from paymux_core.connector import Caching, Capabilities, Fence, Lookup
from paymux_core.outcomes import (
    Advice,
    DeclineCode,
    Declined,
    NextAction,
    NotFound,
    Outcome,
    Pending,
    Refusal,
    RequiresAction,
    Unknown,
    UnknownReason,
)
from paymux_core.records import Attempt, Payment, PaymentMethod
from paymux_core.transitions import ATTEMPT_CLOSED, AttemptStatus, PaymentStatus

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DIGEST = bytes(32)
SAME_BYTES = Rebuilt(DIGEST, "1")
TWO_PHASE = Capabilities(
    two_phase=True,
    caching=Caching.ALL,
    key_window_seconds=86_400,
    lookup=Lookup.BY_ID,
    lookup_consistency_seconds=5,
    fence=Fence.BY_ID,
    certified_429=True,
)
WITHOUT_FENCE = replace(TWO_PHASE, fence=Fence.NONE)
DECLINED = Declined(Refusal(DeclineCode.CARD_DECLINED, "No.", Advice.ASK_CUSTOMER))
ACTION = RequiresAction("pi_1", NextAction("redirect", "https://a"))
NO_ANSWER = Unknown(UnknownReason.NO_REPLY)
SEEN: tuple[Outcome, ...] = (NotFound(), Pending("pi_1"), ACTION, DECLINED, NO_ANSWER)


def attempt(status: AttemptStatus = AttemptStatus.UNKNOWN, **fields: object) -> Attempt:
    born = Attempt(
        payment_id=UUID(int=1),
        number=1,
        gateway="stripe",
        gateway_account_id=UUID(int=2),
        status=status,
        amount=1999,
        currency="eur",
        payment_method=PaymentMethod("card", "pm_1"),
        request_digest=DIGEST,
        connector_version="1",
        request_id="req_1",
        created_at=NOW - timedelta(seconds=30),
        updated_at=NOW - timedelta(seconds=20),
        charge_window_ends_at=NOW + timedelta(seconds=90),
        next_check_at=NOW,
    )
    return replace(born, **fields)


def payment(**fields: object) -> Payment:
    born = Payment(
        merchant_id=UUID(int=3),
        id=UUID(int=1),
        amount=1999,
        currency="eur",
        status=PaymentStatus.PROCESSING,
        capture_method="automatic",
        livemode=False,
        metadata={},
        version=2,
        event_position=2,
        event_sequence=2,
        created_at=NOW - timedelta(minutes=1),
        updated_at=NOW - timedelta(seconds=30),
        processing_deadline_at=NOW + timedelta(hours=1),
    )
    return replace(born, **fields)


def follows(
    seen: Outcome,
    on: Attempt,
    *,
    of: Payment | None = None,
    capabilities: Capabilities = TWO_PHASE,
    rebuilt: Rebuilt = SAME_BYTES,
) -> NextStep:
    return next_step(of or payment(), on, seen, capabilities=capabilities, rebuilt=rebuilt, now=NOW)


CANCELED_BY_MERCHANT = payment(cancellation_requested_at=NOW)
OVER = payment(processing_deadline_at=NOW)
WINDOW_OVER = attempt(charge_window_ends_at=NOW)
WAITS = attempt(AttemptStatus.REQUIRES_ACTION, was_requires_action=True)
GIVEN_UP = attempt(was_requires_action=True, fence_count=1)


def test_absent_in_the_charge_window_is_sent_again() -> None:
    assert follows(NotFound(), attempt()) is NextStep.RESEND
    assert follows(NotFound(), attempt(AttemptStatus.PENDING)) is NextStep.RESEND


@pytest.mark.parametrize(
    "on",
    [
        attempt(last_request_at=NOW - timedelta(seconds=4)),
        attempt(request_digest=bytes(31) + b"x"),
        attempt(connector_version="0"),
        attempt(AttemptStatus.AUTHORIZED),
        WAITS,
        attempt(was_requires_action=True),
        attempt(fence_count=1),
    ],
)
def test_it_is_sent_again_only_if_that_cannot_charge_what_nobody_waits_for(on: Attempt) -> None:
    assert follows(NotFound(), on) is NextStep.WAIT


@pytest.mark.parametrize("caching", [Caching.SUCCESS, Caching.NONE])
def test_it_is_sent_again_only_where_the_gateway_keeps_every_answer_under_the_key(caching: Caching) -> None:
    assert follows(NotFound(), attempt(), capabilities=replace(TWO_PHASE, caching=caching)) is NextStep.WAIT


def test_it_is_not_sent_again_when_the_key_is_forgotten_by_now() -> None:
    assert follows(NotFound(), attempt(), capabilities=replace(TWO_PHASE, key_window_seconds=30)) is NextStep.WAIT


def test_absent_after_the_charge_window_is_fenced_once_the_absence_counts() -> None:
    assert follows(NotFound(), WINDOW_OVER) is NextStep.FENCE
    assert follows(NotFound(), replace(WINDOW_OVER, last_request_at=NOW)) is NextStep.WAIT


@pytest.mark.parametrize("seen", [Pending("pi_1"), NO_ANSWER, ACTION])
def test_what_the_gateway_has_or_does_not_say_waits(seen: Outcome) -> None:
    assert follows(seen, attempt()) is NextStep.WAIT
    assert follows(seen, WINDOW_OVER) is NextStep.WAIT


@pytest.mark.parametrize("seen", [NotFound(), Pending("pi_1"), ACTION, NO_ANSWER])
def test_a_customer_who_still_has_time_is_left_alone(seen: Outcome) -> None:
    assert follows(seen, WAITS) is NextStep.WAIT
    assert follows(seen, replace(WAITS, charge_window_ends_at=NOW)) is NextStep.WAIT


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("of", [CANCELED_BY_MERCHANT, OVER], ids=["cancelled", "over"])
@pytest.mark.parametrize("status", sorted(set(AttemptStatus) - ATTEMPT_CLOSED - {AttemptStatus.STARTED}))
def test_what_is_cancelled_or_over_is_fenced(status: AttemptStatus, of: Payment, seen: Outcome) -> None:
    on = attempt(status, charge_window_ends_at=NOW)
    assert follows(seen, on, of=of) is NextStep.FENCE


def test_a_cancelled_payment_is_never_sent_again() -> None:
    assert follows(NotFound(), attempt(), of=CANCELED_BY_MERCHANT) is NextStep.FENCE


@pytest.mark.parametrize("on", [WAITS, GIVEN_UP, attempt()])
def test_a_decline_that_closed_nothing_is_fenced(on: Attempt) -> None:
    assert follows(DECLINED, on) is NextStep.FENCE


def test_an_action_that_a_fence_left_open_is_fenced_again() -> None:
    assert follows(ACTION, GIVEN_UP) is NextStep.FENCE


@pytest.mark.parametrize("of", [CANCELED_BY_MERCHANT, OVER], ids=["cancelled", "over"])
def test_without_a_fence_only_the_waiting_for_the_customer_ends(of: Payment) -> None:
    assert follows(ACTION, WAITS, of=of, capabilities=WITHOUT_FENCE) is NextStep.LET_GO
    assert follows(NO_ANSWER, attempt(), of=of, capabilities=WITHOUT_FENCE) is NextStep.WAIT


def test_without_a_fence_a_decline_leaves_the_customer_their_time() -> None:
    assert follows(DECLINED, WAITS, capabilities=WITHOUT_FENCE) is NextStep.WAIT


def test_a_deadline_is_over_at_its_moment() -> None:
    assert is_over(OVER, NOW)
    assert not is_over(OVER, NOW - timedelta(microseconds=1))
    assert not is_over(payment(processing_deadline_at=None), NOW)
