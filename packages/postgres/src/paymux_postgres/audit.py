"""Seal what was written, and see whether what was sealed is still what is there."""

from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg

from paymux_core.seals import (
    BLOCK_XIDS_MAX,
    DIGEST_BYTES,
    BrokenSeal,
    Seal,
    SealedRows,
    SealRange,
    broken,
    new_seal,
    next_range,
)
from paymux_postgres import queries
from paymux_postgres.connections import Pool, Row

SQL = queries.load(__file__)

_LOCK = 7_296_886_120_012
"""Any constant that nobody else locks; seals belong to a database, and so do advisory locks."""
_BLOCKS_AT_ONCE = 50


class AuditStore:
    """The seals over the log of all merchants."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def seal(self, now: datetime) -> Seal | None:
        """Append the next block, if there is anything to seal and nobody else is at it. Locks: one advisory lock.

        Raises: StorageUnavailable, Overloaded, CommitUnknown; then it is sealed the next time, or was.
        """
        async with self._pool.connection() as connection, connection.transaction():
            if not await try_to_be_sealer(connection):
                return None
            last = await read_last_seal(connection)
            # Before the rows are read: whatever commits from here on is above it.
            epoch_now, xmin = await read_bounds(connection)
            covered = next_range(None if last is None else last.range, epoch_now=epoch_now, xmin=xmin)
            if covered is None:
                return None
            covered = await _not_too_long(connection, covered)
            log, interactions = await read_digests(connection, covered, labelled=False)
            if not log.digests and not interactions.digests and covered.epoch == epoch_now:
                return None  # nothing to seal: a block of it would only be a line more
            seal = new_seal(last, covered, log, interactions, now)
            await insert_seal(connection, seal)
            return seal

    async def count(self) -> int:
        """Count the blocks."""
        return await count_seals(self._pool)

    async def head(self) -> Seal | None:
        """Give the last block."""
        async with self._pool.connection() as connection:
            return await read_last_seal(connection)

    async def verify(self, now: datetime) -> AsyncIterator[tuple[Seal, BrokenSeal | None]]:
        """Hash everything again, block by block, and say of each whether it fits; end at the first that does not."""
        previous: Seal | None = None
        while seals := await read_seals(self._pool, 0 if previous is None else previous.block, _BLOCKS_AT_ONCE):
            for seal in seals:
                what = await self._broken(seal, previous, now)
                yield seal, None if what is None else BrokenSeal(seal.block, what)
                if what is not None:
                    return
                previous = seal

    async def _broken(self, seal: Seal, previous: Seal | None, now: datetime) -> str | None:
        async with self._pool.connection() as connection:
            rows = await read_digests(connection, seal.range, labelled=False)
            complete = len(rows[1].digests) == seal.interactions
            if complete and broken(seal, previous, *_with_empty_labels(rows), now) is None:
                return None
            # Something is wrong, or old interactions are gone: names cost time, and are read only now.
            return broken(seal, previous, *await read_digests(connection, seal.range, labelled=True), now)


def _with_empty_labels(rows: tuple[SealedRows, SealedRows]) -> tuple[SealedRows, SealedRows]:
    log, interactions = rows
    return (
        SealedRows(log.digests, ("",) * len(log.digests)),
        SealedRows(interactions.digests, ("",) * len(interactions.digests)),
    )


async def _not_too_long(connection: asyncpg.Connection, covered: SealRange) -> SealRange:
    """Cut a range, so that no block is endless; an empty stretch before its first row costs nothing."""
    if covered.to_xid - covered.from_xid <= BLOCK_XIDS_MAX:
        return covered
    first = await first_xid_from(connection, covered)
    if first is None:
        return covered
    return SealRange(covered.epoch, covered.from_xid, min(covered.to_xid, first + BLOCK_XIDS_MAX))


async def try_to_be_sealer(connection: asyncpg.Connection) -> bool:
    """Take the lock of the sealer until the transaction ends; False if somebody else has it."""
    return bool(await connection.fetchval(SQL["try_to_be_sealer"], _LOCK))


async def read_bounds(connection: asyncpg.Connection) -> tuple[int, int]:
    """Read the epoch that is written now, and the oldest transaction that still runs."""
    row = await connection.fetchrow(SQL["read_bounds"])
    assert row is not None
    return row["epoch_now"] or 1, row["xmin"]


async def read_last_seal(connection: asyncpg.Connection) -> Seal | None:
    """Read the head of the chain."""
    row = await connection.fetchrow(SQL["read_last_seal"])
    return None if row is None else _read_seal(row)


async def read_seals(pool: Pool, behind: int, limit: int) -> list[Seal]:
    """Read blocks in order."""
    return [_read_seal(row) for row in await pool.fetch(SQL["read_seals"], behind, limit)]


async def count_seals(pool: Pool) -> int:
    """Count the blocks."""
    return int((await pool.fetch(SQL["count_seals"]))[0]["blocks"])


async def first_xid_from(connection: asyncpg.Connection, covered: SealRange) -> int | None:
    """Find the first transaction of a range that wrote something."""
    found = await connection.fetchval(SQL["first_xid_from"], covered.epoch, covered.from_xid, covered.to_xid)
    return None if found is None else int(found)


async def read_digests(
    connection: asyncpg.Connection, covered: SealRange, *, labelled: bool
) -> tuple[SealedRows, SealedRows]:
    """Hash the rows of a range: those of the log, and the interactions."""
    rows = await connection.fetch(SQL["read_digests"], covered.epoch, covered.from_xid, covered.to_xid, labelled)
    found = {row["of_interactions"]: _digests_of(row) for row in rows}
    return found.get(False, SealedRows(())), found.get(True, SealedRows(()))


def _digests_of(row: Row) -> SealedRows:
    joined = row["digests"]
    digests = [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]
    return SealedRows(digests, row["labels"] or ())


async def insert_seal(connection: asyncpg.Connection, seal: Seal) -> None:
    """Append a block."""
    await connection.execute(
        SQL["insert_seal"],
        seal.block,
        seal.form,
        seal.range.epoch,
        seal.range.from_xid,
        seal.range.to_xid,
        seal.rows,
        seal.marks,
        seal.interactions,
        seal.interaction_marks,
        seal.interactions_hash,
        seal.prev_hash,
        seal.hash,
        seal.sealed_at,
    )


def _read_seal(row: Row) -> Seal:
    return Seal(
        block=row["block"],
        form=row["form"],
        range=SealRange(row["epoch"], row["from_xid"], row["to_xid"]),
        rows=row["rows"],
        marks=row["marks"],
        interactions=row["interactions"],
        interaction_marks=row["interaction_marks"],
        interactions_hash=row["interactions_hash"],
        prev_hash=row["prev_hash"],
        hash=row["hash"],
        sealed_at=row["sealed_at"],
    )
