"""Stripe's dialect against what others wrote: the official client's requests, and Stripe's own description."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import pytest
import stripe
from msgspec.structs import replace

from paymux_connectors.stripe import CONNECTOR
from paymux_connectors.stripe_requests import STRIPE_VERSION
from paymux_core.connector import ChargeCall, GatewayAccount
from paymux_core.exchange import Exchange, HttpRequest
from paymux_core.money import Money
from paymux_core.outcomes import Captured, Outcome
from paymux_testkit.connector_kit import json_answer, play

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "stripe"
KEY = "sk_test_123456"
ACCOUNT = GatewayAccount("ga_1", "stripe", "https://api.stripe.com", {"secret_key": KEY}, livemode=False)
CALL = ChargeCall(
    payment_id="pay_1",
    attempt_id="att_1_1",
    money=Money(1999, "eur"),
    capture="manual",
    payment_method_type="card",
    token="pm_card_visa",
    return_url="https://shop.example/r?session=1&x=ü",
    off_session=False,
    started_at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
)
KNOWN = replace(CALL, provider_payment_id="pi_1")
INTENT: dict[str, object] = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "requires_confirmation",
    "metadata": {"attempt_id": "att_1_1"},
}


def requests_of(exchange: Exchange) -> list[HttpRequest]:
    return play(exchange, [json_answer(200, INTENT)] * 3).requests


def ours(verb: str) -> HttpRequest:
    """Give our request for one call of the official client."""
    create, confirm = requests_of(CONNECTOR.authorize(ACCOUNT, CALL))
    return {
        "create": create,
        "confirm": confirm,
        "cancel": requests_of(CONNECTOR.fence(ACCOUNT, KNOWN))[0],
        "retrieve": requests_of(CONNECTOR.inquire(ACCOUNT, KNOWN))[0],
        "list": requests_of(CONNECTOR.inquire(ACCOUNT, CALL))[0],
    }[verb]


def official(client: stripe.StripeClient, verb: str) -> None:
    """Make the same call as a reader of Stripe's manual would."""
    intents = client.v1.payment_intents
    began = int(CALL.started_at.timestamp())
    match verb:
        case "create":
            # The client's types are those of a newer version, which has no `payment_method_types`.
            fields: Any = {
                "amount": 1999,
                "currency": "eur",
                "capture_method": "manual",
                "payment_method_types": ["card"],
                "metadata": {"payment_id": "pay_1", "attempt_id": "att_1_1"},
                "payment_method": "pm_card_visa",
            }
            intents.create(fields, {"idempotency_key": "att_1_1-create-1"})
        case "confirm":
            assert CALL.return_url is not None
            intents.confirm("pi_1", {"return_url": CALL.return_url}, {"idempotency_key": "att_1_1-confirm-1"})
        case "cancel":
            intents.cancel("pi_1", {"cancellation_reason": "abandoned"}, {"idempotency_key": "att_1_1-void-1"})
        case "retrieve":
            intents.retrieve("pi_1", {"expand": ["latest_charge"]})
        case _:
            intents.list({"created": {"gte": began - 120, "lte": began + 900}, "limit": 100})


def as_fields(text: str) -> Mapping[str, str]:
    """Read a form or query; Stripe reads `a[]` and `a[0]` alike."""
    return {name.replace("[0]", "[]"): value for name, value in parse_qsl(text, strict_parsing=bool(text))}


