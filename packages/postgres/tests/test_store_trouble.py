"""In trouble with the database the store refuses in its own words: neither a driver's error nor an unknown commit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from paymux_core.errors import Overloaded, StorageUnavailable
from paymux_core.phases import Claim, DueAttempt
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import PostgresStore
from tests.support.chance import SeededRng
from tests.support.postgres import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = UUID(int=7)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("trouble"))
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


async def _waiting_backend(connection: asyncpg.Connection) -> int:
    """Give the process that waits for a lock of ours, as soon as there is one."""
    while True:
        pid = await connection.fetchval(
            "select pid from pg_stat_activity "
            "where wait_event_type = 'Lock' and pg_backend_pid() = any (pg_blocking_pids(pid))"
        )
        if pid is not None:
            return int(pid)
        await asyncio.sleep(0)


@pytest.mark.parametrize("statement", [_claim, _look, _release])
async def test_a_connection_lost_under_a_lease_is_a_refusal(
    store: PostgresStore, as_admin: asyncpg.Connection, statement: object
) -> None:
    assert callable(statement)
    async with as_admin.transaction():
        await as_admin.execute("lock table payment_attempts in access exclusive mode")
        running = statement(store)
        await as_admin.fetchval("select pg_terminate_backend($1)", await _waiting_backend(as_admin))
        with pytest.raises(StorageUnavailable):
            await running


async def test_a_lock_that_is_not_had_in_time_is_a_refusal(store: PostgresStore, as_admin: asyncpg.Connection) -> None:
    async with as_admin.transaction():
        await as_admin.execute("lock table payment_attempts in access exclusive mode")
        with pytest.raises(Overloaded):
            await _claim(store)
