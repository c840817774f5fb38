"""Create a payment; with `confirm`, phase 1 is in the same commit. No gateway is called before it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from paymux_core.errors import Overloaded, ReferenceInUse
from paymux_core.ids import Kind, public_id, unix_ms_of
from paymux_core.phases import NewPayment, PhaseOneResult
from paymux_core.records import Payment
from paymux_core.transitions import PaymentEvent, next_payment_status
from paymux_flows.answering import CREATED, answer, new_key, replay
from paymux_flows.attempting import Intent, first_choice
from paymux_flows.commands import CreatePayment, Reply
from paymux_flows.confirm import go_on, phase_one
from paymux_flows.deps import Deps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


async def create_payment(command: CreatePayment, deps: Deps) -> Reply:
    """Create a payment, and confirm it if asked to. Raises: Refused."""
    payment = _born(command, deps)
    if command.confirm:
        return await _create_and_confirm(command, payment, deps)
    key = None if command.key is None else new_key(command.key, success_status=CREATED, deps=deps)
    new = NewPayment(payment, key, _actor(command), command.caller.request_id)
    if await deps.store.create_payment(new):
        return answer(payment, success_status=CREATED, deps=deps)
    return await _told_why(command, deps)


async def _create_and_confirm(command: CreatePayment, payment: Payment, deps: Deps) -> Reply:
    budget_ends_at = deps.clock.monotonic() + deps.clocks.request_budget
    assert command.key is not None, "the route insists on a key"
    method = command.payment_method
    assert method is not None, "the route insists on a payment method"
    replayed = await replay(command.caller, command.key, deps)
    if replayed is not None:
        return replayed
    choice = first_choice(payment, method, await deps.accounts.candidates(payment.merchant_id))
    intent = Intent(method, command.return_url, command.off_session, command.caller.request_id)
    phase = phase_one(payment, intent, choice, command.caller, command.key, success_status=CREATED, deps=deps)
    new = NewPayment(payment, None, _actor(command), command.caller.request_id)
    result = await deps.store.create_and_open(new, phase)
    if result is PhaseOneResult.NOT_MOVED:
        return await _told_why(command, deps)
    return await go_on(phase, choice.candidate, result, budget_ends_at, success_status=CREATED, deps=deps)


def _born(command: CreatePayment, deps: Deps) -> Payment:
    payment_id = deps.ids.new()
    born_at = _birth(payment_id, deps.clock.now())
    return Payment(
        merchant_id=command.caller.merchant_id,
        id=payment_id,
        amount=command.money.amount,
        currency=command.money.currency,
        status=next_payment_status(None, PaymentEvent.CREATE),
        capture_method=command.capture_method,
        livemode=command.caller.livemode,
        metadata=command.metadata or {},
        version=1,
        event_position=1,
        event_sequence=1,
        created_at=born_at,
        updated_at=born_at,
        reference=command.reference,
        description=command.description,
        customer_reference=command.customer_reference,
        payment_method=command.payment_method,
        return_url=command.return_url,
        off_session=command.off_session,
    )


def _birth(payment_id: UUID, now: datetime) -> datetime:
    """Give the moment of birth in its id's millisecond: lists are filtered by the id, and show the moment."""
    id_ms = unix_ms_of(payment_id)
    return now if (now - _EPOCH) // _MILLISECOND == id_ms else _EPOCH + id_ms * _MILLISECOND


def _actor(command: CreatePayment) -> str:
    return f"api_key:{command.caller.api_key_id}"


async def _told_why(command: CreatePayment, deps: Deps) -> Reply:
    """Find out why nothing was inserted: the key was used, or the reference is held."""
    if command.key is not None:
        replayed = await replay(command.caller, command.key, deps)
        if replayed is not None:
            return replayed
    if command.reference is not None:
        holder = await deps.store.payment_holding_reference(command.caller.merchant_id, command.reference)
        if holder is not None:
            raise ReferenceInUse(
                "another payment holds this reference; use that one, or another reference for another collection",
                param="reference",
                payment_id=public_id(Kind.PAYMENT, holder),
            )
    raise Overloaded("this was taken and freed again just now; send the same request again", retry_after_seconds=1)
