"""Cancelling: at once before the charge, by a fence while nothing is known, never instead of a proven charge."""

import asyncio

import pytest

from tests.support.http import Merchant, Reply, eventually
from tests.support.stack import Stack


async def test_a_cancel_before_the_confirm_is_final(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    canceled = await shop.cancel(payment_id, key="early", cancellation_reason="duplicate")
    assert (canceled.status, canceled.content["status"]) == (200, "canceled")
    assert canceled.content["cancellation_reason"] == "duplicate"
    again = await shop.cancel(payment_id, key="early", cancellation_reason="duplicate")
    assert (again.is_replay, again.body) == (True, canceled.body)
    confirm = await shop.confirm(payment_id, key="too-late")
    assert (confirm.status, confirm.code) == (409, "payment_unexpected_state")
    assert confirm.content["current_status"] == "canceled"
    assert stack.sandbox.requests(payment_id) == []


async def test_a_terminal_payment_cannot_be_cancelled(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    await shop.confirm(payment_id, key="paid")
    reply = await shop.cancel(payment_id, key="cancel-paid")
    assert (reply.status, reply.code) == (409, "payment_unexpected_state")
    assert (await shop.payment(payment_id))["status"] == "succeeded"


async def test_a_running_payment_may_be_cancelled_twice_and_the_first_reason_counts(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_pending_always")
    assert (await shop.confirm(payment_id, key="runs on")).status == 202
    first = await shop.cancel(payment_id, key="cancel once", cancellation_reason="duplicate")
    second = await shop.cancel(payment_id, key="cancel twice", cancellation_reason="fraudulent")
    assert {first.status, second.status} <= {200, 202}
    assert first.content["cancellation_requested_at"] == second.content["cancellation_requested_at"] is not None
    payment = await shop.settled(payment_id)
    assert (payment["status"], payment["cancellation_reason"]) == ("canceled", "duplicate")
    for key in ("cancel once", "cancel twice"):
        reason = "duplicate" if key == "cancel once" else "fraudulent"
        replay = await shop.cancel(payment_id, key=key, cancellation_reason=reason)
        assert (replay.status, replay.is_replay, replay.content["status"]) == (200, True, "canceled")
    late = await shop.cancel(payment_id, key="cancel late")
    assert (late.status, late.code, late.content["current_status"]) == (409, "payment_unexpected_state", "canceled")


@pytest.mark.slow
async def test_cancels_that_race_confirms_end_as_the_book_says(stack: Stack, shop: Merchant) -> None:
    payments = [await shop.new_payment("sandbox_approve") for _ in range(40)]

    async def race(number: int, payment_id: str) -> tuple[Reply, Reply]:
        requests = [
            shop.confirm(payment_id, key=f"race-confirm-{number}"),
            shop.cancel(payment_id, key=f"race-cancel-{number}"),
        ]
        # Whoever is started first tends to win: both get their turn.
        order = requests if number % 2 else requests[::-1]
        replies = await asyncio.gather(*order)
        confirm, cancel = replies if number % 2 else replies[::-1]
        return confirm, cancel

    answers = await asyncio.gather(*(race(n, payment_id) for n, payment_id in enumerate(payments)))
    for payment_id, (confirm, cancel) in zip(payments, answers, strict=True):
        assert confirm.status in {200, 202, 409}, confirm.body
        assert cancel.status in {200, 202, 409}, cancel.body
        payment = await shop.settled(payment_id)
        charges = stack.sandbox.charges(payment_id)
        assert (payment["status"], len(charges)) in {("succeeded", 1), ("canceled", 0)}


@pytest.mark.slow
async def test_a_cancel_while_nothing_is_known_is_fenced_and_then_canceled(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_timeout_before_charge_always")
    assert (await shop.confirm(payment_id, key="silent")).status == 202
    reply = await shop.cancel(payment_id, key="cancel-silent")
    assert (reply.status, reply.content["status"]) == (202, "processing")
    assert reply.content["cancellation_requested_at"] is not None
    payment = await shop.settled(payment_id)
    assert (payment["status"], payment["cancellation_reason"]) == ("canceled", "requested_by_merchant")
    assert stack.sandbox.charges(payment_id) == []
    replay = await shop.cancel(payment_id, key="cancel-silent")
    assert (replay.status, replay.is_replay, replay.content["status"]) == (200, True, "canceled")


@pytest.mark.slow
async def test_a_cancel_while_the_confirm_still_runs_stops_a_charge_that_never_came(
    stack: Stack, shop: Merchant
) -> None:
    payment_id = await shop.new_payment("sandbox_timeout_before_charge_always")
    confirm = asyncio.ensure_future(shop.confirm(payment_id, key="running-cancel"))
    await eventually(lambda: shop.payment(payment_id), lambda payment: payment["status"] == "processing")
    assert (await shop.cancel(payment_id, key="cancel-running")).status == 202
    assert (await confirm).status in {200, 202}
    assert (await shop.settled(payment_id))["status"] == "canceled"
    assert stack.sandbox.charges(payment_id) == []


@pytest.mark.slow
async def test_a_cancel_that_comes_too_late_leaves_the_charge_a_success(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_timeout_after_charge")
    assert (await shop.confirm(payment_id, key="charged")).status == 202
    assert (await shop.cancel(payment_id, key="cancel-charged")).status == 202
    payment = await shop.settled(payment_id)
    assert (payment["status"], payment["amount_captured"]) == ("succeeded", 1999)
    assert len(stack.sandbox.charges(payment_id)) == 1
