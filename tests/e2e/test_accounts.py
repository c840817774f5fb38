"""Which gateway account is used, and what a merchant is told when there is none."""

import pytest

from paymux_cli.processes import free_port
from tests.support.http import Merchant
from tests.support.stack import Account, Stack


async def test_a_payment_without_a_method_cannot_be_confirmed(shop: Merchant) -> None:
    payment_id = (await shop.create()).payment_id
    reply = await shop.confirm(payment_id, key="no-method")
    assert (reply.status, reply.code, reply.content["param"]) == (422, "validation_failed", "payment_method")
    assert (await shop.payment(payment_id))["status"] == "requires_confirmation"


async def test_a_method_may_come_with_the_confirm(shop: Merchant) -> None:
    payment_id = (await shop.create()).payment_id
    method = {"type": "card", "gateway_tokens": {"mock": "sandbox_approve"}}
    reply = await shop.confirm(payment_id, key="method-now", payment_method=method)
    assert (reply.status, reply.content["status"]) == (200, "succeeded")


async def test_tokens_for_other_gateways_only_find_no_eligible_one(shop: Merchant) -> None:
    payment_id = (await shop.create()).payment_id
    method = {"type": "card", "gateway_tokens": {"stripe": "pm_1"}}
    reply = await shop.confirm(payment_id, key="other-gateway", payment_method=method)
    assert (reply.status, reply.code) == (422, "no_eligible_gateway")
    payment = await shop.payment(payment_id)
    assert (payment["status"], payment["attempts"]) == ("requires_confirmation", [])


@pytest.mark.parametrize(
    ("accounts", "status", "code"),
    [
        ((), 422, "no_eligible_gateway"),
        ((Account(status="disabled"), Account(status="draining")), 503, "gateway_unavailable"),
    ],
)
async def test_without_an_enabled_account_nothing_is_stored(
    accounts: tuple[Account, ...], status: int, code: str, stack: Stack
) -> None:
    merchant = stack.new_merchant(accounts=accounts)
    payment_id = await merchant.new_payment("sandbox_approve")
    reply = await merchant.confirm(payment_id, key="nowhere")
    assert (reply.status, reply.code) == (status, code)
    assert ("retry-after" in reply.headers) == (status == 503)
    assert (await merchant.payment(payment_id))["attempts"] == []
    keys = "select from idempotency_keys where merchant_id = $1"
    assert await stack.fetch(keys, stack.ids[merchant.api_key]) == []
    fields = {"amount": 1, "currency": "eur", "confirm": True}
    method = {"payment_method": {"type": "card", "token": "sandbox_approve"}}
    assert (await merchant.post("/payments", fields | method, key="at-once")).code == code
    assert await stack.payments_count(merchant) == 1


async def test_a_disabled_account_is_passed_over(stack: Stack) -> None:
    merchant = stack.new_merchant(accounts=[Account(status="disabled"), Account()])
    payment_id = await merchant.new_payment("sandbox_approve")
    assert (await merchant.confirm(payment_id, key="second")).content["status"] == "succeeded"


async def test_a_gateway_that_cannot_be_reached_passes_the_payment_on(stack: Stack) -> None:
    unreachable = Account(base_url=f"http://127.0.0.1:{free_port()}")
    merchant = stack.new_merchant(accounts=[unreachable, Account()])
    payment_id = await merchant.new_payment("sandbox_approve")
    payment = (await merchant.confirm(payment_id, key="pass-on")).content
    if payment["status"] == "processing":
        payment = await merchant.settled(payment_id)
    attempts = payment["attempts"]
    assert isinstance(attempts, list)
    assert [attempt["status"] for attempt in attempts] == ["not_executed", "succeeded"]
    assert len(stack.sandbox.charges(payment_id)) == 1


@pytest.mark.slow
async def test_while_an_outcome_is_unknown_no_other_account_is_tried(stack: Stack) -> None:
    merchant = stack.new_merchant(accounts=[Account(), Account(gateway="flaky")])
    payment_id = await merchant.new_payment("sandbox_timeout_after_charge")
    assert (await merchant.confirm(payment_id, key="unknown")).status == 202
    payment = await merchant.settled(payment_id)
    attempts = payment["attempts"]
    assert isinstance(attempts, list)
    assert [attempt["gateway"] for attempt in attempts] == ["mock"]
    assert len(stack.sandbox.charges(payment_id)) == 1
