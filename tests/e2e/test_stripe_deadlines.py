"""The end of a customer's time at Stripe, with the clock in our hands: look once more, then cancel."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from paymux_core.ids import Kind, public_id
from paymux_core.money import Money
from paymux_core.phases import Claim
from paymux_core.records import Payment, PaymentMethod
from paymux_core.transitions import PaymentStatus
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.reconcile import check
from tests.support.localstripe import CARD_THAT_ASKS_FOR_AUTHENTICATION, Localstripe
from tests.support.one_account import Stage, set_up
from tests.support.postgres import Database
from tests.support.stripe_proxy import StripeProxy, never_arrives

pytestmark = pytest.mark.xdist_group("stripe")


@pytest.fixture
async def stage(database: Database, proxy: StripeProxy, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with set_up(database.dsn, proxy.url, seed=request.node.name, gateway="stripe", call_seconds=20) as opened:
        yield opened


@pytest.fixture
async def waiting(stage: Stage, localstripe: Localstripe) -> UUID:
    """A payment whose customer has to act."""
    caller = Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
    method = PaymentMethod("card", localstripe.card(CARD_THAT_ASKS_FOR_AUTHENTICATION))
    command = CreatePayment(
        caller=caller, money=Money(1999, "eur"), payment_method=method, return_url="https://shop.example/back"
    )
    await create_payment(command, stage.deps)
    rows = await stage.store.pool.fetch("select id from payments where merchant_id = $1", stage.merchant_id)
    (payment_id,) = [row["id"] for row in rows]
    await confirm_payment(ConfirmPayment(caller, payment_id, KeyUse("key-1", bytes(32))), stage.deps)
    assert (await loaded(stage, payment_id)).status is PaymentStatus.REQUIRES_ACTION
    return UUID(int=payment_id.int)


async def loaded(stage: Stage, payment_id: UUID) -> Payment:
    payment = await stage.store.load_payment(stage.merchant_id, payment_id)
    assert payment is not None
    return payment


async def at_the_next_check(stage: Stage, payment_id: UUID) -> Payment:
    """Let time pass until the attempt's check is due, and do it."""
    due_at = (await loaded(stage, payment_id)).attempts[0].next_check_at
    assert due_at is not None
    stage.clock.seconds += max(0.0, (due_at - stage.clock.now()) / timedelta(seconds=1))
    now = stage.clock.now()
    due = await stage.store.claim_due_attempts(
        Claim(now, stage.clock.monotonic(), stage.deps.ids.new(), now + timedelta(seconds=60), limit=10)
    )
    assert len(due) == 1
    await check(due[0], stage.deps, actor="worker:test")
    return await loaded(stage, payment_id)


def booked(localstripe: Localstripe, payment_id: UUID) -> tuple[str, int]:
    public = public_id(Kind.PAYMENT, payment_id)
    (intent,) = localstripe.intents(public)
    return intent.status, len(localstripe.charges(public))


async def assert_whole(database: Database, stage: Stage) -> None:
    connection = await asyncpg.connect(database.dsn)
    rows = await connection.fetch("select invariant, detail from inv.all_violations($1)", stage.clock.now())
    await connection.close()
    assert [str(row) for row in rows] == []


async def test_nobody_is_asked_about_before_the_customers_time_is_over(stage: Stage, waiting: UUID) -> None:
    payment = await loaded(stage, waiting)
    assert payment.attempts[0].next_check_at == payment.processing_deadline_at
    assert payment.processing_deadline_at == payment.attempts[0].updated_at + timedelta(minutes=30)


async def test_a_customer_who_left_is_abandoned_and_can_pay_no_more(
    database: Database, stage: Stage, waiting: UUID, localstripe: Localstripe, proxy: StripeProxy
) -> None:
    payment = await at_the_next_check(stage, waiting)
    assert (str(payment.status), payment.cancellation_reason) == ("canceled", "abandoned")
    assert str(payment.attempts[0].status) == "voided"
    assert [verb for verb, _ in proxy.seen] == ["create", "confirm", "read", "cancel"]
    assert booked(localstripe, waiting) == ("canceled", 0)
    await assert_whole(database, stage)


async def test_a_customer_who_paid_at_the_last_moment_is_found_by_the_last_look(
    database: Database, stage: Stage, waiting: UUID, localstripe: Localstripe, proxy: StripeProxy
) -> None:
    localstripe.authenticate(public_id(Kind.PAYMENT, waiting), outcome="true")
    payment = await at_the_next_check(stage, waiting)
    assert str(payment.status) == "succeeded"
    assert "cancel" not in [verb for verb, _ in proxy.seen]
    assert booked(localstripe, waiting) == ("succeeded", 1)
    await assert_whole(database, stage)


async def test_a_cancel_that_is_not_answered_leaves_it_unknown_with_a_new_deadline_and_goes_on(
    database: Database, stage: Stage, waiting: UUID, localstripe: Localstripe, proxy: StripeProxy
) -> None:
    proxy.script("cancel", never_arrives, never_arrives)
    payment = await at_the_next_check(stage, waiting)
    assert (str(payment.status), str(payment.attempts[0].status)) == ("processing", "unknown")
    assert payment.processing_deadline_at == payment.updated_at + timedelta(hours=1)
    assert (payment.next_action, payment.review) == (None, None)
    assert booked(localstripe, waiting) == ("requires_action", 0)
    payment = await at_the_next_check(stage, waiting)
    assert (str(payment.status), str(payment.attempts[0].status)) == ("processing", "unknown")
    payment = await at_the_next_check(stage, waiting)
    assert (str(payment.status), payment.cancellation_reason) == ("canceled", "abandoned")
    assert booked(localstripe, waiting) == ("canceled", 0)
    await assert_whole(database, stage)


async def test_a_gateway_that_stays_silent_ends_in_a_review_and_the_answer_closes_it(
    database: Database, stage: Stage, waiting: UUID, localstripe: Localstripe, proxy: StripeProxy
) -> None:
    proxy.script("read", *[never_arrives] * 100)
    proxy.script("cancel", *[never_arrives] * 100)
    reviewed = await at_the_next_check(stage, waiting)
    for _ in range(20):
        if reviewed.review is not None:
            break
        reviewed = await at_the_next_check(stage, waiting)
    assert reviewed.review is not None
    assert (reviewed.review.reason, str(reviewed.status)) == ("deadline", "processing")
    localstripe.authenticate(public_id(Kind.PAYMENT, waiting), outcome="true")
    proxy.scripts.clear()
    payment = await at_the_next_check(stage, waiting)
    assert (str(payment.status), payment.review) == ("succeeded", None)
    assert booked(localstripe, waiting) == ("succeeded", 1)
    await assert_whole(database, stage)
