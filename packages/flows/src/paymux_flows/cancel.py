"""Cancel a payment: at once before the charge, as a request while the charge runs."""

from msgspec.structs import replace

from paymux_core.errors import Overloaded
from paymux_core.records import Payment
from paymux_core.transitions import PAYMENT_TERMINAL, PaymentEvent, PaymentStatus, next_payment_status
from paymux_flows.answering import ACCEPTED, OK, answer, existing, new_key, replay, unexpected_state
from paymux_flows.commands import CancelPayment, Reply
from paymux_flows.deps import Deps
from paymux_flows.look import stop_now
from paymux_flows.views import render_payment

TRIES = 3
"""Each try lost means that the payment moved on; the next one sees where to."""


async def cancel_payment(command: CancelPayment, deps: Deps) -> Reply:
    """Cancel, or ask for it. A charge that is proven later stays a success: it is never turned into a refund.

    Raises: Refused.
    """
    for _ in range(TRIES):
        replayed = await replay(command.caller, command.key, deps)
        if replayed is not None:
            return replayed
        payment = await existing(command.caller, command.payment_id, deps)
        if payment.status in PAYMENT_TERMINAL:
            raise unexpected_state(payment, "canceled")
        if payment.status is PaymentStatus.REQUIRES_CONFIRMATION:
            canceled = await _cancel_unconfirmed(payment, command, deps)
            if canceled is not None:
                return answer(canceled, success_status=OK, deps=deps)
        elif await _request(payment, command, deps):
            payment = await _stopped(payment, command, deps)
            reply = answer(payment, success_status=OK, deps=deps)
            if payment.status in PAYMENT_TERMINAL:
                return reply
            return replace(reply, http_status=ACCEPTED, retry_after_seconds=reply.retry_after_seconds or 1)
    raise Overloaded("this payment is changing too quickly; try again soon", retry_after_seconds=1)


async def _stopped(payment: Payment, command: CancelPayment, deps: Deps) -> Payment:
    """Cancel at the gateway at once while only the customer is waited for; else the worker does it when it can be."""
    requested = await existing(command.caller, command.payment_id, deps)
    if payment.status is not PaymentStatus.REQUIRES_ACTION:
        return requested
    return await stop_now(requested, deps, actor=f"api_key:{command.caller.api_key_id}")


async def _cancel_unconfirmed(payment: Payment, command: CancelPayment, deps: Deps) -> Payment | None:
    now = deps.clock.now()
    canceled = replace(
        payment,
        status=next_payment_status(payment.status, PaymentEvent.CANCEL),
        cancellation_reason=command.cancellation_reason,
        version=payment.version + 1,
        event_position=payment.event_position + 1,
        event_sequence=payment.event_sequence + 1,
        updated_at=now,
        finalized_at=now,
    )
    written = await deps.store.cancel_unconfirmed(
        before=payment,
        after=canceled,
        key=new_key(command.key, success_status=OK, deps=deps),
        body=render_payment(canceled),
        actor=f"api_key:{command.caller.api_key_id}",
        request_id=command.caller.request_id,
    )
    return canceled if written else None


async def _request(payment: Payment, command: CancelPayment, deps: Deps) -> bool:
    return await deps.store.request_cancellation(
        payment=payment,
        reason=command.cancellation_reason,
        at=deps.clock.now(),
        key=new_key(command.key, success_status=OK, deps=deps),
        actor=f"api_key:{command.caller.api_key_id}",
        request_id=command.caller.request_id,
    )
