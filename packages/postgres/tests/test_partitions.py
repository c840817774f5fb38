"""Months are made ahead, guarded like their parent, and dropped by the owner's hand once they are old enough."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from paymux_core.ids import uuid7
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.migrate import migrate, migrations
from paymux_postgres.store import PostgresStore
from tests.support import builders
from tests.support.builders import Book
from tests.support.chance import TEST_SEALER, SeededRng
from tests.support.postgres import Database, Databases

PARENT = "gateway_interactions"
NEXT_YEAR = datetime.now(UTC).year + 1


@pytest.fixture
async def store(database: Database) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("partitions"), sealer=TEST_SEALER)
    await made.open()
    yield made
    await made.close()


def at(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def id_at(moment: datetime, number: int = 1) -> UUID:
    return uuid7(int(moment.timestamp() * 1000), number)


async def note(connection: asyncpg.Connection, moment: datetime) -> str:
    """Insert an interaction of a moment; answers where it went."""
    book = await builders.open_book(connection)
    payment_id = await builders.confirmed_payment(connection, book)
    await builders.insert(connection, PARENT, **builders.interaction_row(book, payment_id, id=id_at(moment)))
    return str(await connection.fetchval(f"select tableoid::regclass::text from {PARENT} where id = $1", id_at(moment)))


async def test_months_are_made_ahead_once_and_take_their_rows(
    store: PostgresStore, as_admin: asyncpg.Connection
) -> None:
    begins = at(NEXT_YEAR, 11, 30)
    made = await store.upkeep.make_partitions(PARENT, at=begins, months=3)
    months = (f"{NEXT_YEAR}m11", f"{NEXT_YEAR}m12", f"{NEXT_YEAR + 1}m01", f"{NEXT_YEAR + 1}m02")
    assert made == [f"{PARENT}_y{month}" for month in months]
    assert await store.upkeep.make_partitions(PARENT, at=begins, months=3) == []
    assert await store.upkeep.make_partitions(PARENT, at=at(NEXT_YEAR + 1, 1), months=2) == [
        f"{PARENT}_y{NEXT_YEAR + 1}m03"
    ]
    last_ms = at(NEXT_YEAR, 12) - timedelta(milliseconds=1)
    assert await note(as_admin, last_ms) == made[0]
    assert await note(as_admin, at(NEXT_YEAR, 12)) == made[1]
    assert await note(as_admin, at(2020, 1)) == f"{PARENT}_before"
    assert await note(as_admin, at(NEXT_YEAR + 5, 1)) == f"{PARENT}_default"


async def test_nothing_is_refused_for_want_of_a_month_and_its_month_stays_where_it_is(
    store: PostgresStore, as_admin: asyncpg.Connection
) -> None:
    assert await note(as_admin, at(NEXT_YEAR, 11, 5)) == f"{PARENT}_default"
    made = await store.upkeep.make_partitions(PARENT, at=at(NEXT_YEAR, 10), months=2)
    assert made == [f"{PARENT}_y{NEXT_YEAR}m10", f"{PARENT}_y{NEXT_YEAR}m12"]
    assert await as_admin.fetchval("select strays from monthly_state() where parent = $1", PARENT)


async def test_a_partition_is_guarded_like_its_parent(store: PostgresStore, as_admin: asyncpg.Connection) -> None:
    (made,) = await store.upkeep.make_partitions(PARENT, at=at(NEXT_YEAR, 10), months=0)
    for moment in (at(2020, 1), at(NEXT_YEAR, 10), at(NEXT_YEAR + 1, 1)):
        await note(as_admin, moment)
    refusals = (asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError)
    for role, partition, attack in product(
        ["paymux_app", "paymux_owner"],
        [f"{PARENT}_before", f"{PARENT}_default", made],
        ["update {} set outcome = 'lie'", "delete from {}", "truncate {}"],
    ):
        await as_admin.execute(f"set role {role}")
        with pytest.raises(refusals) as refused:
            await as_admin.execute(attack.format(partition))
        assert role == "paymux_app" or "interactions are append-only" in str(refused.value)
    assert await as_admin.fetchval(f"select count(*) from {PARENT}") == 3


async def test_a_partition_joins_no_rows_of_two_merchants(store: PostgresStore, as_admin: asyncpg.Connection) -> None:
    await store.upkeep.make_partitions(PARENT, at=at(NEXT_YEAR, 10), months=0)
    ours, theirs = await builders.open_book(as_admin), await builders.open_book(as_admin)
    payment_id = await builders.confirmed_payment(as_admin, ours)
    row = builders.interaction_row(theirs, payment_id, id=id_at(at(NEXT_YEAR, 10)))
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await builders.insert(as_admin, PARENT, **row)


async def plant_months(connection: asyncpg.Connection, database: Database) -> None:
    """Make months of 2020 as a worker of then would have."""
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute(f"alter table {PARENT} detach partition {PARENT}_before")
    await owner.close()
    await connection.execute(f"select make_partitions('{PARENT}', $1, 3)", at(2020, 1))


async def test_old_months_are_dropped_and_written_down(
    store: PostgresStore, as_admin: asyncpg.Connection, database: Database
) -> None:
    await plant_months(as_admin, database)
    for moment in (at(2020, 1), at(2020, 1, 2), at(2020, 3)):
        await note(as_admin, moment)
    assert await store.upkeep.drop_partitions(PARENT, at=at(2021, 1, 31), months=13) == []
    assert await store.upkeep.drop_partitions(PARENT, at=at(2021, 3, 1), months=13) == [f"{PARENT}_y2020m01 (2 rows)"]
    assert await store.upkeep.drop_partitions(PARENT, at=at(2021, 3, 1), months=13) == []
    (row,) = await as_admin.fetch("select * from dropped_partitions")
    assert tuple(row.values()) == (
        PARENT,
        f"{PARENT}_y2020m01",
        UUID(int=id_at(at(2020, 1), 0).int & ~((1 << 80) - 1)),
        UUID(int=id_at(at(2020, 2), 0).int & ~((1 << 80) - 1)),
        2,
        at(2021, 3, 1),
    )
    assert await as_admin.fetchval(f"select count(*) from {PARENT}") == 1
    for attack in (
        "update dropped_partitions set rows = 0",
        "delete from dropped_partitions",
        "truncate dropped_partitions",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await as_admin.execute(attack)


async def test_no_caller_drops_what_is_young(store: PostgresStore, as_admin: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    await store.upkeep.make_partitions(PARENT, at=now + timedelta(days=40), months=1)
    assert await store.upkeep.drop_partitions(PARENT, at=now + timedelta(days=3650), months=0) == []
    assert await as_admin.fetchval("select count(*) from dropped_partitions") == 0


@pytest.mark.parametrize(
    "statement", ["make_partitions('payments', now(), 1)", "drop_partitions('payments', now(), 13)"]
)
async def test_no_other_table_is_touched(as_app: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await as_app.execute(f"select {statement}")


async def test_a_table_with_a_default_partition_only_gets_its_months_too(
    store: PostgresStore, as_owner: asyncpg.Connection
) -> None:
    assert "inbound_webhooks" in await store.upkeep.monthly_tables()
    made = await store.upkeep.make_partitions("inbound_webhooks", at=at(NEXT_YEAR, 10), months=1)
    assert made == [f"inbound_webhooks_y{NEXT_YEAR}m10", f"inbound_webhooks_y{NEXT_YEAR}m11"]
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await as_owner.execute(f"truncate {made[0]}")


async def test_an_attempt_whose_interactions_were_dropped_is_not_silent(
    store: PostgresStore, as_admin: asyncpg.Connection, database: Database
) -> None:
    await plant_months(as_admin, database)
    book = await builders.open_book(as_admin)
    payment_id = await builders.bear_payment(as_admin, book, id=id_at(at(2020, 1)))
    await builders.confirm_payment(as_admin, book, payment_id, created_at=at(2020, 1))
    silent = "select count(*) from inv.attempt_silent($1)"
    assert await as_admin.fetchval(silent, builders.NOW) == 1
    await store.upkeep.drop_partitions(PARENT, at=at(2022, 1), months=13)
    assert await as_admin.fetchval(silent, builders.NOW) == 0


async def test_what_was_there_before_stays_and_is_found(databases: Databases, tmp_path: Path) -> None:
    """The conversion of a table with rows keeps them, whatever their ids."""
    database = databases.empty()
    for migration in migrations():
        if migration.name < "0013":
            (tmp_path / migration.name).mkdir()
            (tmp_path / migration.name / "up.sql").write_text(migration.sql)
    now = datetime.now(UTC)
    await migrate(database.dsn, now=now, progress=lambda _: None, folder=tmp_path)
    connection = await asyncpg.connect(database.dsn)
    book: Book = await builders.open_book(connection)
    payment_id = await builders.confirmed_payment(connection, book)
    for moment in (at(2020, 1), now, now + timedelta(days=62)):
        await builders.insert(connection, PARENT, **builders.interaction_row(book, payment_id, id=id_at(moment)))
    await migrate(database.dsn, now=now, progress=lambda _: None)
    rows = await connection.fetch(f"select tableoid::regclass::text as held_by from {PARENT}")
    assert [row["held_by"] for row in rows] == [f"{PARENT}_before"] * 3
    await connection.close()
    databases.drop(database)
