"""`/reviews`: the questions to people, and their answers."""

from uuid import UUID

from msgspec import UnsetType

from paymux_api.operation import Call, KeyRule, Operation
from paymux_api.schemas import ListReviewsQuery, ResolveReviewBody, ReviewList
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, parse_public_id
from paymux_core.review_rules import ReviewAction
from paymux_flows.commands import Caller, ListReviews, Reply, ResolveReview
from paymux_flows.deps import Deps
from paymux_flows.resolve_review import resolve_review
from paymux_flows.review_views import ReviewDocument
from paymux_flows.reviews import get_review, list_reviews, review_exists


async def _list(call: Call) -> Reply:
    query = call.query
    assert isinstance(query, ListReviewsQuery)
    command = ListReviews(
        caller=call.authenticated,
        limit=query.limit,
        starting_after=_id(Kind.REVIEW, query.starting_after),
        status=None if isinstance(query.status, UnsetType) else query.status,
        reason=None if isinstance(query.reason, UnsetType) else query.reason,
        payment_id=_id(Kind.PAYMENT, query.payment_id),
    )
    return await list_reviews(command, _deps(call))


def _id(kind: Kind, text: str | UnsetType) -> UUID | None:
    return None if isinstance(text, UnsetType) else parse_public_id(kind, text)


async def _read(call: Call) -> Reply:
    return await get_review(call.authenticated, call.target, _deps(call))


async def _resolve(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, ResolveReviewBody)
    command = ResolveReview(
        caller=call.authenticated,
        review_id=call.target,
        action=ReviewAction(body.action),
        evidence=body.evidence,
        actor=body.actor,
        provider_reference=body.provider_reference,
        settlement_report=body.settlement_report,
        key=call.key,
    )
    return await resolve_review(command, _deps(call))


async def _exists(caller: Caller, review_id: UUID, deps: object) -> bool:
    assert isinstance(deps, Deps)
    return await review_exists(caller, review_id, deps)


def _deps(call: Call) -> Deps:
    assert isinstance(call.deps, Deps)
    return call.deps


REVIEW_OPERATIONS = (
    Operation(
        method="GET",
        path="/reviews",
        name="list_reviews",
        summary="List reviews",
        description="Newest first. A review is a question about money that only a person can answer.",
        tag="reviews",
        handler=_list,
        scope=Scope.REVIEWS_READ,
        query=ListReviewsQuery,
        response=ReviewList,
        success={200: "One page."},
    ),
    Operation(
        method="GET",
        path="/reviews/{id}",
        name="read_review",
        summary="Read a review",
        tag="reviews",
        handler=_read,
        scope=Scope.REVIEWS_READ,
        response=ReviewDocument,
        success={200: "The review."},
        object_kind=Kind.REVIEW,
        exists=_exists,
        links=("read_review", "resolve_review"),
    ),
    Operation(
        method="POST",
        path="/reviews/{id}/resolve",
        name="resolve_review",
        summary="Resolve a review",
        description="The gateway is asked first: what it does not confirm is 409 `action_not_allowed`, and the review "
        "stays as it is. `keep_waiting` asks once more and leaves it open. `refund` and `accept` need refunds, which "
        "this version does not have: 409.",
        tag="reviews",
        handler=_resolve,
        scope=Scope.REVIEWS_RESOLVE,
        request=ResolveReviewBody,
        example={"action": "keep_waiting", "evidence": "the gateway is down until 14:00", "actor": "Ann"},
        response=ReviewDocument,
        success={200: "The review as it now is."},
        problems=("action_not_allowed", "idempotency_key_reused", "idempotency_key_in_use"),
        key_rule=KeyRule.ACCEPTED,
        object_kind=Kind.REVIEW,
        exists=_exists,
    ),
)
