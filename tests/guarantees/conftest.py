"""All attacks share a database: each one, with the guards it drops, is rolled back."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.support.postgres import Database


@pytest.fixture
async def as_admin(shared_database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the administrator, in a transaction that is rolled back."""
    connection = await asyncpg.connect(shared_database.dsn)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture
async def as_app(shared_database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application, to read."""
    connection = await asyncpg.connect(shared_database.app_dsn)
    yield connection
    await connection.close()
