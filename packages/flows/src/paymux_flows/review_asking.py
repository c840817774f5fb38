"""Ask a gateway on a person's behalf, and say what was seen where it does not confirm what the person said."""

from collections.abc import Callable, Mapping
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.asking import FENCES
from paymux_core.attempt_rules import Asked
from paymux_core.connector import ChargeCall
from paymux_core.errors import ActionNotAllowed
from paymux_core.outcomes import (
    Authorized,
    Captured,
    Declined,
    NotExecuted,
    NotFound,
    Outcome,
    Pending,
    RequiresAction,
    Unknown,
    UnknownReason,
    Voided,
)
from paymux_core.ports import CallResult
from paymux_core.records import Attempt, Payment, Review
from paymux_core.resolution import Resolution
from paymux_core.review_rules import ReviewAction
from paymux_core.routing import Candidate
from paymux_core.transitions import ATTEMPT_CLOSED
from paymux_flows.attempting import asking_limits, call_of, candidate_of, remembering
from paymux_flows.deps import Deps
from paymux_flows.record_outcome import Report, Resolving, record_outcome

_SAID: Mapping[type[Outcome], str] = {
    RequiresAction: "still waits for the customer (void it first)",
    Pending: "has not decided yet",
    Declined: "declined",
    NotExecuted: "refused the question",
    Voided: "cancelled it",
    NotFound: "shows no charge",
}

Holds = Callable[[Resolution, Outcome], bool]
"""Says of a commit whether what a person said is true with it."""


class Step(Struct, frozen=True, gc=False):
    """The payment and the attempt a review is about, the account to ask, and what was seen last."""

    payment: Payment
    attempt: Attempt
    candidate: Candidate
    actor: str
    request_id: str
    seen: Outcome | None = None
    resolved: bool = False
    """The review was resolved by what the person said."""


async def step_of(review: Review, actor: str, request_id: str, deps: Deps) -> Step:
    """Find out whom to ask. Raises: ActionNotAllowed where nobody can be asked."""
    assert review.payment_id is not None, "what is asked at a gateway is about a payment"
    payment = await deps.store.load_payment(review.merchant_id, review.payment_id)
    assert payment is not None, "a payment is never deleted"
    if not payment.attempts:
        raise ActionNotAllowed("this payment has no attempt that a gateway could be asked about; keep waiting")
    attempt = payment.attempts[review.attempt_number - 1] if review.attempt_number else _last(payment)
    candidate = await candidate_of(payment, attempt, deps)
    if candidate is None:
        raise ActionNotAllowed(
            f"the gateway account of this attempt cannot be used here ({attempt.gateway}); nothing can be confirmed"
        )
    return Step(payment, attempt, candidate, actor, request_id)


def _last(payment: Payment) -> Attempt:
    still_open = [attempt for attempt in payment.attempts if attempt.status not in ATTEMPT_CLOSED]
    return still_open[-1] if still_open else payment.attempts[-1]


def when(resolving: Resolving, holds: Holds) -> Resolving:
    """Give a person's action with what has to be true for it."""
    return replace(resolving, holds=holds)


async def look(step: Step, resolving: Resolving, deps: Deps, *, provider_reference: str | None = None) -> Step:
    """Read the gateway's own record, and write what it says."""
    call = call_of(step.payment, step.attempt)
    if provider_reference is not None:
        call = replace(call, provider_payment_id=provider_reference)
    result = await deps.gateways.inquire(step.candidate.account, call, limits=asking_limits(deps))
    return await record(step, result, Asked.LOOK_UP, resolving, deps)


async def fence(step: Step, resolving: Resolving, deps: Deps) -> Step:
    """Cancel at the gateway, and write what it says."""
    result = await send_fence(step, call_of(step.payment, step.attempt), deps)
    return await record(step, result, Asked.FENCE, resolving, deps)


async def send_fence(step: Step, call: ChargeCall, deps: Deps) -> CallResult:
    """Only cancel. Raises: ActionNotAllowed at a gateway that has no cancel."""
    if step.candidate.capabilities.fence not in FENCES:
        raise ActionNotAllowed(f"{step.attempt.gateway} has no cancel for this; keep waiting for its answer")
    remember = remembering(step.payment, step.attempt, deps)
    return await deps.gateways.fence(step.candidate.account, call, limits=asking_limits(deps), remember=remember)


async def record(step: Step, result: CallResult, asked: Asked, resolving: Resolving, deps: Deps) -> Step:
    """Write what was seen; the review is resolved in that commit if what the person said holds with it."""
    report = Report(
        payment=step.payment,
        number=step.attempt.number,
        asked=asked,
        outcome=result.outcome,
        interactions=result.interactions,
        caching=step.candidate.capabilities.caching,
        actor=step.actor,
        request_id=step.request_id,
        resolving=resolving,
    )
    recorded = await record_outcome(report, deps)
    attempt = recorded.payment.attempts[step.attempt.number - 1]
    return replace(
        step,
        payment=recorded.payment,
        attempt=attempt,
        seen=result.outcome,
        resolved=step.resolved or recorded.resolved,
    )


def is_resolved(step: Step, resolving: Resolving) -> bool:
    """Whether the review is closed by now, by the person or by the gateway's answer."""
    return all(review.id != resolving.review_id for review in step.payment.reviews)


def not_confirmed(action: ReviewAction, step: Step) -> ActionNotAllowed:
    """Say why nothing was resolved: what the gateway says instead."""
    words = "was not asked" if step.seen is None else _said(step.seen)
    return ActionNotAllowed(
        f"{action} is not confirmed: the gateway {words}. The payment is {step.payment.status}, its attempt "
        f"{step.attempt.status}; read the review for whether that answer closed it"
    )


def _said(outcome: Outcome) -> str:
    match outcome:
        case Captured(money=money):
            return f"took {money.amount} {money.currency}"
        case Authorized(money=money):
            return f"holds {money.amount} {money.currency}"
        case Unknown(reason=UnknownReason.INTEGRITY_MISMATCH):
            return "shows something that is not this attempt, or not its amount"
        case Unknown(reason=reason):
            return f"gave no answer that tells ({reason})"
        case RequiresAction() | Pending() | Declined() | NotExecuted() | Voided() | NotFound():
            return _SAID[type(outcome)]
        case _:
            assert_never(outcome)
