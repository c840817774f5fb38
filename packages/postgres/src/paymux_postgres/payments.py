"""Statements about payments: create, read, list, cancel."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

import asyncpg

from paymux_core.money import Money
from paymux_core.phases import Key, NewPayment
from paymux_core.records import Payment
from paymux_postgres import documents, queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Lane, Pool, Row
from paymux_postgres.rows import read_payment

SQL = queries.load(__file__)


def create_columns(items: Sequence[NewPayment]) -> tuple[list[object], ...]:
    """Turn new payments into the columns of `create_payments`."""
    payments = [item.payment for item in items]
    return (
        [p.merchant_id for p in payments],
        [p.id for p in payments],
        [p.amount for p in payments],
        [p.currency for p in payments],
        [Money(p.amount, p.currency).exponent for p in payments],
        [p.capture_method for p in payments],
        [p.livemode for p in payments],
        [p.reference for p in payments],
        [p.description for p in payments],
        [p.customer_reference for p in payments],
        [documents.write_method(p.payment_method) for p in payments],
        [p.return_url for p in payments],
        [p.off_session for p in payments],
        [documents.write_mapping(p.metadata) if p.metadata else "{}" for p in payments],
        [p.created_at for p in payments],
        [item.actor for item in items],
        [item.request_id for item in items],
        [item.key.idempotency_key if item.key else None for item in items],
        [item.key.request_hash if item.key else None for item in items],
        [item.key.expires_at if item.key else None for item in items],
    )


async def create_payments(connection: Lane | asyncpg.Connection, items: Sequence[NewPayment]) -> set[UUID]:
    """Insert payments; answers the ids that were born."""
    rows = await connection.fetch(SQL["create_payments"], *create_columns(items))
    return {row["id"] for row in rows}


async def read_payments(lane: Lane, keys: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Payment]:
    """Read payments without their attempts, by (merchant, id)."""
    rows = await lane.fetch(SQL["read_payments"], [key[0] for key in keys], [key[1] for key in keys])
    return {(row["merchant_id"], row["id"]): read_payment(row) for row in rows}


async def load_payments(pool: Pool, keys: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Payment]:
    """Read payments with all that belongs to them, as of one moment, by (merchant, id)."""
    rows = await pool.fetch(SQL["load_payments"], [key[0] for key in keys], [key[1] for key in keys])
    loaded = [_whole_payment(row) for row in rows]
    return {(payment.merchant_id, payment.id): payment for payment in loaded}


def _whole_payment(row: Row) -> Payment:
    return read_payment(
        row["payment"],
        attempts=row["attempts"] or (),
        late_charges=row["late_charges"] or (),
        reviews=row["reviews"] or (),
    )


async def payment_exists(pool: Pool, merchant_id: UUID, payment_id: UUID) -> bool:
    """Say whether this merchant has this payment."""
    return bool(await pool.fetch(SQL["payment_exists"], merchant_id, payment_id))


async def payment_holding_reference(pool: Pool, merchant_id: UUID, reference: str) -> UUID | None:
    """Find the payment that holds a reference."""
    rows = await pool.fetch(SQL["payment_holding_reference"], merchant_id, reference)
    return cast("UUID", rows[0]["id"]) if rows else None


async def list_payments(pool: Pool, *values: object) -> tuple[list[UUID], int, UUID | None]:
    """Walk a merchant's payments; answers the ids that fit, how many were walked, and the last one walked."""
    rows = await pool.fetch(SQL["list_payments"], *values)
    found = [cast("UUID", row["id"]) for row in rows if row["id"] is not None]
    total = rows[-1]
    return found, total["walked"], UUID(total["last_walked"]) if total["last_walked"] else None


async def cancel_unconfirmed(
    pool: Pool, *, before: Payment, after: Payment, key: Key, body: bytes, actor: str, request_id: str
) -> bool:
    """Cancel a payment nobody confirmed; False if it has moved on. Raises: UniqueViolationError for the key."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["cancel_unconfirmed"],
            before.merchant_id,
            before.id,
            after.cancellation_reason,
            after.updated_at,
            before.version,
            key.idempotency_key,
            key.request_hash,
            key.expires_at,
            actor,
            request_id,
            pack_body(body),
        )
    return bool(rows)


async def request_cancellation(
    pool: Pool, *, payment: Payment, reason: str, at: datetime, key: Key, actor: str, request_id: str
) -> bool:
    """Note that a running payment is to be cancelled; False if it has ended meanwhile. Raises: UniqueViolationError."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["request_cancellation"],
            payment.merchant_id,
            payment.id,
            reason,
            at,
            key.idempotency_key,
            key.request_hash,
            key.expires_at,
            actor,
            request_id,
        )
    return bool(rows)
