"""Phase 2: where an outcome becomes state. One function for confirm, look-ups and fences alike."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.clocks import after
from paymux_core.connector import Caching
from paymux_core.errors import Overloaded
from paymux_core.events import Told, events_of
from paymux_core.exchange import Interaction
from paymux_core.outcomes import Authorized, Captured, Outcome, pause_seconds_asked
from paymux_core.phases import NewLateCharge, NewReview, PaymentEvent, PhaseTwo, ReviewResolution
from paymux_core.records import Attempt, LateCharge, OpenReview, Payment
from paymux_core.resolution import Finding, Resolution, resolve
from paymux_core.routing import Candidate, Choice
from paymux_flows.attempting import Intent, new_attempt, next_choice
from paymux_flows.deps import Deps
from paymux_flows.views import render_attempt, render_payment

_ATTEMPT_FAILED = "attempt.failed"
_REVIEW_RESOLVED = "payment.review_resolved"
_ACTED = "review."
"""What a person did, in their own words: `review.mark_failed`."""
ROUNDS_MAX = 10
"""Each round lost means that somebody else moved the payment; ten in a row means something is wrong."""


class Resolving(Struct, frozen=True, gc=False):
    """A person's action on an open review: it is resolved in the commit in which what the action says holds.

    `document` is kept in the log beside it.
    """

    review_id: UUID
    action: str
    document: bytes
    resolution: Callable[[datetime], ReviewResolution]
    holds: Callable[[Resolution, Outcome], bool]
    voids: Sequence[UUID] = ()
    """Late charges that are closed with it."""


class Report(Struct, frozen=True, gc=False):
    """What was asked of which attempt, by whom, and what came back.

    `inline`: whoever records this will also make the call of a next attempt at once. `unknown_deadline_seconds`: the
    gateway's.
    """

    payment: Payment
    number: int
    asked: Asked
    outcome: Outcome
    interactions: Sequence[Interaction]
    caching: Caching
    actor: str
    request_id: str
    inline: bool = False
    unknown_deadline_seconds: int = 3600
    resolving: Resolving | None = None


class Recorded(Struct, frozen=True, gc=False):
    """The payment as it now is, and the attempt that was opened in the same commit, if any."""

    payment: Payment
    body: bytes | None = None
    """The payment as its event shows it, where that is what it now is: the answer is the same bytes."""
    opened: Attempt | None = None
    candidate: Candidate | None = None
    same_account: bool = False
    sent_at: float = 0.0
    """Before the commit was sent, in seconds on the monotonic clock."""
    resolved: bool = False
    """A person's action on a review was written with it."""


async def record_outcome(report: Report, deps: Deps) -> Recorded:
    """Write an outcome to its attempt and payment, once. Locks: payment, attempt, key. Raises: StorageUnavailable.

    If the payment moved on meanwhile the decision is made again on what is true now.
    """
    payment = report.payment
    for _ in range(ROUNDS_MAX):
        phase, choice = await _phase_two(payment, report, deps)
        sent_at = deps.clock.monotonic()
        if await deps.store.record_outcome(phase):
            candidate = None if choice is None else choice.candidate
            again = choice is not None and choice.reason == "same_account_again"
            by_person = phase.resolution is not None
            return Recorded(_as_written(phase), _body(phase), phase.opened, candidate, again, sent_at, by_person)
        loaded = await deps.store.load_payment(payment.merchant_id, payment.id)
        assert loaded is not None, "a payment is never deleted"
        payment = loaded
    raise Overloaded("this payment is changing too quickly; read it again soon", retry_after_seconds=2)


def _body(phase: PhaseTwo) -> bytes | None:
    last = phase.events[-1] if phase.events else None
    return None if last is None or last.type == _ATTEMPT_FAILED else last.body


def _as_written(phase: PhaseTwo) -> Payment:
    """The payment with its attempt as it now is, also where only the attempt's row moved."""
    if any(attempt is phase.attempt for attempt in phase.after.attempts):
        return phase.after
    attempts = tuple(phase.attempt if a.number == phase.attempt.number else a for a in phase.after.attempts)
    return replace(phase.after, attempts=attempts)


async def _phase_two(payment: Payment, report: Report, deps: Deps) -> tuple[PhaseTwo, Choice | None]:
    now = deps.clock.now()
    finding = Finding(
        outcome=report.outcome,
        asked=report.asked,
        interactions=report.interactions,
        caching=report.caching,
        now=now,
        jitter=deps.rng.uniform(),
        retry_account=True,
        retry_after_seconds=pause_seconds_asked(report.outcome),
        unknown_deadline_seconds=report.unknown_deadline_seconds,
    )
    resolution = resolve(payment, report.number, finding, clocks=deps.clocks)
    if report.resolving is not None:
        # Where a person is at it nothing further is charged.
        resolution = resolve(payment, report.number, replace(finding, retry_account=False), clocks=deps.clocks)
    if not resolution.moves_on:
        return _written(payment, resolution, None, report, deps), None
    # Only here: an answer about money is never held up by the list of accounts.
    choice = next_choice(payment, resolution.attempt, await deps.accounts.candidates(payment.merchant_id))
    if choice is None:
        resolution = resolve(payment, report.number, replace(finding, retry_account=False), clocks=deps.clocks)
        return _written(payment, resolution, None, report, deps), None
    return _written(payment, resolution, _opened(resolution, choice, report, deps), report, deps), choice


