"""A look at the gateway that a client asked for: at most one per 10 s and payment, and it sends no money verbs."""

from datetime import timedelta
from uuid import UUID

from paymux_core.phases import DueAttempt
from paymux_core.records import Payment
from paymux_core.transitions import ATTEMPT_CLOSED
from paymux_flows.deps import Deps
from paymux_flows.reconcile import ask


async def look_now(merchant_id: UUID, payment_id: UUID, deps: Deps) -> Payment:
    """Ask about the open attempt if nobody did lately, and give the payment as it then is."""
    payment = await _loaded(merchant_id, payment_id, deps)
    open_attempts = [attempt for attempt in payment.attempts if attempt.status not in ATTEMPT_CLOSED]
    if not open_attempts:
        return payment
    now = deps.clock.now()
    token = deps.ids.new()
    claimed = await deps.store.claim_attempt(
        merchant_id=merchant_id,
        payment_id=payment_id,
        number=open_attempts[-1].number,
        at=now,
        not_asked_since=now - timedelta(seconds=deps.clocks.look_interval),
        lease_token=token,
        lease_expires_at=now + timedelta(seconds=deps.clocks.lease),
    )
    if claimed:
        due = DueAttempt(merchant_id, payment_id, open_attempts[-1].number, token, open_attempts[-1].check_count)
        await ask(due, deps, actor="api:look")
        return await _loaded(merchant_id, payment_id, deps)
    return payment


async def _loaded(merchant_id: UUID, payment_id: UUID, deps: Deps) -> Payment:
    payment = await deps.store.load_payment(merchant_id, payment_id)
    assert payment is not None, "a payment is never deleted"
    return payment
