"""Violations around webhooks, planted: something came in, and nobody applied it or knows of it."""

from datetime import timedelta
from uuid import UUID

import asyncpg

from tests.support import builders
from tests.support.builders import NOW, Book

LONG_AGO = NOW - timedelta(minutes=11)


def work_row(book: Book, **columns: object) -> dict[str, object]:
    """The work on a webhook that has just come; `columns` replace the defaults."""
    row = {"merchant_id": book.merchant_id, "webhook_id": builders.new_id(), "gateway_account_id": book.account_id}
    return row | {"received_at": NOW, "status": "pending", "next_try_at": NOW} | columns


async def webhook_left_pending(c: asyncpg.Connection, book: Book) -> UUID:
    row = work_row(book, received_at=LONG_AGO, tries=3)
    await builders.insert(c, "inbound_webhook_work", **row)
    return UUID(str(row["webhook_id"]))


async def webhook_unmatched_unseen(c: asyncpg.Connection, book: Book) -> UUID:
    ended = {"status": "unmatched", "next_try_at": None, "finished_at": LONG_AGO, "result": "unmatched_webhook"}
    row = work_row(book, received_at=LONG_AGO - timedelta(minutes=1), **ended)
    async with builders.planting(c):
        await builders.insert(c, "inbound_webhook_work", **row)
    return UUID(str(row["webhook_id"]))


async def healthy_webhooks(c: asyncpg.Connection, book: Book) -> None:
    """One of each kind that is as it should be."""
    payment_id = await builders.succeeded_payment(c, book)
    await builders.insert(c, "inbound_webhook_work", **work_row(book))
    place = {"payment_id": payment_id, "attempt_number": 1, "event_position": 3, "result": "known"}
    ended = {"next_try_at": None, "finished_at": LONG_AGO, "received_at": LONG_AGO}
    unmatched = work_row(book, status="unmatched", **(ended | {"result": "unmatched_webhook"}))
    async with builders.planting(c):
        await builders.insert(c, "inbound_webhook_work", **work_row(book, status="applied", **(ended | place)))
        await builders.insert(c, "inbound_webhook_work", **work_row(book, status="dead", **(ended | {"result": "x"})))
        await builders.insert(c, "inbound_webhook_work", **unmatched)
    review = {"merchant_id": book.merchant_id, "id": builders.new_id(), "webhook_id": unmatched["webhook_id"]}
    opened = {"reason": "unmatched_webhook", "status": "open", "opened_at": LONG_AGO}
    await builders.insert(c, "reviews", **(review | opened))
