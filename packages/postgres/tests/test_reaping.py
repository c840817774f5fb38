"""Keys go seven days after their payment ended, by the owner's hand only; slots keep the last success of a kind."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import PostgresStore
from tests.support import builders
from tests.support.builders import Book
from tests.support.chance import TEST_SEALER, SeededRng
from tests.support.postgres import Database

DAY = timedelta(days=1)
# Long ago by the server's clock, which the reapers believe and no other.
THEN = datetime(2020, 3, 1, tzinfo=UTC)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("reaping"), sealer=TEST_SEALER)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def book(as_admin: asyncpg.Connection) -> Book:
    return await builders.open_book(as_admin)


async def plant_key(connection: asyncpg.Connection, book: Book, name: str, **columns: object) -> None:
    """Write a finished key of a payment that was born in the past; `ended` is when the payment ended."""
    ended = columns.pop("ended", None)
    payment_id = await builders.bear_payment(connection, book)
    if ended is not None:
        await builders.change_payment(connection, book, payment_id, "canceled", finalized_at=ended)
    row = {
        "idempotency_key": name,
        "created_at": THEN,
        "owned_until": THEN,
        "finished_at": THEN,
        "success_status": None,
    }
    columns = {"expires_at": THEN + 7 * DAY} | row | columns
    await builders.insert(connection, "idempotency_keys", **builders.key_row(book, payment_id, **columns))


async def names(connection: asyncpg.Connection) -> set[str]:
    return {row["idempotency_key"] for row in await connection.fetch("select idempotency_key from idempotency_keys")}


async def test_a_key_goes_seven_days_after_its_payment_ended(
    store: PostgresStore, as_admin: asyncpg.Connection, book: Book
) -> None:
    await plant_key(as_admin, book, "long over", ended=THEN)
    await plant_key(as_admin, book, "ended later", ended=THEN + 20 * DAY)
    await plant_key(as_admin, book, "not ended")
    await plant_key(as_admin, book, "not finished", ended=THEN, finished_at=None)
    await plant_key(as_admin, book, "not expired", ended=THEN, expires_at=THEN + 30 * DAY)
    at = THEN + 21 * DAY
    assert await store.upkeep.reap_keys(at=at, limit=1000) == (1, 3)
    assert await names(as_admin) == {"ended later", "not ended", "not finished", "not expired"}
    rows = await as_admin.fetch("select idempotency_key, expires_at from idempotency_keys")
    expires = {row["idempotency_key"]: row["expires_at"] for row in rows}
    assert expires["ended later"] == THEN + 27 * DAY
    assert expires["not ended"] == expires["not finished"] == at + 7 * DAY
    # What was prolonged stands in nobody's way.
    assert await store.upkeep.reap_keys(at=at, limit=1000) == (0, 0)
    assert await store.upkeep.reap_keys(at=THEN + 28 * DAY, limit=1000) == (1, 2)
    assert await names(as_admin) == {"not ended", "not finished", "not expired"}


async def test_keys_go_in_pieces_oldest_first(store: PostgresStore, as_admin: asyncpg.Connection, book: Book) -> None:
    for number in range(5):
        await plant_key(as_admin, book, str(number), ended=THEN, expires_at=THEN + (7 + number) * DAY)
    assert await store.upkeep.reap_keys(at=THEN + 30 * DAY, limit=3) == (3, 0)
    assert await names(as_admin) == {"3", "4"}


async def test_a_key_that_somebody_holds_waits_for_the_next_time(
    store: PostgresStore, as_admin: asyncpg.Connection, book: Book
) -> None:
    await plant_key(as_admin, book, "held", ended=THEN)
    async with as_admin.transaction():
        await as_admin.execute("select from idempotency_keys for update")
        assert await store.upkeep.reap_keys(at=THEN + 30 * DAY, limit=1000) == (0, 0)
    assert await store.upkeep.reap_keys(at=THEN + 30 * DAY, limit=1000) == (1, 0)


async def test_no_caller_hurries_a_key_by_his_own_clock(
    store: PostgresStore, as_admin: asyncpg.Connection, book: Book
) -> None:
    in_a_year = datetime.now(UTC) + 365 * DAY
    await plant_key(as_admin, book, "young", ended=THEN, expires_at=in_a_year)
    assert await store.upkeep.reap_keys(at=in_a_year + DAY, limit=1000) == (0, 0)


async def test_slots_of_long_ago_go_but_never_the_last_success(
    store: PostgresStore, as_admin: asyncpg.Connection
) -> None:
    for kind, slot, finished in (
        ("often", THEN, True),
        ("often", THEN + DAY, True),
        ("often", THEN + 2 * DAY, False),
        ("once", THEN, True),
    ):
        end = {"finished_at": slot} if finished else {"lease_expires_at": slot}
        await builders.insert(as_admin, "schedules", kind=kind, slot=slot, started_at=slot, **end)
    assert await store.upkeep.reap_slots(at=THEN + 5 * DAY, limit=1000) == 0
    assert await store.upkeep.reap_slots(at=THEN + 30 * DAY, limit=1000) == 1
    left = {(row["kind"], row["slot"]) for row in await as_admin.fetch("select kind, slot from schedules")}
    assert left == {("often", THEN + DAY), ("often", THEN + 2 * DAY), ("once", THEN)}


@pytest.mark.parametrize("table", ["idempotency_keys", "schedules", "sweeps", "dropped_partitions"])
async def test_the_application_deletes_nothing_itself(as_app: asyncpg.Connection, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_app.execute(f"delete from {table}")
