"""What the flows are given: the store, the gateways, time, ids and randomness."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from paymux_core.clocks import Clocks
from paymux_core.phases import (
    Claim,
    DueAttempt,
    Key,
    NewPayment,
    PhaseOne,
    PhaseOneResult,
    PhaseTwo,
    ReviewCall,
    StoredKey,
)
from paymux_core.ports import Clock, Gateways, Ids, Rng, Sleep
from paymux_core.records import ApiKeyRow, Payment, Violation
from paymux_core.routing import Candidate
from paymux_flows.history_store import History
from paymux_flows.inbound_deps import InboundWebhooks
from paymux_flows.lookups import Lookups
from paymux_flows.operating import Operating
from paymux_flows.review_store import Reviews
from paymux_flows.upkeep import Schedules, Upkeep
from paymux_flows.webhook_stores import Deliveries, EventLog, WebhookEndpoints


class Store(Protocol):
    """What is kept. Each method is one atomic phase or one read."""

    @property
    def deliveries(self) -> Deliveries:
        """What the deliverer works on."""
        ...

    @property
    def webhook_endpoints(self) -> WebhookEndpoints:
        """Where merchants want events, and what went there."""
        ...

    @property
    def event_log(self) -> EventLog:
        """What merchants were told, to read again."""
        ...

    @property
    def inbound(self) -> InboundWebhooks:
        """Webhooks from the gateways."""
        ...

    @property
    def lookups(self) -> Lookups:
        """Who may ask which gateway account, and when."""
        ...

    @property
    def schedules(self) -> Schedules:
        """Who runs what, once per slot."""
        ...

    @property
    def upkeep(self) -> Upkeep:
        """What goes once its time is over."""
        ...

    @property
    def operating(self) -> Operating:
        """Figures for those who watch."""
        ...

    @property
    def history(self) -> History:
        """What happened to payments."""
        ...

    @property
    def reviews(self) -> Reviews:
        """The questions to people."""
        ...

    async def create_payment(self, new: NewPayment) -> bool:
        """Insert a payment; False if its reference or key is taken."""
        ...

    async def create_and_open(self, new: NewPayment, phase: PhaseOne) -> PhaseOneResult:
        """Insert a payment and run its phase 1 in one commit."""
        ...

    async def read_payment(self, merchant_id: UUID, payment_id: UUID) -> Payment | None:
        """Read a payment without its attempts, perhaps as it was born: phase 1 is what decides."""
        ...

    async def load_payment(self, merchant_id: UUID, payment_id: UUID) -> Payment | None:
        """Read a payment with all that belongs to it."""
        ...

    async def payment_exists(self, merchant_id: UUID, payment_id: UUID) -> bool:
        """Say whether this merchant has this payment."""
        ...

    async def payment_holding_reference(self, merchant_id: UUID, reference: str) -> UUID | None:
        """Find the payment that holds a reference."""
        ...

    async def walk_payments(self, *values: object) -> tuple[list[UUID], int, UUID | None]:
        """Walk a merchant's payments: ids that fit, rows walked, last row walked."""
        ...

    async def find_key(self, merchant_id: UUID, idempotency_key: str) -> StoredKey | None:
        """Read what became of a key."""
        ...

    async def find_api_key(self, key_id: str) -> ApiKeyRow | None:
        """Read an API key."""
        ...

    async def open_attempt(self, phase: PhaseOne) -> PhaseOneResult:
        """Run phase 1."""
        ...

    async def open_attempt_alone(self, phase: PhaseOne) -> PhaseOneResult:
        """Run phase 1, waiting for the payment's lock."""
        ...

    async def remember_provider_payment(
        self, *, merchant_id: UUID, payment_id: UUID, number: int, provider_payment_id: str, at: datetime
    ) -> bool:
        """Commit the gateway's id; False if the attempt is closed or has another id."""
        ...

    async def record_outcome(self, phase: PhaseTwo) -> bool:
        """Run phase 2; False if the payment has moved on."""
        ...

    async def cancel_unconfirmed(
        self, *, before: Payment, after: Payment, key: Key, body: bytes, actor: str, request_id: str
    ) -> bool:
        """Cancel a payment nobody confirmed."""
        ...

    async def request_cancellation(
        self, *, payment: Payment, reason: str, at: datetime, key: Key, actor: str, request_id: str
    ) -> bool:
        """Note that a running payment is to be cancelled."""
        ...

    async def claim_due_attempts(self, claim: Claim) -> list[DueAttempt]:
        """Lease due attempts."""
        ...

    async def claim_attempt(
        self,
        *,
        merchant_id: UUID,
        payment_id: UUID,
        number: int,
        at: datetime,
        lease_token: UUID,
        lease_expires_at: datetime,
    ) -> bool:
        """Lease one attempt for a client's request."""
        ...

    async def note_look(
        self, *, merchant_id: UUID, payment_id: UUID, number: int, at: datetime, not_looked_since: datetime
    ) -> bool:
        """Let a client look, if none did lately and nobody is at the attempt."""
        ...

    async def note_resend(self, *, due: DueAttempt, at: datetime) -> bool:
        """Note that the charge is about to leave once more; False if the lease is somebody else's by now."""
        ...

    async def renew_lease(self, *, due: DueAttempt, lease_expires_at: datetime, next_check_at: datetime | None) -> bool:
        """Hold on to a lease, and move the check if a moment is given; False if the lease is somebody else's by now."""
        ...

    async def release_attempt(
        self, *, due: DueAttempt, next_check_at: datetime | None, unfinished_checks: int | None, counted: bool = True
    ) -> bool:
        """Give a lease back; the check moves unless somebody moved it meanwhile. None leaves a value as it is.

        Not `counted`: it was no check, nobody was asked.
        """
        ...

    async def open_review(self, call: ReviewCall) -> bool:
        """Call a person; False if one is called already, it is too early, or the payment moved on."""
        ...

    async def recent_violations(self, *, at: datetime, born_since: UUID, limit: int) -> list[Violation]:
        """List what is broken among payments born since an id, and among open ones."""
        ...


class Accounts(Protocol):
    """The merchants' gateway accounts, with their credentials open."""

    async def candidates(self, merchant_id: UUID) -> Sequence[Candidate]:
        """List a merchant's accounts in the order in which they are tried."""
        ...


class Deps(Struct, frozen=True):
    """Everything a flow may touch."""

    store: Store
    gateways: Gateways
    accounts: Accounts
    clock: Clock
    ids: Ids
    rng: Rng
    sleep: Sleep
    clocks: Clocks
