"""What a merchant asks for, parsed and authenticated: the inputs of the flows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from paymux_core.money import Money
from paymux_core.records import PaymentMethod
from paymux_core.review_rules import ReviewAction
from paymux_core.webhooks import LogPlace


class Caller(Struct, frozen=True, gc=False):
    """Who asks: the merchant and mode of the API key, the key's id for the audit trail, the request's id."""

    merchant_id: UUID
    livemode: bool
    api_key_id: str
    request_id: str


class KeyUse(Struct, frozen=True, gc=False):
    """An `Idempotency-Key` and the fingerprint of the request it came with (SHA-256, 32 bytes)."""

    idempotency_key: str
    request_hash: bytes


class CreatePayment(Struct, frozen=True, gc=False):
    """Create a payment; with `confirm` the key is required."""

    caller: Caller
    money: Money
    capture_method: str = "automatic"
    reference: str | None = None
    description: str | None = None
    customer_reference: str | None = None
    payment_method: PaymentMethod | None = None
    return_url: str | None = None
    metadata: Mapping[str, str] | None = None
    confirm: bool = False
    off_session: bool = False
    key: KeyUse | None = None


class ConfirmPayment(Struct, frozen=True, gc=False):
    """Open an attempt and charge or authorise. None means: as given at creation."""

    caller: Caller
    payment_id: UUID
    key: KeyUse
    payment_method: PaymentMethod | None = None
    return_url: str | None = None
    off_session: bool | None = None


class CancelPayment(Struct, frozen=True, gc=False):
    """Cancel before the charge, or ask for it while the charge runs."""

    caller: Caller
    payment_id: UUID
    key: KeyUse
    cancellation_reason: str = "requested_by_merchant"


class ListPayments(Struct, frozen=True, gc=False):
    """One page, newest first. `status`, `gateway`, `metadata` are filtered while walking. Times are aware, UTC."""

    caller: Caller
    limit: int = 20
    starting_after: UUID | None = None
    reference: str | None = None
    customer_reference: str | None = None
    created_from_ms: int | None = None
    created_to_ms: int | None = None
    status: str | None = None
    gateway: str | None = None
    metadata: Mapping[str, str] | None = None


class CreateEndpoint(Struct, frozen=True, gc=False):
    """Make a webhook endpoint; `event_types` None: all."""

    caller: Caller
    url: str
    event_types: Sequence[str] | None = None
    description: str | None = None
    metadata: Mapping[str, str] | None = None
    key: KeyUse | None = None


class ChangeEndpoint(Struct, frozen=True, gc=False):
    """Change a webhook endpoint: only what is in `changes`, by the names of its fields."""

    caller: Caller
    endpoint_id: UUID
    changes: Mapping[str, object]


class ResendDead(Struct, frozen=True, gc=False):
    """Send an endpoint's dead letters again that were recorded in a time. Times are aware."""

    caller: Caller
    endpoint_id: UUID
    created_from: datetime
    created_to: datetime
    key: KeyUse | None = None


class ListEvents(Struct, frozen=True, gc=False):
    """One page of the log behind a place, oldest first; of one payment if one is named."""

    caller: Caller
    limit: int = 20
    after: LogPlace | None = None
    payment_id: UUID | None = None
    type: str | None = None


class ListDeliveries(Struct, frozen=True, gc=False):
    """One page of deliveries; `event` is a payment and a position, or an event's own id and 0."""

    caller: Caller
    limit: int = 20
    starting_after: tuple[UUID, int, int] | None = None
    event: tuple[UUID, int] | None = None
    status: str | None = None
    endpoint_id: UUID | None = None


class Reply(Struct, frozen=True, gc=False):
    """An answer to a merchant, complete: status, the body's bytes, and what the headers need."""

    http_status: int
    body: bytes
    replayed: bool = False
    retry_after_seconds: int | None = None
    location: str | None = None


class ListReviews(Struct, frozen=True, gc=False):
    """One page of reviews, newest first."""

    caller: Caller
    limit: int = 20
    starting_after: UUID | None = None
    status: str | None = None
    reason: str | None = None
    payment_id: UUID | None = None


class ResolveReview(Struct, frozen=True, gc=False):
    """What a person wants done about a review, and why.

    `settlement_report` names the closed report of the gateway that lacks the charge.
    """

    caller: Caller
    review_id: UUID
    action: ReviewAction
    evidence: str
    actor: str
    provider_reference: str | None = None
    settlement_report: str | None = None
    key: KeyUse | None = None
