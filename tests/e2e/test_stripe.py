"""Stripe through our API: whatever becomes of a confirm, the payment ends as Stripe's own list of charges says."""

import asyncio

import pytest

from tests.support.http import Merchant, Reply, eventually
from tests.support.localstripe import CARD_THAT_ASKS_FOR_AUTHENTICATION, Localstripe
from tests.support.stack import Stack
from tests.support.stripe_proxy import Held, StripeProxy, answer_is_lost, never_arrives

pytestmark = pytest.mark.xdist_group("stripe")

APPROVED = "pm_card_visa"
DECLINED = "pm_card_chargeCustomerFail"


async def confirmed(shop: Merchant, token: str, key: str) -> Reply:
    payment_id = await shop.new_payment(token, return_url="https://shop.example/back")
    return await shop.confirm(payment_id, key=key)


def assert_charged_once(localstripe: Localstripe, payment: dict[str, object]) -> None:
    assert (payment["status"], payment["amount_captured"]) == ("succeeded", 1999)
    charges = localstripe.charges(str(payment["id"]))
    assert [(charge.amount, charge.currency, charge.captured) for charge in charges] == [(1999, "eur", True)]


async def test_a_charge_is_charged_once_under_the_id_that_was_reserved(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    reply = await confirmed(stripe_shop, APPROVED, "stripe-charged")
    assert (reply.status, reply.content["status"], reply.content["gateway"]) == (200, "succeeded", "stripe")
    assert_charged_once(localstripe, reply.content)
    (intent,) = localstripe.intents(reply.payment_id)
    attempts = reply.content["attempts"]
    assert isinstance(attempts, list)
    assert [attempt["provider_payment_id"] for attempt in attempts] == [intent.id]
    attempt_id = attempts[0]["id"]
    assert intent.metadata["attempt_id"] == attempt_id
    keys = [f"{attempt_id}-create-1", f"{attempt_id}-confirm-1"]
    assert proxy.seen == list(zip(("create", "confirm"), keys, strict=True))


async def test_a_decline_is_a_failed_payment_and_no_charge(localstripe: Localstripe, stripe_shop: Merchant) -> None:
    reply = await confirmed(stripe_shop, DECLINED, "stripe-declined")
    assert (reply.status, reply.content["status"]) == (200, "failed")
    error = reply.content["last_error"]
    assert isinstance(error, dict)
    assert (error["gateway"], error["gateway_code"]) == ("stripe", "card_declined")
    assert localstripe.charges(reply.payment_id) == []


async def test_an_action_is_handed_to_the_customer_and_nothing_is_charged_yet(
    localstripe: Localstripe, stripe_shop: Merchant
) -> None:
    token = localstripe.card(CARD_THAT_ASKS_FOR_AUTHENTICATION)
    reply = await confirmed(stripe_shop, token, "stripe-action")
    assert (reply.status, reply.content["status"]) == (200, "requires_action")
    action = reply.content["next_action"]
    assert isinstance(action, dict)
    assert action["type"] == "use_stripe_sdk"
    assert localstripe.charges(reply.payment_id) == []
    localstripe.authenticate(reply.payment_id, outcome="true")
    synced = await eventually(
        lambda: stripe_shop.payment(f"{reply.payment_id}?sync=true"), lambda payment: payment["status"] == "succeeded"
    )
    assert_charged_once(localstripe, synced)


@pytest.mark.slow
async def test_a_confirm_that_never_arrives_is_sent_again_while_the_customer_waits(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    proxy.script("confirm", never_arrives)
    reply = await confirmed(stripe_shop, APPROVED, "stripe-never")
    assert (reply.status, reply.content["status"]) == (202, "processing")
    assert localstripe.charges(reply.payment_id) == []
    payment = await stripe_shop.settled(reply.payment_id)
    if payment["status"] == "failed":
        # The look-up came after the charge window: the intent is cancelled then, and nobody is charged any more.
        (intent,) = localstripe.intents(reply.payment_id)
        assert (intent.status, localstripe.charges(reply.payment_id)) == ("canceled", [])
        return
    assert_charged_once(localstripe, payment)
    assert len({key for verb, key in proxy.seen if verb == "confirm"}) == 1


@pytest.mark.slow
async def test_confirms_that_never_arrive_end_in_a_cancelled_intent_and_no_charge(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    proxy.script("confirm", *[never_arrives] * 20)
    reply = await confirmed(stripe_shop, APPROVED, "stripe-never-ever")
    assert reply.status == 202
    payment = await stripe_shop.settled(reply.payment_id)
    error = payment["last_error"]
    assert isinstance(error, dict)
    assert (payment["status"], error["code"]) == ("failed", "gateway_timeout")
    (intent,) = localstripe.intents(reply.payment_id)
    assert (intent.status, localstripe.charges(reply.payment_id)) == ("canceled", [])


@pytest.mark.slow
async def test_a_charge_whose_answer_is_lost_is_found_by_its_id(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    proxy.script("confirm", answer_is_lost)
    reply = await confirmed(stripe_shop, APPROVED, "stripe-lost")
    assert (reply.status, reply.content["status"]) == (202, "processing")
    payment = await stripe_shop.settled(reply.payment_id)
    assert_charged_once(localstripe, payment)
    assert [verb for verb, _ in proxy.seen] == ["create", "confirm", "read"]


@pytest.mark.slow
async def test_a_decline_whose_answer_is_lost_is_read_from_the_intent(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    proxy.script("confirm", answer_is_lost)
    reply = await confirmed(stripe_shop, DECLINED, "stripe-lost-decline")
    assert reply.status == 202
    payment = await stripe_shop.settled(reply.payment_id)
    assert (payment["status"], localstripe.charges(reply.payment_id)) == ("failed", [])


@pytest.mark.slow
async def test_a_confirm_that_arrives_after_we_gave_up_charges_once(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    held = Held()
    proxy.script("confirm", held.before)
    reply = await confirmed(stripe_shop, APPROVED, "stripe-zombie")
    assert (reply.status, held.arrived.is_set()) == (202, True)
    held.let_go.set()
    await held.passed_on.wait()
    assert_charged_once(localstripe, await stripe_shop.settled(reply.payment_id))


@pytest.mark.slow
async def test_a_reserve_whose_answer_is_lost_charges_once(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    proxy.script("create", answer_is_lost)
    reply = await confirmed(stripe_shop, APPROVED, "stripe-lost-reserve")
    assert reply.status == 202
    payment = await stripe_shop.settled(reply.payment_id)
    charges = localstripe.charges(reply.payment_id)
    assert (payment["status"], len(charges)) in {("succeeded", 1), ("failed", 0)}
    creates = {key for verb, key in proxy.seen if verb == "create"}
    assert len(creates) == 1, "a reserve is repeated under its key"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_reserved_id_is_committed_before_the_charge_is_sent_so_that_the_worker_heals_a_killed_api(
    moment: str, stack: Stack, localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    held = Held()
    proxy.script("confirm", held.before if moment == "before" else held.after)
    payment_id = await stripe_shop.new_payment(APPROVED, return_url="https://shop.example/back")
    confirm = asyncio.ensure_future(stripe_shop.confirm(payment_id, key=f"stripe-killed-{moment}"))
    await held.arrived.wait()
    (intent,) = localstripe.intents(payment_id)
    rows = await stack.fetch(
        "select status, provider_payment_id from payment_attempts where provider_payment_id = $1", intent.id
    )
    assert [row["status"] for row in rows] == ["started"], "the id is durable while the charge is on its way"
    stack.api.kill()
    with pytest.raises(ConnectionError):
        await confirm
    if moment == "after":
        held.let_go.set()
    stack.api.start()
    await stack.ready()
    payment = await stripe_shop.settled(payment_id)
    charges = localstripe.charges(payment_id)
    assert (payment["status"], len(charges)) in (
        {("succeeded", 1)} if moment == "after" else {("succeeded", 1), ("failed", 0)}
    )
    assert len(localstripe.intents(payment_id)) == 1
    replayed = await stripe_shop.confirm(payment_id, key=f"stripe-killed-{moment}")
    assert (replayed.status, replayed.is_replay, replayed.content["status"]) == (200, True, payment["status"])
    await eventually(stack.violations, lambda found: found == [])
