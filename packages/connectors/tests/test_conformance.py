"""Every built-in connector keeps the contract, whatever its gateway and the network do."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import pytest
from msgspec.structs import replace

from paymux_connectors.registry import CONNECTORS
from paymux_connectors.stripe_amounts import to_stripe_amount
from paymux_core.connector import ChargeCall, Connector, GatewayAccount
from paymux_core.exchange import Answer
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    Authorized,
    Captured,
    DeclineCode,
    Declined,
    NextAction,
    NotFound,
    Outcome,
    Pending,
    Refusal,
    RequiresAction,
    Voided,
)
from paymux_testkit.connector_kit import ConnectorConformance, Recordings, Scenario, json_answer

CALL = ChargeCall(
    payment_id="pay_01jd0000000000000000000000",
    attempt_id="att_01jd0000000000000000000000_1",
    money=Money(1999, "eur"),
    capture="automatic",
    payment_method_type="card",
    token="planted-token-4242",
    return_url="https://shop.example/return",
    off_session=False,
    started_at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
)
CLIENT_SECRET = "pi_1_secret_planted"


def with_status(answer: Answer, status: str) -> Answer:
    """Give an answer another status, wherever it stands."""
    document = json.loads(answer.body)
    for item in (document, *document.get("data", ())):
        if "status" in item:
            item["status"] = status
    return replace(answer, body=json.dumps(document).encode())


class Contract(ConnectorConformance):
    """What both share."""

    GATEWAY = ""
    CREDENTIALS: Mapping[str, str] = MappingProxyType({})

    @pytest.fixture
    def connector(self) -> Connector:
        return CONNECTORS[self.GATEWAY]

    @pytest.fixture
    def account(self) -> GatewayAccount:
        return GatewayAccount("ga_1", self.GATEWAY, "https://gateway.example", self.CREDENTIALS, livemode=False)

    @pytest.fixture
    def call(self) -> ChargeCall:
        return CALL


def charge(status: str, **fields: object) -> dict[str, object]:
    document: dict[str, object] = {
        "id": "ch_1",
        "status": status,
        "amount": 1999,
        "currency": "EUR",
        "payment_id": CALL.payment_id,
        "attempt_id": CALL.attempt_id,
        "captured": 1999 if status == "succeeded" else 0,
        "refunded": 0,
        "decline": None,
        "created_at": "2026-11-24T12:00:00Z",
    }
    return document | fields


def both(document: Mapping[str, object], outcome: Outcome) -> tuple[Scenario, Scenario]:
    return (
        Scenario([json_answer(200, document)], outcome),
        Scenario([json_answer(200, {"data": [document]})], outcome),
    )


class SandboxContract(Contract):
    """The sandbox's two names."""

    CREDENTIALS = MappingProxyType({"api_key": "planted-api-key"})

    @pytest.fixture
    def recordings(self) -> Recordings:
        captured = Captured("ch_1", CALL.money)
        declined = Declined(Refusal(DeclineCode.LOST_OR_STOLEN, "Stolen.", Advice.DO_NOT_RETRY, "stolen_card"), "ch_1")
        decline = {"code": "stolen_card", "message": "Stolen.", "retryable": False}

        def charged_for(money: Money) -> Scenario:
            document = charge("succeeded", amount=money.amount, captured=money.amount, currency=money.currency.upper())
            return both(document, Captured("ch_1", money))[0]

        return Recordings(
            charged=both(charge("succeeded"), captured)[0],
            looked_up=both(charge("succeeded"), captured)[1],
            absent=Scenario([json_answer(200, {"data": []})], NotFound()),
            fenced=Scenario([json_answer(200, {"status": "fenced", "charge": None})], Voided(None)),
            same={
                "succeeded": both(charge("succeeded"), captured),
                "authorized": both(charge("authorized"), Authorized("ch_1", CALL.money)),
                "pending": both(charge("pending"), Pending("ch_1")),
                "declined": both(charge("declined", decline=decline), declined),
                "canceled": both(charge("canceled"), Voided("ch_1")),
            },
            unheard_of=lambda answer: with_status(answer, "teleported"),
            charged_for=charged_for,
            in_flight=json_answer(409, {"error": {"code": "idempotency_key_in_use", "message": "x"}}),
            certified_429=json_answer(
                429, {"error": {"code": "rate_limited", "message": "x"}}, sandbox_certified="not-executed"
            ),
        )


