"""Who may be asked when, as the flows see it: few look-ups per second and gateway account, over all our processes."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from paymux_core.lookups import Crowd, Waiting


class Lookups(Protocol):
    """The budget of look-ups per gateway account, and which account's list is read by whom."""

    async def place(
        self, *, merchant_id: UUID, account_id: UUID, per_second: int, at: datetime, alone: bool = False
    ) -> float | None:
        """Give a look-up its place, in seconds from now; None: all soon ones are taken. `alone`: no others follow."""
        ...

    def put_off_until(self, *, account_id: UUID, per_second: int, at: datetime) -> datetime:
        """Say when a look-up without a place may come again: one after the other, as the account allows it."""
        ...

    def owe(self, account_id: UUID, *, requests: int) -> None:
        """Note that a look-up took more requests than its place was for."""
        ...

    async def hold(self, *, merchant_id: UUID, account_id: UUID, at: datetime, until: datetime) -> None:
        """Give out no look-ups of an account before a moment."""
        ...

    async def crowds(self, *, at: datetime, more_than: int) -> list[Crowd]:
        """List the accounts of which many checks are due."""
        ...

    async def begin_list(
        self, *, merchant_id: UUID, account_id: UUID, at: datetime, until: datetime, not_since: datetime
    ) -> bool:
        """Take an account's list for this process; False if somebody has it, or read it lately."""
        ...

    async def end_list(self, *, merchant_id: UUID, account_id: UUID, at: datetime) -> None:
        """Give it back."""
        ...

    async def waiting(self, *, merchant_id: UUID, account_id: UUID, at: datetime, limit: int) -> list[Waiting]:
        """List the due attempts of an account, longest overdue first."""
        ...
