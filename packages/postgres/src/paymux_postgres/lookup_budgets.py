"""Look-ups per gateway account: a process leases the next parts of a second for itself, and spends them in memory.

A part is one look-up. Parts follow each other and each belongs to one process, so that all processes together ask an
account no faster than its rate; what is not used in its time is lost.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from paymux_core.lookups import Crowd, Waiting
from paymux_postgres import queries
from paymux_postgres.connections import Pool
from paymux_postgres.losses import loss_is_a_refusal

SQL = queries.load(__file__)

SOON = timedelta(seconds=1)
"""How far ahead parts are given out: whoever would wait longer is put off."""
BLOCK_MIN = 5
BLOCKS_PER_SECOND = 4
FAR = timedelta(hours=2)
"""Nobody is held back for longer than an hour."""
PUT_OFF_MAX = timedelta(minutes=10)
OVERDUE_READ = 2000


@dataclass(slots=True)
class _Share:
    """What this process has of an account's look-ups: when each of its parts begins."""

    parts: deque[datetime] = field(default_factory=deque)
    owed: int = 0
    put_off_until: datetime | None = None
    leasing: asyncio.Lock = field(default_factory=asyncio.Lock)


class LookupBudgets:
    """The budget of look-ups, and whose turn it is to read an account's list."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; what is leased lives in memory and ends by itself."""
        self._pool = pool
        self._shares: dict[UUID, _Share] = {}

    async def place(
        self, *, merchant_id: UUID, account_id: UUID, per_second: int, at: datetime, alone: bool = False
    ) -> float | None:
        """Give a look-up its place, in seconds from now; None: all soon ones are taken. `alone`: no others follow.

        Raises: StorageUnavailable, Overloaded.
        """
        share = self._shares.setdefault(account_id, _Share())
        part = timedelta(seconds=1) / per_second
        async with share.leasing:
            for _ in range(2):
                while share.parts and (share.parts[0] + part <= at or share.owed > 0):
                    share.owed -= share.parts[0] + part > at
                    share.parts.popleft()
                if share.parts:
                    return max(0.0, (share.parts.popleft() - at) / timedelta(seconds=1))
                count = 1 if alone else max(BLOCK_MIN, per_second // BLOCKS_PER_SECOND)
                begins_at = await self._lease(merchant_id, account_id, count * part, at)
                if begins_at is None:
                    return None
                share.parts.extend(begins_at + number * part for number in range(count))
        return None

    async def _lease(self, merchant_id: UUID, account_id: UUID, span: timedelta, at: datetime) -> datetime | None:
        given_until = await self.lease_lookups(merchant_id, account_id, at, span)
        return None if given_until is None else given_until - span

    async def lease_lookups(
        self, merchant_id: UUID, account_id: UUID, at: datetime, span: timedelta
    ) -> datetime | None:
        """Lease the next span of an account; when it ends, None if it would begin late. Locks: the account's row."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                rows = await connection.fetch(
                    SQL["lease_lookups"], merchant_id, account_id, at, span, at + SOON, at + FAR
                )
        return rows[0]["given_until"] if rows else None

    def put_off_until(self, *, account_id: UUID, per_second: int, at: datetime) -> datetime:
        """Say when a look-up without a place may come again: one after the other, as the account allows it."""
        share = self._shares.setdefault(account_id, _Share())
        earliest, last = at + SOON, share.put_off_until
        if last is None or not earliest < last < at + PUT_OFF_MAX:
            last = earliest
        share.put_off_until = last + timedelta(seconds=1) / per_second
        return share.put_off_until

    def owe(self, account_id: UUID, *, requests: int) -> None:
        """Note that a look-up took more requests than its place was for: as many places are left out."""
        if requests > 0:
            self._shares.setdefault(account_id, _Share()).owed += requests

    async def hold(self, *, merchant_id: UUID, account_id: UUID, at: datetime, until: datetime) -> None:
        """Give out no look-ups of an account before a moment, here or anywhere. Raises: as above."""
        self._shares.pop(account_id, None)
        await self.hold_lookups(merchant_id, account_id, min(until, at + FAR / 2))

    async def hold_lookups(self, merchant_id: UUID, account_id: UUID, until: datetime) -> None:
        """Let the next span of an account begin no earlier than a moment. Locks: the account's row."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                await connection.execute(SQL["hold_lookups"], merchant_id, account_id, until)

    async def crowds(self, *, at: datetime, more_than: int) -> list[Crowd]:
        """List the accounts of which many checks are due. Raises: as above."""
        rows = await self._pool.fetch(SQL["crowds"], at, more_than, OVERDUE_READ)
        return [Crowd(row["merchant_id"], row["gateway_account_id"], row["listed_by_other"]) for row in rows]

    async def begin_list(
        self, *, merchant_id: UUID, account_id: UUID, at: datetime, until: datetime, not_since: datetime
    ) -> bool:
        """Take an account's list; False if somebody has it, or read it lately. Locks: the account's row."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                rows = await connection.fetch(SQL["begin_list"], merchant_id, account_id, at, until, not_since)
        return bool(rows)

    async def end_list(self, *, merchant_id: UUID, account_id: UUID, at: datetime) -> None:
        """Give an account's list back. Locks: the account's row."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                await connection.execute(SQL["end_list"], merchant_id, account_id, at)

    async def waiting(self, *, merchant_id: UUID, account_id: UUID, at: datetime, limit: int) -> list[Waiting]:
        """List the due attempts of an account, longest overdue first. Raises: as above."""
        rows = await self._pool.fetch(SQL["waiting"], merchant_id, account_id, at, limit)
        return [Waiting(row["payment_id"], row["number"], row["created_at"]) for row in rows]
