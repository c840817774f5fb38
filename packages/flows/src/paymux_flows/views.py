"""What the API shows of a payment: the document's shape, and the pure function that renders it.

The same bytes go into the answer, the event and the replay.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from paymux_core.ids import Kind, attempt_id, public_id
from paymux_core.outcomes import Advice, DeclineCode, NextAction, Refusal
from paymux_core.records import Attempt, LastError, LateCharge, Payment, PaymentMethod
from paymux_core.transitions import AttemptStatus, PaymentStatus


def one_of(names: Iterable[str]) -> msgspec.Meta:
    """Tell the document what the values are; the text itself is our own and not checked again."""
    return msgspec.Meta(extra_json_schema={"enum": list(names)})


PaymentStatusText = Annotated[str, one_of(PaymentStatus)]
AttemptStatusText = Annotated[str, one_of(AttemptStatus)]
DeclineCodeText = Annotated[str, one_of(DeclineCode)]
AdviceText = Annotated[str, one_of(Advice)]


class PaymentMethodView(msgspec.Struct, frozen=True):
    """What the customer pays with."""

    type: str
    token: str | None
    gateway_tokens: dict[str, str]


class NextActionView(msgspec.Struct, frozen=True):
    """What the customer has to do now."""

    type: str
    url: str | None
    parameters: dict[str, str]


class ErrorView(msgspec.Struct, frozen=True):
    """Why an attempt did not go through."""

    code: DeclineCodeText
    message: str
    gateway_code: str | None
    advice: AdviceText
    retryable: bool


class LastErrorView(msgspec.Struct, frozen=True):
    """Why the payment did not go through."""

    code: DeclineCodeText
    message: str
    gateway: str | None
    gateway_code: str | None
    advice: AdviceText
    retryable: bool


class RoutingView(msgspec.Struct, frozen=True):
    """Why this gateway account was chosen."""

    rule_version: int
    reason: str


class AttemptView(msgspec.Struct, frozen=True):
    """One try through one gateway account."""

    id: str
    object: Annotated[str, one_of(["attempt"])]
    payment_id: str
    number: int
    gateway: str
    gateway_account_id: str
    status: AttemptStatusText
    reason: str | None
    amount: int
    currency: str
    provider_payment_id: str | None
    error: ErrorView | None
    operations: list[str]
    next_check_at: datetime | None
    request_id: str
    routing: RoutingView | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class LateChargeView(msgspec.Struct, frozen=True):
    """Money that a gateway took and that the payment cannot book."""

    id: str
    attempt_id: str
    gateway: str
    provider_payment_id: str
    amount: int
    currency: str
    status: str
    policy: str
    refund_id: str | None
    linked_payment_id: str | None
    created_at: datetime


class ReviewView(msgspec.Struct, frozen=True):
    """The open review of a payment."""

    id: str
    reason: str
    opened_at: datetime


class PaymentView(msgspec.Struct, frozen=True):
    """A payment, as every answer and event shows it."""

    id: str
    object: Annotated[str, one_of(["payment"])]
    amount: int
    currency: str
    status: PaymentStatusText
    capture_method: Annotated[str, one_of(["automatic", "manual"])]
    amount_capturable: int
    amount_captured: int
    amount_refunded: int
    amount_refund_pending: int
    reference: str | None
    description: str | None
    customer_reference: str | None
    payment_method: PaymentMethodView | None
    return_url: str | None
    next_action: NextActionView | None
    last_error: LastErrorView | None
    gateway: str | None
    succeeded_attempt_id: str | None
    processing_deadline_at: datetime | None
    attempts: list[AttemptView]
    late_charges: list[LateChargeView]
    cancellation_reason: str | None
    cancellation_requested_at: datetime | None
    review: ReviewView | None
    metadata: dict[str, str]
    livemode: bool
    created_at: datetime
    updated_at: datetime
    finalized_at: datetime | None
    version: int


_encode = msgspec.json.Encoder().encode


def render_payment(payment: Payment) -> bytes:
    """Render a payment as JSON; equal payments give equal bytes."""
    return _encode(payment_view(payment))


def render_attempt(attempt: Attempt) -> bytes:
    """Render an attempt as JSON."""
    return _encode(_attempt_view(attempt))


def payment_view(payment: Payment) -> PaymentView:
    """Show a payment with its attempts."""
    return PaymentView(
        id=public_id(Kind.PAYMENT, payment.id),
        object="payment",
        amount=payment.amount,
        currency=payment.currency,
        status=payment.status,
        capture_method=payment.capture_method,
        amount_capturable=payment.amount_capturable,
        amount_captured=payment.amount_captured,
        amount_refunded=payment.amount_refunded,
        amount_refund_pending=payment.amount_refund_pending,
        reference=payment.reference,
        description=payment.description,
        customer_reference=payment.customer_reference,
        payment_method=_method_view(payment.payment_method),
        return_url=payment.return_url,
        next_action=_action_view(payment.next_action),
        last_error=_last_error_view(payment.last_error),
        gateway=payment.gateway,
        succeeded_attempt_id=(
            None if payment.succeeded_attempt is None else attempt_id(payment.id, payment.succeeded_attempt)
        ),
        processing_deadline_at=payment.processing_deadline_at,
        attempts=[_attempt_view(attempt) for attempt in payment.attempts],
        late_charges=[_late_charge_view(payment, charge) for charge in payment.late_charges],
        cancellation_reason=payment.cancellation_reason,
        cancellation_requested_at=payment.cancellation_requested_at,
        review=(
            None
            if payment.review is None
            else ReviewView(public_id(Kind.REVIEW, payment.review.id), payment.review.reason, payment.review.opened_at)
        ),
        metadata=dict(payment.metadata),
        livemode=payment.livemode,
        created_at=payment.created_at,
        updated_at=payment.updated_at,
        finalized_at=payment.finalized_at,
        version=payment.version,
    )


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        id=attempt_id(attempt.payment_id, attempt.number),
        object="attempt",
        payment_id=public_id(Kind.PAYMENT, attempt.payment_id),
        number=attempt.number,
        gateway=attempt.gateway,
        gateway_account_id=public_id(Kind.GATEWAY_ACCOUNT, attempt.gateway_account_id),
        status=attempt.status,
        reason=attempt.reason,
        amount=attempt.amount,
        currency=attempt.currency,
        provider_payment_id=attempt.provider_payment_id,
        error=_error_view(attempt.error),
        operations=[],
        next_check_at=attempt.next_check_at,
        request_id=attempt.request_id,
        routing=_routing_view(attempt.routing),
        created_at=attempt.created_at,
        updated_at=attempt.updated_at,
        finished_at=attempt.finished_at,
    )


def _routing_view(routing: Mapping[str, object] | None) -> RoutingView | None:
    if routing is None:
        return None
    return RoutingView(rule_version=int(str(routing["rule_version"])), reason=str(routing["reason"]))


def _error_view(refusal: Refusal | None) -> ErrorView | None:
    if refusal is None:
        return None
    return ErrorView(refusal.code, refusal.message, refusal.gateway_code, refusal.advice, refusal.retryable)


def _last_error_view(error: LastError | None) -> LastErrorView | None:
    if error is None:
        return None
    refusal = error.refusal
    return LastErrorView(
        refusal.code, refusal.message, error.gateway, refusal.gateway_code, refusal.advice, refusal.retryable
    )


def _method_view(method: PaymentMethod | None) -> PaymentMethodView | None:
    return None if method is None else PaymentMethodView(method.type, method.token, dict(method.gateway_tokens or {}))


def _action_view(action: NextAction | None) -> NextActionView | None:
    return None if action is None else NextActionView(action.type, action.url, dict(action.parameters))


def _late_charge_view(payment: Payment, charge: LateCharge) -> LateChargeView:
    return LateChargeView(
        id=public_id(Kind.LATE_CHARGE, charge.id),
        attempt_id=attempt_id(payment.id, charge.attempt_number),
        gateway=charge.gateway,
        provider_payment_id=charge.provider_payment_id,
        amount=charge.amount,
        currency=charge.currency,
        status=charge.status,
        policy=charge.policy,
        refund_id=None,
        linked_payment_id=None,
        created_at=charge.created_at,
    )
