"""What a merchant asks for, parsed and authenticated: the inputs of the flows."""

from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct

from paymux_core.money import Money
from paymux_core.records import PaymentMethod


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


class Reply(Struct, frozen=True, gc=False):
    """An answer to a merchant, complete: status, the body's bytes, and what the headers need."""

    http_status: int
    body: bytes
    replayed: bool = False
    retry_after_seconds: int | None = None
    location: str | None = None
