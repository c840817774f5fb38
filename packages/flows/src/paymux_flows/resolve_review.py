"""Resolve a review: what a person says is held against the gateway's own record, and written in the same commit.

Which action fits which review is `review_rules`; what the gateway does not confirm changes nothing of the review.
"""

from datetime import datetime
from typing import assert_never
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from paymux_core.errors import ActionNotAllowed, Overloaded, ValidationFailed
from paymux_core.ids import Kind, public_id
from paymux_core.phases import PaymentEvent, ReviewNote, ReviewResolution
from paymux_core.records import Payment, Review
from paymux_core.review_rules import ReviewAction, ReviewReason, permit
from paymux_core.transitions import ATTEMPT_CLOSED
from paymux_flows.answering import OK, answered_key, replay
from paymux_flows.commands import Reply, ResolveReview
from paymux_flows.deps import Deps
from paymux_flows.reconcile import ask
from paymux_flows.record_outcome import ROUNDS_MAX, Resolving
from paymux_flows.review_asking import Step, not_confirmed, step_of
from paymux_flows.review_marking import mark_failed, mark_succeeded
from paymux_flows.review_views import ActionDocument, render_review
from paymux_flows.review_voiding import void, void_late_charges, void_mismatch
from paymux_flows.reviews import existing_review
from paymux_flows.views import render_payment


async def resolve_review(command: ResolveReview, deps: Deps) -> Reply:
    """Do what a person wants done about a review. Raises: Refused; then the review is as it was."""
    if command.key is not None:
        replayed = await replay(command.caller, command.key, deps)
        if replayed is not None:
            return replayed
    review = await existing_review(command.caller, command.review_id, deps)
    if review.status != "open":
        raise ActionNotAllowed(f"this review was resolved before ({review.resolution}); read it for why and by whom")
    permit(review.reason, command.action)
    match command.action:
        case ReviewAction.KEEP_WAITING | ReviewAction.DISMISS:
            return await _note(review, command, deps)
        case ReviewAction.VOID if await _nothing_is_held(review, deps):
            return await _note(review, command, deps)
        case ReviewAction.MARK_SUCCEEDED | ReviewAction.MARK_FAILED | ReviewAction.VOID:
            return await _settle(review, command, deps)
        case ReviewAction.REFUND | ReviewAction.ACCEPT:
            raise AssertionError("permit lets neither through")
        case _:
            assert_never(command.action)


async def _settle(review: Review, command: ResolveReview, deps: Deps) -> Reply:
    """Ask the gateway, and let its answer and the person's word be one commit."""
    step = await step_of(review, _actor(command), command.caller.request_id, deps)
    words = _Words(review, command, deps)
    match command.action:
        case ReviewAction.MARK_SUCCEEDED:
            if command.provider_reference is None:
                raise ValidationFailed("name the gateway's id of the charge", param="provider_reference")
            seen = await mark_succeeded(step, command.provider_reference, words.resolving, deps)
        case ReviewAction.MARK_FAILED:
            seen = await mark_failed(step, command.settlement_report, words.resolving, deps)
        case _:
            seen = await _void(review, step, words, deps)
    if not seen.resolved:
        raise not_confirmed(command.action, seen)
    return Reply(OK, render_review(await existing_review(command.caller, review.id, deps)))


async def _void(review: Review, step: Step, words: "_Words", deps: Deps) -> Step:
    match ReviewReason(review.reason):
        case ReviewReason.LATE_CHARGE | ReviewReason.REFUND_REFUSED:
            return await void_late_charges(step, words.resolving, deps)
        case ReviewReason.INTEGRITY_MISMATCH:
            return await void_mismatch(step, words.resolving, deps)
        case _:
            return await void(step, words.resolving, deps)


class _Words(Struct, frozen=True):
    """What the person said, and how it will stand in the book."""

    review: Review
    command: ResolveReview
    deps: Deps

    @property
    def resolving(self) -> Resolving:
        """Give it for a commit; who asks the gateway adds when it holds."""
        return Resolving(
            review_id=self.review.id,
            action=self.command.action,
            document=_document(self.review, self.command),
            resolution=self.resolution,
            holds=lambda _resolution, _outcome: False,
        )

    def resolution(self, at: datetime) -> ReviewResolution:
        """Give the resolution as of a moment, with the key that will answer for it."""
        command = self.command
        resolved = replace(
            self.review,
            status="resolved",
            resolved_at=at,
            resolution=str(command.action),
            evidence=command.evidence,
            actor=command.actor,
            api_key_id=command.caller.api_key_id,
        )
        key = None
        if command.key is not None:
            key = answered_key(command.key, status=OK, body=render_review(resolved), deps=self.deps)
        return ReviewResolution(
            review_id=self.review.id,
            resolution=str(command.action),
            evidence=command.evidence,
            actor=command.actor,
            api_key_id=command.caller.api_key_id,
            resolved_at=at,
            key=key,
        )


