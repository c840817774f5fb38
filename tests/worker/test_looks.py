"""What a client's look does, and what it leaves alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from paymux_connectors.transport import Sent
from paymux_core.exchange import HttpRequest, Verb
from paymux_flows.cancel import cancel_payment
from paymux_flows.commands import Caller, CancelPayment, KeyUse
from paymux_flows.look import look_now
from tests.support.postgres import Database
from tests.worker.stage import Stage, absent, worker_stage


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


async def _absent(_request: HttpRequest) -> Sent:
    return absent()


async def test_a_look_right_after_a_confirm_that_ended_unknown_asks_the_gateway(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    await look_now(stage.merchant_id, payment_id, stage.deps)
    assert stage.gateway.count(Verb.INQUIRE) == 1


async def test_a_second_look_within_ten_seconds_asks_nobody(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    for seconds in (0.0, 9.0, 2.0):
        stage.clock.seconds += seconds
        await look_now(stage.merchant_id, payment_id, stage.deps)
    assert stage.gateway.count(Verb.INQUIRE) == 2


async def test_nobody_looks_while_our_own_call_may_be_running(stage: Stage) -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()
    seen: list[int] = []

    async def hold(_request: HttpRequest) -> Sent:
        asked.set()
        await go_on.wait()
        return absent()

    payment_id = await stage.unknown_payment()
    stage.gateway.look = hold
    await stage.let_it_be_due(payment_id)
    async with stage.working():
        await asked.wait()
        # The worker may send money now: its lease keeps a look out.
        await look_now(stage.merchant_id, payment_id, stage.deps)
        seen.append(stage.gateway.count(Verb.INQUIRE))
        go_on.set()
    assert seen == [1]


async def test_however_often_a_client_looks_the_check_neither_moves_nor_counts(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.gateway.look = _absent
    before = await stage.row(payment_id)
    for _ in range(6):
        stage.clock.seconds += 11
        await look_now(stage.merchant_id, payment_id, stage.deps)
    after = await stage.row(payment_id)
    assert stage.gateway.count(Verb.INQUIRE) == 6
    assert (after["next_check_at"], after["check_count"]) == (before["next_check_at"], before["check_count"])
    await stage.checked(payment_id)
    assert stage.gateway.count(Verb.CHARGE) == 2, "the worker sent it again"


async def test_a_look_after_the_deadline_does_not_put_the_review_off(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.clock.seconds += 3700
    await look_now(stage.merchant_id, payment_id, stage.deps)
    assert (await stage.row(payment_id))["next_check_at"] <= stage.clock.now()
    await stage.checked(payment_id)
    assert await stage.reviews(payment_id) == ["deadline"]


async def test_a_look_does_not_cancel_the_hurry_of_a_cancellation(stage: Stage) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_request: HttpRequest) -> Sent:
        asked.set()
        await go_on.wait()
        return absent()

    payment_id = await stage.unknown_payment()
    stage.gateway.look = hold
    looking = asyncio.create_task(look_now(stage.merchant_id, payment_id, stage.deps))
    await asked.wait()
    caller = Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
    await cancel_payment(CancelPayment(caller, payment_id, KeyUse("cancel-1", bytes(32))), stage.deps)
    go_on.set()
    await looking
    assert (await stage.row(payment_id))["next_check_at"] <= stage.clock.now()


async def test_a_cancellation_during_a_check_is_followed_by_another_one_at_once(stage: Stage) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    fences: list[timedelta] = []

    async def hold(_request: HttpRequest) -> Sent:
        asked.set()
        await go_on.wait()
        return absent()

    payment_id = await stage.unknown_payment()
    stage.gateway.look = hold
    await stage.let_it_be_due(payment_id)
    async with stage.working():
        await asked.wait()
        caller = Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
        await cancel_payment(CancelPayment(caller, payment_id, KeyUse("cancel-1", bytes(32))), stage.deps)
        go_on.set()
        row = await stage.until(payment_id, lambda row: row["check_count"] > 1 and row["lease_token"] is None)
        fences.append(row["next_check_at"] - stage.clock.now())
    assert stage.gateway.count(Verb.FENCE) >= 1
    assert stage.gateway.count(Verb.CHARGE) == 1
