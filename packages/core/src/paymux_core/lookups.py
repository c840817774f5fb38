"""What a worker knows of an account of which many checks are due: after an outage its list is read first."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct


class Crowd(Struct, frozen=True, gc=False):
    """An account of which many checks are due. `listed_by_other`: somebody reads its gateway's list now."""

    merchant_id: UUID
    account_id: UUID
    listed_by_other: bool


class Waiting(Struct, frozen=True, gc=False):
    """A due attempt of a crowd; `born_at` finds it in the gateway's list."""

    payment_id: UUID
    number: int
    born_at: datetime
