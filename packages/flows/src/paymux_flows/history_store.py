"""What the timeline asks of the store."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from paymux_core.records import HistoryPlace, HistoryRow


class History(Protocol):
    """All that happened to payments."""

    async def walk(
        self, merchant_id: UUID, payment_id: UUID, *, kinds: Sequence[str], behind: HistoryPlace | None, limit: int
    ) -> list[HistoryRow]:
        """Walk a payment's history, oldest first, behind a place in it."""
        ...
