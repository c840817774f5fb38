"""What the store keeps of events that go out: endpoints, events as they were told, deliveries and their tries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from paymux_core.delivering import Answered, EndpointHealth
from paymux_core.records import Payment, PaymentMethod


class EndpointStatus(StrEnum):
    """Whether events go to an endpoint."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    """By the merchant, or by us after days of failure; what waits for it is buried. The merchant enables it again."""
    DELETED = "deleted"
    """For good; its row stays, as deliveries name it."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    """A dead letter: its tries are used up, or its endpoint is off. A person or the merchant sends it again."""


class WebhookEndpoint(Struct, frozen=True, gc=False):
    """Where a merchant wants events, and which; `event_types` None: all. Secrets are open here, and sealed at rest."""

    merchant_id: UUID
    id: UUID
    number: int
    url: str
    event_types: Sequence[str] | None
    description: str | None
    metadata: Mapping[str, str]
    status: EndpointStatus
    disabled_reason: str | None
    secret: str | None
    previous_secret: str | None
    previous_secret_until: datetime | None
    livemode: bool
    filters_changed_at: datetime
    created_at: datetime
    updated_at: datetime


class LoggedEvent(Struct, frozen=True, gc=False):
    """An event as the log has it: `subject` is its payment, or its own id at position 0.

    `body` is the object as it then was; without one, `payment` and its first attempt are what it is rendered from.
    """

    merchant_id: UUID
    subject: UUID
    position: int
    type: str
    sequence: int | None
    livemode: bool
    recorded_at: datetime
    body: bytes | None = None
    payment: Payment | None = None
    born_method: PaymentMethod | None = None


class LogPlace(Struct, frozen=True, order=True, gc=False):
    """A place in the order of the whole log."""

    epoch: int
    xid: int
    subject: UUID = UUID(int=0)
    position: int = 0


class Lease(Struct, frozen=True, gc=False):
    """An endpoint that this worker delivers to, with what is known of its health."""

    merchant_id: UUID
    number: int
    health: EndpointHealth


class DueDelivery(Struct, frozen=True, gc=False):
    """A delivery whose try has begun; `try_count` counts it."""

    merchant_id: UUID
    endpoint_number: int
    try_count: int
    url: str
    secrets: Sequence[str]
    event: LoggedEvent


class DeliveryTry(Struct, frozen=True, gc=False):
    """How a try ended, and what becomes of its delivery."""

    due: DueDelivery
    id: UUID
    answered: Answered
    status: DeliveryStatus
    next_try_at: datetime | None
    tried_at: datetime


class ShownTry(Struct, frozen=True, gc=False):
    """A try as merchants see it."""

    at: datetime
    http_status: int | None
    duration_ms: int
    error: str | None
    response_excerpt: str | None


class Delivery(Struct, frozen=True, gc=False):
    """A delivery as merchants see it, its latest tries oldest first."""

    subject: UUID
    position: int
    endpoint_number: int
    endpoint_id: UUID
    status: DeliveryStatus
    next_try_at: datetime | None
    created_at: datetime
    tries: Sequence[ShownTry] = ()


PUBLIC_EVENT_TYPES = (
    *("payment.created", "payment.processing", "payment.requires_action", "payment.requires_capture"),
    *("payment.succeeded", "payment.failed", "payment.canceled", "payment.needs_review", "payment.review_resolved"),
    *("payment.late_success", "payment.late_charge_resolved", "attempt.failed"),
    *("refund.created", "refund.succeeded", "refund.failed", "gateway.degraded", "gateway.recovered"),
    *("webhook_endpoint.disabled", "webhook_endpoint.test"),
)
"""What merchants may be told; an endpoint chooses among them."""
