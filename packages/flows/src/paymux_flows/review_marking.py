"""`mark_succeeded` and `mark_failed`: a person's word, and the gateway's record that has to bear it out."""

from datetime import timedelta

from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.errors import ActionNotAllowed, ValidationFailed
from paymux_core.outcomes import (
    Advice,
    Captured,
    DeclineCode,
    Declined,
    NotFound,
    Outcome,
    Refusal,
    Unknown,
    UnknownReason,
)
from paymux_core.ports import CallResult
from paymux_core.resolution import Resolution
from paymux_core.transitions import ATTEMPT_CLOSED, ATTEMPT_CLOSED_WITHOUT_MONEY, AttemptStatus, PaymentStatus
from paymux_flows.deps import Deps
from paymux_flows.record_outcome import Resolving
from paymux_flows.review_asking import Step, is_resolved, look, record, when

_NO_CHARGE = Refusal(
    DeclineCode.UNKNOWN,
    "The gateway gave no answer in time; no charge was found there, and a person closed the payment.",
    Advice.DO_NOT_RETRY,
)


async def mark_succeeded(step: Step, provider_reference: str, resolving: Resolving, deps: Deps) -> Step:
    """Fetch the charge live: only the gateway's own record of this amount, under this id, makes it a success.

    Raises: ValidationFailed for an id that is not this attempt's.
    """
    known = step.attempt.provider_payment_id
    if known is not None and known != provider_reference:
        raise ValidationFailed(
            "this attempt's charge has another id at the gateway; read the payment's attempts",
            param="provider_reference",
        )

    def holds(resolution: Resolution, outcome: Outcome) -> bool:
        # Amount and currency: only what matches them makes an attempt succeed.
        return (
            isinstance(outcome, Captured)
            and outcome.provider_payment_id == provider_reference
            and resolution.attempt.provider_payment_id == provider_reference
            and resolution.attempt.status is AttemptStatus.SUCCEEDED
            and resolution.payment.status is PaymentStatus.SUCCEEDED
        )

    return await look(step, when(resolving, holds), deps, provider_reference=provider_reference)


async def mark_failed(step: Step, settlement_report: str | None, resolving: Resolving, deps: Deps) -> Step:
    """Ask live: the gateway shows no charge, or gives no answer and a closed settlement report lacks the charge.

    A charge that is found later is a late charge: the closed attempt is watched. Raises: ActionNotAllowed.
    """

    def holds(resolution: Resolution, _outcome: Outcome) -> bool:
        return (
            resolution.attempt.status in ATTEMPT_CLOSED_WITHOUT_MONEY
            and not resolution.verdict.late
            and resolution.payment.status in {PaymentStatus.FAILED, PaymentStatus.CANCELED}
        )

    resolving = when(resolving, holds)
    step = await look(step, resolving, deps)
    if is_resolved(step, resolving) or step.attempt.status in ATTEMPT_CLOSED:
        return step
    if step.attempt.was_requires_action:
        raise ActionNotAllowed("the customer may still hold what confirms this charge; void it first")
    match step.seen:
        case NotFound():
            _refuse_too_early(step, deps)
        case Unknown(reason=reason) if reason is not UnknownReason.INTEGRITY_MISMATCH:
            if settlement_report is None:
                raise ActionNotAllowed(
                    f"the gateway gave no answer that tells ({reason}); ask again later, or name the closed "
                    "settlement report that lacks the charge as settlement_report"
                )
        case _:
            return step
    after = await record(step, CallResult(Declined(_NO_CHARGE), ()), Asked.PERSON, resolving, deps)
    return replace(after, seen=step.seen)


def _refuse_too_early(step: Step, deps: Deps) -> None:
    """Refuse while the gateway may not show yet what it did. Raises: ActionNotAllowed."""
    last = step.attempt.last_request_at or step.attempt.created_at
    shown_by = last + timedelta(seconds=step.candidate.capabilities.lookup_consistency_seconds)
    if deps.clock.now() < shown_by:
        raise ActionNotAllowed(f"the gateway may show a charge as late as {shown_by.isoformat()}; ask again then")
