"""Statements of the upkeep: payments nobody confirmed, expired keys, partitions by month."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from paymux_core.upkeep import Expired, SweepRange, Walked
from paymux_postgres import queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Pool, Row
from paymux_postgres.losses import loss_is_a_refusal

SQL = queries.load(__file__)


class UpkeepStore:
    """What goes once its time is over. After a lost answer the task runs again; what was done is not done twice."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def list_sweeps(self) -> Sequence[SweepRange]:
        """List all merchants with how far they were swept."""
        rows = await self._pool.fetch(SQL["list_sweeps"])
        return [SweepRange(row["merchant_id"], row["swept_through"], row["expires_after_hours"]) for row in rows]

    async def walk_unconfirmed(self, ranges: Sequence[tuple[UUID, UUID, UUID]], *, limit: int) -> Sequence[Walked]:
        """Walk payments of merchants (merchant, after this id, before that id), at most `limit` of each."""
        columns = ([r[0] for r in ranges], [r[1] for r in ranges], [r[2] for r in ranges])
        rows = await self._pool.fetch(SQL["walk_unconfirmed"], *columns, limit)
        return [Walked(row["merchant_id"], row["walked"], row["last_walked"], row["unconfirmed"] or ()) for row in rows]

    async def expire_unconfirmed(self, expired: Sequence[Expired], *, at: datetime, actor: str) -> Collection[UUID]:
        """Cancel them, each with its event, unless it has moved on or somebody is at it; answers those it did."""
        rows = await self._write(
            SQL["expire_unconfirmed"],
            [item.merchant_id for item in expired],
            [item.payment_id for item in expired],
            [item.version for item in expired],
            [pack_body(item.body) for item in expired],
            at,
            actor,
        )
        return {row["id"] for row in rows}

    async def note_sweep(self, merchant_id: UUID, *, swept_through: UUID, at: datetime) -> None:
        """Note how far a merchant's payments were swept."""
        await self._write(SQL["note_sweep"], merchant_id, swept_through, at)

    async def reap_keys(self, *, at: datetime, limit: int) -> tuple[int, int]:
        """Delete expired keys; answers how many, and how many live longer than it was written."""
        (row,) = await self._write(SQL["reap_keys"], at, limit)
        return row["deleted"], row["prolonged"]

    async def reap_slots(self, *, at: datetime, limit: int) -> int:
        """Delete slots of long ago; answers how many."""
        (row,) = await self._write(SQL["reap_slots"], at, limit)
        return int(row["deleted"])

    async def monthly_tables(self) -> Sequence[str]:
        """Name the tables that are partitioned by month."""
        return [str(row["parent"]) for row in await self._pool.fetch(SQL["monthly_tables"])]

    async def make_partitions(self, parent: str, *, at: datetime, months: int) -> Sequence[str]:
        """Make a table's months ahead; answers what was made."""
        return [str(row["made"]) for row in await self._write(SQL["make_partitions"], parent, at, months)]

    async def drop_partitions(self, parent: str, *, at: datetime, months: int) -> Sequence[str]:
        """Drop a table's months that ended so many months ago; answers what was dropped."""
        rows = await self._write(SQL["drop_partitions"], parent, at, months)
        return [f"{row['partition']} ({row['rows']} rows)" for row in rows]

    async def _write(self, statement: str, *values: object) -> Sequence[Row]:
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                return await connection.fetch(statement, *values)
