"""What an outcome may do to its attempt: every outcome, question and status; and each rule by its name."""

from itertools import product

import pytest
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked, History, Verdict, judge
from paymux_core.connector import Caching
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    Authorized,
    Captured,
    DeclineCode,
    Declined,
    NextAction,
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

MONEY = Money(1999, "eur")
REFUSAL = Refusal(DeclineCode.DO_NOT_HONOR, "No.", Advice.TRY_ANOTHER_GATEWAY)
OUTCOMES: tuple[Outcome, ...] = (
    Captured("ch_1", MONEY),
    Captured("ch_1", Money(1, "eur")),
    Authorized("ch_1", MONEY),
    RequiresAction("ch_1", NextAction("redirect", "https://bank.example")),
    Pending("ch_1"),
    Declined(REFUSAL),
    Declined(REFUSAL, stored=False),
    NotExecuted(REFUSAL),
    Voided("ch_1"),
    NotFound(),
    *(Unknown(reason) for reason in UnknownReason),
)
NOTHING_PROVEN = (NotFound(), NotExecuted(REFUSAL), *(Unknown(reason) for reason in UnknownReason))
CLOSING = {AttemptEvent.FAIL, AttemptEvent.NOT_EXECUTE, AttemptEvent.VOID}


def history(status: AttemptStatus = AttemptStatus.UNKNOWN, **fields: object) -> History:
    born = History(
        status=status,
        money=MONEY,
        money_requested=True,
        was_requires_action=False,
        fenced=False,
        caching=Caching.ALL,
    )
    return replace(born, **fields)


STARTED = history(AttemptStatus.STARTED, money_requested=False)


@pytest.mark.parametrize(("status", "asked"), list(product(AttemptStatus, Asked)), ids=str)
def test_every_verdict_is_one_that_the_table_of_transitions_has(status: AttemptStatus, asked: Asked) -> None:
    for outcome, requested, caching in product(OUTCOMES, (False, True), Caching):
        seen = history(status, money_requested=requested, caching=caching)
        verdict = judge(outcome, asked=asked, history=seen)
        assert verdict.event is None or verdict.event in ATTEMPT_TRANSITIONS[status]
        assert verdict.reason
        if status in ATTEMPT_CLOSED:
            assert verdict.event is None


@pytest.mark.parametrize(
    "outcome", [o for o in OUTCOMES if not isinstance(o, (Declined, NotExecuted, Voided))], ids=str
)
@pytest.mark.parametrize("asked", [asked for asked in Asked if asked is not Asked.PERSON])
def test_nothing_but_a_definite_no_closes_an_attempt_without_money(outcome: Outcome, asked: Asked) -> None:
    for status in AttemptStatus:
        assert judge(outcome, asked=asked, history=history(status)).event not in CLOSING


@pytest.mark.parametrize("outcome", [Captured("ch_9", Money(1, "eur")), Authorized("ch_9", Money(1, "eur"))], ids=str)
def test_only_a_person_closes_an_attempt_beside_money_of_another_amount(outcome: Outcome) -> None:
    verdict = judge(outcome, asked=Asked.PERSON, history=history())
    assert (verdict.event, verdict.late, verdict.review) == (AttemptEvent.FAIL, True, "late_charge")
    assert verdict.refusal is not None
    assert verdict.refusal.code == "integrity_mismatch"
    assert judge(outcome, asked=Asked.LOOK_UP, history=history()).review == "integrity_mismatch"


def test_a_persons_word_closes_no_attempt_that_a_customer_may_still_confirm() -> None:
    seen = history(was_requires_action=True)
    assert judge(Declined(REFUSAL), asked=Asked.PERSON, history=seen).event is None
    assert judge(Declined(REFUSAL), asked=Asked.PERSON, history=history()).event is AttemptEvent.FAIL


def test_a_started_attempt_whose_request_proves_nothing_is_unknown() -> None:
    for outcome in (NotFound(), Unknown(UnknownReason.NO_REPLY)):
        assert judge(outcome, asked=Asked.CHARGE, history=STARTED).event is AttemptEvent.LOSE_TRACK


def test_not_executed_closes_only_as_the_answer_to_the_first_charge() -> None:
    assert judge(NotExecuted(REFUSAL), asked=Asked.CHARGE, history=STARTED).event is AttemptEvent.NOT_EXECUTE
    later = (
        (Asked.CHARGE, replace(STARTED, money_requested=True)),
        (Asked.CHARGE, replace(STARTED, was_requires_action=True)),
        (Asked.CHARGE, history()),
        (Asked.RESEND, history()),
        (Asked.RESEND, STARTED),
        (Asked.LOOK_UP, STARTED),
        (Asked.FENCE, STARTED),
    )
    for asked, seen in later:
        assert judge(NotExecuted(REFUSAL), asked=asked, history=seen).event is not AttemptEvent.NOT_EXECUTE


def test_a_decline_closes_as_the_first_answer_as_a_record_or_as_the_answer_kept_under_the_key() -> None:
    declined = Declined(REFUSAL)
    for asked, seen in ((Asked.CHARGE, STARTED), (Asked.LOOK_UP, history()), (Asked.RESEND, history())):
        assert judge(declined, asked=asked, history=seen) == Verdict(AttemptEvent.FAIL, "do_not_honor", REFUSAL)


