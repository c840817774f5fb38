"""What a client's request asks of the gateway at once: a look, at most one per 10 s and payment, or a cancel.

No money verb is sent here.
"""

import contextlib
from datetime import timedelta
from uuid import UUID

from paymux_core.errors import Refused
from paymux_core.phases import DueAttempt
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import ATTEMPT_CLOSED
from paymux_flows.attempting import candidate_of
from paymux_flows.deps import Deps
from paymux_flows.reconcile import ask, stop


async def look_now(merchant_id: UUID, payment_id: UUID, deps: Deps) -> Payment:
    """Ask about the open attempt if nobody did lately, and give the payment as it then is."""
    payment = await _loaded(merchant_id, payment_id, deps)
    attempt = _open_attempt(payment)
    if attempt is None:
        return payment
    now = deps.clock.now()
    may_look = await deps.store.note_look(
        merchant_id=merchant_id,
        payment_id=payment_id,
        number=attempt.number,
        at=now,
        not_looked_since=now - timedelta(seconds=deps.clocks.look_interval),
    )
    if not may_look or not await _has_its_turn(payment, attempt, deps):
        return payment
    await ask(merchant_id, payment_id, attempt.number, deps, actor="api:look")
    return await _loaded(merchant_id, payment_id, deps)


async def _has_its_turn(payment: Payment, attempt: Attempt, deps: Deps) -> bool:
    """Wait for a place among the look-ups of the account; without one soon the worker's check has to do."""
    candidate = await candidate_of(payment, attempt, deps)
    if candidate is None:
        return False
    wait_seconds = await deps.store.lookups.place(
        merchant_id=payment.merchant_id,
        account_id=candidate.account_id,
        per_second=candidate.capabilities.lookups_per_second,
        at=deps.clock.now(),
        alone=True,
    )
    if wait_seconds:
        await deps.sleep(wait_seconds)
    return wait_seconds is not None


async def stop_now(payment: Payment, deps: Deps, *, actor: str) -> Payment:
    """Cancel the open attempt at its gateway, unless a worker is at it, and give the payment as it then is."""
    attempt = _open_attempt(payment)
    if attempt is None:
        return payment
    due = await _claimed(payment, attempt, deps)
    if due is None:
        return payment
    try:
        await stop(payment.merchant_id, payment.id, attempt.number, deps, actor=actor)
    finally:
        # Where this is refused the lease runs out by itself.
        with contextlib.suppress(Refused):
            await deps.store.release_attempt(due=due, next_check_at=None, unfinished_checks=None)
    return await _loaded(payment.merchant_id, payment.id, deps)


def _open_attempt(payment: Payment) -> Attempt | None:
    still_open = [attempt for attempt in payment.attempts if attempt.status not in ATTEMPT_CLOSED]
    return still_open[-1] if still_open else None


async def _claimed(payment: Payment, attempt: Attempt, deps: Deps) -> DueAttempt | None:
    now, claimed_at = deps.clock.now(), deps.clock.monotonic()
    token = deps.ids.new()
    claimed = await deps.store.claim_attempt(
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        number=attempt.number,
        at=now,
        lease_token=token,
        lease_expires_at=now + timedelta(seconds=deps.clocks.lease),
    )
    if not claimed:
        return None
    account_id, checks = attempt.gateway_account_id, attempt.check_count
    return DueAttempt(payment.merchant_id, payment.id, attempt.number, token, checks, claimed_at, account_id)


async def _loaded(merchant_id: UUID, payment_id: UUID, deps: Deps) -> Payment:
    payment = await deps.store.load_payment(merchant_id, payment_id)
    assert payment is not None, "a payment is never deleted"
    return payment
