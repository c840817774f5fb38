"""Charge an opened attempt and record what came back; go on to the next attempt while that is allowed and in time."""

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.records import Attempt, Payment
from paymux_core.routing import Candidate
from paymux_flows.attempting import call_of, money_limits, remembering
from paymux_flows.deps import Deps
from paymux_flows.record_outcome import Recorded, Report, record_outcome


class Charge(Struct, frozen=True, gc=False):
    """An attempt that is committed and may be sent. Units: seconds on the monotonic clock.

    `opened_at` is from before its commit was *sent*: the first byte is counted from there, not from the answer.
    """

    payment: Payment
    attempt: Attempt
    candidate: Candidate
    opened_at: float
    budget_ends_at: float
    actor: str


async def charge(step: Charge, deps: Deps, *, asked: Asked = Asked.CHARGE) -> Recorded:
    """Run an attempt and its successors to an answer. No connection is held during a call.

    Raises: StorageUnavailable; the attempt then is the worker's.
    """
    while True:
        recorded, goes_on = await _charge_once(step, deps, asked=asked)
        if recorded.opened is None or recorded.candidate is None or not goes_on:
            return recorded
        if recorded.same_account:
            pauses = deps.clocks.same_account_pauses
            await deps.sleep(pauses[min(recorded.opened.number - 2, len(pauses) - 1)])
        asked = Asked.CHARGE
        step = Charge(
            recorded.payment, recorded.opened, recorded.candidate, recorded.sent_at, step.budget_ends_at, step.actor
        )


def _in_time(step: Charge, deps: Deps) -> bool:
    return step.budget_ends_at - deps.clock.monotonic() >= deps.clocks.further_attempt_minimum


async def _charge_once(step: Charge, deps: Deps, *, asked: Asked) -> tuple[Recorded, bool]:
    """Charge and record; and whether a next attempt is called here. The row says so too: else the worker calls it."""
    payment, attempt = step.payment, step.attempt
    limits = money_limits(deps, opened_at=step.opened_at, budget_ends_at=step.budget_ends_at)
    remember = remembering(payment, attempt, deps)
    result = await deps.gateways.authorize(
        step.candidate.account, call_of(payment, attempt), limits=limits, remember=remember
    )
    goes_on = _in_time(step, deps)
    report = Report(
        payment=_knowing(payment, attempt, result.remembered),
        number=attempt.number,
        asked=asked,
        outcome=result.outcome,
        interactions=result.interactions,
        caching=step.candidate.capabilities.caching,
        actor=step.actor,
        request_id=attempt.request_id,
        inline=goes_on,
        unknown_deadline_seconds=step.candidate.capabilities.unknown_deadline_seconds,
    )
    return await record_outcome(report, deps), goes_on


def _knowing(payment: Payment, attempt: Attempt, provider_payment_id: str | None) -> Payment:
    """The payment with the id that was committed during the call, as its row has it."""
    if provider_payment_id is None:
        return payment
    known = replace(attempt, provider_payment_id=provider_payment_id)
    return replace(payment, attempts=tuple(known if a.number == known.number else a for a in payment.attempts))
