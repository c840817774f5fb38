"""Which action may resolve which review: one table, and the sentence for what it does not hold."""

from collections.abc import Mapping
from enum import StrEnum

from paymux_core.errors import ActionNotAllowed


class ReviewReason(StrEnum):
    """Why a person was called."""

    DEADLINE = "deadline"
    """Nobody could tell in time what became of an attempt. The gateway's answer closes it too."""
    INTEGRITY_MISMATCH = "integrity_mismatch"
    """The gateway took or holds another amount or currency than was asked for."""
    UNMAPPED_ANSWER = "unmapped_answer"
    """The gateway said something that no table of ours has. Its later answer closes it too."""
    REQUEST_MISMATCH = "request_mismatch"
    """The gateway says that our key was used with other parameters: our bug. Its answer closes it too."""
    LATE_CHARGE = "late_charge"
    """Money that its payment cannot book."""
    REFUND_REFUSED = "refund_refused"
    REFUND_OVERRUN = "refund_overrun"
    """More was given back at the gateway than was captured."""
    UNMATCHED_WEBHOOK = "unmatched_webhook"
    HANDLER_FAILED = "handler_failed"
    """A check came to no end five times. The gateway's answer closes it too."""
    GATEWAY_CONFIGURATION = "gateway_configuration"
    """A gateway refused our credentials."""
    RECONCILIATION_DIFFERENCE = "reconciliation_difference"


class ReviewAction(StrEnum):
    """What a person may do about it."""

    MARK_SUCCEEDED = "mark_succeeded"
    """The gateway has the money: it is asked, and has to say so."""
    MARK_FAILED = "mark_failed"
    """The gateway has no charge: it is asked, and must not show one. One found later is a late charge."""
    VOID = "void"
    """Cancel at the gateway now; it counts once that is acknowledged."""
    REFUND = "refund"
    ACCEPT = "accept"
    """Book the money as a payment of its own."""
    KEEP_WAITING = "keep_waiting"
    """Ask again at once, and leave it open."""
    DISMISS = "dismiss"
    """There is nothing to do about money."""


_R, _A = ReviewReason, ReviewAction
_ABOUT_AN_ANSWER = frozenset({_A.MARK_SUCCEEDED, _A.MARK_FAILED, _A.VOID, _A.KEEP_WAITING})
_ABOUT_TAKEN_MONEY = frozenset({_A.REFUND, _A.VOID, _A.ACCEPT, _A.KEEP_WAITING})
_TO_BE_KNOWN = frozenset({_A.DISMISS, _A.KEEP_WAITING})

ALLOWED: Mapping[ReviewReason, frozenset[ReviewAction]] = {
    _R.DEADLINE: _ABOUT_AN_ANSWER,
    _R.UNMAPPED_ANSWER: _ABOUT_AN_ANSWER,
    _R.REQUEST_MISMATCH: _ABOUT_AN_ANSWER,
    _R.HANDLER_FAILED: _ABOUT_AN_ANSWER,
    _R.INTEGRITY_MISMATCH: frozenset({_A.REFUND, _A.VOID, _A.KEEP_WAITING}),
    _R.LATE_CHARGE: _ABOUT_TAKEN_MONEY,
    _R.REFUND_REFUSED: _ABOUT_TAKEN_MONEY,
    _R.REFUND_OVERRUN: _TO_BE_KNOWN,
    _R.UNMATCHED_WEBHOOK: _TO_BE_KNOWN,
    _R.GATEWAY_CONFIGURATION: _TO_BE_KNOWN,
    _R.RECONCILIATION_DIFFERENCE: _TO_BE_KNOWN,
}

NEEDS_REFUNDS = frozenset({ReviewAction.REFUND, ReviewAction.ACCEPT})
"""Allowed by the table, and not possible before refunds are there."""


def permit(reason: str, action: ReviewAction) -> None:
    """Refuse an action that does not fit a review. Raises: ActionNotAllowed."""
    allowed = ALLOWED[ReviewReason(reason)]
    if action not in allowed:
        fitting = ", ".join(fits for fits in ReviewAction if fits in allowed)
        raise ActionNotAllowed(f"{action} does not fit a review for {reason}; what fits: {fitting}")
    if action in NEEDS_REFUNDS:
        possible = ", ".join(fits for fits in ReviewAction if fits in allowed - NEEDS_REFUNDS)
        raise ActionNotAllowed(
            f"{action} needs refunds, which this version does not have yet; give the money back at the gateway, "
            f"and keep the review open, or use: {possible}"
        )
