"""However often and however fast a merchant asks, the gateway charges once, and the answer stays the same."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.support.http import Merchant, Reply, eventually, hang_up
from tests.support.stack import Stack


@pytest.mark.slow
async def test_five_hundred_confirms_with_same_and_different_keys_charge_once(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    keys = [f"crowd-{n}" if n % 2 else "crowd-same" for n in range(500)]
    replies = await asyncio.gather(*(shop.confirm(payment_id, key=key) for key in keys))
    _has_one_winner(replies)
    others = Counter((reply.status, reply.code) for reply in replies if reply.status != 200)
    assert set(others) <= {
        (202, None),
        (409, "idempotency_key_in_use"),
        (409, "payment_unexpected_state"),
        (429, "rate_limited"),
    }
    payment = await shop.settled(payment_id)
    assert payment["status"] == "succeeded"
    # A machine so slow that the call could not begin in time records that, sends nothing, and opens the next attempt.
    attempts = [attempt["status"] for attempt in _attempts(payment)]
    assert [status for status in attempts if status != "not_executed"] == ["succeeded"]
    assert len(stack.charge_requests(payment_id)) == len(stack.sandbox.charges(payment_id)) == 1


@pytest.mark.slow
async def test_a_storm_of_a_thousand_with_one_key_reaches_the_gateway_once(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    replies = await asyncio.gather(*(shop.confirm(payment_id, key="storm") for _ in range(1000)))
    _has_one_winner(replies)
    others = Counter(
        (reply.status, reply.code, reply.content.get("detail")) for reply in replies if reply.status != 200
    )
    assert {status for status, _, _ in others} <= {202, 409}, others
    assert (await shop.settled(payment_id))["status"] == "succeeded"
    assert len(stack.charge_requests(payment_id)) == len(stack.sandbox.charges(payment_id)) == 1


@pytest.mark.slow
async def test_a_storm_about_a_payment_that_stays_open_is_answered_as_it_is(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_pending")
    assert (await shop.confirm(payment_id, key="long")).status == 202
    replies = await asyncio.gather(
        *(shop.confirm(payment_id, key="long") for _ in range(150)),
        *(shop.confirm(payment_id, key=f"other-{n}") for n in range(75)),
        *(shop.get(f"/payments/{payment_id}") for _ in range(75)),
    )
    answers = Counter((reply.status, reply.code) for reply in replies)
    assert set(answers) <= {(202, None), (200, None), (409, "payment_unexpected_state")}, answers
    assert answers[409, "payment_unexpected_state"] == 75
    assert len(stack.charge_requests(payment_id)) == 1
    assert (await shop.settled(payment_id))["status"] == "succeeded"


async def test_a_merchant_with_limits_is_told_to_wait(stack: Stack) -> None:
    limited = stack.new_merchant(limits={})
    payment_id = await limited.new_payment("sandbox_approve")
    replies = await asyncio.gather(*(limited.confirm(payment_id, key="too-often") for _ in range(100)))
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert all(reply.code == "rate_limited" and int(reply.headers["retry-after"]) >= 1 for reply in refused)
    assert len(stack.sandbox.charges(payment_id)) == 1


async def test_the_replay_of_a_final_answer_is_byte_identical(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    first = await shop.confirm(payment_id, key="again", off_session=False)
    second = await shop.confirm(payment_id, key="again", off_session=False)
    assert first.status == second.status == 200
    assert first.body == second.body
    assert (first.is_replay, second.is_replay) == (False, True)
    assert len(stack.charge_requests(payment_id)) == 1


async def test_a_quoted_key_and_a_bare_one_are_the_same_key(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    first = await shop.confirm(payment_id, key='"quoted \\" key"')
    second = await shop.confirm(payment_id, key='quoted " key')
    assert (second.is_replay, second.body) == (True, first.body)
    assert len(stack.charge_requests(payment_id)) == 1


async def test_a_key_of_255_characters_is_taken_and_two_headers_are_not(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    request = shop.request_bytes("POST", f"/payments/{payment_id}/confirm", b"{}", key="~" * 255)
    twice = request.replace(b"\r\n", b"\r\nIdempotency-Key: other\r\n", 1)
    refused = await shop.send_raw(twice)
    assert (refused.status, refused.code) == (400, "idempotency_key_invalid")
    assert stack.sandbox.requests(payment_id) == []
    assert (await shop.send_raw(request)).status == 200


async def test_a_malformed_key_is_refused_where_none_is_needed(stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    reply = await shop.post("/payments", {"amount": 1, "currency": "eur"}, key='"open')
    assert (reply.status, reply.code) == (400, "idempotency_key_invalid")
    assert await stack.payments_count(shop) == before


async def test_escapes_and_names_beyond_the_basic_plane_do_not_make_another_request(shop: Merchant) -> None:
    plain = '{"amount":7,"currency":"eur","metadata":{"\ufb33":"a/b","\U0001f600":"\u00f6"}}'
    escaped = r'{"metadata":{"\ud83d\ude00":"\u00f6","\ufb33":"a\/b"},"amount":7,"currency":"\u0065ur"}'
    first = await shop.send("POST", "/payments", plain.encode(), key="JCS")
    second = await shop.send("POST", "/payments", escaped.encode(), key="JCS")
    assert (first.status, second.status, second.is_replay) == (201, 201, True)
    assert first.payment_id == second.payment_id


async def test_a_default_that_is_spelled_out_makes_another_request(shop: Merchant) -> None:
    fields = {"amount": 7, "currency": "eur"}
    await shop.post("/payments", fields, key="defaults")
    reply = await shop.post("/payments", fields | {"confirm": False}, key="defaults")
    assert (reply.status, reply.code) == (422, "idempotency_key_reused")


async def test_the_replay_of_a_create_with_confirm_is_byte_identical(stack: Stack, shop: Merchant) -> None:
    fields = {
        "amount": 7,
        "currency": "eur",
        "confirm": True,
        "payment_method": {"type": "card", "token": "sandbox_approve"},
    }
    first = await shop.post("/payments", fields, key="born charged")
    second = await shop.post("/payments", fields, key="born charged")
    assert (first.status, second.status, second.is_replay) == (201, 201, True)
    assert (first.body, first.headers["location"]) == (second.body, second.headers["location"])
    assert len(stack.sandbox.charges(first.payment_id)) == 1


async def test_the_replay_of_an_open_answer_is_the_payment_as_it_now_is(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_pending")
    first = await shop.confirm(payment_id, key="still open")
    second = await shop.confirm(payment_id, key="still open")
    assert (first.status, second.status) == (202, 202)
    assert (second.is_replay, second.content["status"]) == (True, "processing")
    assert int(second.headers["retry-after"]) >= 1
    assert (await shop.settled(payment_id))["status"] == "succeeded"
    third = await shop.confirm(payment_id, key="still open")
    assert (third.status, third.is_replay, third.content["status"]) == (200, True, "succeeded")
    assert (await shop.confirm(payment_id, key="still open")).body == third.body
    assert len(stack.charge_requests(payment_id)) == 1


async def test_the_order_and_spacing_of_fields_do_not_make_another_request(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    fields = {"off_session": False, "return_url": "https://shop.example/back"}
    path = f"/payments/{payment_id}/confirm"
    first = await shop.send("POST", path, json.dumps(fields, indent=2).encode(), key="canonical")
    second = await shop.send("POST", path, json.dumps(dict(reversed(fields.items()))).encode(), key="canonical")
    assert (second.status, second.is_replay, second.body) == (200, True, first.body)


async def test_the_same_key_with_another_body_is_422_and_changes_nothing(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    first = await shop.confirm(payment_id, key="reused")
    other = await shop.confirm(payment_id, key="reused", off_session=True)
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    assert (await shop.confirm(payment_id, key="reused")).body == first.body
    assert len(stack.charge_requests(payment_id)) == 1


async def test_the_same_key_for_another_payment_is_422(stack: Stack, shop: Merchant) -> None:
    first, second = await shop.new_payment("sandbox_approve"), await shop.new_payment("sandbox_approve")
    await shop.confirm(first, key="two-payments")
    reply = await shop.confirm(second, key="two-payments")
    assert (reply.status, reply.code) == (422, "idempotency_key_reused")
    assert stack.sandbox.requests(second) == []


async def test_an_invalid_body_under_a_used_key_is_validation_failed(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    await shop.confirm(payment_id, key="used-then-invalid")
    reply = await shop.confirm(payment_id, key="used-then-invalid", off_session="yes")
    assert (reply.status, reply.code) == (422, "validation_failed")


async def test_while_the_first_request_runs_its_key_is_in_use(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_timeout_after_charge")
    first = asyncio.ensure_future(shop.confirm(payment_id, key="running"))
    await _reaches_gateway(stack, payment_id)
    second = await shop.confirm(payment_id, key="running")
    assert (second.status, second.code) == (409, "idempotency_key_in_use")
    assert int(second.headers["retry-after"]) >= 1
    assert second.content["payment_id"] == payment_id
    assert (await first).status == 202
    assert (await shop.settled(payment_id))["status"] == "succeeded"
    last = await shop.confirm(payment_id, key="running")
    assert (last.status, last.is_replay, last.content["status"]) == (200, True, "succeeded")
    assert len(stack.sandbox.charges(payment_id)) == 1


async def test_another_key_while_an_attempt_is_alive_is_409_with_the_state(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_pending")
    assert (await shop.confirm(payment_id, key="alive-1")).status == 202
    reply = await shop.confirm(payment_id, key="alive-2")
    assert (reply.status, reply.code) == (409, "payment_unexpected_state")
    assert reply.content["current_status"] == "processing"
    assert len(stack.charge_requests(payment_id)) == 1


@pytest.mark.parametrize(
    ("key", "code"),
    [(None, "idempotency_key_required"), ("x" * 256, "idempotency_key_invalid"), ("é", "idempotency_key_invalid")],
)
async def test_a_confirm_needs_a_wellformed_key(key: str | None, code: str, stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    reply = await shop.post(f"/payments/{payment_id}/confirm", {}, key=key)
    assert (reply.status, reply.code) == (400, code)
    assert stack.sandbox.requests(payment_id) == []


async def test_a_create_is_replayed_as_the_payment_now_is(stack: Stack, shop: Merchant) -> None:
    fields = {"amount": 1, "currency": "eur", "payment_method": {"type": "card", "token": "sandbox_approve"}}
    first = await shop.post("/payments", fields, key="create-twice")
    await shop.confirm(first.payment_id, key="confirm-between")
    second = await shop.post("/payments", fields, key="create-twice")
    assert (second.status, second.is_replay, second.payment_id) == (201, True, first.payment_id)
    assert (first.content["status"], second.content["status"]) == ("requires_confirmation", "succeeded")


async def test_a_client_that_hangs_up_is_charged_once_and_its_key_answers(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_timeout_after_charge")
    _, writer = await shop.connect()
    writer.write(shop.request_bytes("POST", f"/payments/{payment_id}/confirm", b"{}", key="hung-up"))
    await _reaches_gateway(stack, payment_id)
    await hang_up(writer)
    assert (await shop.settled(payment_id))["status"] == "succeeded"
    reply = await shop.confirm(payment_id, key="hung-up")
    assert (reply.status, reply.is_replay, reply.content["status"]) == (200, True, "succeeded")
    assert len(stack.sandbox.charges(payment_id)) == 1


def _has_one_winner(replies: Sequence[Reply]) -> None:
    """Insist on one request that ran, the rest told or shown what it did; on a slow machine it ran into its 202."""
    ran = [reply for reply in replies if reply.status in {200, 202} and not reply.is_replay]
    assert len(ran) == 1, Counter((reply.status, reply.is_replay) for reply in replies)
    assert len({reply.body for reply in replies if reply.status == 200}) <= 1


async def _reaches_gateway(stack: Stack, payment_id: str) -> None:
    async def requests() -> int:
        return len(await asyncio.to_thread(stack.sandbox.requests, payment_id))

    await eventually(requests, bool)


def _attempts(payment: dict[str, object]) -> list[dict[str, object]]:
    attempts = payment["attempts"]
    assert isinstance(attempts, list)
    return attempts
