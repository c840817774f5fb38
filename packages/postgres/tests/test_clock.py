"""The clock believes a measurement only as far as its round trip allows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from paymux_postgres.clock import ROUND_TRIP_SECONDS_MAX, DatabaseClock
from paymux_postgres.connections import DatabaseSettings, Pool
from tests.support.postgres import Database


@pytest.fixture
async def pool(shared_database: Database) -> AsyncIterator[Pool]:
    """A pool of one connection, which a test can keep busy."""
    made = Pool(DatabaseSettings(shared_database.dsn, pool_connections=1))
    await made.open()
    yield made
    await made.close()


async def test_a_round_trip_that_was_held_up_does_not_move_the_clock(pool: Pool) -> None:
    clock = DatabaseClock()
    held_up_seconds = 1.5 * ROUND_TRIP_SECONDS_MAX
    async with pool.connection():
        measuring = asyncio.create_task(clock.measure(pool))
        await asyncio.sleep(held_up_seconds)
    await measuring
    # One machine has one clock, so the offset is nothing but the error: of a believed measurement at most half of it,
    # of the one that was held up half of that.
    error_seconds = abs((clock.now() - datetime.now(UTC)).total_seconds())
    assert error_seconds <= ROUND_TRIP_SECONDS_MAX / 2 + 0.01 < held_up_seconds / 2
