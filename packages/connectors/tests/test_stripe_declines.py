"""Why Stripe says no, and what may follow."""

import pytest

from paymux_connectors import stripe_declines
from paymux_core.outcomes import (
    Advice,
    DeclineCode,
    Declined,
)
from paymux_testkit.connector_kit import json_answer
from tests.support.stripe_exchanges import (
    CALL,
    KNOWN,
    authorize,
    error,
    inquire,
    intent,
)


@pytest.mark.parametrize("code", stripe_declines.DECLINES)
def test_every_decline_code_means_the_same_in_an_error_and_in_the_record(code: str) -> None:
    expected = stripe_declines.DECLINES[code]
    failure: dict[str, object] = {"type": "card_error", "code": "card_declined", "decline_code": code, "message": "No."}
    refused = intent("requires_payment_method", last_payment_error=failure)
    answered = authorize(error(402, **failure, payment_intent=refused), call=KNOWN).outcome
    assert isinstance(answered, Declined)
    assert (answered.refusal.code, answered.refusal.advice) == expected
    assert (answered.refusal.gateway_code, answered.refusal.message) == (code, "No.")
    assert answered.provider_payment_id == "pi_1"
    assert inquire(json_answer(200, refused)) == answered


def test_the_codes_that_must_never_cascade_do_not() -> None:
    never = [
        "stolen_card",
        "lost_card",
        "pickup_card",
        "fraudulent",
        "merchant_blacklist",
        "restricted_card",
        "revocation_of_authorization",
        "stop_payment_order",
        "do_not_try_again",
        "invalid_account",
        "incorrect_number",
        "expired_card",
        "incorrect_cvc",
        "pin_try_exceeded",
        "card_velocity_exceeded",
        "insufficient_funds",
        "duplicate_transaction",
        "authentication_required",
    ]
    cascade = [
        "processing_error",
        "try_again_later",
        "issuer_not_available",
        "reenter_transaction",
        "generic_decline",
        "do_not_honor",
        "card_not_supported",
        "currency_not_supported",
        "service_not_allowed",
        "transaction_not_allowed",
        "low_probability_of_authorization",
    ]
    assert all(stripe_declines.DECLINES[code][1] is not Advice.TRY_ANOTHER_GATEWAY for code in never)
    assert all(stripe_declines.DECLINES[code][1] is Advice.TRY_ANOTHER_GATEWAY for code in cascade)


@pytest.mark.parametrize(
    ("fields", "advice"),
    [
        ({"decline_code": "generic_decline"}, Advice.TRY_ANOTHER_GATEWAY),
        ({"decline_code": "generic_decline", "advice_code": "do_not_try_again"}, Advice.DO_NOT_RETRY),
        ({"decline_code": "generic_decline", "network_advice_code": "03"}, Advice.DO_NOT_RETRY),
        ({"decline_code": "generic_decline", "advice_code": "try_again_later"}, Advice.TRY_ANOTHER_GATEWAY),
        ({"decline_code": "never_heard_of"}, Advice.ASK_CUSTOMER),
        ({"code": "expired_card"}, Advice.ASK_CUSTOMER),
    ],
)
def test_advice_that_forbids_wins_over_the_table(fields: dict[str, object], advice: Advice) -> None:
    outcome = authorize(error(402, type="card_error", **fields), call=KNOWN).outcome
    assert isinstance(outcome, Declined)
    assert outcome.refusal.advice is advice


@pytest.mark.parametrize(
    ("outcome_of_charge", "advice"),
    [
        ({"network_status": "not_sent_to_network"}, Advice.TRY_ANOTHER_GATEWAY),
        ({"network_status": "declined_by_network"}, Advice.ASK_CUSTOMER),
        ({"network_status": "not_sent_to_network", "advice_code": "do_not_try_again"}, Advice.DO_NOT_RETRY),
    ],
)
def test_the_charge_says_whether_the_network_was_asked(outcome_of_charge: dict[str, object], advice: Advice) -> None:
    refused = intent(
        "requires_payment_method",
        last_payment_error={"type": "card_error", "code": "card_declined", "decline_code": "never_heard_of"},
        latest_charge={"id": "ch_1", "outcome": outcome_of_charge},
    )
    outcome = inquire(json_answer(200, refused))
    assert isinstance(outcome, Declined)
    assert (outcome.refusal.code, outcome.refusal.advice) == (DeclineCode.UNKNOWN, advice)


@pytest.mark.parametrize("code", stripe_declines.INVALID_REQUESTS)
def test_a_request_that_stripe_finds_invalid_is_declined(code: str) -> None:
    for call in (CALL, KNOWN):
        outcome = authorize(error(400, type="invalid_request_error", code=code), call=call).outcome
        assert isinstance(outcome, Declined)
        assert (outcome.refusal.code, outcome.refusal.advice) == stripe_declines.INVALID_REQUESTS[code]


def test_a_mistake_of_ours_is_never_tried_elsewhere() -> None:
    outcome = authorize(error(400, type="invalid_request_error", code="parameter_unknown")).outcome
    assert isinstance(outcome, Declined)
    assert (outcome.refusal.code, outcome.refusal.advice) == (DeclineCode.UNKNOWN, Advice.DO_NOT_RETRY)
