"""What the flows of reviews ask of the store."""

from typing import Protocol
from uuid import UUID

from paymux_core.phases import ReviewNote
from paymux_core.records import Review


class Reviews(Protocol):
    """Reviews, read and resolved."""

    async def find(self, merchant_id: UUID, review_id: UUID, *, livemode: bool) -> Review | None:
        """Read one review of a merchant in a mode."""
        ...

    async def walk(self, *values: object) -> list[Review]:
        """Walk a merchant's reviews: merchant, livemode, below which id, status, reason, payment, how many."""
        ...

    async def note(self, note: ReviewNote) -> bool:
        """Write what a person did that changes no attempt; False if payment or review has moved on."""
        ...
