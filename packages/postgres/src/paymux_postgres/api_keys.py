"""Statements about API keys."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from paymux_core.records import ApiKeyRow
from paymux_postgres import queries
from paymux_postgres.connections import Pool, Row

SQL = queries.load(__file__)


async def insert_api_key(pool: Pool, key: ApiKeyRow, *, name: str, limits: Mapping[str, str], at: datetime) -> None:
    """Store a key as its keyed hash, with limits of its own. Raises: asyncpg.CheckViolationError for unknown ones."""
    async with pool.connection() as connection:
        await connection.execute(
            SQL["insert_api_key"],
            key.key_id,
            key.merchant_id,
            name,
            key.token_hash,
            key.pepper_version,
            key.last4,
            sorted(key.scopes),
            key.livemode,
            key.expires_at,
            msgspec.json.encode(dict(limits)).decode(),
            at,
        )


async def find_api_key(pool: Pool, key_id: str) -> ApiKeyRow | None:
    """Read a key by the id inside its token."""
    rows = await pool.fetch(SQL["find_api_key"], key_id)
    return _read_key(rows[0]) if rows else None


def _read_key(row: Row) -> ApiKeyRow:
    return ApiKeyRow(
        key_id=row["key_id"],
        merchant_id=row["merchant_id"],
        token_hash=row["token_hash"],
        pepper_version=row["pepper_version"],
        scopes=frozenset(row["scopes"]),
        livemode=row["livemode"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        limits_exempt=row["limits_exempt"],
        last4=row["last4"],
        requests_per_second=row["requests_per_second"],
        confirms_per_second=row["confirms_per_second"],
        same_key_per_second=row["same_key_per_second"],
    )


async def live_keys_exist(pool: Pool) -> bool:
    """Say whether any key for real money is in use."""
    return bool((await pool.fetch(SQL["live_keys_exist"]))[0]["live"])


async def list_api_keys(pool: Pool, merchant_id: UUID) -> list[dict[str, object]]:
    """List a merchant's keys, without anything secret."""
    return [dict(row) for row in await pool.fetch(SQL["list_api_keys"], merchant_id)]


async def revoke_api_key(pool: Pool, merchant_id: UUID, key_id: str, *, at: datetime) -> bool:
    """End a key's life; False if the merchant has no such key."""
    async with pool.connection() as connection:
        return bool(await connection.fetch(SQL["revoke_api_key"], merchant_id, key_id, at))
