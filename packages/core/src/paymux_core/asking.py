"""What follows when the gateway was asked about an open attempt: wait, send again, stop it, or stop waiting for it.

Pure: the worker acts on it, and a table of cases tests it.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from paymux_core.connector import Caching, Capabilities, Fence
from paymux_core.outcomes import Declined, NotFound, Outcome, RequiresAction
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import AttemptStatus

FENCES = frozenset({Fence.BY_ID, Fence.BY_KEY})
"""The fences that are a request of their own."""


class NextStep(StrEnum):
    """What to do with an attempt that is still open after a look."""

    WAIT = "wait"
    """Nothing but the next look."""
    RESEND = "resend"
    """The same bytes once more under the same key: the customer still waits."""
    FENCE = "fence"
    """Cancel it at the gateway, so that no money can move any more."""
    LET_GO = "let_go"
    """The customer's time is over and this gateway has no cancel: from now on nobody can tell how it ends."""


class Rebuilt(Struct, frozen=True, gc=False):
    """The request as it would be built now; a re-send has to be the same as what phase 1 committed."""

    request_digest: bytes
    connector_version: str


def next_step(
    payment: Payment, attempt: Attempt, seen: Outcome, *, capabilities: Capabilities, rebuilt: Rebuilt, now: datetime
) -> NextStep:
    """Decide what follows a look that left the attempt open."""
    unwanted = payment.cancellation_requested_at is not None
    if not unwanted and _absent(attempt, seen, capabilities, now) and _may_resend(attempt, capabilities, rebuilt, now):
        return NextStep.RESEND
    ended = unwanted or is_over(payment, now)
    if not (ended or _to_be_stopped(attempt, seen, capabilities, now)):
        return NextStep.WAIT
    if capabilities.fence in FENCES:
        return NextStep.FENCE
    return NextStep.LET_GO if ended and attempt.status is AttemptStatus.REQUIRES_ACTION else NextStep.WAIT


def is_over(payment: Payment, now: datetime) -> bool:
    """Whether the deadline of a payment has passed: the customer's to act, or the gateway's to answer."""
    return payment.processing_deadline_at is not None and now >= payment.processing_deadline_at


def _to_be_stopped(attempt: Attempt, seen: Outcome, capabilities: Capabilities, now: datetime) -> bool:
    """Whether it is stopped though its payment still has time."""
    match seen:
        case Declined():
            # It did not close the attempt: what was declined can still be confirmed by the customer's browser.
            return True
        case RequiresAction():
            # After a fence nobody acts any more, whatever the gateway would still allow.
            return attempt.status is not AttemptStatus.REQUIRES_ACTION and attempt.fence_count > 0
        case NotFound():
            customer_may_act = attempt.status is AttemptStatus.REQUIRES_ACTION
            in_time = now < attempt.charge_window_ends_at
            return not customer_may_act and not in_time and _absent(attempt, seen, capabilities, now)
        case _:
            return False


def _absent(attempt: Attempt, seen: Outcome, capabilities: Capabilities, now: datetime) -> bool:
    """Whether the gateway shows nothing and had the time to show what it did."""
    last = max(attempt.last_request_at or attempt.created_at, attempt.sending_since or attempt.created_at)
    shown_by = last + timedelta(seconds=capabilities.lookup_consistency_seconds)
    return isinstance(seen, NotFound) and now >= shown_by


def _may_resend(attempt: Attempt, capabilities: Capabilities, rebuilt: Rebuilt, now: datetime) -> bool:
    """Whether the same bytes may go out once more under the same key."""
    key_window_ends = attempt.created_at + timedelta(seconds=capabilities.key_window_seconds)
    return (
        capabilities.caching is Caching.ALL
        and now < attempt.charge_window_ends_at
        and now < key_window_ends
        and attempt.fence_count == 0
        and not attempt.was_requires_action
        and attempt.status in {AttemptStatus.UNKNOWN, AttemptStatus.PENDING}
        and attempt.connector_version == rebuilt.connector_version
        and attempt.request_digest == rebuilt.request_digest
    )
