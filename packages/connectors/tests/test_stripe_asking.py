"""Look-ups and fences in Stripe's dialect."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from paymux_connectors.stripe import CONNECTOR
from paymux_connectors.stripe_requests import LIST_LIMIT
from paymux_core.exchange import HttpReply, Verb
from paymux_core.money import Money
from paymux_core.outcomes import (
    Captured,
    NotFound,
    Outcome,
    Pending,
    Unknown,
    UnknownReason,
    Voided,
)
from paymux_testkit.connector_kit import json_answer, play
from tests.support.stripe_exchanges import (
    ACCOUNT,
    CALL,
    CREATED,
    KNOWN,
    SUCCEEDED,
    UNEXPECTED,
    authorize,
    error,
    fence,
    form,
    inquire,
    intent,
)


def test_a_look_up_by_id_asks_for_the_charge_as_well() -> None:
    (request,) = play(CONNECTOR.inquire(ACCOUNT, KNOWN), [SUCCEEDED]).requests
    assert request.url == "https://api.stripe.com/v1/payment_intents/pi_1?expand%5B%5D=latest_charge"
    assert (request.method, request.body, request.verb) == ("GET", b"", Verb.INQUIRE)
    missing = error(404, type="invalid_request_error", code="resource_missing")
    assert inquire(missing) == NotFound()


def page(*intents: dict[str, object], has_more: bool = False) -> HttpReply:
    return json_answer(200, {"object": "list", "has_more": has_more, "data": list(intents)})


def test_a_look_up_without_an_id_lists_the_time_of_the_attempt() -> None:
    other = intent("succeeded", id="pi_9", metadata={"attempt_id": "att_9_1"})
    ours = intent("succeeded", amount_received=1999)
    played = play(CONNECTOR.inquire(ACCOUNT, CALL), [page(other, has_more=True), page(ours)])
    assert played.outcome == Captured("pi_1", Money(1999, "eur"))
    first, second = (dict(parse_qsl(urlsplit(request.url).query)) for request in played.requests)
    began = int(CALL.started_at.timestamp())
    assert int(first["created[gte]"]) < began < int(first["created[lte]"])
    assert first["limit"] == str(LIST_LIMIT)
    assert second == first | {"starting_after": "pi_9"}


def test_what_a_list_does_not_show_is_not_found_only_at_its_end() -> None:
    other = intent("succeeded", id="pi_9", metadata={"attempt_id": "att_9_1"})
    assert inquire(page(other), call=CALL) == NotFound()
    assert inquire(page(intent("requires_confirmation")), call=CALL) == NotFound()
    endless = inquire(*[page(other, has_more=True)] * 20, call=CALL)
    assert isinstance(endless, Unknown)
    assert isinstance(inquire(json_answer(200, {"data": [1]}), call=CALL), Unknown)
    assert isinstance(inquire(json_answer(200, {"object": "list"}), call=CALL), Unknown)


def test_a_fence_cancels_the_intent_under_a_numbered_key() -> None:
    played = fence(json_answer(200, intent("canceled")), call=replace(KNOWN, fence_number=3))
    assert played.outcome == Voided("pi_1")
    (request,) = played.requests
    assert (request.verb, request.url) == (Verb.FENCE, "https://api.stripe.com/v1/payment_intents/pi_1/cancel")
    assert request.headers["Idempotency-Key"] == "att_1_1-void-3"
    assert form(request) == {"cancellation_reason": "abandoned"}


def test_a_fence_without_an_id_replays_the_create_to_learn_it() -> None:
    played = fence(CREATED, json_answer(200, intent("canceled")), call=CALL)
    assert played.outcome == Voided("pi_1")
    assert played.remembered == [(1, "pi_1")]
    create, cancel = played.requests
    assert create == authorize(CREATED, SUCCEEDED).requests[0]
    assert cancel.verb is Verb.FENCE


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (intent("succeeded", amount_received=1999), Captured("pi_1", Money(1999, "eur"))),
        (intent("processing"), Pending("pi_1")),
        (intent("canceled"), Voided("pi_1")),
        (intent("requires_action"), Unknown(UnknownReason.FENCE_REFUSED, "RequiresAction")),
        (intent("requires_confirmation"), Unknown(UnknownReason.FENCE_REFUSED, "NotFound")),
        (
            intent("requires_payment_method", last_payment_error={"code": "card_declined"}),
            Unknown(UnknownReason.FENCE_REFUSED, "Declined"),
        ),
    ],
)
def test_a_refused_cancel_is_answered_by_the_intent_itself(state: dict[str, object], outcome: Outcome) -> None:
    assert fence(UNEXPECTED, json_answer(200, state)).outcome == outcome


def test_a_fence_never_gives_a_decline() -> None:
    declined = error(402, type="card_error", code="card_declined")
    for played in (fence(declined), fence(declined, call=CALL), fence(error(404, type="invalid_request_error"))):
        assert isinstance(played.outcome, Unknown)
        assert played.outcome.reason is UnknownReason.FENCE_REFUSED
