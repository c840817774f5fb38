"""How often a merchant and a key may ask are settings of theirs; what is refused tells how long to wait."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from tests.support.http import Merchant, Reply
from tests.support.stack import Stack

ASKED = 60
"""Far more than the limits of these tests allow while they run."""


async def _statuses(merchant: Merchant) -> Counter[int]:
    replies = await asyncio.gather(*(merchant.get("/payments?limit=1") for _ in range(ASKED)))
    for reply in replies:
        _tells_how_long(reply)
    return Counter(reply.status for reply in replies)


def _tells_how_long(reply: Reply) -> None:
    if reply.status == 429:
        assert (reply.code, int(reply.headers["retry-after"]) >= 1) == ("rate_limited", True)


async def test_a_merchants_limit_takes_the_place_of_the_default(stack: Stack) -> None:
    statuses = await _statuses(stack.new_merchant(limits={"requests_per_second": "2"}))
    assert statuses.keys() == {200, 429}
    assert statuses[200] < statuses[429]


async def test_a_keys_own_limit_takes_the_place_of_its_merchants(stack: Stack) -> None:
    freed = stack.new_merchant(limits={"requests_per_second": "2"}, key_limits={"rates": "none"})
    assert await _statuses(freed) == {200: ASKED}
    bound = stack.new_merchant(limits={}, key_limits={"requests_per_second": "2"})
    assert 429 in await _statuses(bound)


async def test_one_merchants_crowd_takes_nothing_from_another(stack: Stack) -> None:
    crowd, other = stack.new_merchant(limits={"requests_per_second": "2"}), stack.new_merchant(limits={})
    await _statuses(crowd)
    assert (await other.get("/payments")).status == 200


async def test_confirms_of_a_merchant_have_a_limit_of_their_own(stack: Stack) -> None:
    merchant = stack.new_merchant(limits={"confirms_per_second": "1"})
    payments = [await merchant.new_payment("sandbox_approve") for _ in range(10)]
    replies = await asyncio.gather(*(merchant.confirm(payment, key=payment) for payment in payments))
    assert {reply.status for reply in replies} == {200, 429}
    for payment, reply in zip(payments, replies, strict=True):
        _tells_how_long(reply)
        assert len(stack.sandbox.charges(payment)) == (reply.status == 200)


async def test_a_storm_of_one_key_is_stopped_before_any_look(stack: Stack) -> None:
    merchant = stack.new_merchant(limits={"same_key_per_second": "1"})
    payment_id = await merchant.new_payment("sandbox_approve")
    replies = await asyncio.gather(*(merchant.confirm(payment_id, key="storm") for _ in range(40)))
    assert 429 in {reply.status for reply in replies}
    assert len(stack.charge_requests(payment_id)) <= 1


@pytest.mark.parametrize(
    "limits", ['{"rates": "many"}', '{"requests_per_second": 0}', '{"requests": "5"}', "[]", '{"rates": null}']
)
async def test_a_limit_that_cannot_be_read_is_refused_by_the_database(limits: str, stack: Stack) -> None:
    merchant_id = stack.ids[stack.new_merchant().api_key]
    with pytest.raises(asyncpg.CheckViolationError, match="limits_readable"):
        await stack.fetch("update merchants set limits = $2::jsonb where id = $1", merchant_id, limits)
    with pytest.raises(asyncpg.CheckViolationError, match="limits_readable"):
        await stack.fetch("update api_keys set limits = $2::jsonb where merchant_id = $1", merchant_id, limits)
