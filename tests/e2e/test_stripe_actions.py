"""A customer who has to act at Stripe: they pay, they fail, they leave, or the merchant cancels under them."""

import pytest
import stripe

from tests.support.http import Merchant, eventually
from tests.support.localstripe import (
    CARD_DECLINED_AFTER_AUTHENTICATION,
    CARD_THAT_ASKS_FOR_AUTHENTICATION,
    Localstripe,
)
from tests.support.stripe_proxy import StripeProxy, answer_is_lost, never_arrives

pytestmark = [pytest.mark.xdist_group("stripe"), pytest.mark.slow]


async def waiting(shop: Merchant, localstripe: Localstripe, *, card: str = CARD_THAT_ASKS_FOR_AUTHENTICATION) -> str:
    """Confirm a payment whose customer then has to act; gives its id."""
    payment_id = await shop.new_payment(localstripe.card(card), return_url="https://shop.example/back")
    reply = await shop.confirm(payment_id, key=f"confirm-{payment_id}")
    assert (reply.status, reply.content["status"]) == (200, "requires_action"), reply.body
    return payment_id


def assert_nothing_charged(localstripe: Localstripe, payment_id: str, *, intent_status: str = "canceled") -> None:
    (intent,) = localstripe.intents(payment_id)
    assert (intent.status, localstripe.charges(payment_id)) == (intent_status, [])


def attempt_of(payment: dict[str, object]) -> dict[str, object]:
    attempts = payment["attempts"]
    assert isinstance(attempts, list)
    (attempt,) = attempts
    assert isinstance(attempt, dict)
    return attempt


async def test_a_merchants_cancel_ends_the_customers_part_at_once(
    localstripe: Localstripe, stripe_shop: Merchant
) -> None:
    payment_id = await waiting(stripe_shop, localstripe)
    reply = await stripe_shop.cancel(payment_id, key="cancel-action", cancellation_reason="duplicate")
    assert (reply.status, reply.content["status"], reply.content["cancellation_reason"]) == (
        200,
        "canceled",
        "duplicate",
    )
    assert (attempt_of(reply.content)["status"], reply.content["next_action"]) == ("voided", None)
    assert_nothing_charged(localstripe, payment_id)
    again = await stripe_shop.cancel(payment_id, key="cancel-action", cancellation_reason="duplicate")
    assert (again.status, again.is_replay, again.content) == (200, True, reply.content)


async def test_a_cancel_whose_answer_is_lost_is_202_and_then_canceled(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    payment_id = await waiting(stripe_shop, localstripe)
    proxy.script("cancel", answer_is_lost)
    reply = await stripe_shop.cancel(payment_id, key="cancel-lost")
    assert (reply.status, reply.content["status"]) == (202, "processing")
    payment = await stripe_shop.settled(payment_id)
    assert (payment["status"], payment["cancellation_reason"]) == ("canceled", "requested_by_merchant")
    assert_nothing_charged(localstripe, payment_id)


async def test_a_cancel_that_never_arrives_is_tried_again_under_a_new_key(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    payment_id = await waiting(stripe_shop, localstripe)
    proxy.script("cancel", never_arrives)
    reply = await stripe_shop.cancel(payment_id, key="cancel-never")
    assert (reply.status, reply.content["status"]) == (202, "processing")
    assert_nothing_charged(localstripe, payment_id, intent_status="requires_action")
    payment = await stripe_shop.settled(payment_id)
    assert payment["status"] == "canceled"
    assert_nothing_charged(localstripe, payment_id)
    attempt_id = attempt_of(payment)["id"]
    assert [key for verb, key in proxy.seen if verb == "cancel"] == [f"{attempt_id}-void-1", f"{attempt_id}-void-2"]


async def test_a_cancel_after_the_customer_paid_finds_the_charge_and_leaves_it(
    localstripe: Localstripe, stripe_shop: Merchant
) -> None:
    payment_id = await waiting(stripe_shop, localstripe)
    localstripe.authenticate(payment_id, outcome="true")
    reply = await stripe_shop.cancel(payment_id, key="cancel-paid-action")
    assert (reply.status, reply.content["status"], reply.content["amount_captured"]) == (200, "succeeded", 1999)
    assert len(localstripe.charges(payment_id)) == 1


@pytest.mark.parametrize("card", [CARD_THAT_ASKS_FOR_AUTHENTICATION, CARD_DECLINED_AFTER_AUTHENTICATION])
async def test_a_decline_after_an_action_fails_the_payment_once_the_intent_is_cancelled(
    card: str, localstripe: Localstripe, stripe_shop: Merchant
) -> None:
    payment_id = await waiting(stripe_shop, localstripe, card=card)
    authenticated = card == CARD_DECLINED_AFTER_AUTHENTICATION
    localstripe.authenticate(payment_id, outcome="true" if authenticated else "false")
    payment = await _synced_until_settled(stripe_shop, payment_id)
    error = payment["last_error"]
    assert isinstance(error, dict)
    assert (payment["status"], error["code"]) == (
        "failed",
        "card_declined" if authenticated else "authentication_failed",
    )
    assert attempt_of(payment)["status"] == "voided"
    assert_nothing_charged(localstripe, payment_id)


async def test_a_declined_customer_who_pays_with_another_card_before_the_cancel_arrives_has_paid(
    localstripe: Localstripe, stripe_shop: Merchant, proxy: StripeProxy
) -> None:
    payment_id = await waiting(stripe_shop, localstripe)
    localstripe.authenticate(payment_id, outcome="false")
    proxy.script("cancel", never_arrives)
    await _synced_until(stripe_shop, payment_id, "processing")
    _pay_in_the_browser(localstripe, payment_id)
    payment = await stripe_shop.settled(payment_id)
    assert (payment["status"], attempt_of(payment)["error"]) == ("succeeded", None)
    assert len(localstripe.charges(payment_id)) == 1


def _pay_in_the_browser(localstripe: Localstripe, payment_id: str) -> None:
    (intent,) = localstripe.intents(payment_id)
    intents = localstripe.client.v1.payment_intents
    intents.update(intent.id, {"payment_method": localstripe.card("4242424242424242")})
    paid: stripe.PaymentIntent = intents.confirm(intent.id)
    assert paid.status == "succeeded"


async def _synced_until(shop: Merchant, payment_id: str, status: str) -> None:
    await eventually(lambda: shop.payment(f"{payment_id}?sync=true"), lambda payment: payment["status"] == status)


async def _synced_until_settled(shop: Merchant, payment_id: str) -> dict[str, object]:
    return await eventually(
        lambda: shop.payment(f"{payment_id}?sync=true"),
        lambda payment: payment["status"] in {"succeeded", "failed", "canceled"},
    )
