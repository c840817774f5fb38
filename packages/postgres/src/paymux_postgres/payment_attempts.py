"""Statements about attempts: open them (phase 1), remember the gateway's id, lease what is due."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from paymux_core.phases import Claim, DueAttempt, PhaseOne, ReviewCall
from paymux_postgres import documents, queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Lane, Pool, Row

SQL = queries.load(__file__)

LONGEST_OVERDUE = 500
"""Among how many the oldest deadline is looked for: as many rows are read by each claim while there is a backlog."""


def phase_one_columns(items: Sequence[PhaseOne]) -> tuple[list[object], ...]:
    """Turn phase-1 items into the columns of `open_attempts`."""
    attempts = [item.attempt for item in items]
    keys = [item.key for item in items]
    return (
        [item.payment.merchant_id for item in items],
        [a.payment_id for a in attempts],
        [k.idempotency_key for k in keys],
        [k.request_hash for k in keys],
        [k.success_status for k in keys],
        [a.gateway for a in attempts],
        [a.gateway_account_id for a in attempts],
        [documents.write_method(a.payment_method) for a in attempts],
        [a.return_url for a in attempts],
        [a.off_session for a in attempts],
        [a.request_digest for a in attempts],
        [a.connector_version for a in attempts],
        [a.request_id for a in attempts],
        [documents.write_mapping(a.routing or {}) for a in attempts],
        [a.created_at for a in attempts],
        [a.charge_window_ends_at for a in attempts],
        [a.next_check_at for a in attempts],
        [item.processing_deadline_at for item in items],
        [k.owned_until for k in keys],
        [k.expires_at for k in keys],
        [item.actor for item in items],
    )


async def open_attempts(connection: Lane | asyncpg.Connection, items: Sequence[PhaseOne]) -> set[UUID]:
    """Run phase 1; answers the payments that moved. Locks: payments, then what is inserted."""
    rows = await connection.fetch(SQL["open_attempts"], *phase_one_columns(items))
    return {row["payment_id"] for row in rows}


async def lock_payment(connection: asyncpg.Connection, merchant_id: UUID, payment_id: UUID) -> None:
    """Wait for a payment's lock and keep it until the transaction ends. Locks: payment."""
    await connection.fetch(SQL["lock_payment"], merchant_id, payment_id)


async def remember_provider_payment(
    pool: Pool, *, merchant_id: UUID, payment_id: UUID, number: int, provider_payment_id: str, at: datetime
) -> bool:
    """Commit the gateway's id of a reserved object; False if the attempt is closed or holds another id."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["remember_provider_payment"], merchant_id, payment_id, number, provider_payment_id, at
        )
    return bool(rows)


async def claim_due_attempts(pool: Pool, claim: Claim) -> list[DueAttempt]:
    """Lease due attempts, deadlines that were reached first. Locks: attempts, skipping what others hold."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["claim_due_attempts"],
            claim.at,
            claim.lease_token,
            claim.lease_expires_at,
            claim.limit,
            list(claim.busy_accounts),
            LONGEST_OVERDUE,
        )
    return _claimed(rows, claim)


async def claim_suspect(pool: Pool, claim: Claim) -> list[DueAttempt]:
    """Lease one due attempt whose last owners were never heard of again. Locks: as above."""
    async with pool.connection() as connection:
        rows = await connection.fetch(SQL["claim_suspect"], claim.at, claim.lease_token, claim.lease_expires_at)
    return _claimed(rows, claim)


def _claimed(rows: Sequence[Row], claim: Claim) -> list[DueAttempt]:
    return [
        DueAttempt(
            merchant_id=row["merchant_id"],
            payment_id=row["payment_id"],
            number=row["number"],
            lease_token=claim.lease_token,
            check_count=row["check_count"],
            claimed_at_seconds=claim.sent_at_seconds,
            gateway_account_id=row["gateway_account_id"],
            unfinished_checks=row["unfinished_checks"],
            due_at=row["next_check_at"],
            deadline_at=row["processing_deadline_at"],
        )
        for row in rows
    ]


async def claim_attempt(
    pool: Pool,
    *,
    merchant_id: UUID,
    payment_id: UUID,
    number: int,
    at: datetime,
    lease_token: UUID,
    lease_expires_at: datetime,
) -> bool:
    """Lease one attempt for a client; False if it is leased, or there is nothing to ask. Locks: attempt."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["claim_attempt"], merchant_id, payment_id, number, at, lease_token, lease_expires_at
        )
    return bool(rows)


async def note_look(
    pool: Pool, *, merchant_id: UUID, payment_id: UUID, number: int, at: datetime, not_looked_since: datetime
) -> bool:
    """Let a client look; False if one did lately, somebody is at it, or there is nothing to ask. Locks: attempt."""
    async with pool.connection() as connection:
        rows = await connection.fetch(SQL["note_look"], merchant_id, payment_id, number, at, not_looked_since)
    return bool(rows)


async def note_resend(pool: Pool, *, due: DueAttempt, at: datetime) -> bool:
    """Note that a charge is about to leave once more; False for a stale token. Locks: attempt."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["note_resend"], due.merchant_id, due.payment_id, due.number, due.lease_token, at
        )
    return bool(rows)


async def renew_lease(
    pool: Pool, *, due: DueAttempt, lease_expires_at: datetime, next_check_at: datetime | None
) -> bool:
    """Hold on to a lease; False for a stale token. Locks: attempt."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["renew_lease"],
            due.merchant_id,
            due.payment_id,
            due.number,
            due.lease_token,
            lease_expires_at,
            next_check_at,
        )
    return bool(rows)


async def release_attempt(
    pool: Pool, *, due: DueAttempt, next_check_at: datetime | None, unfinished_checks: int | None, counted: bool
) -> bool:
    """Give a lease back; False for a stale token. Locks: attempt."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["release_attempt"],
            due.merchant_id,
            due.payment_id,
            due.number,
            due.lease_token,
            next_check_at,
            None if next_check_at is None else due.due_at,
            unfinished_checks,
            0 if counted else 1,
        )
    return bool(rows)


async def open_review(pool: Pool, call: ReviewCall) -> bool:
    """Call a person; False if one is called already, it is too early, or the payment moved on. Locks: payment."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["open_review"],
            call.merchant_id,
            call.payment_id,
            call.review.id,
            call.review.attempt_number,
            call.review.reason,
            call.at,
            call.actor,
            None if call.rendered is None else pack_body(call.rendered.body),
            None if call.rendered is None else call.rendered.version,
        )
    return bool(rows)
