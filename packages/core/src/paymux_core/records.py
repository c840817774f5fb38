"""What the store keeps, as the flows see it: frozen copies of rows, read in one statement each.

Units: amounts in minor units of `currency`; times aware, UTC.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from paymux_core.outcomes import NextAction, Refusal
from paymux_core.transitions import AttemptStatus, PaymentStatus


class PaymentMethod(Struct, frozen=True, gc=False):
    """What the customer pays with: a type, and a token, either for all gateways or one per gateway."""

    type: str
    token: str | None = None
    gateway_tokens: Mapping[str, str] | None = None

    def token_for(self, gateway: str) -> str | None:
        """Give the token to send to `gateway`; None if there is none for it."""
        own = (self.gateway_tokens or {}).get(gateway)
        return own if own is not None else self.token


class LastError(Struct, frozen=True, gc=False):
    """Why a payment or attempt did not go through."""

    refusal: Refusal
    gateway: str | None


class OpenReview(Struct, frozen=True, gc=False):
    """The review a payment is under."""

    id: UUID
    reason: str
    opened_at: datetime


class Review(Struct, frozen=True, gc=False):
    """A question to a person, and how it was resolved. One of the subjects is set."""

    merchant_id: UUID
    id: UUID
    reason: str
    status: str
    opened_at: datetime
    payment_id: UUID | None = None
    webhook_id: UUID | None = None
    gateway_account_id: UUID | None = None
    attempt_number: int | None = None
    resolved_at: datetime | None = None
    resolution: str | None = None
    evidence: str | None = None
    actor: str | None = None
    api_key_id: str | None = None


class LateCharge(Struct, frozen=True, gc=False):
    """Money that a gateway took or holds and that its payment cannot book."""

    id: UUID
    attempt_number: int
    gateway: str
    provider_payment_id: str
    amount: int
    currency: str
    status: str
    policy: str
    created_at: datetime


class Attempt(Struct, frozen=True, gc=False):
    """One try through one gateway account. `money_requested`: a request that can take money was (perhaps) sent."""

    payment_id: UUID
    number: int
    gateway: str
    gateway_account_id: UUID
    status: AttemptStatus
    amount: int
    currency: str
    payment_method: PaymentMethod
    request_digest: bytes
    connector_version: str
    request_id: str
    created_at: datetime
    updated_at: datetime
    charge_window_ends_at: datetime
    next_check_at: datetime | None
    reason: str | None = None
    provider_payment_id: str | None = None
    error: Refusal | None = None
    return_url: str | None = None
    off_session: bool = False
    routing: Mapping[str, object] | None = None
    money_requested: bool = False
    was_requires_action: bool = False
    fence_count: int = 0
    check_count: int = 0
    last_request_at: datetime | None = None
    sending_since: datetime | None = None
    """When a re-send was about to leave; one that is not recorded since then was lost with its process."""
    watch_until: datetime | None = None
    finished_at: datetime | None = None


class Payment(Struct, frozen=True, gc=False):
    """A payment with its attempts, open review and late charges, as of one moment."""

    merchant_id: UUID
    id: UUID
    amount: int
    currency: str
    status: PaymentStatus
    capture_method: str
    livemode: bool
    metadata: Mapping[str, str]
    version: int
    event_position: int
    event_sequence: int
    created_at: datetime
    updated_at: datetime
    reference: str | None = None
    description: str | None = None
    customer_reference: str | None = None
    payment_method: PaymentMethod | None = None
    return_url: str | None = None
    off_session: bool = False
    next_action: NextAction | None = None
    last_error: LastError | None = None
    amount_capturable: int = 0
    amount_captured: int = 0
    amount_refunded: int = 0
    amount_refund_pending: int = 0
    gateway: str | None = None
    succeeded_attempt: int | None = None
    processing_deadline_at: datetime | None = None
    cancellation_reason: str | None = None
    cancellation_requested_at: datetime | None = None
    finalized_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()
    late_charges: tuple[LateCharge, ...] = ()
    reviews: tuple[OpenReview, ...] = ()
    """Those that are open, oldest first."""

    @property
    def review(self) -> OpenReview | None:
        """The review a merchant is shown: the oldest."""
        return self.reviews[0] if self.reviews else None


class HistoryPlace(Struct, frozen=True, gc=False):
    """Where something stands in the history of a payment."""

    recorded_at: datetime
    position: int
    key: str


class HistoryRow(Struct, frozen=True, gc=False):
    """One row of what happened to a payment: an event, an attempt, …; `columns` as the database has it."""

    kind: str
    place: HistoryPlace
    actor: str | None
    request_id: str | None
    columns: Mapping[str, object]
    body: bytes | None = None


class ApiKeyRow(Struct, frozen=True, gc=False):
    """A stored API key: the keyed hash of its token, what it may do, until when, and how often.

    A rate that is None is the API's default. `confirms_per_second` counts all keys of the merchant together.
    """

    key_id: str
    merchant_id: UUID
    token_hash: bytes
    pepper_version: int
    scopes: frozenset[str]
    livemode: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    limits_exempt: bool
    last4: str
    requests_per_second: int | None = None
    confirms_per_second: int | None = None
    same_key_per_second: int | None = None


class Violation(Struct, frozen=True, gc=False):
    """A payment of which something does not hold that must."""

    invariant: str
    merchant_id: UUID
    payment_id: UUID
    detail: str
