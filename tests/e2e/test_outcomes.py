"""Whatever the gateway does, a payment ends as the gateway's own book says."""

import asyncio

import pytest
import pytest_asyncio

from paymux_core.currencies import CURRENCY_EXPONENTS
from tests.support.http import Merchant
from tests.support.stack import Stack

ENDS = {
    "approve": "succeeded",
    "decline_soft": "failed",
    "decline_hard": "failed",
    "timeout_before_charge": "succeeded",
    "timeout_before_charge_always": "failed",
    "timeout_after_charge": "succeeded",
    "error_before_charge": "failed",
    "error_after_charge": "succeeded",
    "reset_after_charge": "succeeded",
    "garbage_after_charge": "succeeded",
    "slow_drip": "succeeded",
    "conflict_in_flight": "succeeded",
    "rate_limited": "succeeded",
    "pending": "succeeded",
    "late_success": "succeeded",
}
"""A re-send after silence charges; a 500 that is kept under its key never does, so it is fenced."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def payments(shop: Merchant) -> dict[str, str]:
    """One confirmed payment per token, all under way at once."""

    async def confirmed(name: str) -> str:
        payment_id = await shop.new_payment(f"sandbox_{name}")
        reply = await shop.confirm(payment_id, key=f"outcome-{name}")
        assert reply.status in {200, 202}, reply.body
        return payment_id

    return dict(zip(ENDS, await asyncio.gather(*map(confirmed, ENDS)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDS)
async def test_a_payment_ends_as_the_book_says(
    name: str, stack: Stack, shop: Merchant, payments: dict[str, str]
) -> None:
    payment = await shop.settled(payments[name])
    charges = stack.sandbox.charges(payments[name])
    assert payment["status"] == ENDS[name]
    assert [charge["amount"] for charge in charges] == ([1999] if ENDS[name] == "succeeded" else [])
    assert payment["amount_captured"] == sum(int(str(charge["amount"])) for charge in charges)
    assert (payment["last_error"] is None) == (ENDS[name] == "succeeded")


async def test_an_outcome_that_is_not_known_yet_is_202_with_retry_after(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_error_after_charge")
    reply = await shop.confirm(payment_id, key="not-known-yet")
    assert (reply.status, reply.content["status"]) == (202, "processing")
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.content["processing_deadline_at"] is not None


async def test_a_decline_is_200_with_its_code(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_decline_hard")
    reply = await shop.confirm(payment_id, key="a-decline")
    assert (reply.status, reply.content["status"]) == (200, "failed")
    error = reply.content["last_error"]
    assert isinstance(error, dict)
    assert (error["code"], error["gateway_code"], error["retryable"]) == ("lost_or_stolen", "stolen_card", False)


async def test_a_payment_shows_what_it_was_confirmed_with(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    method = {"type": "card", "token": "sandbox_decline_hard"}
    reply = await shop.confirm(payment_id, key="another method", payment_method=method)
    shown = await shop.payment(payment_id)
    assert reply.content["status"] == shown["status"] == "failed"
    assert reply.content["payment_method"] == shown["payment_method"] == method | {"gateway_tokens": {}}
    assert stack.sandbox.charges(payment_id) == []


async def test_create_with_confirm_charges_at_once(stack: Stack, shop: Merchant) -> None:
    fields = {
        "amount": 500,
        "currency": "jpy",
        "confirm": True,
        "payment_method": {"type": "card", "token": "sandbox_approve"},
    }
    reply = await shop.post("/payments", fields, key="create-and-confirm")
    assert (reply.status, reply.content["status"]) == (201, "succeeded")
    assert reply.headers["location"] == f"/payments/{reply.payment_id}"
    assert [charge["currency"] for charge in stack.sandbox.charges(reply.payment_id)] == ["JPY"]


@pytest.mark.parametrize(("currency", "decimals"), [("jpy", 0), ("eur", 2), ("kwd", 3), ("clf", 4)])
async def test_an_amount_reaches_the_gateway_in_minor_units(
    currency: str, decimals: int, stack: Stack, shop: Merchant
) -> None:
    assert CURRENCY_EXPONENTS[currency] == decimals
    payment_id = await shop.new_payment("sandbox_approve", amount=1_999_001, currency=currency)
    reply = await shop.confirm(payment_id, key=f"minor units of {currency}")
    assert (reply.content["amount"], reply.content["amount_captured"]) == (1_999_001, 1_999_001)
    charges = stack.sandbox.charges(payment_id)
    assert [(charge["amount"], charge["currency"]) for charge in charges] == [(1_999_001, currency.upper())]
