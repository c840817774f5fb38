"""One reference collects once; a merchant sees its own payments only; a key does what it may."""

import asyncio

import pytest

from paymux_core.ids import Kind, public_id, uuid7
from tests.support.http import Merchant, Reply
from tests.support.stack import Stack

UNKNOWN = public_id(Kind.PAYMENT, uuid7(1_700_000_000_000, 12345))


@pytest.mark.slow
async def test_two_hundred_creates_with_one_reference_make_one_payment(stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    replies = await asyncio.gather(*(shop.create(reference="order-1001") for _ in range(200)))
    created = [reply for reply in replies if reply.status == 201]
    assert len(created) == 1
    refused = [reply for reply in replies if reply.status != 201]
    assert {(reply.status, reply.code) for reply in refused} == {(409, "reference_in_use")}
    assert {reply.content["payment_id"] for reply in refused} == {created[0].payment_id}
    assert await stack.payments_count(shop) == before + 1


async def test_a_reference_is_free_again_after_a_definite_failure(shop: Merchant) -> None:
    first = await shop.new_payment("sandbox_decline_hard", reference="order-1002")
    assert (await shop.create(reference="order-1002")).code == "reference_in_use"
    await shop.confirm(first, key="free-again")
    assert (await shop.create(reference="order-1002")).status == 201


async def test_a_reference_is_held_by_a_success_and_by_what_is_not_known(shop: Merchant) -> None:
    first = await shop.new_payment("sandbox_pending", reference="order-1003")
    await shop.confirm(first, key="held")
    assert (await shop.create(reference="order-1003")).code == "reference_in_use"
    assert (await shop.settled(first))["status"] == "succeeded"
    refused = await shop.create(reference="order-1003")
    assert (refused.code, refused.content["payment_id"]) == ("reference_in_use", first)


async def test_two_merchants_may_use_the_same_reference(shop: Merchant, other_shop: Merchant) -> None:
    replies = [await merchant.create(reference="order-1004") for merchant in (shop, other_shop)]
    assert [reply.status for reply in replies] == [201, 201]


async def test_two_merchants_may_use_the_same_key(shop: Merchant, other_shop: Merchant) -> None:
    fields = {"amount": 1, "currency": "eur"}
    mine, theirs = [await merchant.post("/payments", fields, key="shared") for merchant in (shop, other_shop)]
    assert (mine.status, theirs.status, theirs.is_replay) == (201, 201, False)
    assert mine.payment_id != theirs.payment_id


@pytest.mark.parametrize("verb", ["", "?sync=true", "/confirm", "/cancel"])
async def test_anothers_payment_is_404_like_an_unknown_one(
    verb: str, stack: Stack, shop: Merchant, other_shop: Merchant
) -> None:
    payment_id = await shop.new_payment("sandbox_approve")

    async def answer(target: str) -> Reply:
        path = f"/payments/{target}{verb}"
        if verb.startswith("/"):
            return await other_shop.post(path, {}, key=f"not-mine{target}{verb[1:]}")
        return await other_shop.get(path)

    theirs, unknown = await answer(payment_id), await answer(UNKNOWN)
    assert theirs.status == unknown.status == 404
    assert theirs.code == "not_found"
    assert _without_request_id(theirs) == _without_request_id(unknown)
    assert (await shop.payment(payment_id))["status"] == "requires_confirmation"
    assert stack.sandbox.requests(payment_id) == []


async def test_an_id_of_another_kind_or_shape_is_404(shop: Merchant) -> None:
    for target in ("pay_", "pay_nonsense", "att_" + UNKNOWN.removeprefix("pay_"), "..%2f", "%00"):
        reply = await shop.get(f"/payments/{target}")
        assert (reply.status, reply.code) == (404, "not_found"), target


async def test_a_key_that_is_wrong_missing_or_mistyped_is_401(shop: Merchant) -> None:
    for api_key in ("", "nonsense", shop.api_key[:-1], shop.api_key + "x"):
        reply = await Merchant(shop.url, api_key).get("/payments")
        assert (reply.status, reply.code) == (401, "authentication_required"), api_key


def _without_request_id(reply: Reply) -> dict[str, object]:
    return {name: value for name, value in reply.content.items() if name != "request_id"}