async def _nothing_is_held(review: Review, deps: Deps) -> bool:
    """Whether what a review of late charges is about was released before."""
    if ReviewReason(review.reason) not in {ReviewReason.LATE_CHARGE, ReviewReason.REFUND_REFUSED}:
        return False
    payment = await _payment_of(review.merchant_id, review.payment_id, deps)
    return payment is not None and all(charge.status != "open" for charge in payment.late_charges)


async def _note(review: Review, command: ResolveReview, deps: Deps) -> Reply:
    """Do what changes nothing but the log and the review: keep waiting after asking once more, or close it."""
    if command.action is ReviewAction.KEEP_WAITING:
        await _ask_again(review, command, deps)
    words = _Words(review, command, deps)
    for _ in range(ROUNDS_MAX):
        payment = await _payment_of(review.merchant_id, review.payment_id, deps)
        now = deps.clock.now()
        seen = await existing_review(command.caller, review.id, deps)
        resolution = None
        if command.action is not ReviewAction.KEEP_WAITING:
            resolution = replace(words.resolution(now), key=None)
            seen = replace(
                seen,
                status="resolved",
                resolved_at=now,
                resolution=resolution.resolution,
                evidence=command.evidence,
                actor=command.actor,
                api_key_id=command.caller.api_key_id,
            )
        body = render_review(seen)
        note = ReviewNote(
            merchant_id=review.merchant_id,
            livemode=command.caller.livemode,
            subject=public_id(Kind.REVIEW, review.id),
            payment=payment,
            attempt_number=review.attempt_number,
            event_id=deps.ids.new(),
            events=_events(review, command, payment, now),
            actor=_actor(command),
            request_id=command.caller.request_id,
            at=now,
            resolution=resolution,
            key=None if command.key is None else answered_key(command.key, status=OK, body=body, deps=deps),
        )
        if await deps.store.reviews.note(note):
            return Reply(OK, body)
        if resolution is not None and (await existing_review(command.caller, review.id, deps)).status != "open":
            raise ActionNotAllowed("somebody else resolved this review meanwhile; read it for why and by whom")
    raise Overloaded("this payment is changing too quickly; try again soon", retry_after_seconds=2)


def _events(review: Review, command: ResolveReview, payment: Payment | None, now: datetime) -> tuple[PaymentEvent, ...]:
    position = 1 if payment is None else payment.event_position + 1
    acted = f"review.{command.action}"
    action = PaymentEvent(position, None, acted, str(command.action), body=_document(review, command))
    if payment is None or command.action is ReviewAction.KEEP_WAITING:
        return (action,)
    without = replace(
        payment,
        reviews=tuple(open_ for open_ in payment.reviews if open_.id != review.id),
        version=payment.version + 1,
        event_position=payment.event_position + 2,
        event_sequence=payment.event_sequence + 1,
        updated_at=now,
    )
    told = PaymentEvent(
        position=position + 1,
        sequence=without.event_sequence,
        type="payment.review_resolved",
        reason=str(command.action),
        body=render_payment(without),
    )
    return action, told


async def _ask_again(review: Review, command: ResolveReview, deps: Deps) -> None:
    payment = await _payment_of(review.merchant_id, review.payment_id, deps)
    if payment is None or not payment.attempts:
        return
    number = review.attempt_number or _open_number(payment)
    await ask(payment.merchant_id, payment.id, number, deps, actor=_actor(command))


def _open_number(payment: Payment) -> int:
    still_open = [attempt.number for attempt in payment.attempts if attempt.status not in ATTEMPT_CLOSED]
    return still_open[-1] if still_open else payment.attempts[-1].number


async def _payment_of(merchant_id: UUID, payment_id: UUID | None, deps: Deps) -> Payment | None:
    if payment_id is None:
        return None
    payment = await deps.store.load_payment(merchant_id, payment_id)
    assert payment is not None, "a payment is never deleted"
    return payment


def _actor(command: ResolveReview) -> str:
    return f"api_key:{command.caller.api_key_id}"


def _document(review: Review, command: ResolveReview) -> bytes:
    return msgspec.json.encode(
        ActionDocument(
            review_id=public_id(Kind.REVIEW, review.id),
            reason=review.reason,
            action=str(command.action),
            evidence=command.evidence,
            actor=command.actor,
            api_key_id=command.caller.api_key_id,
            provider_reference=command.provider_reference,
            settlement_report=command.settlement_report,
        )
    )
