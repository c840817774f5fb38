"""What was sealed is found again; who tampers with it, whatever the rights, is named."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from paymux_core.seals import BrokenSeal, Seal, next_range
from paymux_postgres.audit import AuditStore
from paymux_postgres.connections import DatabaseSettings, Pool
from paymux_worker.sealing import keep_sealing, seal_all
from tests.support import builders
from tests.support.one_account import VirtualClock
from tests.support.postgres import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[AuditStore]:
    """The seals, as the application."""
    pool = Pool(DatabaseSettings(database.app_dsn))
    await pool.open()
    yield AuditStore(pool)
    await pool.close()


async def sealed(store: AuditStore) -> int:
    return await seal_all(store, VirtualClock(), is_stopping=lambda: False)


async def verified(store: AuditStore) -> tuple[int, BrokenSeal | None]:
    """How many blocks were looked at, and the one that does not fit."""
    found = [wrong async for _, wrong in store.verify(NOW)]
    return len(found), found[-1] if found else None


async def book_of_blocks(as_admin: asyncpg.Connection, store: AuditStore, blocks: int) -> None:
    """Write payments with their events and interactions, and a block behind each."""
    for _ in range(blocks):
        book = await builders.open_book(as_admin)
        for _ in range(2):
            await builders.succeeded_payment(as_admin, book)
        await builders.insert(
            as_admin, "merchant_events", merchant_id=book.merchant_id, id=builders.new_id(), type="test.told",
            public=False, livemode=False, actor="test", reason="test", body=builders.ANSWER, recorded_at=NOW,
        )  # fmt: skip
        await sealed_up(store, as_admin)


async def sealed_up(store: AuditStore, as_admin: asyncpg.Connection) -> int:
    """Seal until all that is there is sealed: a transaction in another database of this server holds the end back."""
    newest = await as_admin.fetchval(
        "select greatest((select max(xid::text::bigint) from payment_events), "
        "(select max(xid::text::bigint) from merchant_events))"
    )
    blocks = 0
    while (head := await store.head()) is None or head.range.to_xid <= newest:
        blocks += await sealed(store)
    return blocks


async def test_a_healthy_book_fits_its_seals(store: AuditStore, as_admin: asyncpg.Connection) -> None:
    assert await verified(store) == (0, None)
    assert await store.head() is None
    await book_of_blocks(as_admin, store, 3)
    assert await sealed(store) == 0, "nothing new is no block"
    blocks = await store.count()
    assert blocks >= 3
    assert await verified(store) == (blocks, None)
    covered = await as_admin.fetchrow("select sum(rows) as rows, sum(interactions) as interactions from audit_seals")
    assert covered is not None
    assert (covered["rows"], covered["interactions"]) == (21, 6)


TAMPERINGS = {
    "payment_events": [
        "update payment_events set reason = 'lie' where {where}",
        "update payment_events set recorded_at = recorded_at + interval '1 microsecond' where {where}",
        "update payment_events set body = null, actor = 'lie' where {where}",
        "update payment_events set xid = '4'::xid8 where {where}",
        "delete from payment_events where {where}",
        (
            "insert into payment_events select merchant_id, payment_id, position + 90, sequence, type, from_status, "
            "to_status, attempt_number, actor, reason, request_id, body, recorded_at, xid, epoch "
            "from payment_events where {where}"
        ),
    ],
    "gateway_interactions": [
        "update gateway_interactions set outcome = 'lie' where {where}",
        "update gateway_interactions set response = '{{\"a\": 1}}' where {where}",
        "delete from gateway_interactions where {where}",
    ],
    "merchant_events": [
        "update merchant_events set public = true where {where}",
        "delete from merchant_events where {where}",
    ],
}


@pytest.mark.parametrize("seed", range(20))
async def test_a_superuser_who_tampers_anywhere_is_found(
    store: AuditStore, as_admin: asyncpg.Connection, seed: int
) -> None:
    chance = random.Random(seed)
    await book_of_blocks(as_admin, store, 3)
    seals = await as_admin.fetch("select * from audit_seals order by block")
    table = chance.choice(sorted(TAMPERINGS))
    columns = await as_admin.fetch(f"select ctid::text as place, xid::text::bigint as xid from {table} order by ctid")
    row = chance.choice(columns)
    sql = chance.choice(TAMPERINGS[table]).format(where=f"ctid = '{row['place']}'")
    await as_admin.execute("set session_replication_role = replica")
    assert (await as_admin.execute(sql)).endswith(" 1")
    _, wrong = await verified(store)
    assert wrong is not None, sql
    mine = next(seal["block"] for seal in seals if seal["from_xid"] <= row["xid"] < seal["to_xid"])
    # One that was moved to an older transaction is found where it came to.
    assert wrong.block == (1 if "xid8" in sql else mine), sql
    kind = {"update": "altered", "delete": "missing", "insert": "added"}[sql.split()[0]]
    assert kind in wrong.what or "xid8" in sql, (sql, wrong.what)


@pytest.mark.parametrize(
    "sql",
    [
        "update audit_seals set hash = sha256('x') where block = 2",
        "update audit_seals set marks = decode(repeat('00', rows::integer * 8), 'hex') where block = 2",
        "update audit_seals set to_xid = to_xid + 1 where block = 2",
        "update audit_seals set sealed_at = sealed_at + interval '1 day' where block = 2",
        "delete from audit_seals where block = 2",
        "delete from audit_seals where block = 1",
    ],
)
async def test_a_seal_that_is_tampered_with_is_found(store: AuditStore, as_admin: asyncpg.Connection, sql: str) -> None:
    await book_of_blocks(as_admin, store, 3)
    await as_admin.execute("set session_replication_role = replica")
    await as_admin.execute(sql)
    assert (await verified(store))[1] is not None


async def test_many_sealers_at_once_make_one_chain(database: Database, as_admin: asyncpg.Connection) -> None:
    pools = [Pool(DatabaseSettings(database.app_dsn)) for _ in range(4)]
    for pool in pools:
        await pool.open()
    stores = [AuditStore(pool) for pool in pools]
    for _ in range(4):
        book = await builders.open_book(as_admin)
        writing = builders.succeeded_payment(as_admin, book)
        await asyncio.gather(writing, *(sealed(store) for store in stores))
    await sealed_up(stores[0], as_admin)
    blocks = await as_admin.fetch("select * from audit_seals order by block")
    rows = await as_admin.fetchval("select count(*) from payment_events")
    looked_at, wrong = await verified(stores[1])
    for pool in pools:
        await pool.close()
    assert [block["block"] for block in blocks] == list(range(1, len(blocks) + 1))
    assert sum(block["rows"] for block in blocks) == rows
    assert (looked_at, wrong) == (len(blocks), None)


async def test_what_a_long_transaction_wrote_is_sealed_once_it_has_ended(
    store: AuditStore, database: Database, as_admin: asyncpg.Connection
) -> None:
    book = await builders.open_book(as_admin)
    slow = await asyncpg.connect(database.dsn)
    async with slow.transaction():
        payment_id = await builders.bear_payment(slow, book)
        for _ in range(3):
            await builders.bear_payment(as_admin, book)
            await sealed(store)
        head = await store.head()
        assert head is None or head.rows == 0, "what is younger waits for it"
    await slow.close()
    await sealed_up(store, as_admin)
    assert await _sealed_rows(as_admin) == 4
    assert (await verified(store))[1] is None
    assert await as_admin.fetchval("select count(*) from payment_events where payment_id = $1", payment_id) == 1


async def _sealed_rows(as_admin: asyncpg.Connection) -> int:
    return int(await as_admin.fetchval("select coalesce(sum(rows), 0) from audit_seals"))


async def test_a_long_stretch_is_sealed_in_blocks(
    store: AuditStore, as_admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paymux_postgres.audit.BLOCK_XIDS_MAX", 3)
    book = await builders.open_book(as_admin)
    for _ in range(8):
        await builders.bear_payment(as_admin, book)
    assert await sealed_up(store, as_admin) > 1
    blocks = await as_admin.fetch("select from_xid, to_xid, rows from audit_seals order by block")
    # The first block begins with the server and not with the book: what lies between is one step.
    assert [block["to_xid"] - block["from_xid"] <= 3 for block in blocks[1:]] == [True] * (len(blocks) - 1)
    assert await _sealed_rows(as_admin) == 8
    assert (await verified(store))[1] is None


async def test_after_a_restore_the_old_epoch_is_closed_and_the_new_one_goes_on(
    store: AuditStore, as_admin: asyncpg.Connection
) -> None:
    await book_of_blocks(as_admin, store, 1)
    await as_admin.execute("insert into event_epochs (epoch, system_identifier, since) values (2, 1, $1)", NOW)
    for table in ("payment_events", "merchant_events", "gateway_interactions"):
        await as_admin.execute(f"alter table {table} alter column epoch set default 2")
    await builders.succeeded_payment(as_admin, await builders.open_book(as_admin))
    while (head := await store.head()) is None or head.range.epoch != 2 or head.rows == 0:
        await sealed(store)
    epochs = [row["epoch"] for row in await as_admin.fetch("select epoch from audit_seals order by block")]
    assert sorted(set(epochs)) == [1, 2]
    assert epochs == sorted(epochs)
    assert (await verified(store))[1] is None
    await as_admin.execute("set session_replication_role = replica")
    await as_admin.execute(
        "insert into payment_events select merchant_id, payment_id, 99, null, 'test.told', null, null, null, actor, "
        "reason, null, null, recorded_at, '5000'::xid8, 1 from payment_events limit 1"
    )
    assert "added" in str((await verified(store))[1])


async def test_the_loop_seals_outlasts_trouble_and_ends(
    store: AuditStore, as_admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paymux_worker.sealing.SEAL_SECONDS", 0.01)
    await builders.succeeded_payment(as_admin, await builders.open_book(as_admin))
    stopping, troubled = asyncio.Event(), Troubled(store)
    loop = asyncio.create_task(keep_sealing(troubled, VirtualClock(), stopping))
    while await store.head() is None:  # noqa: ASYNC110  the loop under test has no event for it
        await asyncio.sleep(0)
    stopping.set()
    await loop
    assert troubled.times > 2


class Troubled:
    """The store, which cannot be reached twice."""

    def __init__(self, store: AuditStore) -> None:
        self.store = store
        self.times = 0

    async def seal(self, now: datetime) -> Seal | None:
        self.times += 1
        if self.times <= 2:
            raise (OSError("away") if self.times == 1 else KeyError("a bug"))
        return await self.store.seal(now)


def test_a_range_ends_below_whoever_still_writes() -> None:
    covered = next_range(None, epoch_now=1, xmin=10)
    assert covered is not None
    assert covered.to_xid == 10
