"""What gateways tell us unasked: the proof that it is theirs, the few facts we read, and where each one stands.

A gateway event is a hint. It says which attempt to ask about; what became of the money is asked from the gateway.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgspec import Struct

TOLERANCE_SECONDS = 300
"""How far a signed timestamp may lie from our clock, before or after it."""
TRIES_MAX = 10
"""The pauses between them add up to eight and a half minutes."""
SECRETS_MAX = 2
"""The one that is used, and the one before it: a gateway may re-send under the old one for a day."""


class WebhookRefusal(StrEnum):
    """Why a webhook is not believed to come from the gateway."""

    NO_SECRET = "no_secret"  # noqa: S105  names a refusal, opens nothing
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_MALFORMED = "signature_malformed"
    SIGNATURE_WRONG = "signature_wrong"
    TIMESTAMP_OUT_OF_TOLERANCE = "timestamp_out_of_tolerance"
    UNREADABLE = "unreadable"
    OTHER_ACCOUNT = "other_account"
    OTHER_MODE = "other_mode"


class ReceivedWebhook(Struct, frozen=True, gc=False):
    """A request as it came: the very bytes, and its headers by lower-case name."""

    body: bytes
    headers: Mapping[str, str]
    received_at: datetime


class WebhookFacts(Struct, frozen=True, gc=False):
    """What a connector reads from a gateway event. `event_id_signed`: the proof covers the id too.

    `about_payment`: it may change what we know of an attempt; other events are kept and nothing more. `account` is the
    account as the gateway names it, `livemode` its mode, where the event says so.
    """

    type: str
    event_id: str | None = None
    event_id_signed: bool = True
    created_at: datetime | None = None
    attempt_id: str | None = None
    provider_payment_id: str | None = None
    about_payment: bool = True
    account: str | None = None
    livemode: bool | None = None


class WebhookDialect(Protocol):
    """How one gateway signs and words its events: pure functions of the bytes that came."""

    kept_headers: tuple[str, ...]
    """What is kept of the headers, in lower case: the proof, and the event's id where it stands there."""

    def verify_webhook(self, webhook: ReceivedWebhook, secrets: Sequence[str]) -> WebhookRefusal | None:
        """Check the proof against every active secret, in constant time; None if it holds."""
        ...

    def parse_webhook(self, raw_body: bytes, headers: Mapping[str, str]) -> WebhookFacts | None:
        """Read the facts; None for what is no event of this gateway."""
        ...


class WebhookAccount(Struct, frozen=True, gc=False):
    """The gateway account a webhook was sent to, with its secrets open, the newest first. repr shows no secret."""

    merchant_id: UUID
    id: UUID
    gateway: str
    livemode: bool
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        """Show which account this is, and no secret."""
        return f"WebhookAccount(id={self.id!r}, gateway={self.gateway!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # A struct's own shows every field.
        return [("id", self.id), ("gateway", self.gateway)]


class NewWebhook(Struct, frozen=True, gc=False):
    """A webhook to store; `refusal` says why it is stored and never applied. `body_bytes` counts what came."""

    merchant_id: UUID
    id: UUID
    gateway_account_id: UUID
    gateway: str
    body: bytes
    body_bytes: int
    body_sha256: bytes
    headers: Mapping[str, str]
    received_at: datetime
    facts: WebhookFacts | None
    refusal: WebhookRefusal | None = None


class Stored(StrEnum):
    """What became of a webhook that came in."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The same event, or the same bytes, came before: it is counted there."""


class WebhookStatus(StrEnum):
    """Where the work on a stored webhook stands."""

    PENDING = "pending"
    APPLIED = "applied"
    UNMATCHED = "unmatched"
    """It names nothing of ours: a person was called."""
    DEAD = "dead"
    """A dead letter: it used up its tries."""


class DueWebhook(Struct, frozen=True, gc=False):
    """A webhook that is leased. `tries` counts this one: it was counted when it was claimed."""

    merchant_id: UUID
    webhook_id: UUID
    gateway_account_id: UUID
    gateway: str
    lease_token: UUID
    tries: int
    received_at: datetime
    body: bytes
    headers: Mapping[str, str]


class WebhookEnd(Struct, frozen=True, gc=False):
    """How the work on a webhook ends, or goes on at `next_try_at`. `event_position`: how far the payment's log was."""

    status: WebhookStatus
    result: str
    at: datetime
    next_try_at: datetime | None = None
    tries: int | None = None
    """Given where this try does not count."""
    payment_id: UUID | None = None
    attempt_number: int | None = None
    event_position: int | None = None


class WebhookRow(Struct, frozen=True, gc=False):
    """A webhook as a timeline or an operator's list shows it: when it came in, and where it was applied."""

    id: UUID
    gateway_account_id: UUID
    gateway: str
    type: str | None
    event_id: str | None
    received_at: datetime
    refusal: str | None
    status: str | None
    result: str | None
    tries: int
    duplicates: int
    payment_id: UUID | None
    attempt_number: int | None
    event_position: int | None
    finished_at: datetime | None


def pause_after_try(tries: int, *, jitter: float, divisor_seconds: float = 1.0) -> timedelta:
    """Say how long to wait after so many tries: 1 s, doubled each time, or a little less.

    Never more, so that the last try comes before ten minutes are over. `divisor_seconds` shortens a test stack's.
    """
    seconds = 2 ** (min(tries, TRIES_MAX) - 1) / divisor_seconds
    return timedelta(seconds=seconds * (0.8 + 0.2 * jitter))  # jitter in [0, 1)
