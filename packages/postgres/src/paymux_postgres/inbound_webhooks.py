"""Statements about webhooks from the gateways: stored once, leased, applied, shown."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from paymux_core.inbound_webhooks import DueWebhook, NewWebhook, WebhookEnd, WebhookRow
from paymux_postgres import documents, queries
from paymux_postgres.bodies import pack_body, unpack_body
from paymux_postgres.connections import Lane, Pool, Row

SQL = queries.load(__file__)


async def find_webhook_account(pool: Pool, account_id: UUID) -> Row | None:
    """Read the account of an id, its secrets still sealed."""
    rows = await pool.fetch(SQL["find_webhook_account"], account_id)
    return rows[0] if rows else None


async def set_webhook_secrets(
    pool: Pool, *, merchant_id: UUID, account_id: UUID, known: bytes | None, sealed: bytes, at: datetime
) -> bool:
    """Replace the sealed secrets that were read; False if they changed meanwhile. Locks: account."""
    async with pool.connection() as connection:
        return bool(await connection.fetch(SQL["set_webhook_secrets"], merchant_id, account_id, known, sealed, at))


async def store_webhooks(connection: Lane | asyncpg.Connection, items: Sequence[NewWebhook]) -> set[int]:
    """Store webhooks; gives the places of those that were new. Locks: keys."""
    facts = [item.facts for item in items]
    rows = await connection.fetch(
        SQL["store_webhooks"],
        list(range(len(items))),
        [item.merchant_id for item in items],
        [item.id for item in items],
        [item.gateway_account_id for item in items],
        [item.gateway for item in items],
        [pack_body(item.body) for item in items],
        [item.body_bytes for item in items],
        [item.body_sha256 for item in items],
        [documents.write_mapping(item.headers) for item in items],
        [f.event_id if f else None for f in facts],
        [f.event_id_signed if f else True for f in facts],
        [f.type if f else None for f in facts],
        [f.created_at if f else None for f in facts],
        [item.refusal for item in items],
        [item.received_at for item in items],
    )
    return {row["ord"] for row in rows}


async def count_duplicates(pool: Pool, items: Sequence[NewWebhook]) -> None:
    """Note that these came again, one event after the other. Locks: the work on the first of each."""
    times = Counter(
        (i.merchant_id, i.gateway_account_id, i.facts.event_id if i.facts else None, i.body_sha256.hex()) for i in items
    )
    async with pool.connection() as connection:
        await connection.executemany(SQL["count_duplicates"], [(*event, count) for event, count in times.items()])


async def claim_due_webhooks(
    pool: Pool,
    *,
    at: datetime,
    lease_token: UUID,
    lease_expires_at: datetime,
    limit: int,
    busy_accounts: Collection[UUID],
) -> list[DueWebhook]:
    """Lease due webhooks, longest overdue first. Locks: their work, skipping what others hold."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["claim_due_webhooks"], at, lease_token, lease_expires_at, limit, list(busy_accounts)
        )
    return [
        DueWebhook(
            merchant_id=row["merchant_id"],
            webhook_id=row["webhook_id"],
            gateway_account_id=row["gateway_account_id"],
            gateway=row["gateway"],
            lease_token=lease_token,
            tries=row["tries"],
            received_at=row["received_at"],
            body=unpack_body(row["body"]),
            headers=documents.read_strings(row["headers"]),
        )
        for row in rows
    ]


async def finish_webhook(pool: Pool, due: DueWebhook, end: WebhookEnd) -> bool:
    """End the work on a webhook, or put it off; False for a stale lease. Locks: its work."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["finish_webhook"],
            due.merchant_id,
            due.webhook_id,
            due.lease_token,
            end.status,
            end.result,
            end.next_try_at,
            end.tries,
            end.payment_id,
            end.attempt_number,
            end.event_position,
            end.at,
        )
    return bool(rows)


async def open_webhook_review(
    pool: Pool,
    due: DueWebhook,
    *,
    review_id: UUID,
    event_id: UUID,
    subject: str,
    body: bytes,
    livemode: bool,
    reason: str,
    actor: str,
    at: datetime,
) -> bool:
    """Call a person about a webhook; False if one was called already."""
    async with pool.connection() as connection:
        rows = await connection.fetch(
            SQL["open_webhook_review"],
            due.merchant_id,
            review_id,
            due.webhook_id,
            reason,
            at,
            event_id,
            subject,
            livemode,
            actor,
            pack_body(body),
        )
    return bool(rows)


async def attempt_of_reserve(
    pool: Pool, *, merchant_id: UUID, provider_payment_id: str, account_id: UUID
) -> tuple[UUID, int] | None:
    """Find the attempt that made an object at the gateway: its payment and number."""
    rows = await pool.fetch(SQL["attempt_of_reserve"], merchant_id, provider_payment_id, account_id)
    return (rows[0]["payment_id"], rows[0]["number"]) if rows else None


async def list_payment_webhooks(pool: Pool, merchant_id: UUID, payment_id: UUID) -> list[WebhookRow]:
    """List what came in about a payment, oldest first."""
    return _listed(await pool.fetch(SQL["list_payment_webhooks"], merchant_id, payment_id))


async def list_account_webhooks(pool: Pool, merchant_id: UUID, account_id: UUID, *, limit: int) -> list[WebhookRow]:
    """List an account's newest webhooks, refused ones among them."""
    return _listed(await pool.fetch(SQL["list_account_webhooks"], merchant_id, account_id, limit))


async def read_webhook_body(pool: Pool, merchant_id: UUID, webhook_id: UUID) -> bytes | None:
    """Give the bytes of a webhook as they came."""
    rows = await pool.fetch(SQL["read_webhook_body"], merchant_id, webhook_id)
    return unpack_body(rows[0]["body"]) if rows else None


def _listed(rows: Sequence[Row]) -> list[WebhookRow]:
    return [WebhookRow(**{name: row[name] for name in WebhookRow.__struct_fields__}) for row in rows]
