"""What the outcome of one request may do to its attempt: the one place that decides it.

A connector speaks of a request; an attempt may have had several. The rules, in short: success is always believed once
amount and currency match; a refusal closes an attempt only if it answers the first request that could take money, or
comes from the gateway's own record; "not found" closes nothing; everything else is unknown.
"""

from enum import StrEnum
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.connector import Caching
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    Authorized,
    Captured,
    DeclineCode,
    Declined,
    NotExecuted,
    NotFound,
    Outcome,
    Pending,
    Refusal,
    RequiresAction,
    Unknown,
    UnknownReason,
    Voided,
)
from paymux_core.transitions import ATTEMPT_CLOSED, ATTEMPT_TRANSITIONS, AttemptEvent, AttemptStatus


class Asked(StrEnum):
    """What the request was for, seen from the attempt."""

    CHARGE = "charge"
    """The first charge of this attempt, sent by the process that opened it."""
    RESEND = "resend"
    """The same charge once more, with the same key."""
    LOOK_UP = "look_up"
    """Reading the gateway's own record of this attempt."""
    HINT = "hint"
    """The same because a webhook came, perhaps while the call of the process that opened the attempt still runs."""
    FENCE = "fence"
    """A cancel sent to obtain `voided`."""
    PERSON = "person"
    """The word of a person who resolves a review, after the gateway's own record was read."""


class History(Struct, frozen=True, gc=False):
    """What an attempt has been through before this outcome.

    `money_requested`: an earlier request that can take money was sent, or nobody can say that it was not. `fenced`: a
    cancel was sent to obtain `voided`, whatever came of it. `booked`: the gateway's ids of what is accounted for, the
    attempt's success and its late charges.
    """

    status: AttemptStatus
    money: Money
    money_requested: bool
    was_requires_action: bool
    fenced: bool
    caching: Caching
    booked: frozenset[str] = frozenset()


class Verdict(Struct, frozen=True, gc=False):
    """What happens to the attempt: an event of its table, or None; why; and whether a person has to look.

    `late`: the gateway has money for an attempt that is closed.
    """

    event: AttemptEvent | None
    reason: str
    refusal: Refusal | None = None
    review: str | None = None
    late: bool = False


_NOTHING = "changes_nothing"
_MISMATCH = Refusal(
    DeclineCode.INTEGRITY_MISMATCH,
    "The gateway took or holds another amount than was asked for.",
    Advice.DO_NOT_RETRY,
)
_REVIEWED = {
    UnknownReason.UNMAPPED: "unmapped_answer",
    UnknownReason.REQUEST_MISMATCH: "request_mismatch",
    UnknownReason.INTEGRITY_MISMATCH: "integrity_mismatch",
}


def judge(outcome: Outcome, *, asked: Asked, history: History) -> Verdict:
    """Decide what an outcome does to its attempt. Total over every outcome, question and status."""
    match outcome:
        case Captured(money=money) | Authorized(money=money):
            return _judge_money(outcome, money, asked, history)
        case RequiresAction():
            return _judge_action(asked, history)
        case Pending(reason=reason):
            return _if_possible(AttemptEvent.WAIT, reason, history)
        case Declined():
            return _judge_decline(outcome, asked, history)
        case NotExecuted(refusal=refusal):
            return _judge_not_executed(refusal, asked, history)
        case Voided():
            return _if_possible(AttemptEvent.VOID, "voided", history)
        case NotFound():
            return _lost("not_found", asked, history)
        case Unknown(reason=why):
            review = None if history.status in ATTEMPT_CLOSED else _REVIEWED.get(why)
            return replace(_lost(why, asked, history), review=review)
        case _:
            assert_never(outcome)


def _judge_action(asked: Asked, history: History) -> Verdict:
    if asked is Asked.FENCE or history.fenced:
        # We are stopping it: it is not handed to the customer again, though the gateway would still allow it.
        return _lost("action_still_open", asked, history)
    return _if_possible(AttemptEvent.ACTION_NEEDED, "requires_action", history)


def _judge_money(outcome: Captured | Authorized, money: Money, asked: Asked, history: History) -> Verdict:
    if outcome.provider_payment_id in history.booked:
        return Verdict(None, _NOTHING)
    if history.status in ATTEMPT_CLOSED:
        # Also beside a success: a second real charge has to be on record, or nobody gives it back.
        return Verdict(None, "late_charge", review="late_charge", late=True)
    if money != history.money and asked is Asked.PERSON:
        # What was really taken stands beside the payment, which can never book it.
        return Verdict(AttemptEvent.FAIL, DeclineCode.INTEGRITY_MISMATCH, _MISMATCH, review="late_charge", late=True)
    if money != history.money:
        # Nothing ever books an amount that the gateway did not confirm.
        return replace(_lost(UnknownReason.INTEGRITY_MISMATCH, asked, history), review="integrity_mismatch")
    event = AttemptEvent.SUCCEED if isinstance(outcome, Captured) else AttemptEvent.AUTHORIZE
    return _if_possible(event, "charged" if event is AttemptEvent.SUCCEED else "authorized", history)


def _judge_decline(declined: Declined, asked: Asked, history: History) -> Verdict:
    refusal = declined.refusal
    closes = {
        Asked.CHARGE: not history.money_requested,
        Asked.LOOK_UP: True,
        Asked.HINT: True,
        # Only an answer that is kept under the key is also the answer to the request that was sent before.
        Asked.RESEND: history.caching is Caching.ALL and declined.stored,
        Asked.FENCE: False,
        Asked.PERSON: True,
    }[asked]
    if history.was_requires_action:
        # The customer may still hold what confirms the object: it is cancelled first, and then this is the reason.
        return replace(_lost("decline_needs_fence", asked, history), refusal=refusal)
    if not closes:
        return _lost("decline_proves_nothing", asked, history)
    return _if_possible(AttemptEvent.FAIL, refusal.code, history, refusal)


def _judge_not_executed(refusal: Refusal, asked: Asked, history: History) -> Verdict:
    closes = (
        asked is Asked.CHARGE
        and history.status is AttemptStatus.STARTED
        and not history.money_requested
        and not history.was_requires_action
    )
    if not closes:
        return _lost(refusal.code, asked, history)
    return Verdict(AttemptEvent.NOT_EXECUTE, refusal.code, refusal)


def _lost(reason: str, asked: Asked, history: History) -> Verdict:
    """A started attempt whose request did not prove anything is unknown; any other stays as it is.

    A fence without an acknowledgement ends the customer's part all the same: nobody can tell whether it did its work.
    """
    given_up = history.status is AttemptStatus.REQUIRES_ACTION and asked is Asked.FENCE
    # After a hint a started attempt is left to the call that may still run, or else to its first check.
    lost = (history.status is AttemptStatus.STARTED and asked is not Asked.HINT) or given_up
    return Verdict(AttemptEvent.LOSE_TRACK if lost else None, reason)


def _if_possible(event: AttemptEvent, reason: str, history: History, refusal: Refusal | None = None) -> Verdict:
    """Take the event if the table has it for this status; a repeat or a step back is noted and changes nothing."""
    if event in ATTEMPT_TRANSITIONS[history.status]:
        return Verdict(event, reason, refusal)
    return Verdict(None, _NOTHING)
