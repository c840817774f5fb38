"""Reading: pages, filters, and a look at the gateway that cannot be asked for too often."""

import asyncio
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.support.http import Merchant, eventually
from tests.support.stack import LOOK_INTERVAL_SECONDS, Stack


@pytest.fixture(scope="module")
def reader(stack: Stack) -> Merchant:
    """A merchant whose payments are all known to these tests."""
    return stack.new_merchant()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def payments(reader: Merchant) -> list[dict[str, object]]:
    """Seven payments, in the order of their creation; those with an even number are paid."""
    made = []
    for number in range(7):
        payment_id = await reader.new_payment(
            "sandbox_approve",
            reference=f"read-{number}",
            customer_reference=f"customer {number % 3}",
            metadata={"colour": ("red", "blue")[number % 2]},
        )
        if number % 2 == 0:
            await reader.confirm(payment_id, key=f"read-{number}")
        made.append(await reader.payment(payment_id))
    return made


async def test_pages_show_every_payment_once_and_the_newest_first(
    reader: Merchant, payments: list[dict[str, object]]
) -> None:
    seen = []
    cursors: list[object] = [""]
    while cursors[-1] is not None:
        start = f"&starting_after={cursors[-1]}" if cursors[-1] else ""
        page = (await reader.get(f"/payments?limit=2{start}")).content
        assert isinstance(page["data"], list)
        assert 1 <= len(page["data"]) <= 2
        assert page["has_more"] == (page["next_cursor"] is not None)
        seen += page["data"]
        cursors.append(page["next_cursor"])
    assert seen == payments[::-1]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("reference=read-3", [3]),
        ("customer_reference=customer%200", [6, 3, 0]),
        ("customer_reference=customer%200&status=succeeded", [6, 0]),
        ("status=succeeded", [6, 4, 2, 0]),
        ("gateway=mock", [6, 4, 2, 0]),
        ("metadata.colour=blue", [5, 3, 1]),
        ("metadata.colour=blue&metadata.size=big", []),
        ("reference=nowhere", []),
        ("status=canceled", []),
        ("created_to=2020-01-01T00:00:00Z", []),
        ("created_to=1969-12-31T23:59:59Z", []),
        ("created_to=0001-01-01T00:00:00Z", []),
        ("created_from=9999-12-31T23:59:59Z", []),
        ("created_from=0001-01-01T00:00:00Z&limit=100", [6, 5, 4, 3, 2, 1, 0]),
        ("created_from=1969-12-31T23:59:59.5%2B02:00&created_to=9999-12-31T23:59:59Z", [6, 5, 4, 3, 2, 1, 0]),
        ("reference=read-3&customer_reference=customer%200", [3]),
        ("created_from=2020-01-01T00:00:00Z&limit=100", [6, 5, 4, 3, 2, 1, 0]),
    ],
)
async def test_filters_find_what_they_say(
    query: str, numbers: list[int], reader: Merchant, payments: list[dict[str, object]]
) -> None:
    page = (await reader.get(f"/payments?{query}")).content
    assert page["data"] == [payments[number] for number in numbers]
    assert page["has_more"] is False


async def test_a_time_filter_includes_both_ends(reader: Merchant, payments: list[dict[str, object]]) -> None:
    first, last = (quote(str(payments[number]["created_at"])) for number in (2, 4))
    page = (await reader.get(f"/payments?created_from={first}&created_to={last}")).content
    assert page["data"] == [payments[number] for number in (4, 3, 2)]


async def test_a_payment_is_found_by_the_moment_that_it_shows(stack: Stack) -> None:
    merchant = stack.new_merchant()
    made = await asyncio.gather(*(merchant.create() for _ in range(100)))
    for reply in made:
        moment = quote(str(reply.content["created_at"]))
        page = (await merchant.get(f"/payments?created_from={moment}&created_to={moment}&limit=100")).content
        assert isinstance(page["data"], list)
        assert reply.payment_id in {payment["id"] for payment in page["data"]}


async def test_another_merchant_sees_none_of_them(other_shop: Merchant, payments: list[dict[str, object]]) -> None:
    page = (await other_shop.get("/payments?reference=read-1")).content
    assert page == {"data": [], "has_more": False, "next_cursor": None}


async def test_a_look_that_is_asked_for_finds_the_charge(stack: Stack, reader: Merchant) -> None:
    payment_id = await reader.new_payment("sandbox_error_after_charge")
    with stack.worker.paused():
        assert (await reader.confirm(payment_id, key="look")).status == 202
        found = await eventually(
            lambda: reader.get(f"/payments/{payment_id}?sync=true"),
            lambda reply: reply.content["status"] != "processing",
        )
    assert found.content["status"] == "succeeded"


async def test_looks_reach_the_gateway_once_in_an_interval(stack: Stack, reader: Merchant) -> None:
    payment_id = await reader.new_payment("sandbox_pending_always")
    loop = asyncio.get_running_loop()
    with stack.worker.paused():
        started_at = loop.time()
        assert (await reader.confirm(payment_id, key="looks")).status == 202
        before = stack.looks()

        async def looks() -> int:
            await asyncio.gather(*(reader.get(f"/payments/{payment_id}?sync=true") for _ in range(20)))
            return stack.looks() - before

        asked = await eventually(looks, lambda count: count >= 2)
        intervals = (loop.time() - started_at) / LOOK_INTERVAL_SECONDS
    assert asked <= 1 + intervals
    await reader.cancel(payment_id, key="looked-enough")
    assert (await reader.settled(payment_id))["status"] == "canceled"
