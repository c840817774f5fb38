"""Statements about idempotency keys."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from paymux_core.phases import AnsweredKey, StoredKey
from paymux_postgres import queries
from paymux_postgres.bodies import pack_body, unpack_body
from paymux_postgres.connections import Lane, Row

SQL = queries.load(__file__)


async def read_keys(lane: Lane, keys: Sequence[tuple[UUID, str]]) -> dict[int, StoredKey]:
    """Read what became of keys: index in `keys` → the key, where there is one."""
    rows = await lane.fetch(
        SQL["read_keys"], list(range(len(keys))), [merchant for merchant, _ in keys], [key for _, key in keys]
    )
    return {row["ord"]: _read_key(row) for row in rows}


def _read_key(row: Row) -> StoredKey:
    return StoredKey(
        request_hash=row["request_hash"],
        payment_id=row["payment_id"],
        attempt_number=row["attempt_number"],
        finished_at=row["finished_at"],
        owned_until=row["owned_until"],
        success_status=row["success_status"],
        response_status=row["response_status"],
        body=None if row["body"] is None else unpack_body(row["body"]),
        location=row["response_location"],
    )


async def find_keys(lane: Lane, keys: Sequence[tuple[UUID, str]]) -> dict[int, tuple[UUID | None, bytes]]:
    """Look which keys exist: index in `keys` → (payment, request hash)."""
    rows = await lane.fetch(
        SQL["find_keys"], list(range(len(keys))), [merchant for merchant, _ in keys], [key for _, key in keys]
    )
    return {row["ord"]: (row["payment_id"], row["request_hash"]) for row in rows}


async def insert_answered_key(connection: asyncpg.Connection, merchant_id: UUID, key: AnsweredKey) -> None:
    """Keep an answer in the caller's transaction. Raises: UniqueViolationError if the key was used meanwhile."""
    await connection.execute(
        SQL["insert_answered_key"],
        merchant_id,
        key.idempotency_key,
        key.request_hash,
        key.answered_at,
        key.response_status,
        pack_body(key.body),
        key.location,
        key.expires_at,
    )
