"""How a payment becomes an answer, and what a request with a known key or a moved payment is told."""

import math
from datetime import timedelta
from uuid import UUID

from paymux_core.clocks import KEY_LIFE, after
from paymux_core.errors import IdempotencyKeyInUse, IdempotencyKeyReused, NotFound, PaymentUnexpectedState
from paymux_core.ids import Kind, public_id
from paymux_core.phases import AnsweredKey, Key, StoredKey
from paymux_core.records import Payment
from paymux_core.transitions import PaymentStatus
from paymux_flows.commands import Caller, KeyUse, Reply
from paymux_flows.deps import Deps
from paymux_flows.look import look_now
from paymux_flows.views import render_payment

ACCEPTED = 202
OK = 200
CREATED = 201
_RETRY_SECONDS_MAX = 30


def answer(payment: Payment, *, success_status: int, deps: Deps, body: bytes | None = None) -> Reply:
    """Answer a verb with a payment: 202 while it is processing, else its success. `body`: it, rendered before."""
    status = ACCEPTED if payment.status is PaymentStatus.PROCESSING else success_status
    return Reply(
        http_status=status,
        body=render_payment(payment) if body is None else body,
        retry_after_seconds=_retry_after(payment, deps) if status == ACCEPTED else None,
        location=_location(payment.id) if success_status == CREATED else None,
    )


def _location(payment_id: UUID) -> str:
    return f"/payments/{public_id(Kind.PAYMENT, payment_id)}"


def _retry_after(payment: Payment, deps: Deps) -> int:
    checks = [attempt.next_check_at for attempt in payment.attempts if attempt.next_check_at is not None]
    if not checks:
        return 1
    wait = (min(checks) - deps.clock.now()) / timedelta(seconds=1)
    return max(1, min(_RETRY_SECONDS_MAX, math.ceil(wait)))


def new_key(use: KeyUse, *, success_status: int, deps: Deps) -> Key:
    """Build the key row of a money request: its owner has until the first check."""
    now = deps.clock.now()
    return Key(
        idempotency_key=use.idempotency_key,
        request_hash=use.request_hash,
        success_status=success_status,
        owned_until=after(now, deps.clocks.first_check),
        # An hour more than its life after a payment that ends at once, so that ending it writes no new expiry.
        expires_at=now + KEY_LIFE + timedelta(hours=1),
    )


def answered_key(use: KeyUse, *, status: int, body: bytes, deps: Deps, location: str | None = None) -> AnsweredKey:
    """Build the key row of a request whose answer is kept at once: that about an object that is no payment."""
    now = deps.clock.now()
    return AnsweredKey(
        idempotency_key=use.idempotency_key,
        request_hash=use.request_hash,
        response_status=status,
        body=body,
        answered_at=now,
        expires_at=now + KEY_LIFE,
        location=location,
    )


async def replay(caller: Caller, use: KeyUse, deps: Deps) -> Reply | None:
    """Answer a request whose key was seen before; None if it was not. Raises: IdempotencyKeyReused, …InUse."""
    stored = await deps.store.find_key(caller.merchant_id, use.idempotency_key)
    if stored is None:
        return None
    if stored.request_hash != use.request_hash:
        raise IdempotencyKeyReused(
            "this Idempotency-Key was first used with another request; use a new key for a new request"
        )
    if stored.body is not None and stored.response_status is not None:
        location = stored.location
        if stored.payment_id is not None and stored.response_status == CREATED:
            location = _location(stored.payment_id)
        return Reply(stored.response_status, stored.body, replayed=True, location=location)
    payment = await _live(caller, stored, deps)
    success = stored.success_status or CREATED
    reply = answer(payment, success_status=success, deps=deps)
    return Reply(
        reply.http_status,
        reply.body,
        replayed=True,
        retry_after_seconds=reply.retry_after_seconds,
        location=reply.location,
    )


async def _live(caller: Caller, stored: StoredKey, deps: Deps) -> Payment:
    assert stored.payment_id is not None, "a key without a payment is born answered"
    if stored.finished_at is None:
        left = (stored.owned_until - deps.clock.now()) / timedelta(seconds=1)
        if left > 0:
            raise IdempotencyKeyInUse(
                "the first request with this key is still running; send the same request again soon",
                payment_id=public_id(Kind.PAYMENT, stored.payment_id),
                retry_after_seconds=min(2, math.ceil(left)),
            )
        return await look_now(caller.merchant_id, stored.payment_id, deps)
    return await existing(caller, stored.payment_id, deps)


async def existing(caller: Caller, payment_id: UUID, deps: Deps) -> Payment:
    """Load a payment of this merchant and mode. Raises: NotFound."""
    payment = await deps.store.load_payment(caller.merchant_id, payment_id)
    if payment is None or payment.livemode is not caller.livemode:
        raise NotFound("there is no such payment; check the id and the key's mode")
    return payment


def unexpected_state(payment: Payment, verb: str) -> PaymentUnexpectedState:
    """Say that a payment's state does not allow a verb."""
    return PaymentUnexpectedState(
        f"a payment that is {payment.status} cannot be {verb}; read it and act on its status",
        payment_id=public_id(Kind.PAYMENT, payment.id),
        current_status=payment.status,
    )
