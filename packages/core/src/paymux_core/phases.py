"""What each commit of a confirm writes, as values: built by the flows, written by the store in one statement each."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct

from paymux_core.exchange import Interaction
from paymux_core.records import Attempt, Payment


class Key(Struct, frozen=True, gc=False):
    """The idempotency row that phase 1 claims.

    `success_status` is the HTTP status of a final answer (201 for a create), `owned_until` the owner's deadline.
    """

    idempotency_key: str
    request_hash: bytes
    success_status: int
    owned_until: datetime
    expires_at: datetime


class PhaseOne(Struct, frozen=True, gc=False):
    """Open the first attempt of a payment: `payment` as read before, `attempt` as it is to be inserted."""

    payment: Payment
    attempt: Attempt
    key: Key
    processing_deadline_at: datetime
    actor: str


class PhaseOneResult(StrEnum):
    """What became of a phase 1."""

    MOVED = "moved"
    """Committed, and we saw it: the gateway may be called."""
    NOT_MOVED = "not_moved"
    """Somebody else has the key or the payment: a read tells why."""
    COMMITTED_UNSEEN = "committed_unseen"
    """Committed, but the acknowledgement was lost: the worker goes on, this request calls no gateway."""


class PaymentEvent(Struct, frozen=True, gc=False):
    """A row of a payment's log; whose it is stands in its phase 2. `sequence` is None on internal events."""

    position: int
    sequence: int | None
    type: str
    reason: str
    from_status: str | None = None
    to_status: str | None = None
    body: bytes | None = None


class NewReview(Struct, frozen=True, gc=False):
    """A money question for a person."""

    id: UUID
    reason: str
    attempt_number: int | None


class NewLateCharge(Struct, frozen=True, gc=False):
    """Money found that the payment cannot book."""

    id: UUID
    attempt_number: int
    gateway: str
    provider_payment_id: str
    amount: int
    currency: str
    next_check_at: datetime


class AnsweredKey(Struct, frozen=True, gc=False):
    """A key with the answer it replays, for requests about anything but a payment's own state.

    It is written in the commit of what it answers for. A secret that the answer shows is not in `body`.
    """

    idempotency_key: str
    request_hash: bytes
    response_status: int
    body: bytes
    answered_at: datetime
    expires_at: datetime
    location: str | None = None


class ReviewResolution(Struct, frozen=True, gc=False):
    """How a person resolved a review: what they did, why, who, by which key; and late charges that are voided by it."""

    review_id: UUID
    resolution: str
    evidence: str
    actor: str
    api_key_id: str
    resolved_at: datetime
    key: AnsweredKey | None = None
    voided_late_charges: Sequence[UUID] = ()


class PhaseTwo(Struct, frozen=True, gc=False):
    """Write the outcome of a call: from `before` (compare-and-set on its version) to `after`, for one attempt.

    `after is before` when only the attempt's check moves; `attempt` is the attempt after. `opened` is a next attempt.
    """

    before: Payment
    after: Payment
    attempt: Attempt
    interactions: Sequence[Interaction]
    events: Sequence[PaymentEvent]
    actor: str
    request_id: str
    recorded_at: datetime
    final_position: int | None = None
    opened: Attempt | None = None
    review: NewReview | None = None
    late_charge: NewLateCharge | None = None
    resolution: ReviewResolution | None = None
    """A person's word that is written in the same commit."""

    @property
    def changes_payment(self) -> bool:
        """Whether the payment's row moves at all."""
        return self.after is not self.before


class StoredKey(Struct, frozen=True, gc=False):
    """What became of an idempotency key."""

    request_hash: bytes
    payment_id: UUID | None
    """None: it answers for another object, and did so when it was born."""
    attempt_number: int | None
    finished_at: datetime | None
    owned_until: datetime
    success_status: int | None
    response_status: int | None
    body: bytes | None
    location: str | None = None


class Which(StrEnum):
    """Which of the due checks a worker leases."""

    ORDINARY = "ordinary"
    SUSPECT = "suspect"
    """One whose last owners were never heard of again: it runs alone, or it may take its neighbours down."""


class Claim(Struct, frozen=True, gc=False):
    """Lease attempts whose check is due at `at`. `sent_at_seconds`: before it is sent, on the monotonic clock."""

    at: datetime
    sent_at_seconds: float
    lease_token: UUID
    lease_expires_at: datetime
    limit: int
    which: Which = Which.ORDINARY
    busy_accounts: Collection[UUID] = ()
    """Gateway accounts that have enough checks under way: a silent gateway does not take the others' slots."""


class DueAttempt(Struct, frozen=True, gc=False):
    """An attempt that is leased. `claimed_at_seconds`: before the claim was sent, on the monotonic clock.

    `unfinished_checks` counts this one and those before it that did not come to their end; `due_at` is when it was due.
    `deadline_at`: that of its payment.
    """

    merchant_id: UUID
    payment_id: UUID
    number: int
    lease_token: UUID
    check_count: int
    claimed_at_seconds: float
    gateway_account_id: UUID
    unfinished_checks: int = 1
    due_at: datetime | None = None
    deadline_at: datetime | None = None


class RenderedPayment(Struct, frozen=True, gc=False):
    """A payment as its next event shows it, and the version it was rendered from."""

    body: bytes
    version: int


class ReviewCall(Struct, frozen=True, gc=False):
    """Call a person about a payment. `rendered` is None where the payment cannot even be read."""

    merchant_id: UUID
    payment_id: UUID
    review: NewReview
    at: datetime
    actor: str
    rendered: RenderedPayment | None = None


class ReviewNote(Struct, frozen=True, gc=False):
    """What a person did about a review that changes no attempt: events, and how it was resolved, if it was.

    Of a payment it is a compare-and-set on its version; without one the one event, under `event_id`, is the merchant's.
    """

    merchant_id: UUID
    livemode: bool
    subject: str
    payment: Payment | None
    attempt_number: int | None
    event_id: UUID
    events: Sequence[PaymentEvent]
    actor: str
    request_id: str
    at: datetime
    resolution: ReviewResolution | None = None
    key: AnsweredKey | None = None


class NewPayment(Struct, frozen=True, gc=False):
    """A payment to insert, with the key its request came with."""

    payment: Payment
    key: Key | None
    actor: str
    request_id: str
