"""Look-ups of an account are given out to all processes together, and no faster than it allows."""

import itertools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from paymux_postgres.connections import DatabaseSettings, Pool
from paymux_postgres.lookup_budgets import BLOCK_MIN, PUT_OFF_MAX, SOON, LookupBudgets
from tests.support.builders import NOW, Book, open_book
from tests.support.postgres import Database

RATE = 5
PART = timedelta(seconds=1) / RATE


@pytest.fixture
async def book(as_admin: asyncpg.Connection) -> Book:
    return await open_book(as_admin)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    opened = Pool(DatabaseSettings(database.dsn))
    await opened.open()
    yield opened
    await opened.close()


async def place(
    budgets: LookupBudgets, book: Book, at: datetime, *, rate: int = RATE, alone: bool = False
) -> datetime | None:
    """Take a place, and say when it is."""
    seconds = await budgets.place(
        merchant_id=book.merchant_id, account_id=book.account_id, per_second=rate, at=at, alone=alone
    )
    return None if seconds is None else at + timedelta(seconds=seconds)


@pytest.mark.parametrize("processes", [1, 2, 5])
async def test_all_processes_together_ask_no_faster_than_the_account_allows(
    pool: Pool, book: Book, processes: int
) -> None:
    budgets = [LookupBudgets(pool) for _ in range(processes)]
    places: list[datetime] = []
    for tick in range(200):
        at = NOW + timedelta(milliseconds=50 * tick)
        for number, process in enumerate(budgets):
            # The API takes one at a time, a worker several.
            given = await place(process, book, at, alone=number % 2 == 1)
            if given is not None:
                assert at <= given <= at + 2 * SOON
                places.append(given)
    places.sort()
    gaps = [later - earlier for earlier, later in itertools.pairwise(places)]
    assert min(gaps) >= PART - timedelta(microseconds=1)
    # And what it allows can be had.
    assert len(places) >= 10 * RATE - BLOCK_MIN


async def test_a_worker_asks_the_database_once_for_several(pool: Pool, book: Book) -> None:
    budgets = LookupBudgets(pool)
    leases: list[datetime] = []
    lease = budgets.lease_lookups

    async def counted(merchant_id: UUID, account_id: UUID, at: datetime, span: timedelta) -> datetime | None:
        leases.append(at)
        return await lease(merchant_id, account_id, at, span)

    budgets.lease_lookups = counted  # type: ignore[method-assign]
    given = [await place(budgets, book, NOW) for _ in range(BLOCK_MIN)]
    assert given == [NOW + number * PART for number in range(BLOCK_MIN)]
    assert len(leases) == 1


async def test_what_is_not_used_in_its_time_is_lost(pool: Pool, book: Book) -> None:
    budgets = LookupBudgets(pool)
    assert await place(budgets, book, NOW) == NOW
    later = NOW + timedelta(seconds=60)
    given = [await place(budgets, book, later) for _ in range(2 * BLOCK_MIN)]
    assert given == [later + number * PART for number in range(2 * BLOCK_MIN)]


async def test_a_place_that_would_be_late_is_none(pool: Pool, book: Book) -> None:
    first, second, third = (LookupBudgets(pool) for _ in range(3))
    assert await place(first, book, NOW) == NOW
    assert await place(second, book, NOW) == NOW + BLOCK_MIN * PART
    assert await place(third, book, NOW) is None


async def test_a_look_of_several_requests_pays_for_all_of_them(pool: Pool, book: Book) -> None:
    budgets = LookupBudgets(pool)
    assert await place(budgets, book, NOW) == NOW
    budgets.owe(book.account_id, requests=2)
    assert await place(budgets, book, NOW) == NOW + 3 * PART
    budgets.owe(book.account_id, requests=0)
    assert await place(budgets, book, NOW) == NOW + 4 * PART


async def test_an_account_that_wants_its_peace_has_it_everywhere(pool: Pool, book: Book) -> None:
    first, second = LookupBudgets(pool), LookupBudgets(pool)
    assert await place(first, book, NOW) == NOW
    until = NOW + timedelta(seconds=30)
    await first.hold(merchant_id=book.merchant_id, account_id=book.account_id, at=NOW, until=until)
    for process in (first, second):
        assert await place(process, book, NOW + timedelta(seconds=20)) is None
    assert await place(second, book, until) == until


async def test_a_moment_from_a_wrong_clock_holds_nobody_back(pool: Pool, book: Book) -> None:
    budgets = LookupBudgets(pool)
    assert await place(budgets, book, NOW + timedelta(days=365)) is not None
    assert await place(LookupBudgets(pool), book, NOW) == NOW


async def test_who_is_put_off_comes_again_one_after_the_other(pool: Pool, book: Book) -> None:
    budgets = LookupBudgets(pool)
    moments = [budgets.put_off_until(account_id=book.account_id, per_second=RATE, at=NOW) for _ in range(10_000)]
    assert moments[:3] == [NOW + SOON + number * PART for number in (1, 2, 3)]
    assert all(NOW < moment <= NOW + PUT_OFF_MAX for moment in moments)


async def test_one_process_reads_a_list_and_nobody_again_at_once(pool: Pool, book: Book) -> None:
    first, second = LookupBudgets(pool), LookupBudgets(pool)
    where = {"merchant_id": book.merchant_id, "account_id": book.account_id}

    async def begins(budgets: LookupBudgets, seconds: float) -> bool:
        at = NOW + timedelta(seconds=seconds)
        return await budgets.begin_list(
            **where, at=at, until=at + timedelta(seconds=120), not_since=at - timedelta(seconds=300)
        )

    assert await begins(first, 0)
    assert not await begins(second, 1)
    await first.end_list(**where, at=NOW + timedelta(seconds=10))
    assert not await begins(second, 11)
    assert await begins(second, 300)
    # Who had it may have died.
    assert not await begins(first, 400)
    assert await begins(first, 600)
