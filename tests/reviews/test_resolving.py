"""What the gateway does not bear out resolves nothing; what is said twice is said once."""

import asyncio
import json

import pytest

from paymux_core.errors import ActionNotAllowed, IdempotencyKeyReused, NotFound, ValidationFailed
from paymux_core.exchange import Verb
from paymux_flows.commands import Caller, KeyUse, ResolveReview
from paymux_flows.resolve_review import resolve_review
from paymux_flows.reviews import get_review
from tests.reviews.stage import AMOUNT, Stage, no_charge, shows, silence, too_late
from tests.support.builders import insert


@pytest.mark.parametrize(
    "seen",
    [no_charge, silence, shows("pending"), shows("authorized"), shows("succeeded", amount=1),
     shows("succeeded", currency="USD"), shows("succeeded", attempt_id="att_another"),
     shows("succeeded", id="ch_another")],
    ids=["absent", "silent", "pending", "held", "amount", "currency", "attempt", "id"],
)  # fmt: skip
async def test_mark_succeeded_is_refused_where_the_gateway_does_not_show_that_charge(
    stage: Stage, seen: object
) -> None:
    payment_id, review_id = await stage.under_review("handler_failed")
    stage.gateway.look = seen  # type: ignore[assignment]
    with pytest.raises(ActionNotAllowed, match="not confirmed"):
        await stage.resolve(review_id, "mark_succeeded", provider_reference="ch_1")
    payment = await stage.payment(payment_id)
    review = await stage.review(review_id)
    # Another charge under our attempt's own name is believed, as ever; it is not the one that the person named.
    by_gateway = payment.status == "succeeded" and review.resolution == "gateway_answered"
    assert by_gateway or (payment.status == "processing" and review.status == "open")
    assert stage.gateway.count(Verb.INQUIRE) == 1
    assert "review.mark_succeeded" not in await stage.told(payment_id)
    assert await stage.violations() == []


