"""Settle an unknown by asking: look up, re-send while that is safe, fence after the window, call a person at the end.

Asking goes on in every case; a timeout never becomes a failure.
"""

from datetime import timedelta
from typing import assert_never
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.asking import FENCES, NextStep, Rebuilt, is_over, next_step
from paymux_core.attempt_rules import Asked
from paymux_core.clocks import pause_after_check
from paymux_core.exchange import Interaction, TransportError, Verb
from paymux_core.outcomes import Outcome, Unknown, UnknownReason, pause_seconds_asked
from paymux_core.phases import DueAttempt
from paymux_core.ports import CallResult
from paymux_core.records import Attempt, Payment
from paymux_core.resolution import next_check_after
from paymux_core.routing import Candidate
from paymux_core.transitions import ATTEMPT_CLOSED, AttemptStatus
from paymux_flows.attempting import asking_limits, call_of, candidate_of, remembering
from paymux_flows.charging import Charge, charge
from paymux_flows.deps import Deps
from paymux_flows.listing import leave_alone
from paymux_flows.record_outcome import Recorded, Report, record_outcome
from paymux_flows.reviewing import DEADLINE, call_a_person


class _Check(Struct, frozen=True, gc=False):
    """A look under way. `due`: the lease it is done under; None for a client's. `claimed_at`: monotonic seconds."""

    payment: Payment
    attempt: Attempt
    candidate: Candidate
    claimed_at: float
    actor: str
    due: DueAttempt | None = None


async def check(due: DueAttempt, deps: Deps, *, actor: str) -> Attempt:
    """Do what an attempt's check asks for, then give its lease back; the attempt as seen last.

    Raises: Refused; the lease is still held then.
    """
    payment, candidate = await _loaded(due.merchant_id, due.payment_id, due.number, deps)
    retry_after_seconds: float | None = None
    if candidate is None:
        # Its connector is not installed here: it is looked at later, and a person is told in time all the same.
        await call_a_person(due.merchant_id, due.payment_id, due.number, reason=DEADLINE, actor=actor, deps=deps)
    else:
        step = _Check(payment, payment.attempts[due.number - 1], candidate, due.claimed_at_seconds, actor, due)
        if _uncalled(step, due, deps):
            payment, due = await _call_first(step, due, deps)
        else:
            payment, retry_after_seconds = await _checked(step, deps)
    now = deps.clock.now()
    next_check_at = next_check_after(
        payment,
        payment.attempts[due.number - 1],
        checks=due.check_count,
        retry_after_seconds=retry_after_seconds,
        now=now,
        jitter=deps.rng.uniform(),
        clocks=deps.clocks,
    )
    await deps.store.release_attempt(due=due, next_check_at=next_check_at, unfinished_checks=0)
    return payment.attempts[due.number - 1]


async def _checked(step: _Check, deps: Deps) -> tuple[Payment, float | None]:
    """Look, and do what follows; answers the payment as seen, and how long the gateway wants to be left alone."""
    if step.attempt.status is AttemptStatus.STARTED or _lost_resend(step.attempt):
        step = await _lose_track(step, deps)
    result = await _inquire(step, deps)
    recorded = await _record(step, result, Asked.LOOK_UP, deps)
    step = _now(step, recorded.payment)
    if recorded.opened is not None and recorded.candidate is not None:
        await _charge_next(recorded, deps, step.actor)
    elif step.attempt.status not in ATTEMPT_CLOSED:
        await _act(step, result.outcome, deps)
    return step.payment, pause_seconds_asked(result.outcome)


def _uncalled(step: _Check, due: DueAttempt, deps: Deps) -> bool:
    """Whether this attempt was opened for the worker to call, by nobody yet, and its customer still waits.

    It was due at its birth, and this is the first time that anybody has it.
    """
    payment, attempt = step.payment, step.attempt
    return (
        attempt.status is AttemptStatus.STARTED
        and (due.due_at, due.check_count) == (attempt.created_at, 1)
        and payment.cancellation_requested_at is None
        and deps.clock.now() < attempt.charge_window_ends_at
    )


