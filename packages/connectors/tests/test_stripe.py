"""A charge in Stripe's dialect: what goes out, and what each answer means."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from paymux_connectors.stripe import CONNECTOR
from paymux_connectors.stripe_requests import STRIPE_VERSION
from paymux_core.connector import ChargeCall
from paymux_core.exchange import HttpReply, NoReply, NotSent, TransportError, Verb
from paymux_core.money import Money
from paymux_core.outcomes import (
    Authorized,
    Captured,
    NextAction,
    NotExecuted,
    NotFound,
    Outcome,
    Pending,
    RequiresAction,
    Unknown,
    UnknownReason,
    Voided,
)
from paymux_testkit.connector_kit import json_answer
from tests.support.stripe_exchanges import (
    CALL,
    CREATED,
    KNOWN,
    SUCCEEDED,
    UNEXPECTED,
    authorize,
    error,
    form,
    inquire,
    intent,
)


def test_reserve_remember_confirm() -> None:
    played = authorize(CREATED, SUCCEEDED)
    assert played.outcome == Captured("pi_1", Money(1999, "eur"))
    assert played.remembered == [(1, "pi_1")]
    create, confirm = played.requests
    assert (create.verb, create.method, create.url) == (
        Verb.RESERVE,
        "POST",
        "https://api.stripe.com/v1/payment_intents",
    )
    assert form(create) == {
        "amount": "1999",
        "currency": "eur",
        "capture_method": "automatic",
        "payment_method_types[]": "card",
        "metadata[payment_id]": "pay_1",
        "metadata[attempt_id]": "att_1_1",
        "payment_method": "pm_card_visa",
    }
    assert create.headers == {
        "Authorization": "Bearer sk_test_123456",
        "Stripe-Version": STRIPE_VERSION,
        "Content-Type": "application/x-www-form-urlencoded",
        "Idempotency-Key": "att_1_1-create-1",
    }
    assert (confirm.verb, confirm.url) == (Verb.CHARGE, "https://api.stripe.com/v1/payment_intents/pi_1/confirm")
    assert form(confirm) == {"return_url": "https://shop.example/r?session=1"}
    assert confirm.headers["Idempotency-Key"] == "att_1_1-confirm-1"
    assert create.idempotent_replay
    assert confirm.idempotent_replay


def test_a_hold_is_asked_for_by_capture_method() -> None:
    held = json_answer(200, intent("requires_capture", amount_capturable=1999))
    played = authorize(CREATED, held, call=replace(CALL, capture="manual"))
    assert form(played.requests[0])["capture_method"] == "manual"
    assert played.outcome == Authorized("pi_1", Money(1999, "eur"))


def test_a_known_intent_is_confirmed_at_once() -> None:
    played = authorize(SUCCEEDED, call=KNOWN)
    assert [request.verb for request in played.requests] == [Verb.CHARGE]
    assert played.remembered == []


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        (replace(CALL, off_session=True), {"off_session": "true"}),
        (replace(CALL, return_url=None), {"error_on_requires_action": "true"}),
        (replace(CALL, return_url=None, off_session=True), {"off_session": "true"}),
    ],
)
def test_without_a_customer_at_hand_an_action_becomes_a_decline(call: ChargeCall, fields: dict[str, str]) -> None:
    assert form(authorize(CREATED, SUCCEEDED, call=call).requests[1]) == fields


def test_nothing_is_confirmed_whose_create_did_not_say_what_a_create_says() -> None:
    for status in ("succeeded", "processing", "requires_capture", "requires_payment_method", "canceled"):
        played = authorize(json_answer(200, intent(status)))
        assert isinstance(played.outcome, Unknown)
        assert len(played.requests) == 1


def test_an_intent_of_another_attempt_is_never_taken_for_ours() -> None:
    foreign = json_answer(200, intent("succeeded", amount_received=1999, metadata={"attempt_id": "att_2_1"}))
    for outcome in (authorize(foreign).outcome, authorize(foreign, call=KNOWN).outcome, inquire(foreign)):
        assert outcome == Unknown(UnknownReason.INTEGRITY_MISMATCH, "metadata.attempt_id")


STATUSES: Sequence[tuple[dict[str, object], Outcome]] = [
    (intent("succeeded", amount_received=1500), Captured("pi_1", Money(1500, "eur"))),
    (intent("requires_capture", amount_capturable=1999), Authorized("pi_1", Money(1999, "eur"))),
    (intent("processing"), Pending("pi_1")),
    (intent("canceled"), Voided("pi_1")),
    (
        intent("requires_action", next_action={"type": "redirect_to_url", "redirect_to_url": {"url": "https://a/b"}}),
        RequiresAction("pi_1", NextAction("redirect", "https://a/b")),
    ),
    (
        intent("requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {"client_secret": "x"}}),
        RequiresAction("pi_1", NextAction("use_stripe_sdk")),
    ),
    (intent("requires_payment_method"), Unknown(UnknownReason.UNMAPPED, "status requires_payment_method")),
    (intent("new_status"), Unknown(UnknownReason.UNMAPPED, "status new_status")),
    (intent("succeeded", amount_received=None), Unknown(UnknownReason.UNREADABLE)),
    (intent("succeeded", amount_received=19.99), Unknown(UnknownReason.UNREADABLE)),
    (intent("succeeded", amount_received=True), Unknown(UnknownReason.UNREADABLE)),
    (intent("succeeded", amount_received=-1), Unknown(UnknownReason.UNREADABLE)),
    (intent("succeeded", amount_received=1, currency="xxx"), Unknown(UnknownReason.UNREADABLE)),
    (intent("succeeded", amount_received=1, id=None), Unknown(UnknownReason.UNREADABLE)),
]


@pytest.mark.parametrize(("document", "outcome"), STATUSES)
def test_each_status_means_the_same_by_answer_and_by_look_up(document: dict[str, object], outcome: Outcome) -> None:
    assert authorize(json_answer(200, document), call=KNOWN).outcome == outcome
    assert inquire(json_answer(200, document)) == outcome


def test_a_reserved_intent_is_not_found_by_look_up_and_no_answer_to_a_confirm() -> None:
    assert inquire(CREATED) == NotFound()
    outcome = authorize(CREATED, call=KNOWN).outcome
    assert isinstance(outcome, Unknown)
    assert outcome.reason is UnknownReason.UNMAPPED


UNKNOWN_ANSWERS: Sequence[tuple[HttpReply, UnknownReason]] = [
    (error(400, type="idempotency_error", code=None), UnknownReason.REQUEST_MISMATCH),
    (error(409, type="idempotency_error", code="idempotency_key_in_use"), UnknownReason.IN_FLIGHT),
    (error(409, type="invalid_request_error", code="lock_timeout"), UnknownReason.IN_FLIGHT),
    (error(429, type="invalid_request_error", code="lock_timeout"), UnknownReason.IN_FLIGHT),
    (error(424, type="api_error"), UnknownReason.SERVER_ERROR),
    (error(500, type="api_error"), UnknownReason.SERVER_ERROR),
    (error(404, type="invalid_request_error", code="resource_missing"), UnknownReason.UNMAPPED),
    (error(402, type="api_error"), UnknownReason.UNMAPPED),
    (error(402, type="new_error"), UnknownReason.UNMAPPED),
    (error(400, type="api_error"), UnknownReason.UNMAPPED),
    (NoReply(TransportError.TOO_LARGE), UnknownReason.UNREADABLE),
    (NoReply(TransportError.TIMEOUT), UnknownReason.NO_REPLY),
]


@pytest.mark.parametrize(("reply", "reason"), UNKNOWN_ANSWERS)
def test_what_may_have_charged_is_unknown(reply: HttpReply, reason: UnknownReason) -> None:
    outcome = authorize(reply, call=KNOWN).outcome
    assert isinstance(outcome, Unknown)
    assert outcome.reason is reason


@pytest.mark.parametrize(
    "reply",
    [
        error(401, type="invalid_request_error"),
        error(403, type="invalid_request_error"),
        error(429, type="invalid_request_error", code="rate_limit"),
        NotSent(TransportError.TOO_LATE),
    ],
)
def test_what_certainly_did_nothing_is_not_executed(reply: HttpReply) -> None:
    assert isinstance(authorize(reply, call=KNOWN).outcome, NotExecuted)
    assert isinstance(authorize(CREATED, reply).outcome, NotExecuted)


def test_a_confirm_in_an_unexpected_state_reads_the_intent_first() -> None:
    played = authorize(UNEXPECTED, SUCCEEDED, call=KNOWN)
    assert played.outcome == Captured("pi_1", Money(1999, "eur"))
    assert [request.method for request in played.requests] == ["POST", "GET"]
    for reply in (CREATED, NotSent(TransportError.CONNECT), error(429, type="x"), NoReply(TransportError.TIMEOUT)):
        assert isinstance(authorize(UNEXPECTED, reply, call=KNOWN).outcome, Unknown)


def test_nothing_secret_of_an_intent_is_kept() -> None:
    document: dict[str, Any] = intent(
        "requires_action",
        next_action={"type": "redirect_to_url", "redirect_to_url": {"url": "https://a/client_secret"}},
        shipping={"name": "A. Customer"},
        latest_charge={"id": "ch_1", "billing_details": {"email": "a@b"}, "outcome": {"type": "authorized"}},
        metadata={"attempt_id": "att_1_1", "note": "private"},
    )
    for shown in (document, {"data": [document]}, {"error": {"payment_intent": document}}):
        kept = json.dumps(CONNECTOR.answer_safe(json.dumps(shown).encode()))
        assert "att_1_1" in kept
        assert not [word for word in ("secret", "Customer", "a@b", "private", "https") if word in kept]