class TestMock(SandboxContract):
    """The well-behaved name."""

    GATEWAY = "mock"

    def test_a_429_without_the_certificate_leaves_it_unknown(
        self, connector: Connector, account: GatewayAccount
    ) -> None:
        exchange = connector.authorize(account, CALL)
        exchange.send(None)
        with pytest.raises(StopIteration) as stop:
            exchange.send(json_answer(429, {"error": {"code": "rate_limited"}}))
        assert type(stop.value.value).__name__ == "Unknown"


class TestFlaky(SandboxContract):
    """The misbehaving name."""

    GATEWAY = "flaky"


def intent(status: str, **fields: object) -> dict[str, object]:
    document: dict[str, object] = {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "amount": 1999,
        "amount_capturable": 1999 if status == "requires_capture" else 0,
        "amount_received": 1999 if status == "succeeded" else 0,
        "currency": "eur",
        "client_secret": CLIENT_SECRET,
        "metadata": {"payment_id": CALL.payment_id, "attempt_id": CALL.attempt_id},
        "last_payment_error": None,
        "next_action": None,
    }
    return document | fields


CREATED = json_answer(200, intent("requires_confirmation"))


def confirmed(document: Mapping[str, object], outcome: Outcome) -> tuple[Scenario, Scenario]:
    listed = {"object": "list", "has_more": False, "data": [document]}
    return (
        Scenario([CREATED, json_answer(200, document)], outcome),
        Scenario([json_answer(200, listed)], outcome),
    )


class TestStripe(Contract):
    """Two phases, look-up by id and by list."""

    GATEWAY = "stripe"
    CREDENTIALS = MappingProxyType({"secret_key": "sk_test_planted"})

    @pytest.fixture
    def recordings(self) -> Recordings:
        captured = Captured("pi_1", CALL.money)
        redirect = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds"}}
        error = {"type": "card_error", "code": "card_declined", "decline_code": "stolen_card", "message": "Stolen."}
        declined = Declined(Refusal(DeclineCode.LOST_OR_STOLEN, "Stolen.", Advice.DO_NOT_RETRY, "stolen_card"), "pi_1")
        refused = intent("requires_payment_method", last_payment_error=error)
        by_error = json_answer(402, {"error": {**error, "payment_intent": refused}})

        def charged_for(money: Money) -> Scenario:
            amount = to_stripe_amount(money)
            document = intent("succeeded", amount=amount, amount_received=amount, currency=money.currency)
            return confirmed(document, Captured("pi_1", money))[0]

        return Recordings(
            charged=confirmed(intent("succeeded"), captured)[0],
            looked_up=confirmed(intent("succeeded"), captured)[1],
            absent=Scenario([json_answer(200, {"object": "list", "has_more": False, "data": []})], NotFound()),
            fenced=Scenario([CREATED, json_answer(200, intent("canceled"))], Voided("pi_1")),
            same={
                "succeeded": confirmed(intent("succeeded"), captured),
                "requires_capture": confirmed(intent("requires_capture"), Authorized("pi_1", CALL.money)),
                "processing": confirmed(intent("processing"), Pending("pi_1")),
                "requires_action": confirmed(
                    intent("requires_action", next_action=redirect),
                    RequiresAction("pi_1", NextAction("redirect", "https://hooks.stripe.com/3ds")),
                ),
                "canceled": confirmed(intent("canceled"), Voided("pi_1")),
                "declined": (Scenario([CREATED, by_error], declined), confirmed(refused, declined)[1]),
            },
            unheard_of=lambda answer: with_status(answer, "teleported"),
            charged_for=charged_for,
            in_flight=json_answer(409, {"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}),
            certified_429=json_answer(429, {"error": {"type": "invalid_request_error", "code": "rate_limit"}}),
        )

    def test_a_lock_timeout_is_in_flight_even_as_a_429(self, connector: Connector, account: GatewayAccount) -> None:
        answer = json_answer(429, {"error": {"type": "invalid_request_error", "code": "lock_timeout"}})
        exchange = connector.inquire(account, replace(CALL, provider_payment_id="pi_1"))
        exchange.send(None)
        with pytest.raises(StopIteration) as stop:
            exchange.send(answer)
        assert stop.value.value.reason == "in_flight"
