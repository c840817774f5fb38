"""In trouble with the database the store refuses in its own words: neither a driver's error nor an unknown commit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import asyncpg
import pytest

from paymux_core.errors import Overloaded, StorageUnavailable
from paymux_core.phases import Claim, DueAttempt, Key, NewPayment
from paymux_core.records import Payment
from paymux_core.transitions import PaymentStatus
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import PostgresStore
from tests.support.builders import Book, bear_payment, insert, key_row, new_id, open_book
from tests.support.chance import TEST_SEALER, SeededRng
from tests.support.postgres import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = UUID(int=7)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("trouble"), sealer=TEST_SEALER)
    await made.open()
    yield made
    await made.close()


def _claim(store: PostgresStore) -> asyncio.Task[object]:
    return asyncio.ensure_future(store.claim_due_attempts(Claim(NOW, 0.0, TOKEN, NOW + timedelta(seconds=60), limit=1)))


def _look(store: PostgresStore) -> asyncio.Task[object]:
    return asyncio.ensure_future(
        store.claim_attempt(
            merchant_id=TOKEN,
            payment_id=TOKEN,
            number=1,
            at=NOW,
            lease_token=TOKEN,
            lease_expires_at=NOW + timedelta(seconds=60),
        )
    )


def _release(store: PostgresStore) -> asyncio.Task[object]:
    due = DueAttempt(TOKEN, TOKEN, 1, TOKEN, 1, 0.0, TOKEN)
    return asyncio.ensure_future(store.release_attempt(due=due, next_check_at=NOW, unfinished_checks=0))


async def _caught_waiting(
    start: Callable[[], asyncio.Task[object]], connection: asyncpg.Connection
) -> tuple[asyncio.Task[object], int]:
    """Start something until it is seen to wait for a lock of ours; give it, and the process that waits."""
    while True:
        running = start()
        while not running.done():
            # Not pg_stat_activity: a transaction keeps the first copy of it that it looked at.
            pid = await connection.fetchval(
                "select pid from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))"
            )
            if pid is not None:
                return running, int(pid)
            await asyncio.sleep(0)
        # A busy machine let two seconds pass before we looked.
        assert isinstance(running.exception(), Overloaded)


@pytest.mark.parametrize("statement", [_claim, _look, _release])
async def test_a_connection_lost_under_a_lease_is_a_refusal(
    store: PostgresStore, as_admin: asyncpg.Connection, statement: Callable[[PostgresStore], asyncio.Task[object]]
) -> None:
    async with as_admin.transaction():
        await as_admin.execute("lock table payment_attempts in access exclusive mode")
        running, pid = await _caught_waiting(partial(statement, store), as_admin)
        await as_admin.fetchval("select pg_terminate_backend($1)", pid)
        with pytest.raises(StorageUnavailable):
            await running


def _new(book: Book, *, idempotency_key: str, payment_id: UUID) -> NewPayment:
    payment = Payment(
        merchant_id=book.merchant_id,
        id=payment_id,
        amount=1000,
        currency="usd",
        status=PaymentStatus.REQUIRES_CONFIRMATION,
        capture_method="automatic",
        livemode=False,
        metadata={},
        version=1,
        event_position=1,
        event_sequence=1,
        created_at=NOW,
        updated_at=NOW,
    )
    key = Key(idempotency_key, bytes(32), 201, NOW, NOW + timedelta(days=7))
    return NewPayment(payment, key, "test", "req_1")


async def test_a_create_that_loses_its_key_to_another_process_is_told_so(
    store: PostgresStore, as_admin: asyncpg.Connection
) -> None:
    book = await open_book(as_admin)
    async with as_admin.transaction():
        payment_id = await bear_payment(as_admin, book)
        await insert(as_admin, "idempotency_keys", **key_row(book, payment_id, idempotency_key="order-1"))
        new = _new(book, idempotency_key="order-1", payment_id=new_id())
        running, _ = await _caught_waiting(lambda: asyncio.ensure_future(store.create_payment(new)), as_admin)
    assert await running is False


async def test_a_create_whose_lost_insert_came_late_after_all_is_a_success(
    store: PostgresStore, as_admin: asyncpg.Connection
) -> None:
    book, payment_id = await open_book(as_admin), new_id()
    new = _new(book, idempotency_key="order-1", payment_id=payment_id)
    async with as_admin.transaction():
        await bear_payment(as_admin, book, id=payment_id)
        running, _ = await _caught_waiting(lambda: asyncio.ensure_future(store.create_payment(new)), as_admin)
    assert await running is True


async def test_a_lock_that_is_not_had_in_time_is_a_refusal(store: PostgresStore, as_admin: asyncpg.Connection) -> None:
    async with as_admin.transaction():
        await as_admin.execute("lock table payment_attempts in access exclusive mode")
        with pytest.raises(Overloaded):
            await _claim(store)
