"""What the API shows of a review, and what the log keeps of a person's action."""

from datetime import datetime
from typing import Annotated

import msgspec

from paymux_core.ids import Kind, attempt_id, public_id
from paymux_core.records import Review
from paymux_core.review_rules import ReviewReason
from paymux_flows.views import one_of

ReviewReasonText = Annotated[str, one_of(ReviewReason)]


class ReviewDocument(msgspec.Struct, frozen=True):
    """A question to a person. One of the subjects is set; `api_key_id` is the key that resolved it."""

    id: str
    object: Annotated[str, one_of(["review"])]
    payment_id: str | None
    gateway_account_id: str | None
    webhook_id: str | None
    attempt_id: str | None
    reason: ReviewReasonText
    status: Annotated[str, one_of(["open", "resolved"])]
    opened_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    evidence: str | None
    actor: str | None
    api_key_id: str | None


class ActionDocument(msgspec.Struct, frozen=True):
    """What a person did about a review, as its event keeps it."""

    review_id: str
    reason: str
    action: str
    evidence: str
    actor: str
    api_key_id: str
    provider_reference: str | None
    settlement_report: str | None


_encode = msgspec.json.Encoder().encode


def render_review(review: Review) -> bytes:
    """Render a review as JSON."""
    return _encode(review_document(review))


def review_document(review: Review) -> ReviewDocument:
    """Show a review."""
    attempt: str | None = None
    if review.payment_id is not None and review.attempt_number is not None:
        attempt = attempt_id(review.payment_id, review.attempt_number)
    return ReviewDocument(
        id=public_id(Kind.REVIEW, review.id),
        object="review",
        payment_id=None if review.payment_id is None else public_id(Kind.PAYMENT, review.payment_id),
        gateway_account_id=(
            None if review.gateway_account_id is None else public_id(Kind.GATEWAY_ACCOUNT, review.gateway_account_id)
        ),
        webhook_id=None if review.webhook_id is None else public_id(Kind.WEBHOOK, review.webhook_id),
        attempt_id=attempt,
        reason=review.reason,
        status=review.status,
        opened_at=review.opened_at,
        resolved_at=review.resolved_at,
        resolution=review.resolution,
        evidence=review.evidence,
        actor=review.actor,
        api_key_id=review.api_key_id,
    )
