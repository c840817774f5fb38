"""What a client's request asks of the gateway at once: a look, at most one per 10 s and payment, or a cancel.

No money verb is sent here.
"""

from datetime import datetime, timedelta
from uuid import UUID

from paymux_core.phases import DueAttempt
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import ATTEMPT_CLOSED
from paymux_flows.deps import Deps
from paymux_flows.reconcile import ask, stop


async def look_now(merchant_id: UUID, payment_id: UUID, deps: Deps) -> Payment:
    """Ask about the open attempt if nobody did lately, and give the payment as it then is."""
    payment = await _loaded(merchant_id, payment_id, deps)
    attempt = _open_attempt(payment)
    if attempt is None:
        return payment
    lately = deps.clock.now() - timedelta(seconds=deps.clocks.look_interval)
    due = await _claimed(payment, attempt, deps, not_asked_since=lately)
    if due is None:
        return payment
    await ask(due, deps, actor="api:look")
    return await _loaded(merchant_id, payment_id, deps)


async def stop_now(payment: Payment, deps: Deps, *, actor: str) -> Payment:
    """Cancel the open attempt at its gateway, unless a worker is at it, and give the payment as it then is."""
    attempt = _open_attempt(payment)
    if attempt is None:
        return payment
    due = await _claimed(payment, attempt, deps, not_asked_since=deps.clock.now())
    if due is None:
        return payment
    await stop(due, deps, actor=actor)
    return await _loaded(payment.merchant_id, payment.id, deps)


def _open_attempt(payment: Payment) -> Attempt | None:
    still_open = [attempt for attempt in payment.attempts if attempt.status not in ATTEMPT_CLOSED]
    return still_open[-1] if still_open else None


async def _claimed(payment: Payment, attempt: Attempt, deps: Deps, *, not_asked_since: datetime) -> DueAttempt | None:
    now = deps.clock.now()
    token = deps.ids.new()
    claimed = await deps.store.claim_attempt(
        merchant_id=payment.merchant_id,
        payment_id=payment.id,
        number=attempt.number,
        at=now,
        not_asked_since=not_asked_since,
        lease_token=token,
        lease_expires_at=now + timedelta(seconds=deps.clocks.lease),
    )
    return DueAttempt(payment.merchant_id, payment.id, attempt.number, token, attempt.check_count) if claimed else None


async def _loaded(merchant_id: UUID, payment_id: UUID, deps: Deps) -> Payment:
    payment = await deps.store.load_payment(merchant_id, payment_id)
    assert payment is not None, "a payment is never deleted"
    return payment
