"""One database for all attacks: each one, with the guards it drops, is rolled back."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.support.postgres import Database, Databases


@pytest.fixture(scope="session")
def attacked(databases: Databases) -> Iterator[Database]:
    """The database that every attack leaves as it was."""
    made = databases.fresh()
    yield made
    databases.drop(made)


@pytest.fixture
async def as_admin(attacked: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the administrator, in a transaction that is rolled back."""
    connection = await asyncpg.connect(attacked.dsn)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()
