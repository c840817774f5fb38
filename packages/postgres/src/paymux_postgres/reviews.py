"""Reviews: read them, and write what a person did about one, in one commit with what it changes."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from paymux_core.errors import IdempotencyKeyInUse, StorageUnavailable
from paymux_core.phases import PhaseTwo, ReviewNote, ReviewResolution
from paymux_core.records import Review
from paymux_postgres import idempotency_keys, outcomes, payment_attempts, queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Pool, Row
from paymux_postgres.losses import CommitUnknown

SQL = queries.load(__file__)

TRIES = 3
"""A payment whose lock is not free after three waits of 2 s is held by somebody in `psql`."""


class ReviewStore:
    """The reviews of all merchants. `settling` is the pool that never waits behind reads."""

    def __init__(self, pool: Pool, settling: Pool) -> None:
        """Take both pools."""
        self._pool = pool
        self._settling = settling

    async def find(self, merchant_id: UUID, review_id: UUID, *, livemode: bool) -> Review | None:
        """Read one review of a merchant in a mode."""
        return await find_review(self._pool, merchant_id, review_id, livemode=livemode)

    async def walk(self, *values: object) -> list[Review]:
        """Walk a merchant's reviews; see `list_reviews`."""
        return await list_reviews(self._pool, *values)

    async def record(self, phase: PhaseTwo) -> bool:
        """Run a phase 2 that resolves a review; False, and nothing is written, if payment or review has moved on.

        Raises: StorageUnavailable; IdempotencyKeyInUse if the key of the request was used meanwhile.
        """
        resolution = phase.resolution
        assert resolution is not None
        merchant_id = phase.before.merchant_id
        for _ in range(TRIES):
            try:
                async with self._settling.connection() as connection, connection.transaction():
                    await payment_attempts.lock_payment(connection, merchant_id, phase.before.id)
                    await _resolve(connection, merchant_id, resolution)
                    if not (await outcomes.record_outcomes(connection, [phase]))[0]:
                        raise _RolledBack  # noqa: TRY301  it undoes the resolution
            except _RolledBack:
                return False
            except asyncpg.UniqueViolationError as clash:
                raise _key_in_use() from clash
            except CommitUnknown:
                if await self._is_written(merchant_id, resolution, livemode=phase.before.livemode):
                    return True
            else:
                return True
        raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2)

    async def note(self, note: ReviewNote) -> bool:
        """Write what a person did that changes no attempt; False if it was overtaken. Raises: as above."""
        try:
            async with self._settling.connection() as connection, connection.transaction():
                # The payment first: that is the order of locks.
                if note.payment is None:
                    await append_merchant_event(connection, note)
                elif not await append_events(connection, note):
                    return False
                if note.resolution is not None:
                    await _resolve(connection, note.merchant_id, note.resolution)
                if note.key is not None:
                    await idempotency_keys.insert_answered_key(connection, note.merchant_id, note.key)
        except _RolledBack:
            return False
        except asyncpg.UniqueViolationError as clash:
            raise _key_in_use() from clash
        except CommitUnknown as error:
            # Asked again it is seen what became of it: the review is resolved, the key is there, or neither is.
            raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2) from error
        return True

    async def _is_written(self, merchant_id: UUID, resolution: ReviewResolution, *, livemode: bool) -> bool:
        found = await self.find(merchant_id, resolution.review_id, livemode=livemode)
        return (
            found is not None
            and (found.resolution, found.evidence, found.actor, found.resolved_at)
            == (resolution.resolution, resolution.evidence, resolution.actor, resolution.resolved_at)
        )  # fmt: skip


class _RolledBack(Exception):
    pass


def _key_in_use() -> IdempotencyKeyInUse:
    return IdempotencyKeyInUse(
        "another request with this key was faster; send the same request again", retry_after_seconds=1
    )


async def _resolve(connection: asyncpg.Connection, merchant_id: UUID, resolution: ReviewResolution) -> None:
    if not await resolve_review(connection, merchant_id, resolution):
        raise _RolledBack
    voided = list(resolution.voided_late_charges)
    if voided and await void_late_charges(connection, merchant_id, voided) != len(voided):
        raise _RolledBack
    if resolution.key is not None:
        await idempotency_keys.insert_answered_key(connection, merchant_id, resolution.key)


async def find_review(pool: Pool, merchant_id: UUID, review_id: UUID, *, livemode: bool) -> Review | None:
    """Read one review."""
    rows = await pool.fetch(SQL["find_review"], merchant_id, review_id, livemode)
    return _read_review(rows[0]) if rows else None


async def list_reviews(pool: Pool, *values: object) -> list[Review]:
    """Walk reviews: merchant, livemode, below which id, status, reason, payment, how many."""
    return [_read_review(row) for row in await pool.fetch(SQL["list_reviews"], *values)]


async def resolve_review(connection: asyncpg.Connection, merchant_id: UUID, resolution: ReviewResolution) -> bool:
    """Write how a review was resolved; False if it is not open."""
    rows = await connection.fetch(
        SQL["resolve_review"],
        merchant_id,
        resolution.review_id,
        resolution.resolved_at,
        resolution.resolution,
        resolution.evidence,
        resolution.actor,
        resolution.api_key_id,
    )
    return bool(rows)


async def void_late_charges(connection: asyncpg.Connection, merchant_id: UUID, ids: Sequence[UUID]) -> int:
    """Close late charges as voided; answers how many were open."""
    return len(await connection.fetch(SQL["void_late_charges"], merchant_id, ids))


async def append_events(connection: asyncpg.Connection, note: ReviewNote) -> bool:
    """Append a payment's events; False if it has moved on."""
    assert note.payment is not None
    rows = await connection.fetch(
        SQL["append_events"],
        note.merchant_id,
        note.payment.id,
        note.payment.version,
        note.at,
        note.attempt_number,
        note.actor,
        note.request_id,
        [event.position for event in note.events],
        [event.sequence for event in note.events],
        [event.type for event in note.events],
        [event.reason for event in note.events],
        [None if event.body is None else pack_body(event.body) for event in note.events],
    )
    return bool(rows)


async def append_merchant_event(connection: asyncpg.Connection, note: ReviewNote) -> None:
    """Append an event of the merchant's that belongs to no payment."""
    (event,) = note.events
    assert event.body is not None
    await connection.execute(
        SQL["append_merchant_event"],
        note.merchant_id,
        note.event_id,
        event.type,
        note.subject,
        note.livemode,
        note.actor,
        event.reason,
        note.request_id,
        pack_body(event.body),
        note.at,
    )


def _read_review(row: Row) -> Review:
    return Review(
        merchant_id=row["merchant_id"],
        id=row["id"],
        reason=row["reason"],
        status=row["status"],
        opened_at=row["opened_at"],
        payment_id=row["payment_id"],
        webhook_id=row["webhook_id"],
        gateway_account_id=row["gateway_account_id"],
        attempt_number=row["attempt_number"],
        resolved_at=row["resolved_at"],
        resolution=row["resolution"],
        evidence=row["evidence"],
        actor=row["actor"],
        api_key_id=row["api_key_id"],
    )
