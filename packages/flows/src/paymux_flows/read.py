"""Read payments: one, one with a look at the gateway, or a page of them."""

from uuid import UUID

import msgspec

from paymux_core.ids import Kind, public_id, uuid7
from paymux_core.records import Payment
from paymux_flows.answering import OK, existing
from paymux_flows.commands import Caller, ListPayments, Reply
from paymux_flows.deps import Deps
from paymux_flows.look import look_now
from paymux_flows.views import PaymentView, payment_view, render_payment

WALK_MAX = 10_000
"""Rows one call may walk for the finer filters; a page may be short, and its cursor goes on."""


class PaymentPage(msgspec.Struct, frozen=True):
    """One page, newest first."""

    data: list[PaymentView]
    has_more: bool
    next_cursor: str | None


async def get_payment(caller: Caller, payment_id: UUID, deps: Deps) -> Reply:
    """Show a payment. Raises: NotFound."""
    return Reply(OK, render_payment(await existing(caller, payment_id, deps)))


async def sync_payment(caller: Caller, payment_id: UUID, deps: Deps) -> Reply:
    """Ask the gateway now, at most once per 10 s and payment, and show the payment. Raises: NotFound."""
    await existing(caller, payment_id, deps)
    return Reply(OK, render_payment(await look_now(caller.merchant_id, payment_id, deps)))


async def payment_exists(caller: Caller, payment_id: UUID, deps: Deps) -> bool:
    """Say whether this merchant has this payment."""
    return await deps.store.payment_exists(caller.merchant_id, payment_id)


async def list_payments(command: ListPayments, deps: Deps) -> Reply:
    """Show a page of payments."""
    upper = UUID(int=(1 << 128) - 1) if command.created_to_ms is None else uuid7(command.created_to_ms + 1, 0)
    lower = UUID(int=0) if command.created_from_ms is None else uuid7(command.created_from_ms, 0)
    if command.starting_after is not None:
        upper = min(upper, command.starting_after)
    filtered = command.status is not None or command.gateway is not None or bool(command.metadata)
    walk = WALK_MAX if filtered else command.limit + 1
    found, walked, last_walked = await deps.store.walk_payments(
        command.caller.merchant_id,
        command.caller.livemode,
        upper,
        lower,
        command.reference,
        command.customer_reference,
        command.status,
        walk,
        command.gateway,
        msgspec.json.encode(dict(command.metadata)).decode() if command.metadata else None,
        command.limit + 1,
    )
    page = found[: command.limit]
    cursor = page[-1] if len(found) > command.limit else (last_walked if walked == walk else None)
    loaded = [await deps.store.load_payment(command.caller.merchant_id, payment_id) for payment_id in page]
    return Reply(OK, msgspec.json.encode(_page([payment for payment in loaded if payment is not None], cursor)))


def _page(payments: list[Payment], cursor: UUID | None) -> PaymentPage:
    return PaymentPage(
        data=[payment_view(payment) for payment in payments],
        has_more=cursor is not None,
        next_cursor=None if cursor is None else public_id(Kind.PAYMENT, cursor),
    )
