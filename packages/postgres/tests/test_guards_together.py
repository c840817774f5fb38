"""Two who change one payment at once: the guards see what the other is about to commit."""

import asyncio

import asyncpg
import pytest

from tests.support.builders import (
    attempt_row,
    change_attempt,
    change_payment,
    confirmed_payment,
    insert,
    open_book,
)
from tests.support.http import eventually
from tests.support.postgres import Database


async def test_no_attempt_is_opened_while_its_payment_fails(database: Database, as_admin: asyncpg.Connection) -> None:
    book = await open_book(as_admin)
    payment_id = await confirmed_payment(as_admin, book)
    await change_attempt(as_admin, book, payment_id, "failed")
    other = await asyncpg.connect(database.dsn)
    watcher = await asyncpg.connect(database.dsn)
    try:
        async with as_admin.transaction():
            await change_payment(as_admin, book, payment_id, "failed")
            second = attempt_row(book, payment_id, number=2)
            opening = asyncio.ensure_future(insert(other, "payment_attempts", **second))
            waits = "select exists (select from pg_locks where not granted)"
            await eventually(lambda: watcher.fetchval(waits), lambda seen: seen or opening.done(), seconds=30)
            assert not opening.done()
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="not for a processing payment"):
            await opening
    finally:
        await other.close()
        await watcher.close()
