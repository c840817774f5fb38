"""Every pair of reason and action: it answers as the table says, and changes what it says."""

import json
from uuid import UUID

import pytest

from paymux_core.errors import ActionNotAllowed
from paymux_core.exchange import Verb
from paymux_core.review_rules import ALLOWED, NEEDS_REFUNDS, ReviewAction, ReviewReason
from tests.reviews.stage import AMOUNT, KEY_ID, Stage, fenced, no_charge, shows, too_late

MISMATCHED = {"amount": AMOUNT - 1}


@pytest.mark.parametrize("reason", ReviewReason)
async def test_what_does_not_fit_changes_nothing_and_asks_nobody(stage: Stage, reason: ReviewReason) -> None:
    payment_id, review_id = await stage.under_review(reason)
    before, told, sent = await stage.payment(payment_id), await stage.told(payment_id), len(stage.gateway.sent)
    for action in ReviewAction:
        if action in ALLOWED[reason] - NEEDS_REFUNDS:
            continue
        with pytest.raises(ActionNotAllowed):
            await stage.resolve(review_id, action, provider_reference="ch_1")
    assert (await stage.review(review_id)).status == "open"
    assert await stage.payment(payment_id) == before
    assert await stage.told(payment_id) == told
    assert len(stage.gateway.sent) == sent


@pytest.mark.parametrize("reason", ReviewReason)
async def test_keep_waiting_asks_once_more_and_leaves_it_open(stage: Stage, reason: ReviewReason) -> None:
    payment_id, review_id = await stage.under_review(reason)
    stage.gateway.look = no_charge
    asked = stage.gateway.count(Verb.INQUIRE)
    reply = await stage.resolve(review_id, "keep_waiting")
    assert (reply.http_status, json.loads(reply.body)["status"]) == (200, "open")
    assert stage.gateway.count(Verb.INQUIRE) == asked + 1
    assert (await stage.review(review_id)).status == "open"
    assert (await stage.told(payment_id))[-1] == "review.keep_waiting"
    document = await stage.action(payment_id)
    assert (document["actor"], document["evidence"], document["api_key_id"]) == ("Ann", "what I saw", KEY_ID)
    assert await stage.violations() == []


@pytest.mark.parametrize("reason", [r for r in ReviewReason if ReviewAction.DISMISS in ALLOWED[r]])
async def test_dismiss_closes_what_is_not_about_a_payments_end(stage: Stage, reason: ReviewReason) -> None:
    payment_id, review_id = await stage.under_review(reason)
    sent = len(stage.gateway.sent)
    reply = await stage.resolve(review_id, "dismiss")
    assert json.loads(reply.body)["status"] == "resolved"
    review = await stage.review(review_id)
    assert (review.resolution, review.actor, review.evidence) == ("dismiss", "Ann", "what I saw")
    assert review.api_key_id == KEY_ID
    assert (await stage.told(payment_id))[-2:] == ["review.dismiss", "payment.review_resolved"]
    assert (await stage.payment(payment_id)).status == "processing"
    assert len(stage.gateway.sent) == sent
    with pytest.raises(ActionNotAllowed, match="resolved before"):
        await stage.resolve(review_id, "dismiss")


OF_AN_ANSWER = [r for r in ReviewReason if ReviewAction.MARK_FAILED in ALLOWED[r]]


@pytest.mark.parametrize("reason", OF_AN_ANSWER)
async def test_mark_succeeded_books_what_the_gateway_shows(stage: Stage, reason: ReviewReason) -> None:
    payment_id, review_id = await stage.under_review(reason)
    stage.gateway.look = shows("succeeded")
    reply = await stage.resolve(review_id, "mark_succeeded", provider_reference="ch_1")
    payment, review = await stage.payment(payment_id), await stage.review(review_id)
    assert reply.http_status == 200
    assert json.loads(reply.body) == json.loads(reply.body) | {"status": "resolved", "resolution": "mark_succeeded"}
    assert (payment.status, payment.amount_captured, payment.reviews) == ("succeeded", AMOUNT, ())
    assert (review.status, review.resolution, review.actor, review.evidence, review.api_key_id) == (
        "resolved", "mark_succeeded", "Ann", "what I saw", KEY_ID)  # fmt: skip
    assert (await stage.told(payment_id))[-3:] == [
        "review.mark_succeeded", "payment.succeeded", "payment.review_resolved"]  # fmt: skip
    assert (await stage.action(payment_id))["provider_reference"] == "ch_1"
    assert await stage.violations() == []