def _opened(resolution: Resolution, choice: Choice, report: Report, deps: Deps) -> Attempt:
    previous = resolution.attempt
    intent = Intent(previous.payment_method, previous.return_url, previous.off_session, report.request_id)
    attempt = new_attempt(resolution.payment, intent, choice, resolution.attempt.updated_at, deps)
    # Nobody calls it in this request: the worker does, at once.
    return attempt if report.inline else replace(attempt, next_check_at=attempt.created_at)


def _written(before: Payment, resolution: Resolution, opened: Attempt | None, report: Report, deps: Deps) -> PhaseTwo:
    now = resolution.attempt.updated_at
    verdict = resolution.verdict
    told = list(events_of(before, resolution.payment, resolution.attempt, verdict))
    resolving = _resolving(before, resolution, report)
    if resolving is not None:
        told = _told_by_person(told, resolving)
    unmoved = PhaseTwo(
        before=before,
        after=before,
        attempt=resolution.attempt,
        interactions=report.interactions,
        events=(),
        actor=report.actor,
        request_id=report.request_id,
        recorded_at=now,
    )
    if not told:
        return unmoved
    review = None if verdict.review is None else NewReview(deps.ids.new(), verdict.review, report.number)
    late = _late_charge(report, resolution, deps) if verdict.late else None
    after_ = replace(
        _payment_written(resolution, opened, review, late, resolving),
        version=before.version + 1,
        event_position=before.event_position + len(told),
        event_sequence=before.event_sequence + sum(event.public for event in told),
        updated_at=now,
    )
    events = tuple(_numbered(before, after_, resolution, told, resolving))
    ended = before.finalized_at is None and after_.finalized_at is not None
    final = next((event.position for event in events if event.to_status is not None), None) if ended else None
    return replace(
        unmoved,
        after=after_,
        events=events,
        final_position=final,
        opened=opened,
        review=review,
        late_charge=late,
        resolution=None if resolving is None else _resolution(resolving, now),
    )


def _resolving(before: Payment, resolution: Resolution, report: Report) -> Resolving | None:
    """Give the person's action if its review is still open and what it says holds with this commit."""
    resolving = report.resolving
    if resolving is None or not any(review.id == resolving.review_id for review in before.reviews):
        return None
    return resolving if resolving.holds(resolution, report.outcome) else None


def _resolution(resolving: Resolving, now: datetime) -> ReviewResolution:
    return replace(resolving.resolution(now), voided_late_charges=resolving.voids)


def _told_by_person(told: Sequence[Told], resolving: Resolving) -> list[Told]:
    """Say who closed the review: the person, though the gateway's answer alone would have closed it too."""
    kept = [event for event in told if event.type != _REVIEW_RESOLVED]
    voided = [Told("payment.late_charge_resolved", "voided", public=True) for _ in resolving.voids]
    action = Told(f"{_ACTED}{resolving.action}", resolving.action, public=False)
    return [action, *kept, *voided, Told(_REVIEW_RESOLVED, resolving.action, public=True)]


def _payment_written(
    resolution: Resolution,
    opened: Attempt | None,
    review: NewReview | None,
    late: NewLateCharge | None,
    resolving: Resolving | None,
) -> Payment:
    payment = resolution.payment
    now = resolution.attempt.updated_at
    if resolving is not None:
        left = tuple(open_ for open_ in payment.reviews if open_.id != resolving.review_id)
        charges = tuple(replace(c, status="voided") if c.id in resolving.voids else c for c in payment.late_charges)
        payment = replace(payment, reviews=left, late_charges=charges)
    if opened is not None:
        payment = replace(payment, attempts=(*payment.attempts, opened), gateway=opened.gateway)
    if review is not None:
        payment = replace(payment, reviews=(*payment.reviews, OpenReview(review.id, review.reason, now)))
    if late is not None:
        charge = LateCharge(
            late.id, late.attempt_number, late.gateway, late.provider_payment_id, late.amount, late.currency, "open",
            "review", now,
        )  # fmt: skip
        payment = replace(payment, late_charges=(*payment.late_charges, charge))
    return payment


def _numbered(
    before: Payment, after_: Payment, resolution: Resolution, told: Sequence[Told], resolving: Resolving | None
) -> Iterator[PaymentEvent]:
    position, sequence = before.event_position, before.event_sequence
    for event in told:
        position += 1
        sequence += event.public
        body: bytes | None = None
        if event.public:
            body = render_attempt(resolution.attempt) if event.type == _ATTEMPT_FAILED else render_payment(after_)
        elif resolving is not None and event.type.startswith(_ACTED):
            body = resolving.document
        yield PaymentEvent(
            position=position,
            sequence=sequence if event.public else None,
            type=event.type,
            reason=event.reason,
            from_status=before.status if event.changes_status else None,
            to_status=after_.status if event.changes_status else None,
            body=body,
        )


def _late_charge(report: Report, resolution: Resolution, deps: Deps) -> NewLateCharge:
    outcome = report.outcome
    assert isinstance(outcome, (Captured, Authorized))
    return NewLateCharge(
        id=deps.ids.new(),
        attempt_number=report.number,
        gateway=resolution.attempt.gateway,
        provider_payment_id=outcome.provider_payment_id,
        amount=outcome.money.amount,
        currency=outcome.money.currency,
        next_check_at=after(resolution.attempt.updated_at, deps.clocks.watch_closed),
    )
