"""What a merchant does with endpoints, events and deliveries, through the running API."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
from standardwebhooks import Webhook

from paymux_core.ids import Kind, public_id
from tests.support.http import Merchant, Reply, eventually
from tests.support.stack import Stack
from tests.webhooks.conftest import WEBHOOK_SCOPES
from tests.webhooks.stage import Came, Receivers


async def _made(shop: Merchant, url: str, *, key: str | None = None, **fields: object) -> dict[str, Any]:
    reply = await shop.post("/webhook_endpoints", {"url": url, **fields}, key=key)
    assert reply.status == 201, reply.body
    assert reply.headers["location"] == f"/webhook_endpoints/{reply.content['id']}"
    return reply.content


async def _came(receivers: Receivers, number: int, path: str = "/200") -> list[Came]:
    async def read() -> list[Came]:
        return receivers.at(path)

    return await eventually(read, lambda came: len(came) >= number, seconds=30)


async def _paid(shop: Merchant, key: str) -> str:
    method = {"type": "card", "token": "sandbox_approve"}
    reply = await shop.post("/payments", {"amount": 1999, "currency": "eur", "confirm": True, "payment_method": method}, key=key)  # fmt: skip  # noqa: E501
    assert reply.status == 201, reply.body
    return reply.payment_id


def _rows(reply: Reply) -> list[dict[str, Any]]:
    assert reply.status in {200, 202}, reply.body
    rows: Any = reply.content["data"]
    assert isinstance(rows, list)
    return rows


async def test_a_payment_is_told_from_its_birth_to_its_end(shop: Merchant, receivers: Receivers) -> None:
    endpoint = await _made(shop, f"{receivers.url}/200")
    payment_id = await _paid(shop, "told")
    came = await _came(receivers, 3)
    told: list[dict[str, Any]] = [Webhook(endpoint["secret"]).verify(one.body, one.headers) for one in came]
    told.sort(key=lambda event: event["sequence"])
    types = ["payment.created", "payment.processing", "payment.succeeded"]
    assert [event["type"] for event in told] == types
    assert [event["sequence"] for event in told] == [1, 2, 3]
    shown = [event["data"]["object"] for event in told]
    assert [one["status"] for one in shown] == ["requires_confirmation", "processing", "succeeded"]
    assert [one["version"] for one in shown] == [1, 2, 3]
    assert [len(one["attempts"]) for one in shown] == [0, 1, 1]
    assert shown[1]["attempts"][0]["status"] == "started"
    assert shown[2] == await shop.payment(payment_id)
    of_payment = await shop.get(f"/events?payment_id={payment_id}")
    assert _rows(of_payment) == told
    by_id = {one.id: one.body for one in came}
    for event in told:
        assert (await shop.get(f"/events/{event['id']}")).body == by_id[event["id"]], "byte for byte as it was sent"


async def test_a_payment_confirmed_with_another_method_was_born_with_its_own(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_decline")
    before = _rows(await shop.get(f"/events?payment_id={payment_id}"))
    await shop.confirm(payment_id, key="other", payment_method={"type": "card", "token": "sandbox_approve"})
    after = _rows(await shop.get(f"/events?payment_id={payment_id}"))
    assert after[0] == before[0]
    tokens = [event["data"]["object"]["payment_method"]["token"] for event in after]
    assert tokens == ["sandbox_decline", "sandbox_approve", "sandbox_approve"]


async def test_a_key_replays_without_the_secret(shop: Merchant, receivers: Receivers) -> None:
    first = await shop.post("/webhook_endpoints", {"url": receivers.url}, key="made-1")
    again = await shop.post("/webhook_endpoints", {"url": receivers.url}, key="made-1")
    assert (first.status, again.status, again.is_replay) == (201, 201, True)
    assert again.content == first.content | {"secret": None}
    assert str(first.content["secret"]).startswith("whsec_")
    other = await shop.post("/webhook_endpoints", {"url": f"{receivers.url}/b"}, key="made-1")
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    place = f"/webhook_endpoints/{first.content['id']}"
    assert len(_rows(await shop.get("/webhook_endpoints"))) == 1
    rolled = await shop.post(f"{place}/roll_secret", {}, key="rolled-1")
    replayed = await shop.post(f"{place}/roll_secret", {}, key="rolled-1")
    assert replayed.content == rolled.content | {"secret": None}
    assert rolled.content["secret"] not in {None, first.content["secret"]}
    assert rolled.content["previous_secret_until"] is not None
    assert (await shop.get(place)).content["secret"] is None
    tested = await shop.post(f"{place}/test", {}, key="tested-1")
    assert tested.status == 202
    assert (await shop.post(f"{place}/test", {}, key="tested-1")).body == tested.body


async def test_an_endpoint_is_changed_switched_off_and_deleted(shop: Merchant, receivers: Receivers) -> None:
    made = await _made(shop, f"{receivers.url}/500", event_types=["payment.created"], metadata={"a": "b"})
    place = f"/webhook_endpoints/{made['id']}"
    await shop.create()
    await _came(receivers, 1, "/500")
    off = await shop.send("PATCH", place, b'{"status": "disabled", "description": "off for a while"}')
    assert (off.status, off.content["status"], off.content["disabled_reason"]) == (200, "disabled", "merchant")
    assert (await shop.post(f"{place}/test", {})).code == "webhook_endpoint_disabled"

    async def dead() -> list[dict[str, Any]]:
        return _rows(await shop.get(f"/webhook_deliveries?status=dead&webhook_endpoint_id={made['id']}"))

    (letter,) = await eventually(dead, lambda rows: len(rows) == 1, seconds=20)
    assert [one["http_status"] for one in letter["tries"]][:1] == [500]
    assert letter["tries"][0]["response_excerpt"] == "ok"
    time = b'{"created_from": "2026-01-01T00:00:00Z", "created_to": "2100-01-01T00:00:00Z"}'
    assert (await shop.send("POST", f"{place}/resend", time)).code == "webhook_endpoint_disabled"
    on = await shop.send("PATCH", place, msgspec.json.encode({"status": "enabled", "url": f"{receivers.url}/200"}))
    assert (on.content["status"], on.content["disabled_reason"], on.content["metadata"]) == (
        "enabled",
        None,
        {"a": "b"},
    )
    assert [one["id"] for one in _rows(await shop.send("POST", f"{place}/resend", time))] == [letter["id"]]
    (came,) = await _came(receivers, 1)
    assert came.id == letter["event_id"]
    assert (await shop.send("DELETE", place)).status == 204
    assert (await shop.get(place)).status == 404
    assert (await shop.send("PATCH", place, b"{}")).status == 404
    assert _rows(await shop.get("/webhook_endpoints")) == []


async def test_an_event_is_sent_again_under_its_id(shop: Merchant, receivers: Receivers) -> None:
    await _made(shop, f"{receivers.url}/200", event_types=["payment.created"])
    await shop.create()
    (first,) = await _came(receivers, 1)
    sent = await shop.post(f"/events/{first.id}/resend", {}, key="again")
    assert [one["event_id"] for one in _rows(sent)] == [first.id]
    assert (await shop.post(f"/events/{first.id}/resend", {}, key="again")).body == sent.body
    again = await _came(receivers, 2)
    assert [(one.id, one.body) for one in again] == [(first.id, first.body)] * 2


async def test_the_log_is_read_to_its_end_and_on(shop: Merchant) -> None:
    for _ in range(3):
        await shop.create()
    seen: list[str] = []
    cursor = ""
    for _ in range(100):
        page = await shop.get(f"/events?limit=2{cursor}")
        seen += [event["id"] for event in _rows(page)]
        cursor = f"&after={page.content['next_cursor']}"
        if len(seen) == 3 and not page.content["has_more"]:
            break
    assert len(seen) == len(set(seen)) == 3
    await shop.create()
    newest = await shop.get(f"/events?type=payment.created{cursor}")
    assert len(_rows(newest)) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/events/evt_nothing", 404),
        (f"/events/{public_id(Kind.EVENT, UUID(int=7))}_1", 404),
        ("/events?after=somewhere", 422),
        ("/events?type=payment.paid", 422),
        ("/webhook_deliveries?status=lost", 422),
        ("/webhook_endpoints/whe_nothing", 404),
    ],
)
async def test_what_is_not_there_or_makes_no_sense(shop: Merchant, path: str, status: int) -> None:
    assert (await shop.get(path)).status == status


async def test_others_see_nothing_of_it(stack: Stack, shop: Merchant, receivers: Receivers) -> None:
    made = await _made(shop, receivers.url)
    payment_id = (await shop.create()).payment_id
    event_id = _rows(await shop.get(f"/events?payment_id={payment_id}"))[0]["id"]
    other = stack.new_merchant(scopes=WEBHOOK_SCOPES)
    for method, path in (
        ("GET", f"/webhook_endpoints/{made['id']}"),
        ("PATCH", f"/webhook_endpoints/{made['id']}"),
        ("DELETE", f"/webhook_endpoints/{made['id']}"),
        ("POST", f"/webhook_endpoints/{made['id']}/roll_secret"),
        ("POST", f"/webhook_endpoints/{made['id']}/test"),
        ("GET", f"/events/{event_id}"),
        ("POST", f"/events/{event_id}/resend"),
    ):
        assert (await other.send(method, path, b"" if method == "GET" else b"{}")).status == 404, path
        refused = await other.send(method, path, b'{"unknown": 1}')
        assert refused.status == 404, "also before what is wrong with the body"
    for path in ("/webhook_endpoints", "/webhook_deliveries", "/events", f"/events?payment_id={payment_id}"):
        assert _rows(await other.get(path)) == []
    no_scope = stack.new_merchant()
    assert (await no_scope.get("/events")).code == "permission_denied"
    assert (await no_scope.get("/webhook_endpoints")).code == "permission_denied"


async def test_a_book_with_deliveries_holds(stack: Stack, shop: Merchant, receivers: Receivers) -> None:
    await _made(shop, f"{receivers.url}/200")
    await _paid(shop, "book")
    assert await stack.violations() == []
