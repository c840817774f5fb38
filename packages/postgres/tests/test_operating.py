"""Figures for operators: right, bounded one by one, and a slow one hides neither the others nor what is broken."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import asyncpg
import pytest

from paymux_core.errors import Overloaded, StorageUnavailable
from paymux_core.ids import uuid7
from paymux_postgres import invariants, operating
from paymux_postgres.bounded import BoundedReads
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.operating import OperatingStore
from tests.support import builders
from tests.support.builders import NOW
from tests.support.postgres import Database

OLD = uuid7(1, 1)


@pytest.fixture
async def reads(database: Database) -> AsyncIterator[BoundedReads]:
    made = BoundedReads(DatabaseSettings(database.dsn))
    yield made
    await made.close()


async def samples(reads: BoundedReads) -> dict[str, Mapping[str, float]]:
    figures = await OperatingStore(reads).figures(at=NOW)
    assert figures.missing == []
    return {figure.name: figure.samples for figure in figures.read}


async def test_an_empty_book_has_its_figures_too(reads: BoundedReads) -> None:
    found = await samples(reads)
    assert found["paymux_oldest_unknown_seconds"] == {"": 0.0}
    assert found["paymux_checks"] == {"due": 0, "overdue": 0}
    assert (found["paymux_open_reviews"], found["paymux_schedule_last_success_seconds"]) == ({}, {})
    assert set(found["paymux_stray_rows"].values()) == {0.0}


async def test_figures_tell_what_waits(reads: BoundedReads, as_admin: asyncpg.Connection) -> None:
    book = await builders.open_book(as_admin)
    for age, due in ((timedelta(hours=2), timedelta(minutes=6)), (timedelta(hours=1), timedelta(minutes=1))):
        payment_id = await builders.bear_payment(as_admin, book)
        await builders.confirm_payment(as_admin, book, payment_id, created_at=NOW - age)
        await builders.change_attempt(as_admin, book, payment_id, "unknown", next_check_at=NOW - due)
        whose = {"merchant_id": book.merchant_id, "id": builders.new_id(), "payment_id": payment_id}
        await builders.insert(as_admin, "reviews", **whose, reason="deadline", status="open", opened_at=NOW)
    for kind, finished_at in (("often", NOW - timedelta(minutes=3)), ("never", None)):
        lease = None if finished_at else NOW - timedelta(hours=1)
        began = NOW - timedelta(hours=2)
        ends = {"finished_at": finished_at, "lease_expires_at": lease}
        await builders.insert(as_admin, "schedules", kind=kind, slot=began, started_at=began, **ends)
    found = await samples(reads)
    assert found["paymux_oldest_unknown_seconds"] == {"": 7200.0}
    assert found["paymux_checks"] == {"due": 2, "overdue": 1}
    assert found["paymux_open_reviews"] == {"deadline": 2}
    assert found["paymux_schedule_last_success_seconds"] == {"often": 180.0, "never": 7200.0}
    assert found["paymux_schedule_slots_left"] == {"never": 1}


async def test_a_figure_that_takes_too_long_is_named_and_hides_no_other(
    reads: BoundedReads, as_admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reads.fetch("select 1", seconds=10)
    monkeypatch.setattr(operating, "SECONDS_MAX", 0.3)
    async with as_admin.transaction():
        await as_admin.execute("lock table reviews in access exclusive mode")
        figures = await OperatingStore(reads).figures(at=NOW)
    assert figures.missing == ["paymux_open_reviews"]
    assert len(figures.read) == len(operating.GAUGES) - 1


async def test_the_server_itself_ends_what_takes_too_long_and_nothing_is_written(reads: BoundedReads) -> None:
    with pytest.raises(StorageUnavailable):
        await reads.fetch("select pg_sleep(60)", seconds=0.1)
    with pytest.raises(StorageUnavailable) as refused:
        await reads.fetch("insert into sweeps default values", seconds=10)
    assert isinstance(refused.value.__cause__, asyncpg.ReadOnlySQLTransactionError)
    assert (await reads.fetch("select 1 as one", seconds=10))[0]["one"] == 1


async def test_an_invariant_that_takes_too_long_is_no_verdict_and_hides_no_violation(
    reads: BoundedReads, as_admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = await builders.open_book(as_admin)
    await as_admin.execute("""
        create function inv.zzz_slow(at timestamptz)
        returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
            select m.id, m.id, 'slow' from public.merchants m where pg_sleep(60)::text = ''
        $$
    """)
    monkeypatch.setattr(invariants, "SECONDS_MAX", 3.0)
    with pytest.raises(Overloaded, match="zzz_slow could not be checked"):
        await invariants.recent_violations(reads, at=NOW, born_since=OLD, limit=10)
    await builders.plant_payment(as_admin, book, "succeeded")
    found = await invariants.recent_violations(reads, at=NOW, born_since=OLD, limit=10)
    assert "status_unproven" in {violation.invariant for violation in found}