async def test_mark_succeeded_names_the_charge_and_no_other_than_is_known(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    with pytest.raises(ValidationFailed) as missing:
        await stage.resolve(review_id, "mark_succeeded")
    stage.gateway.look = shows("pending", id="ch_known")
    await stage.resolve(review_id, "keep_waiting")
    with pytest.raises(ValidationFailed) as other:
        await stage.resolve(review_id, "mark_succeeded", provider_reference="ch_1")
    assert missing.value.param == other.value.param == "provider_reference"
    assert (await stage.payment(payment_id)).attempts[0].provider_payment_id == "ch_known"


@pytest.mark.parametrize(
    "seen", [shows("pending"), shows("authorized"), shows("succeeded", amount=1)], ids=["pending", "held", "amount"]
)
async def test_mark_failed_is_refused_where_money_may_be(stage: Stage, seen: object) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    stage.gateway.look = seen  # type: ignore[assignment]
    with pytest.raises(ActionNotAllowed, match="not confirmed"):
        await stage.resolve(review_id, "mark_failed", settlement_report="2026-11")
    assert (await stage.payment(payment_id)).status == "processing"
    assert (await stage.review(review_id)).status == "open"


async def test_mark_failed_where_the_gateway_took_the_money_makes_a_success_of_it(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    stage.gateway.look = shows("succeeded")
    with pytest.raises(ActionNotAllowed, match=f"took {AMOUNT} eur"):
        await stage.resolve(review_id, "mark_failed")
    assert (await stage.payment(payment_id)).status == "succeeded"
    assert (await stage.review(review_id)).resolution == "gateway_answered"
    assert await stage.violations() == []


async def test_a_silent_gateway_needs_the_settlement_report(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    stage.gateway.look = silence
    with pytest.raises(ActionNotAllowed, match="settlement_report"):
        await stage.resolve(review_id, "mark_failed")
    assert (await stage.review(review_id)).status == "open"
    await stage.resolve(review_id, "mark_failed", settlement_report="2026-11, closed")
    assert (await stage.payment(payment_id)).status == "failed"
    assert (await stage.action(payment_id))["settlement_report"] == "2026-11, closed"


async def test_a_decline_that_is_found_fails_the_payment_with_its_own_code(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    stage.gateway.look = shows("declined", decline={"code": "stolen_card", "message": "no", "retryable": False})
    await stage.resolve(review_id, "mark_failed")
    payment = await stage.payment(payment_id)
    assert payment.last_error is not None
    assert payment.last_error.refusal.code == "lost_or_stolen"
    assert (await stage.review(review_id)).resolution == "mark_failed"


async def test_a_charge_that_is_found_after_mark_failed_is_a_late_charge(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    await stage.resolve(review_id, "mark_failed")
    stage.gateway.look = shows("succeeded")
    _, other = await stage.under_review("handler_failed", payment_id)
    with pytest.raises(ActionNotAllowed):
        await stage.resolve(other, "mark_failed")
    payment = await stage.payment(payment_id)
    assert payment.status == "failed"
    assert [(charge.amount, charge.status) for charge in payment.late_charges] == [(AMOUNT, "open")]
    assert "late_charge" in {review.reason for review in payment.reviews}
    assert await stage.violations() == []


@pytest.mark.parametrize("said", [silence, too_late(), too_late(amount=1)], ids=["silent", "charged", "another amount"])
async def test_a_void_that_is_not_acknowledged_resolves_nothing(stage: Stage, said: object) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    stage.gateway.fence = said  # type: ignore[assignment]
    with pytest.raises(ActionNotAllowed, match="not confirmed"):
        await stage.resolve(review_id, "void")
    assert (await stage.review(review_id)).resolution in {None, "gateway_answered"}
    assert (await stage.payment(payment_id)).status != "failed"
    assert await stage.violations() == []


@pytest.mark.parametrize("said", [silence, too_late()], ids=["silent", "right after all"])
async def test_a_mismatch_whose_gateway_shows_none_stays_open_or_is_put_right(stage: Stage, said: object) -> None:
    payment_id, review_id = await stage.under_review("integrity_mismatch")
    stage.gateway.fence = said  # type: ignore[assignment]
    if said is silence:
        with pytest.raises(ActionNotAllowed):
            await stage.resolve(review_id, "void")
        assert (await stage.review(review_id)).status == "open"
    else:
        await stage.resolve(review_id, "void")
        payment = await stage.payment(payment_id)
        assert (payment.status, payment.late_charges, payment.reviews) == ("succeeded", (), ())
    assert await stage.violations() == []


async def test_the_same_request_with_its_key_gets_the_same_answer(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    use = KeyUse("resolve-1", bytes(range(32)))
    first = await stage.resolve(review_id, "mark_failed", key=use)
    told = await stage.told(payment_id)
    again = await stage.resolve(review_id, "mark_failed", key=use)
    assert (again.http_status, again.body, again.replayed) == (200, first.body, True)
    assert await stage.told(payment_id) == told
    with pytest.raises(IdempotencyKeyReused):
        await stage.resolve(review_id, "mark_failed", key=KeyUse("resolve-1", bytes(32)))
    kept = KeyUse("wait-1", bytes(32))
    _, other = await stage.under_review("unmatched_webhook", payment_id)
    waited = await stage.resolve(other, "keep_waiting", key=kept)
    assert (await stage.resolve(other, "keep_waiting", key=kept)).body == waited.body
    assert (await stage.told(payment_id)).count("review.keep_waiting") == 1


async def test_of_many_people_at_once_one_resolves(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    done = await asyncio.gather(
        *(stage.resolve(review_id, action) for action in ("mark_failed", "void", "mark_failed", "void")),
        return_exceptions=True,
    )
    assert [type(one).__name__ for one in done].count("Reply") == 1, done
    assert all(isinstance(one, ActionNotAllowed) for one in done if isinstance(one, BaseException)), done
    assert (await stage.told(payment_id)).count("payment.review_resolved") == 1
    assert await stage.violations() == []


async def test_a_review_is_its_merchants_and_its_modes(stage: Stage) -> None:
    _, review_id = await stage.under_review("deadline")
    caller, deps = stage.caller, stage.of_account.deps
    strangers = [
        Caller(deps.ids.new(), livemode=False, api_key_id="x", request_id="req"),
        Caller(caller.merchant_id, livemode=True, api_key_id="x", request_id="req"),
    ]
    for stranger in strangers:
        with pytest.raises(NotFound):
            await get_review(stranger, review_id, deps)
        with pytest.raises(NotFound):
            await resolve_review(
                ResolveReview(stranger, review_id, action="void", evidence="x", actor="x"),  # type: ignore[arg-type]
                deps,
            )
    assert json.loads((await get_review(caller, review_id, deps)).body)["status"] == "open"


async def test_where_nobody_can_be_asked_nothing_is_resolved(stage: Stage) -> None:
    payment_id, review_id = await stage.under_review("deadline")
    candidate = stage.of_account.deps.accounts.candidate  # type: ignore[attr-defined]
    stage.of_account.deps.accounts.candidate = _elsewhere(candidate, stage)  # type: ignore[attr-defined]
    for action in ("mark_failed", "void"):
        with pytest.raises(ActionNotAllowed, match="cannot be used here"):
            await stage.resolve(review_id, action)
    await stage.resolve(review_id, "keep_waiting")
    assert (await stage.payment(payment_id)).status == "processing"


def _elsewhere(candidate: object, stage: Stage) -> object:
    from msgspec.structs import replace

    return replace(candidate, account_id=stage.of_account.deps.ids.new())  # type: ignore[type-var]


@pytest.mark.parametrize("subject", ["webhook_id", "gateway_account_id"])
async def test_a_review_that_is_about_no_payment_is_dismissed_in_the_merchants_log(stage: Stage, subject: str) -> None:
    reason = "unmatched_webhook" if subject == "webhook_id" else "gateway_configuration"
    review_id, account_id = stage.of_account.deps.ids.new(), stage.of_account.deps.accounts.candidate.account_id  # type: ignore[attr-defined]
    row = {"merchant_id": stage.of_account.merchant_id, "id": review_id, "reason": reason, "status": "open"}
    await insert(stage.admin, "reviews", **row, opened_at=stage.of_account.clock.now(), **{subject: account_id})
    use = KeyUse("dismiss-1", bytes(32))
    assert json.loads((await stage.resolve(review_id, "keep_waiting")).body)["status"] == "open"
    done = await stage.resolve(review_id, "dismiss", key=use)
    assert (await stage.resolve(review_id, "dismiss", key=use)).body == done.body
    shown = json.loads(done.body)
    assert (shown["status"], shown["payment_id"], shown[subject] is None) == ("resolved", None, False)
    told = await stage.admin.fetch("select type, subject, public from merchant_events order by id")
    assert {(row["type"], row["public"]) for row in told} == {("review.keep_waiting", False), ("review.dismiss", False)}
    assert {row["subject"] for row in told} == {shown["id"]}
    with pytest.raises(ActionNotAllowed):
        await stage.resolve(review_id, "mark_failed")