async def _call_first(step: _Check, due: DueAttempt, deps: Deps) -> tuple[Payment, DueAttempt]:
    """Make the call of an attempt that was left to the worker. Its check moves first, as a confirm's is later."""
    now, clocks = deps.clock.now(), deps.clocks
    moved_to = now + pause_after_check(checks=0, age=timedelta(), jitter=deps.rng.uniform(), clocks=clocks)
    until = now + timedelta(seconds=clocks.lease)
    if not await deps.store.renew_lease(due=due, lease_expires_at=until, next_check_at=moved_to):
        return step.payment, due
    attempt = replace(step.attempt, next_check_at=moved_to)
    attempts = tuple(attempt if a.number == attempt.number else a for a in step.payment.attempts)
    step = _now(step, replace(step.payment, attempts=attempts))
    recorded = await charge(_again(step, deps), deps)
    return recorded.payment, replace(due, due_at=moved_to)


def _lost_resend(attempt: Attempt) -> bool:
    """Whether a re-send was about to leave, and was never heard of again."""
    since, last = attempt.sending_since, attempt.last_request_at
    return since is not None and (last is None or last < since)


async def ask(
    merchant_id: UUID, payment_id: UUID, number: int, deps: Deps, *, actor: str, asked: Asked = Asked.LOOK_UP
) -> tuple[Payment, Outcome] | None:
    """Only look, and record what is seen: no money verb is sent. None where the account cannot be used."""
    payment, candidate = await _loaded(merchant_id, payment_id, number, deps)
    if candidate is None:
        return None
    step = _Check(payment, payment.attempts[number - 1], candidate, deps.clock.monotonic(), actor)
    result = await _inquire(step, deps)
    if asked is Asked.HINT:
        # Nobody waited for a place: the account's checks leave one out.
        deps.store.lookups.owe(candidate.account_id, requests=1)
    # A next attempt that this opens is the worker's to call, at once.
    recorded = await _record(step, result, asked, deps, inline=False)
    return recorded.payment, result.outcome


async def stop(merchant_id: UUID, payment_id: UUID, number: int, deps: Deps, *, actor: str) -> None:
    """Cancel an attempt at its gateway at once, where it can be cancelled; it cannot take money."""
    payment, candidate = await _loaded(merchant_id, payment_id, number, deps)
    if candidate is not None and candidate.capabilities.fence in FENCES:
        await _fence(_Check(payment, payment.attempts[number - 1], candidate, deps.clock.monotonic(), actor), deps)


async def _loaded(merchant_id: UUID, payment_id: UUID, number: int, deps: Deps) -> tuple[Payment, Candidate | None]:
    payment = await deps.store.load_payment(merchant_id, payment_id)
    assert payment is not None, "a payment is never deleted"
    return payment, await candidate_of(payment, payment.attempts[number - 1], deps)


async def _act(step: _Check, seen: Outcome, deps: Deps) -> None:
    follows = next_step(
        step.payment,
        step.attempt,
        seen,
        capabilities=step.candidate.capabilities,
        rebuilt=_rebuilt(step, deps),
        now=deps.clock.now(),
    )
    match follows:
        case NextStep.RESEND:
            await _charge_again(step, deps)
            return
        case NextStep.FENCE:
            step, done = await _fence(step, deps)
            if done:
                return
        case NextStep.LET_GO:
            step = await _let_go(step, deps)
        case NextStep.WAIT:
            pass
        case _:
            assert_never(follows)
    payment = step.payment
    if is_over(payment, deps.clock.now()) and payment.review is None:
        await call_a_person(
            payment.merchant_id, payment.id, step.attempt.number, reason=DEADLINE, actor=step.actor, deps=deps
        )


def _rebuilt(step: _Check, deps: Deps) -> Rebuilt:
    as_started = replace(call_of(step.payment, step.attempt), provider_payment_id=None, fence_number=1)
    return Rebuilt(
        request_digest=deps.gateways.request_digest(step.candidate.account, as_started),
        connector_version=deps.gateways.connector_version(step.attempt.gateway),
    )


async def _charge_again(step: _Check, deps: Deps) -> None:
    """Send the charge once more, noted before it leaves: what dies with its process is on record too."""
    if step.due is not None and await deps.store.note_resend(due=step.due, at=deps.clock.now()):
        await charge(_again(step, deps), deps, asked=Asked.RESEND)


