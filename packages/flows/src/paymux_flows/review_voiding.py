"""`void`: cancel at the gateway now; a review is resolved by it only once the gateway has acknowledged that."""

from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.outcomes import Authorized, Captured, Outcome, Voided
from paymux_core.ports import CallResult
from paymux_core.resolution import Resolution
from paymux_core.transitions import ATTEMPT_CLOSED, ATTEMPT_CLOSED_WITHOUT_MONEY, AttemptStatus
from paymux_flows.attempting import call_of
from paymux_flows.deps import Deps
from paymux_flows.record_outcome import Resolving
from paymux_flows.review_asking import Step, fence, is_resolved, look, record, send_fence, when


async def void(step: Step, resolving: Resolving, deps: Deps) -> Step:
    """Cancel an attempt whose end nobody knows. Raises: ActionNotAllowed at a gateway that has no cancel."""
    return await fence(step, when(resolving, _acknowledged), deps)


def _acknowledged(resolution: Resolution, outcome: Outcome) -> bool:
    return isinstance(outcome, Voided) and resolution.attempt.status in ATTEMPT_CLOSED_WITHOUT_MONEY


async def void_mismatch(step: Step, resolving: Resolving, deps: Deps) -> Step:
    """Undo a charge of another amount: cancelled if that can still be; else it becomes a late charge, to be given back.

    The attempt is `failed` then (`integrity_mismatch`), and so is the payment. Raises: as above.
    """
    resolving = when(resolving, _accounted_for)
    step = await fence(step, resolving, deps)
    if not isinstance(step.seen, (Captured, Authorized, Voided)) and not is_resolved(step, resolving):
        step = await look(step, resolving, deps)
    if is_resolved(step, resolving) or step.attempt.status in ATTEMPT_CLOSED:
        return step
    if not isinstance(step.seen, (Captured, Authorized)):
        return step
    return await record(step, CallResult(step.seen, ()), Asked.PERSON, resolving, deps)


def _accounted_for(resolution: Resolution, outcome: Outcome) -> bool:
    """Whether nothing of the wrong amount is left unsaid: cancelled, on record as a late charge, or put right."""
    attempt = resolution.attempt
    if isinstance(outcome, Voided):
        return attempt.status in ATTEMPT_CLOSED_WITHOUT_MONEY
    if not isinstance(outcome, (Captured, Authorized)):
        return False
    recorded = {charge.provider_payment_id for charge in resolution.payment.late_charges}
    put_right = (
        isinstance(outcome, Captured)
        and attempt.status is AttemptStatus.SUCCEEDED
        and outcome.provider_payment_id == attempt.provider_payment_id
        and (outcome.money.amount, outcome.money.currency) == (attempt.amount, attempt.currency)
    )
    return put_right or (
        attempt.status in ATTEMPT_CLOSED_WITHOUT_MONEY
        and (resolution.verdict.late or outcome.provider_payment_id in recorded)
    )


async def void_late_charges(step: Step, resolving: Resolving, deps: Deps) -> Step:
    """Release what gateways hold for a payment that cannot book it: all of it, or the review stays open.

    Raises: ActionNotAllowed at a gateway that has no cancel.
    """
    waiting = [charge for charge in step.payment.late_charges if charge.status == "open"]
    last = len(waiting) - 1
    for index, charge in enumerate(waiting):
        of_charge = replace(step, attempt=step.payment.attempts[charge.attempt_number - 1])
        call = replace(call_of(of_charge.payment, of_charge.attempt), provider_payment_id=charge.provider_payment_id)
        result = await send_fence(of_charge, call, deps)
        closing = replace(resolving, voids=tuple(c.id for c in waiting), holds=_released if index == last else _not_yet)
        step = await record(of_charge, result, Asked.FENCE, closing, deps)
        if not isinstance(step.seen, Voided):
            return step
    return step


def _not_yet(_resolution: Resolution, _outcome: Outcome) -> bool:
    return False


def _released(_resolution: Resolution, outcome: Outcome) -> bool:
    return isinstance(outcome, Voided)
