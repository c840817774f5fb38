"""Play Stripe to our connector: the intents it answers with, and one exchange of each kind."""

from datetime import UTC, datetime
from urllib.parse import parse_qsl

from msgspec.structs import replace

from paymux_connectors.stripe import CONNECTOR
from paymux_core.connector import ChargeCall, GatewayAccount
from paymux_core.exchange import HttpReply, HttpRequest
from paymux_core.money import Money
from paymux_core.outcomes import Outcome
from paymux_testkit.connector_kit import Played, json_answer, play

ACCOUNT = GatewayAccount("ga_1", "stripe", "https://api.stripe.com", {"secret_key": "sk_test_123456"}, livemode=False)
CALL = ChargeCall(
    payment_id="pay_1",
    attempt_id="att_1_1",
    money=Money(1999, "eur"),
    capture="automatic",
    payment_method_type="card",
    token="pm_card_visa",
    return_url="https://shop.example/r?session=1",
    off_session=False,
    started_at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
)
KNOWN = replace(CALL, provider_payment_id="pi_1")


def intent(status: str, **fields: object) -> dict[str, object]:
    document: dict[str, object] = {
        "id": "pi_1",
        "status": status,
        "amount": 1999,
        "amount_capturable": 0,
        "amount_received": 0,
        "currency": "eur",
        "client_secret": "pi_1_secret_x",
        "metadata": {"attempt_id": "att_1_1"},
    }
    return document | fields


CREATED = json_answer(200, intent("requires_confirmation"))
SUCCEEDED = json_answer(200, intent("succeeded", amount_received=1999))


def error(status: int, **fields: object) -> HttpReply:
    return json_answer(status, {"error": fields})


UNEXPECTED = error(400, type="invalid_request_error", code="payment_intent_unexpected_state")


def authorize(*replies: HttpReply, call: ChargeCall = CALL) -> Played:
    return play(CONNECTOR.authorize(ACCOUNT, call), replies)


def fence(*replies: HttpReply, call: ChargeCall = KNOWN) -> Played:
    return play(CONNECTOR.fence(ACCOUNT, call), replies)


def inquire(*replies: HttpReply, call: ChargeCall = KNOWN) -> Outcome:
    return play(CONNECTOR.inquire(ACCOUNT, call), replies).outcome


def form(request: HttpRequest) -> dict[str, str]:
    pairs = parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=bool(request.body))
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)
