"""Statements about merchants and their gateway accounts."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from paymux_postgres import queries
from paymux_postgres.connections import Pool

SQL = queries.load(__file__)


@dataclass(frozen=True, slots=True)
class MerchantRow:
    """A merchant."""

    id: UUID
    name: str
    limits: dict[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A gateway account with its credentials still sealed."""

    id: UUID
    gateway: str
    name: str
    status: str
    livemode: bool
    base_url: str
    priority: int
    credentials: bytes | None


async def insert_merchant(pool: Pool, merchant: MerchantRow) -> None:
    """Store a merchant."""
    async with pool.connection() as connection:
        limits = msgspec.json.encode(merchant.limits).decode()
        await connection.execute(SQL["insert_merchant"], merchant.id, merchant.name, limits, merchant.created_at)


async def list_merchants(pool: Pool) -> list[MerchantRow]:
    """List all merchants, oldest first."""
    rows = await pool.fetch(SQL["list_merchants"])
    return [
        MerchantRow(row["id"], row["name"], msgspec.json.decode(row["limits"], type=dict[str, str]), row["created_at"])
        for row in rows
    ]


async def insert_gateway_account(pool: Pool, merchant_id: UUID, account: AccountRow, *, at: datetime) -> None:
    """Store a gateway account."""
    async with pool.connection() as connection:
        await connection.execute(
            SQL["insert_gateway_account"],
            merchant_id,
            account.id,
            account.gateway,
            account.name,
            account.livemode,
            account.base_url,
            account.priority,
            account.credentials,
            at,
        )


async def move_gateway_account(pool: Pool, *, merchant_id: UUID, account_id: UUID, base_url: str, at: datetime) -> None:
    """Point an account at another address."""
    async with pool.connection() as connection:
        await connection.execute(SQL["move_gateway_account"], merchant_id, account_id, base_url, at)


async def set_gateway_account_status(
    pool: Pool, *, merchant_id: UUID, account_id: UUID, status: str, at: datetime
) -> bool:
    """Enable, drain or disable an account; False if the merchant has no such account."""
    async with pool.connection() as connection:
        return bool(await connection.fetch(SQL["set_gateway_account_status"], merchant_id, account_id, status, at))


async def list_gateway_accounts(pool: Pool, merchant_id: UUID) -> list[AccountRow]:
    """List a merchant's accounts in the order in which they are tried."""
    rows = await pool.fetch(SQL["list_gateway_accounts"], merchant_id)
    return [
        AccountRow(
            id=row["id"],
            gateway=row["gateway"],
            name=row["name"],
            status=row["status"],
            livemode=row["livemode"],
            base_url=row["base_url"],
            priority=row["priority"],
            credentials=row["credentials"],
        )
        for row in rows
    ]