@pytest.mark.parametrize(
    ("declined", "asked", "seen"),
    [
        (Declined(REFUSAL), Asked.CHARGE, replace(STARTED, money_requested=True)),
        (Declined(REFUSAL), Asked.RESEND, history(caching=Caching.SUCCESS)),
        (Declined(REFUSAL), Asked.RESEND, history(caching=Caching.NONE)),
        (Declined(REFUSAL), Asked.FENCE, history()),
        (Declined(REFUSAL, stored=False), Asked.RESEND, history()),
        (Declined(REFUSAL, stored=False), Asked.RESEND, history(money_requested=False)),
    ],
)
def test_a_decline_that_does_not_speak_of_the_first_request_closes_nothing(
    declined: Declined, asked: Asked, seen: History
) -> None:
    assert judge(declined, asked=asked, history=seen).event in {None, AttemptEvent.LOSE_TRACK}


def test_a_decline_of_what_the_customer_may_still_confirm_waits_for_its_fence() -> None:
    verdict = judge(Declined(REFUSAL), asked=Asked.LOOK_UP, history=history(was_requires_action=True))
    assert (verdict.event, verdict.reason, verdict.refusal) == (None, "decline_needs_fence", REFUSAL)


@pytest.mark.parametrize("status", [s for s in AttemptStatus if s not in ATTEMPT_CLOSED], ids=str)
def test_another_amount_is_never_booked(status: AttemptStatus) -> None:
    for wrong in (Captured("ch_1", Money(1998, "eur")), Authorized("ch_1", Money(1999, "usd"))):
        verdict = judge(wrong, asked=Asked.CHARGE, history=history(status))
        assert verdict.event in {None, AttemptEvent.LOSE_TRACK}
        assert verdict.review == "integrity_mismatch"


@pytest.mark.parametrize("status", sorted(ATTEMPT_CLOSED), ids=str)
def test_money_found_for_a_closed_attempt_is_a_late_charge_also_beside_its_success(status: AttemptStatus) -> None:
    verdict = judge(Captured("ch_2", MONEY), asked=Asked.LOOK_UP, history=history(status, booked=frozenset({"ch_1"})))
    assert (verdict.event, verdict.late, verdict.review) == (None, True, "late_charge")


@pytest.mark.parametrize("status", sorted(ATTEMPT_CLOSED), ids=str)
def test_money_that_is_accounted_for_is_told_once(status: AttemptStatus) -> None:
    verdict = judge(Captured("ch_1", MONEY), asked=Asked.LOOK_UP, history=history(status, booked=frozenset({"ch_1"})))
    assert (verdict.event, verdict.late, verdict.review) == (None, False, None)


def test_after_a_fence_the_customer_is_not_asked_again() -> None:
    action = RequiresAction("pi_1", NextAction("redirect", "https://bank.example"))
    assert judge(action, asked=Asked.LOOK_UP, history=history(fenced=True)).event is None
    assert judge(action, asked=Asked.LOOK_UP, history=history()).event is AttemptEvent.ACTION_NEEDED


def test_a_fence_without_an_answer_ends_the_customers_part() -> None:
    waiting = history(AttemptStatus.REQUIRES_ACTION, was_requires_action=True)
    no_answer = Unknown(UnknownReason.NO_REPLY)
    assert judge(no_answer, asked=Asked.FENCE, history=waiting).event is AttemptEvent.LOSE_TRACK
    assert judge(no_answer, asked=Asked.LOOK_UP, history=waiting).event is None


@pytest.mark.parametrize(
    ("reason", "review"),
    [
        (UnknownReason.UNMAPPED, "unmapped_answer"),
        (UnknownReason.REQUEST_MISMATCH, "request_mismatch"),
        (UnknownReason.INTEGRITY_MISMATCH, "integrity_mismatch"),
        (UnknownReason.NO_REPLY, None),
    ],
)
def test_what_our_tables_do_not_know_is_put_before_a_person_while_the_attempt_is_open(
    reason: UnknownReason, review: str | None
) -> None:
    assert judge(Unknown(reason), asked=Asked.LOOK_UP, history=history()).review == review
    assert judge(Unknown(reason), asked=Asked.LOOK_UP, history=history(AttemptStatus.FAILED)).review is None


@pytest.mark.parametrize("outcome", NOTHING_PROVEN, ids=str)
def test_a_hint_that_proves_nothing_leaves_a_started_attempt_to_its_own_call(outcome: Outcome) -> None:
    assert judge(outcome, asked=Asked.HINT, history=STARTED).event is None
    assert judge(outcome, asked=Asked.LOOK_UP, history=STARTED).event is AttemptEvent.LOSE_TRACK


@pytest.mark.parametrize(("outcome", "status"), list(product(OUTCOMES, AttemptStatus)), ids=str)
def test_of_any_other_attempt_a_hint_says_what_a_look_says(outcome: Outcome, status: AttemptStatus) -> None:
    if status is not AttemptStatus.STARTED:
        hint, look = (judge(outcome, asked=asked, history=history(status)) for asked in (Asked.HINT, Asked.LOOK_UP))
        assert hint == look
