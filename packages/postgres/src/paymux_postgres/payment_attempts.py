"""Statements about attempts: open them (phase 1), remember the gateway's id, lease what is due."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from paymux_core.phases import DueAttempt, PhaseOne
from paymux_postgres import documents, queries
from paymux_postgres.connections import Lane, Pool

SQL = queries.load(__file__)


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


async def claim_due_attempts(
    pool: Pool, *, at: datetime, lease_token: UUID, lease_expires_at: datetime, limit: int
) -> list[DueAttempt]:
    """Lease due attempts, longest overdue first. Locks: attempts, skipping what others hold."""
    async with pool.connection() as connection:
        rows = await connection.fetch(SQL["claim_due_attempts"], at, lease_token, lease_expires_at, limit)
    return [
        DueAttempt(row["merchant_id"], row["payment_id"], row["number"], lease_token, row["check_count"])
        for row in rows
    ]


async def claim_attempt(
    pool: Pool,
    *,
    merchant_id: UUID,
    payment_id: UUID,
    number: int,
    at: datetime,
    not_asked_since: datetime,
    lease_token: UUID,
    lease_expires_at: datetime,
) -> bool:
    """Lease one attempt for a look; False if it was asked about lately, is leased, or has nothing to ask."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["claim_attempt"],
            merchant_id,
            payment_id,
            number,
            at,
            not_asked_since,
            lease_token,
            lease_expires_at,
        )
    return bool(rows)


async def release_attempt(pool: Pool, *, due: DueAttempt, next_check_at: datetime) -> bool:
    """Give a lease back; False for a stale token."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["release_attempt"], due.merchant_id, due.payment_id, due.number, due.lease_token, next_check_at
        )
    return bool(rows)
