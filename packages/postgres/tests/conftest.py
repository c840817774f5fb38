"""Tests of statements and checks read only, so they share a database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.postgres import Database


@pytest.fixture
async def reader(shared_database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application that changes nothing."""
    connection = await asyncpg.connect(shared_database.app_dsn)
    yield connection
    await connection.close()