def _again(step: _Check, deps: Deps) -> Charge:
    ends_at = deps.clock.monotonic() + deps.clocks.request_budget
    return Charge(step.payment, step.attempt, step.candidate, step.claimed_at, ends_at, step.actor)


async def _charge_next(recorded: Recorded, deps: Deps, actor: str) -> None:
    assert recorded.opened is not None
    assert recorded.candidate is not None
    ends_at = deps.clock.monotonic() + deps.clocks.request_budget
    await charge(Charge(recorded.payment, recorded.opened, recorded.candidate, recorded.sent_at, ends_at, actor), deps)


async def _fence(step: _Check, deps: Deps) -> tuple[_Check, bool]:
    """Cancel at the gateway; done if the attempt is closed by it."""
    payment, attempt = step.payment, step.attempt

    result = await deps.gateways.fence(
        step.candidate.account,
        call_of(payment, attempt),
        limits=asking_limits(deps),
        remember=remembering(payment, attempt, deps),
    )
    recorded = await _record(step, result, Asked.FENCE, deps)
    if recorded.opened is not None and recorded.candidate is not None:
        await _charge_next(recorded, deps, step.actor)
        return step, True
    step = _now(step, recorded.payment)
    return step, step.attempt.status in ATTEMPT_CLOSED


async def _let_go(step: _Check, deps: Deps) -> _Check:
    """Stop waiting for the customer where nothing can be cancelled: the money is still asked for."""
    no_fence = CallResult(Unknown(UnknownReason.FENCE_REFUSED, "this gateway has no fence"), ())
    return _now(step, (await _record(step, no_fence, Asked.FENCE, deps)).payment)


async def _inquire(step: _Check, deps: Deps) -> CallResult:
    """Ask the gateway; its account pays for every request of it, and has its peace where it asks for that."""
    call, account_id = call_of(step.payment, step.attempt), step.candidate.account_id
    result = await deps.gateways.inquire(step.candidate.account, call, limits=asking_limits(deps))
    deps.store.lookups.owe(account_id, requests=len(result.interactions) - 1)
    await leave_alone(result.outcome, step.payment.merchant_id, step.candidate, deps)
    return result


async def _lose_track(step: _Check, deps: Deps) -> _Check:
    """Its process died with the call, or before it: nobody can tell what was sent."""
    resent = _lost_resend(step.attempt)
    reserved_only = step.candidate.capabilities.two_phase and step.attempt.provider_payment_id is None
    lost = Interaction(
        id=deps.ids.new().bytes,
        # At a two-phase gateway the charge is sent only after its id is committed.
        verb=Verb.RESERVE if reserved_only and not resent else Verb.CHARGE,
        method="POST",
        url=step.candidate.account.base_url,
        sent_at=step.attempt.sending_since or step.attempt.created_at,
        duration_ms=0,
        bytes_sent=False,
        http_status=None,
        transport_error=TransportError.PROCESS_LOST,
        idempotency_key=None,
        gateway_request_id=None,
        request={},
        response={},
        response_sha256=None,
        outcome="unknown",
    )
    result = CallResult(Unknown(UnknownReason.PROCESS_LOST), (lost,))
    recorded = await _record(step, result, Asked.LOOK_UP, deps)
    return _now(step, recorded.payment)


async def _record(step: _Check, result: CallResult, asked: Asked, deps: Deps, *, inline: bool = True) -> Recorded:
    """Record what was seen; `inline`: a next attempt is called here, else the worker calls it."""
    report = Report(
        payment=step.payment,
        number=step.attempt.number,
        asked=asked,
        outcome=result.outcome,
        interactions=result.interactions,
        caching=step.candidate.capabilities.caching,
        actor=step.actor,
        request_id=step.attempt.request_id,
        inline=inline,
        unknown_deadline_seconds=step.candidate.capabilities.unknown_deadline_seconds,
    )
    return await record_outcome(report, deps)


def _now(step: _Check, payment: Payment) -> _Check:
    return replace(step, payment=payment, attempt=payment.attempts[step.attempt.number - 1])