@pytest.mark.parametrize("reason", OF_AN_ANSWER)
async def test_mark_failed_closes_what_the_gateway_does_not_show_and_watches_it(
    stage: Stage, reason: ReviewReason
) -> None:
    payment_id, review_id = await stage.under_review(reason)
    await stage.resolve(review_id, "mark_failed")
    payment, review = await stage.payment(payment_id), await stage.review(review_id)
    assert (payment.status, payment.attempts[0].status) == ("failed", "failed")
    assert payment.last_error is not None
    assert payment.last_error.refusal.code == "unknown"
    assert (review.status, review.resolution, review.actor) == ("resolved", "mark_failed", "Ann")
    assert payment.attempts[0].watch_until is not None
    assert payment.attempts[0].next_check_at is not None
    assert (await stage.told(payment_id))[-4:] == [
        "review.mark_failed", "attempt.failed", "payment.failed", "payment.review_resolved"]  # fmt: skip
    assert await stage.violations() == []


@pytest.mark.parametrize("reason", OF_AN_ANSWER)
async def test_void_closes_what_the_gateway_has_cancelled(stage: Stage, reason: ReviewReason) -> None:
    payment_id, review_id = await stage.under_review(reason)
    stage.gateway.fence = fenced
    await stage.resolve(review_id, "void")
    payment, review = await stage.payment(payment_id), await stage.review(review_id)
    assert (payment.status, payment.attempts[0].status, len(payment.attempts)) == ("failed", "voided", 1)
    assert (review.status, review.resolution) == ("resolved", "void")
    assert await stage.violations() == []


async def test_void_of_a_mismatch_makes_what_was_charged_a_late_charge(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("integrity_mismatch")
    stage.gateway.fence = too_late(**MISMATCHED)
    stage.gateway.look = shows("succeeded", **MISMATCHED)
    await stage.resolve(review_id, "void")
    payment, review = await stage.payment(payment_id), await stage.review(review_id)
    assert (payment.status, payment.attempts[0].status) == ("failed", "failed")
    assert payment.attempts[0].reason == "integrity_mismatch"
    assert payment.last_error is not None
    assert payment.last_error.refusal.code == "integrity_mismatch"
    assert [(c.amount, c.status, c.provider_payment_id) for c in payment.late_charges] == [(AMOUNT - 1, "open", "ch_1")]
    assert (review.status, review.resolution) == ("resolved", "void")
    assert [open_.reason for open_ in payment.reviews] == ["late_charge"]
    assert await stage.violations() == []


async def test_void_of_a_mismatch_that_can_still_be_cancelled_leaves_no_charge(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("integrity_mismatch")
    await stage.resolve(review_id, "void")
    payment = await stage.payment(payment_id)
    assert (payment.status, payment.late_charges, payment.reviews) == ("failed", (), ())
    assert await stage.violations() == []


@pytest.mark.parametrize("reason", ["late_charge", "refund_refused"])
async def test_void_of_a_late_charge_releases_what_is_held(stage: Stage, reason: str) -> None:
    payment_id = await _with_late_authorization(stage)
    (found,) = (await stage.payment(payment_id)).reviews
    review_id = found.id
    if reason != "late_charge":
        _, review_id = await stage.under_review(reason, payment_id)
    await stage.resolve(review_id, "void")
    payment, review = await stage.payment(payment_id), await stage.review(review_id)
    assert [charge.status for charge in payment.late_charges] == ["voided"]
    assert (review.status, review.resolution) == ("resolved", "void")
    assert (await stage.told(payment_id))[-3:] == [
        "review.void", "payment.late_charge_resolved", "payment.review_resolved"]  # fmt: skip
    for left in payment.reviews:
        # With nothing left to release, what else was asked about it is answered too.
        await stage.resolve(left.id, "void")
        assert (await stage.review(left.id)).resolution == "void"
    assert (await stage.payment(payment_id)).reviews == ()
    assert await stage.violations() == []


async def _with_late_authorization(stage: Stage) -> UUID:
    """A payment that a person failed, for which the gateway holds money all the same."""
    payment_id, review_id = await stage.under_review("deadline")
    await stage.resolve(review_id, "mark_failed")
    stage.gateway.look = shows("authorized")
    _, other = await stage.under_review("handler_failed", payment_id)
    await stage.resolve(other, "keep_waiting")  # the gateway's answer closes this one
    payment = await stage.payment(payment_id)
    assert [charge.status for charge in payment.late_charges] == ["open"]
    return payment_id
