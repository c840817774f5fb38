"""What merchants are told: an event with the object as it then was.

Most events keep their object. Those of a payment's birth and of its confirm do not, as both are known from what never
changes: their object is rendered here, always the same.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec.structs import replace

from paymux_core.clocks import Clocks, after
from paymux_core.ids import Kind, event_id, public_id
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import AttemptStatus, PaymentStatus
from paymux_core.webhooks import EndpointStatus, LoggedEvent, WebhookEndpoint
from paymux_flows.views import render_payment


class EventObject(msgspec.Struct, frozen=True):
    """The object of an event, as it then was."""

    object: msgspec.Raw


class EventView(msgspec.Struct, frozen=True):
    """Something that happened. `sequence` counts a payment's events without gaps."""

    id: str
    object: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["event"]})]
    type: str
    payment_id: str | None
    sequence: int | None
    livemode: bool
    created_at: datetime
    data: EventObject


class WebhookEndpointView(msgspec.Struct, frozen=True):
    """Where events go. `secret` is shown once; `event_types` null: all."""

    id: str
    object: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["webhook_endpoint"]})]
    url: str
    event_types: list[str] | None
    status: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["enabled", "disabled"]})]
    disabled_reason: str | None
    description: str | None
    secret: str | None
    previous_secret_until: datetime | None
    metadata: dict[str, str]
    livemode: bool
    created_at: datetime
    updated_at: datetime


_encode = msgspec.json.Encoder().encode


def event_view(event: LoggedEvent, clocks: Clocks) -> EventView:
    """Show an event."""
    return EventView(
        id=event_id(event.subject, event.position),
        object="event",
        type=event.type,
        payment_id=public_id(Kind.PAYMENT, event.subject) if event.position else None,
        sequence=event.sequence,
        livemode=event.livemode,
        created_at=event.recorded_at,
        data=EventObject(msgspec.Raw(event.body if event.body is not None else _rendered(event, clocks))),
    )


def render_event(event: LoggedEvent, clocks: Clocks) -> bytes:
    """Render an event as it is sent and shown; the same event always gives the same bytes."""
    return _encode(event_view(event, clocks))


def endpoint_view(endpoint: WebhookEndpoint, *, secret: str | None = None) -> WebhookEndpointView:
    """Show an endpoint, without its secret unless that is given."""
    status = endpoint.status
    return WebhookEndpointView(
        id=public_id(Kind.WEBHOOK_ENDPOINT, endpoint.id),
        object="webhook_endpoint",
        url=endpoint.url,
        event_types=None if endpoint.event_types is None else list(endpoint.event_types),
        status=EndpointStatus.DISABLED if status is EndpointStatus.DELETED else status,
        disabled_reason=endpoint.disabled_reason,
        description=endpoint.description,
        secret=secret,
        previous_secret_until=endpoint.previous_secret_until,
        metadata=dict(endpoint.metadata),
        livemode=endpoint.livemode,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


def render_endpoint(endpoint: WebhookEndpoint, *, secret: str | None = None) -> bytes:
    """Render an endpoint."""
    return _encode(endpoint_view(endpoint, secret=secret))


def _rendered(event: LoggedEvent, clocks: Clocks) -> bytes:
    payment = event.payment
    assert payment is not None, "an event has a body or a payment"
    if event.type == "payment.created":
        return render_payment(_born(payment, event))
    if event.type == "payment.processing" and payment.attempts:
        return render_payment(_confirmed(payment, event, clocks))
    # Somebody could not read the payment then; what it was is not known.
    return _encode({"id": public_id(Kind.PAYMENT, payment.id), "object": "payment"})


def _born(payment: Payment, event: LoggedEvent) -> Payment:
    """Give a payment as it was created."""
    return Payment(
        merchant_id=payment.merchant_id,
        id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        status=PaymentStatus.REQUIRES_CONFIRMATION,
        capture_method=payment.capture_method,
        livemode=payment.livemode,
        metadata=payment.metadata,
        version=1,
        event_position=1,
        event_sequence=1,
        created_at=payment.created_at,
        updated_at=payment.created_at,
        reference=payment.reference,
        description=payment.description,
        customer_reference=payment.customer_reference,
        payment_method=event.born_method,
        return_url=payment.return_url,
        off_session=payment.off_session,
    )


def _confirmed(payment: Payment, event: LoggedEvent, clocks: Clocks) -> Payment:
    """Give a payment as its confirm left it. When it was to be looked at is as planned, without the jitter."""
    first = payment.attempts[0]
    return replace(
        _born(payment, event),
        status=PaymentStatus.PROCESSING,
        version=2,
        updated_at=event.recorded_at,
        payment_method=first.payment_method,
        gateway=first.gateway,
        processing_deadline_at=after(event.recorded_at, clocks.processing_deadline),
        attempts=(_started(first, clocks),),
    )


def _started(attempt: Attempt, clocks: Clocks) -> Attempt:
    return Attempt(
        payment_id=attempt.payment_id,
        number=attempt.number,
        gateway=attempt.gateway,
        gateway_account_id=attempt.gateway_account_id,
        status=AttemptStatus.STARTED,
        amount=attempt.amount,
        currency=attempt.currency,
        payment_method=attempt.payment_method,
        request_digest=attempt.request_digest,
        connector_version=attempt.connector_version,
        request_id=attempt.request_id,
        created_at=attempt.created_at,
        updated_at=attempt.created_at,
        charge_window_ends_at=attempt.charge_window_ends_at,
        next_check_at=after(attempt.created_at, clocks.first_check),
        return_url=attempt.return_url,
        off_session=attempt.off_session,
        routing=attempt.routing,
    )
