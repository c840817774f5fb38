"""Confirm a payment: commit the attempt (phase 1), call the gateway, commit the outcome (phase 2)."""

from uuid import UUID

from msgspec.structs import replace

from paymux_core.clocks import after
from paymux_core.errors import (
    GatewayUnavailable,
    NoEligibleGateway,
    NotFound,
    Overloaded,
    StorageUnavailable,
    ValidationFailed,
)
from paymux_core.phases import PhaseOne, PhaseOneResult
from paymux_core.records import Attempt, Payment
from paymux_core.routing import Candidate, Choice
from paymux_core.transitions import PAYMENT_TERMINAL, PaymentEvent, PaymentStatus, next_payment_status
from paymux_flows.answering import OK, answer, new_key, replay, unexpected_state
from paymux_flows.attempting import Intent, first_choice, new_attempt
from paymux_flows.charging import Charge, charge
from paymux_flows.commands import Caller, ConfirmPayment, KeyUse, Reply
from paymux_flows.deps import Deps

PHASE_ONE_TRIES = 3
"""A payment that is locked three times in a row is being moved by others: the client may ask again."""


async def confirm_payment(command: ConfirmPayment, deps: Deps) -> Reply:
    """Open an attempt and charge. Raises: Refused; whatever was committed before is the worker's."""
    budget_ends_at = deps.clock.monotonic() + deps.clocks.request_budget
    payment = await _row(command.caller, command.payment_id, deps)
    method = command.payment_method or payment.payment_method
    if method is None:
        raise ValidationFailed("give a payment_method here or when creating the payment", param="payment_method")
    if payment.status is not PaymentStatus.REQUIRES_CONFIRMATION:
        return await _already_moved(command.caller, command.payment_id, command.key, deps)
    candidates = await deps.accounts.candidates(payment.merchant_id)
    try:
        choice = first_choice(payment, method, candidates)
    except (NoEligibleGateway, GatewayUnavailable):
        replayed = await replay(command.caller, command.key, deps)
        if replayed is not None:
            return replayed
        raise
    intent = Intent(
        method=method,
        return_url=command.return_url or payment.return_url,
        off_session=payment.off_session if command.off_session is None else command.off_session,
        request_id=command.caller.request_id,
    )
    phase = phase_one(payment, intent, choice, command.caller, command.key, success_status=OK, deps=deps)
    result = await deps.store.open_attempt(phase)
    for _ in range(PHASE_ONE_TRIES):
        if result is not PhaseOneResult.NOT_MOVED:
            break
        told = await _told_why(command, deps)
        if told is not None:
            return told
        result = await deps.store.open_attempt_alone(phase)
    if result is PhaseOneResult.NOT_MOVED:
        raise Overloaded("this payment is being changed by other requests; try again soon", retry_after_seconds=1)
    return await go_on(phase, choice.candidate, result, budget_ends_at, success_status=OK, deps=deps)


def phase_one(
    payment: Payment,
    intent: Intent,
    choice: Choice,
    caller: Caller,
    use: KeyUse,
    *,
    success_status: int,
    deps: Deps,
) -> PhaseOne:
    """Build what phase 1 writes."""
    attempt = new_attempt(payment, intent, choice, deps.clock.now(), deps)
    seconds = deps.clocks.unknown_deadline(choice.candidate.capabilities.unknown_deadline_seconds)
    return PhaseOne(
        payment=payment,
        attempt=attempt,
        key=new_key(use, success_status=success_status, deps=deps),
        processing_deadline_at=after(attempt.created_at, seconds),
        actor=f"api_key:{caller.api_key_id}",
    )


async def go_on(
    phase: PhaseOne,
    candidate: Candidate,
    result: PhaseOneResult,
    budget_ends_at: float,
    *,
    success_status: int,
    deps: Deps,
) -> Reply:
    """Call the gateway for a committed phase 1 and answer; without an acknowledged commit nothing is called."""
    payment = _after_phase_one(phase)
    if result is PhaseOneResult.COMMITTED_UNSEEN:
        return answer(payment, success_status=success_status, deps=deps)
    step = Charge(
        payment, phase.attempt, candidate, budget_ends_at - deps.clocks.request_budget, budget_ends_at, phase.actor
    )
    try:
        recorded = await charge(step, deps)
        body = recorded.body or await _stored_body(phase, recorded.payment, deps)
    except (StorageUnavailable, Overloaded):
        # The attempt is committed and has its check: the worker finishes what we could not write.
        return answer(payment, success_status=success_status, deps=deps)
    return answer(recorded.payment, success_status=success_status, deps=deps, body=body)


async def _stored_body(phase: PhaseOne, payment: Payment, deps: Deps) -> bytes | None:
    """Read the one final answer that another commit gave: somebody else's, or ours whose acknowledgement was lost."""
    if payment.status not in PAYMENT_TERMINAL:
        return None
    stored = await deps.store.find_key(payment.merchant_id, phase.key.idempotency_key)
    return None if stored is None else stored.body


def _after_phase_one(phase: PhaseOne) -> Payment:
    """The payment as phase 1 left it; equal to its row."""
    before, attempt = phase.payment, phase.attempt
    return replace(
        before,
        status=next_payment_status(before.status, PaymentEvent.CONFIRM),
        payment_method=attempt.payment_method,
        processing_deadline_at=phase.processing_deadline_at,
        gateway=attempt.gateway,
        version=before.version + 1,
        event_position=before.event_position + 1,
        event_sequence=before.event_sequence + 1,
        updated_at=attempt.created_at,
        attempts=_first(attempt),
    )


def _first(attempt: Attempt) -> tuple[Attempt, ...]:
    assert attempt.number == 1, "phase 1 opens the first attempt"
    return (attempt,)


async def _told_why(command: ConfirmPayment, deps: Deps) -> Reply | None:
    """Find out why phase 1 did not move; None if the payment still waits and it may run again."""
    replayed = await replay(command.caller, command.key, deps)
    if replayed is not None:
        return replayed
    payment = await _row(command.caller, command.payment_id, deps)
    if payment.status is PaymentStatus.REQUIRES_CONFIRMATION:
        return None
    # The winner may have been our own key's first request, committed since the look above.
    return await _already_moved(command.caller, command.payment_id, command.key, deps)


async def _already_moved(caller: Caller, payment_id: UUID, use: KeyUse, deps: Deps) -> Reply:
    replayed = await replay(caller, use, deps)
    if replayed is not None:
        return replayed
    raise unexpected_state(await _row(caller, payment_id, deps), "confirmed")


async def _row(caller: Caller, payment_id: UUID, deps: Deps) -> Payment:
    """Read a payment's own row, together with everybody else who asks now: a crowd is one statement. Raises: NotFound.

    The pool that loads attempts as well has few connections, and a crowd of losers would be told that it is busy.
    """
    payment = await deps.store.read_payment(caller.merchant_id, payment_id)
    if payment is None or payment.livemode is not caller.livemode:
        raise NotFound("there is no such payment; check the id and the key's mode")
    return payment
