"""What the upkeep of the book speaks of, as values: slots of schedules, and sweeps over a merchant's payments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct


class Slot(Struct, frozen=True, gc=False):
    """A period of one kind of task that is leased. `tries` counts this one and those before it that did not end."""

    kind: str
    begins_at: datetime
    tries: int
    lease_token: UUID


class SlotClaim(Struct, frozen=True, gc=False):
    """Lease a slot: one that its runner left, or of `wanted` (kind → the slot that is on) one that nobody began."""

    wanted: Mapping[str, datetime]
    at: datetime
    lease_token: UUID
    lease_expires_at: datetime
    tries_max: int


class SweepRange(Struct, frozen=True, gc=False):
    """A merchant, how far its payments were swept, and when unconfirmed ones expire (None: the product's default)."""

    merchant_id: UUID
    swept_through: UUID | None
    expires_after_hours: int | None


class Walked(Struct, frozen=True, gc=False):
    """What a step of a sweep met: how many payments, the last of them, and those that nobody confirmed."""

    merchant_id: UUID
    payments: int
    last: UUID
    unconfirmed: Sequence[UUID]


class Expired(Struct, frozen=True, gc=False):
    """A payment to cancel because nobody confirmed it: as it was read, and as its event shows it then."""

    merchant_id: UUID
    payment_id: UUID
    version: int
    body: bytes