@pytest.mark.parametrize("verb", ["create", "confirm", "cancel", "retrieve", "list"])
async def test_the_official_client_sends_the_same(verb: str, gateway_of: Callable[..., Awaitable[Any]]) -> None:
    async def captures(seen: Any) -> None:
        await seen.request()
        answer = {"object": "list", "data": []} if verb == "list" else INTENT
        await seen.answer(json.dumps(answer).encode(), head=b"HTTP/1.1 200 OK\r\nConnection: close")

    gateway = await gateway_of(captures)
    client = stripe.StripeClient(
        KEY,
        stripe_version=STRIPE_VERSION,
        base_addresses={"api": gateway.url, "connect": gateway.url, "files": gateway.url, "meter_events": gateway.url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(),
    )
    await asyncio.to_thread(official, client, verb)
    head, _, body = gateway.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    method, target, _ = first.split(" ")
    request = ours(verb)
    address = urlsplit(request.url)
    assert (request.method, address.path) == (method, urlsplit(target).path)
    assert as_fields(address.query) == as_fields(urlsplit(target).query)
    assert as_fields(request.body.decode()) == as_fields(body.decode())
    for name, value in request.headers.items():
        assert headers[name.lower()] == value, name


@cache
def description() -> dict[str, Any]:
    """Read Stripe's OpenAPI description. Skips, aloud, where the file is absent."""
    path = SHARED / "openapi-trimmed.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this repository: shapes are not checked")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def strict(schema: Any) -> Any:
    """Turn OpenAPI's `nullable` into a union with null."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    below = {name: strict(value) for name, value in schema.items() if name != "nullable"}
    return {"anyOf": [below, {"type": "null"}]} if schema.get("nullable") is True else below


def validator_of(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.Draft202012Validator({**strict(schema), "components": strict(description()["components"])})


def nested(fields: Mapping[str, str], schema: dict[str, Any]) -> dict[str, Any]:
    """Read form fields into the document that Stripe reads them into."""
    document: dict[str, Any] = {}
    for name, value in fields.items():
        parts = name.replace("]", "").split("[")
        kind = schema["properties"].get(parts[0], {}).get("type")
        plain: Any = int(value) if kind == "integer" else value == "true" if value in {"true", "false"} else value
        if parts[1:] == [""]:
            document.setdefault(parts[0], []).append(plain)
        elif parts[1:]:
            document.setdefault(parts[0], {})[parts[1]] = plain
        else:
            document[parts[0]] = plain
    return document


@pytest.mark.parametrize("off_session", [False, True])
@pytest.mark.parametrize("return_url", [None, "https://shop.example/r"])
def test_every_form_is_one_that_stripes_description_allows(*, off_session: bool, return_url: str | None) -> None:
    call = replace(CALL, off_session=off_session, return_url=return_url)
    requests = [*requests_of(CONNECTOR.authorize(ACCOUNT, call)), *requests_of(CONNECTOR.fence(ACCOUNT, KNOWN))]
    for request in requests:
        if request.method == "GET":
            continue
        path = urlsplit(request.url).path.replace("pi_1", "{intent}")
        form = description()["paths"][path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
        schema = form["schema"]
        document = nested(as_fields(request.body.decode()), schema)
        assert set(document) <= set(schema["properties"]), path
        # Stripe's form schema types a few unions more narrowly than its API: each field is checked by itself.
        for name, value in document.items():
            assert validator_of(schema["properties"][name]).is_valid(value), (path, name, value)


def test_stripes_own_example_is_read_and_no_part_of_our_reading_is_missing_from_its_description() -> None:
    path = SHARED / "fixtures3.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this repository: the example is not read")
    example: dict[str, Any] = json.loads(path.read_text())["resources"]["payment_intent"]
    properties = description()["components"]["schemas"]["payment_intent"]["properties"]
    read = {"id", "status", "amount_capturable", "amount_received", "currency", "metadata", "next_action"}
    assert read | {"last_payment_error", "latest_charge"} <= set(properties) & {*example, *properties}
    assert set(properties["status"]["enum"]) == {
        "canceled",
        "processing",
        "requires_action",
        "requires_capture",
        "requires_confirmation",
        "requires_payment_method",
        "succeeded",
    }
    taken = example | {"status": "succeeded", "amount_received": 1999, "currency": "eur"}
    taken["metadata"] = {"attempt_id": "att_1_1"}
    call = replace(CALL, provider_payment_id=example["id"])
    outcome: Outcome = play(CONNECTOR.inquire(ACCOUNT, call), [json_answer(200, taken)]).outcome
    assert outcome == Captured(example["id"], Money(1999, "eur"))
    assert example["client_secret"] not in json.dumps(CONNECTOR.answer_safe(json.dumps(taken).encode()))


def test_the_kinds_of_error_are_those_of_stripes_description() -> None:
    kinds = description()["components"]["schemas"]["api_errors"]["properties"]["type"]["enum"]
    assert set(kinds) == {"card_error", "invalid_request_error", "idempotency_error", "api_error"}
