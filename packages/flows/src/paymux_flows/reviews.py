"""Read reviews: one, or a page of them."""

from uuid import UUID

import msgspec

from paymux_core.errors import NotFound
from paymux_core.ids import Kind, public_id
from paymux_core.records import Review
from paymux_flows.answering import OK
from paymux_flows.commands import Caller, ListReviews, Reply
from paymux_flows.deps import Deps
from paymux_flows.review_views import ReviewDocument, render_review, review_document


class ReviewPage(msgspec.Struct, frozen=True):
    """One page, newest first."""

    data: list[ReviewDocument]
    has_more: bool
    next_cursor: str | None


async def existing_review(caller: Caller, review_id: UUID, deps: Deps) -> Review:
    """Read a review of this merchant and mode. Raises: NotFound."""
    review = await deps.store.reviews.find(caller.merchant_id, review_id, livemode=caller.livemode)
    if review is None:
        raise NotFound("there is no such review; check the id and the key's mode")
    return review


async def review_exists(caller: Caller, review_id: UUID, deps: Deps) -> bool:
    """Say whether this merchant has this review in this mode."""
    return await deps.store.reviews.find(caller.merchant_id, review_id, livemode=caller.livemode) is not None


async def get_review(caller: Caller, review_id: UUID, deps: Deps) -> Reply:
    """Show a review. Raises: NotFound."""
    return Reply(OK, render_review(await existing_review(caller, review_id, deps)))


async def list_reviews(command: ListReviews, deps: Deps) -> Reply:
    """Show a page of reviews."""
    found = await deps.store.reviews.walk(
        command.caller.merchant_id,
        command.caller.livemode,
        command.starting_after or UUID(int=(1 << 128) - 1),
        command.status,
        command.reason,
        command.payment_id,
        command.limit + 1,
    )
    page = found[: command.limit]
    more = len(found) > command.limit
    document = ReviewPage(
        data=[review_document(review) for review in page],
        has_more=more,
        next_cursor=public_id(Kind.REVIEW, page[-1].id) if more else None,
    )
    return Reply(OK, msgspec.json.encode(document))
