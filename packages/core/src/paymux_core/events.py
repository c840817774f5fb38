"""Which events a change of a payment and an attempt is told by: public ones are numbered for merchants."""

from collections.abc import Iterator

from msgspec import Struct

from paymux_core.attempt_rules import Verdict
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import AttemptStatus

ANSWERED_BY_GATEWAY = frozenset({"deadline", "unmapped_answer", "request_mismatch", "handler_failed"})
"""Reasons of reviews that ask what became of a payment: the gateway's final answer closes them by itself."""


class Told(Struct, frozen=True, gc=False):
    """One event to write; `public` ones carry a sequence and a body."""

    type: str
    reason: str
    public: bool
    changes_status: bool = False


def events_of(before: Payment, after: Payment, attempt: Attempt, verdict: Verdict) -> Iterator[Told]:
    """List the events of one phase 2, in order; never none if something changed."""
    previous = before.attempts[attempt.number - 1]
    moved = after.status is not before.status
    if attempt.status is not previous.status:
        if attempt.status is AttemptStatus.FAILED:
            yield Told("attempt.failed", verdict.reason, public=True)
        elif not moved:
            yield Told(f"attempt.{attempt.status}", verdict.reason, public=False)
    if verdict.late:
        yield Told("payment.late_success", verdict.reason, public=True)
    if verdict.review is not None:
        yield Told("payment.needs_review", verdict.review, public=True)
    if moved:
        yield Told(f"payment.{after.status}", verdict.reason, public=True, changes_status=True)
        if len(after.reviews) < len(before.reviews):
            yield Told("payment.review_resolved", "gateway_answered", public=True)
