"""A connection that dies under a lease is said to be that, and nothing else: the worker and the API go on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from paymux_core.errors import StorageUnavailable
from paymux_core.phases import Claim, DueAttempt
from paymux_postgres.connections import DatabaseSettings, is_connection_lost
from paymux_postgres.store import PostgresStore
from tests.support.builders import SOON, Book, confirmed_payment, new_id, open_book
from tests.support.chance import TEST_SEALER
from tests.support.http import eventually
from tests.support.postgres import Database

NAME = "paymux-doomed"


class _Chance:
    """The randomness of pauses; nothing here depends on it."""

    def uniform(self) -> float:
        return 0.5

    def bits(self, count: int) -> int:
        return 0


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    """A store whose connections can be told from others'."""
    made = PostgresStore(DatabaseSettings(database.dsn, application_name=NAME), rng=_Chance(), sealer=TEST_SEALER)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def due(as_admin: asyncpg.Connection) -> DueAttempt:
    """An attempt that is to be looked at."""
    book: Book = await open_book(as_admin)
    payment_id = await confirmed_payment(as_admin, book)
    return DueAttempt(book.merchant_id, payment_id, 1, new_id(), 0, 0.0, book.account_id)


async def kill_who_waits(as_admin: asyncpg.Connection) -> None:
    """End the connection of the store that waits for a lock."""

    async def waiting() -> int | None:
        pid = await as_admin.fetchval(
            "select pid from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))"
        )
        return None if pid is None else int(pid)

    pid = await eventually(waiting, lambda found: found is not None, seconds=10)
    await as_admin.execute("select pg_terminate_backend($1)", pid)


@pytest.mark.parametrize("what", ["claim_due", "claim", "look", "renew", "release"])
async def test_a_lease_whose_connection_dies_is_a_database_that_is_away(
    what: str, store: PostgresStore, due: DueAttempt, as_admin: asyncpg.Connection
) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "claim_due": lambda: store.claim_due_attempts(
            Claim(SOON + timedelta(minutes=1), 0.0, due.lease_token, SOON, limit=1)
        ),
        "claim": lambda: store.claim_attempt(
            merchant_id=due.merchant_id,
            payment_id=due.payment_id,
            number=1,
            at=SOON,
            lease_token=due.lease_token,
            lease_expires_at=SOON,
        ),
        "look": lambda: store.note_look(
            merchant_id=due.merchant_id, payment_id=due.payment_id, number=1, at=SOON, not_looked_since=SOON
        ),
        "renew": lambda: store.renew_lease(due=due, lease_expires_at=SOON, next_check_at=None),
        "release": lambda: store.release_attempt(due=due, next_check_at=SOON, unfinished_checks=0),
    }
    async with as_admin.transaction():
        # Claims skip rows that are locked, so all of them meet a lock of the table.
        await as_admin.execute("lock table payment_attempts in exclusive mode")
        calling = asyncio.ensure_future(calls[what]())
        await kill_who_waits(as_admin)
        with pytest.raises(StorageUnavailable):
            await calling


def test_a_statement_on_a_connection_that_has_just_failed_is_a_lost_connection() -> None:
    assert is_connection_lost(
        asyncpg.InternalClientError('cannot switch to state 15; protocol is in the "failed" state')
    )
