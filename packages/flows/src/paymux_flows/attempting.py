"""From a payment to an attempt and the call it makes: which account, which bytes, until when."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.clocks import after, pause_after_check
from paymux_core.connector import ChargeCall
from paymux_core.errors import GatewayUnavailable, NoEligibleGateway
from paymux_core.ids import Kind, attempt_id, public_id
from paymux_core.money import Money
from paymux_core.outcomes import DeclineCode
from paymux_core.ports import CallLimits, RememberProviderPayment
from paymux_core.records import Attempt, Payment, PaymentMethod
from paymux_core.routing import Candidate, Choice, choose_account, fitting
from paymux_core.transitions import AttemptStatus
from paymux_flows.deps import Deps

SAME_ACCOUNT_AGAIN = frozenset({DeclineCode.GATEWAY_UNAVAILABLE, DeclineCode.GATEWAY_RATE_LIMITED})
"""Refusals that say nothing about the payment: the same account may be asked again after a pause."""


class Intent(Struct, frozen=True, gc=False):
    """What the merchant wants of an attempt, beside the payment's own fields."""

    method: PaymentMethod
    return_url: str | None
    off_session: bool
    request_id: str


def call_of(payment: Payment, attempt: Attempt) -> ChargeCall:
    """Build the call of an attempt: immutable since phase 1, so that a re-send has the same bytes."""
    return ChargeCall(
        payment_id=public_id(Kind.PAYMENT, payment.id),
        attempt_id=attempt_id(payment.id, attempt.number),
        money=Money(attempt.amount, attempt.currency),
        capture=payment.capture_method,
        payment_method_type=attempt.payment_method.type,
        token=attempt.payment_method.token_for(attempt.gateway) or "",
        return_url=attempt.return_url,
        off_session=attempt.off_session,
        started_at=attempt.created_at,
        provider_payment_id=attempt.provider_payment_id,
        fence_number=attempt.fence_count + 1,
    )


def remembering(payment: Payment, attempt: Attempt, deps: Deps) -> RememberProviderPayment:
    """Give what commits the gateway's id of a reserved object; it says no if the attempt was closed or has another."""

    async def remember(provider_payment_id: str) -> bool:
        return await deps.store.remember_provider_payment(
            merchant_id=payment.merchant_id,
            payment_id=payment.id,
            number=attempt.number,
            provider_payment_id=provider_payment_id,
            at=deps.clock.now(),
        )

    return remember


def first_choice(payment: Payment, method: PaymentMethod, candidates: Sequence[Candidate]) -> Choice:
    """Choose the account of the first attempt. Raises: NoEligibleGateway, GatewayUnavailable."""
    fit = fitting(candidates, currency=payment.currency, method=method, livemode=payment.livemode)
    choice = choose_account(fit, tried=())
    if choice is not None:
        return choice
    if fit:
        raise GatewayUnavailable(
            "every gateway account that fits this payment is switched off; try again later", retry_after_seconds=30
        )
    raise NoEligibleGateway(
        "no gateway account fits this payment's currency, mode and payment method; add one, or give a token for it"
    )


def next_choice(payment: Payment, attempt: Attempt, candidates: Sequence[Candidate]) -> Choice | None:
    """Choose the account of a further attempt: another one, or the same again if it was only out of reach."""
    method = attempt.payment_method
    fit = fitting(candidates, currency=payment.currency, method=method, livemode=payment.livemode)
    other = choose_account(fit, tried={a.gateway_account_id for a in payment.attempts})
    if other is not None:
        return other
    if attempt.status is not AttemptStatus.NOT_EXECUTED or attempt.error is None:
        return None
    if attempt.error.code not in SAME_ACCOUNT_AGAIN:
        return None
    for candidate in fit:
        if candidate.account_id == attempt.gateway_account_id and candidate.status == "enabled":
            return Choice(candidate, "same_account_again")
    return None


def new_attempt(payment: Payment, intent: Intent, choice: Choice, now: datetime, deps: Deps) -> Attempt:
    """Build the next attempt of a payment; its check comes when the call must be over."""
    first_check = pause_after_check(checks=0, age=timedelta(), jitter=deps.rng.uniform(), clocks=deps.clocks)
    attempt = Attempt(
        payment_id=payment.id,
        number=len(payment.attempts) + 1,
        gateway=choice.candidate.account.gateway,
        gateway_account_id=choice.candidate.account_id,
        status=AttemptStatus.STARTED,
        amount=payment.amount,
        currency=payment.currency,
        payment_method=intent.method,
        request_digest=b"",
        connector_version=deps.gateways.connector_version(choice.candidate.account.gateway),
        request_id=intent.request_id,
        created_at=now,
        updated_at=now,
        charge_window_ends_at=(
            payment.attempts[0].charge_window_ends_at if payment.attempts else after(now, deps.clocks.charge_window)
        ),
        next_check_at=now + first_check,
        return_url=intent.return_url,
        off_session=intent.off_session,
        routing=choice.document,
    )
    return _with_digest(payment, attempt, choice.candidate, deps)


def _with_digest(payment: Payment, attempt: Attempt, candidate: Candidate, deps: Deps) -> Attempt:
    digest = deps.gateways.request_digest(candidate.account, call_of(payment, attempt))
    return replace(attempt, request_digest=digest)


async def candidate_of(payment: Payment, attempt: Attempt, deps: Deps) -> Candidate | None:
    """Find the account an attempt went through, whatever its status is now."""
    return _by_id(await deps.accounts.candidates(payment.merchant_id), attempt.gateway_account_id)


async def candidate_of_account(merchant_id: UUID, account_id: UUID, deps: Deps) -> Candidate | None:
    """Find an account; None if its connector is not installed here."""
    return _by_id(await deps.accounts.candidates(merchant_id), account_id)


def _by_id(candidates: Sequence[Candidate], account_id: UUID) -> Candidate | None:
    return next((candidate for candidate in candidates if candidate.account_id == account_id), None)


def money_limits(deps: Deps, *, opened_at: float, budget_ends_at: float) -> CallLimits:
    """Say until when a charge may run and start. Units: seconds on the monotonic clock."""
    now = deps.clock.monotonic()
    clocks = deps.clocks
    return CallLimits(
        ends_at=min(now + clocks.gateway_call, budget_ends_at - clocks.call_reserve),
        first_byte_before=opened_at + clocks.first_byte,
        connect_seconds=clocks.connect,
    )


def asking_limits(deps: Deps) -> CallLimits:
    """Say until when a question to a gateway may run."""
    now = deps.clock.monotonic()
    return CallLimits(now + deps.clocks.gateway_call, now + deps.clocks.first_byte, deps.clocks.connect)
