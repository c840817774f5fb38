"""A request that is wrong in several ways is told the first of them, in the order of the contract."""

import json

import pytest

from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, public_id, uuid7
from tests.support.http import Merchant, Reply
from tests.support.stack import Stack

UNKNOWN = public_id(Kind.PAYMENT, uuid7(1_700_000_000_000, 999))
CARD = "4242424242424242"
KEY_TRIES = 8
"""More than the five that one idempotency key has in a second."""


def _refusal(reply: Reply) -> tuple[int, object]:
    return reply.status, reply.code


@pytest.fixture(scope="module")
def nobody(stack: Stack) -> Merchant:
    """A client without a key."""
    return Merchant(stack.url, "none")


@pytest.fixture(scope="module")
def reader(stack: Stack) -> Merchant:
    """A key that may read only."""
    return stack.new_merchant(scopes=frozenset({Scope.PAYMENTS_READ}))


async def test_too_large_comes_before_malformed(nobody: Merchant) -> None:
    reply = await nobody.send("POST", "/payments", b"{" * 70_000)
    assert _refusal(reply) == (413, "body_too_large")


async def test_malformed_comes_before_authentication(nobody: Merchant) -> None:
    assert _refusal(await nobody.send("POST", "/payments", b"{")) == (400, "malformed_json")


async def test_authentication_comes_before_the_object_and_the_fields(nobody: Merchant) -> None:
    for path in ("/payments", f"/payments/{UNKNOWN}/confirm"):
        assert _refusal(await nobody.post(path, {"surprise": 1})) == (401, "authentication_required")


async def test_permission_comes_before_the_object_and_the_fields(reader: Merchant) -> None:
    for path in ("/payments", f"/payments/{UNKNOWN}/confirm"):
        assert _refusal(await reader.post(path, {"surprise": 1})) == (403, "permission_denied")


async def test_create_and_confirm_needs_the_permission_to_confirm(stack: Stack) -> None:
    writer = stack.new_merchant(scopes=frozenset({Scope.PAYMENTS_WRITE}))
    fields = {"amount": 1, "currency": "eur", "payment_method": {"type": "card", "token": "sandbox_approve"}}
    reply = await writer.post("/payments", fields | {"confirm": True}, key="may not")
    assert (*_refusal(reply), reply.content["required_scope"]) == (403, "permission_denied", "payments:confirm")
    assert (await writer.post("/payments", fields)).status == 201


async def test_the_rate_comes_before_the_object_and_counts_wrong_requests_too(stack: Stack) -> None:
    limited = stack.new_merchant(limits={})
    replies = [
        await limited.post(f"/payments/{UNKNOWN}/confirm", {"surprise": 1}, key="again") for _ in range(KEY_TRIES)
    ]
    assert _refusal(replies[0]) == (404, "not_found")
    assert (429, "rate_limited") in map(_refusal, replies)


async def test_the_object_comes_before_the_fields_and_the_key(shop: Merchant, other_shop: Merchant) -> None:
    theirs = await other_shop.new_payment("sandbox_approve")
    for payment_id in (UNKNOWN, theirs):
        for verb in ("confirm", "cancel"):
            for fields in ({"surprise": CARD}, {"return_url": f"https://shop.example/{CARD}"}, {}):
                reply = await shop.post(f"/payments/{payment_id}/{verb}", fields)
                assert _refusal(reply) == (404, "not_found"), (payment_id, verb, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 1, "currency": "eur", "description": CARD, "surprise": 1},
        {"amount": 1, "currency": "eur", "description": CARD, "capture_method": "manual"},
        {"amount": 1, "currency": "eur", "description": CARD, "confirm": True},
        {"amount": 1, "currency": "xxq", "description": CARD},
    ],
)
async def test_the_fields_come_before_card_numbers(fields: dict[str, object], shop: Merchant) -> None:
    reply = await shop.post("/payments", fields)
    assert reply.status == 422, reply.body
    assert CARD.encode() not in reply.body


async def test_card_numbers_come_before_the_key(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    for key in (None, "x" * 256):
        reply = await shop.confirm(payment_id, key=key or "", return_url=f"https://shop.example/{CARD}")
        assert _refusal(reply) == (400, "raw_card_data_not_allowed")


async def test_a_card_number_is_refused_as_a_key_in_a_query_and_under_a_name(shop: Merchant) -> None:
    named = {"amount": 1, "currency": "eur", "metadata": {CARD: ""}}
    assert _refusal(await shop.post("/payments", named)) == (400, "raw_card_data_not_allowed")
    plain = {"amount": 1, "currency": "eur"}
    assert _refusal(await shop.post("/payments", plain, key=CARD)) == (400, "raw_card_data_not_allowed")
    for query in (f"reference={CARD}", f"metadata.{CARD}=x", f"metadata.x={'%20'.join(CARD)}"):
        assert _refusal(await shop.get(f"/payments?{query}")) == (400, "raw_card_data_not_allowed"), query


async def test_the_key_comes_before_the_state(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    await shop.cancel(payment_id, key="over")
    assert _refusal(await shop.post(f"/payments/{payment_id}/confirm", {})) == (400, "idempotency_key_required")
    used = await shop.post(f"/payments/{payment_id}/confirm", {}, key="over")
    assert _refusal(used) == (422, "idempotency_key_reused")


async def test_what_is_refused_before_the_attempt_is_not_kept_under_its_key(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    path = f"/payments/{payment_id}/confirm"
    for body in (b"{", json.dumps({"surprise": 1}).encode(), json.dumps({"return_url": CARD}).encode()):
        assert (await shop.send("POST", path, body, key="kept?")).status in {400, 422}
    reply = await shop.confirm(payment_id, key="kept?")
    assert (reply.status, reply.is_replay, reply.content["status"]) == (200, False, "succeeded")
