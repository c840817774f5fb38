"""Fixtures for the tests of all members: databases on one real server per session."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import asyncpg
import pytest

from tests.support.postgres import Database, Databases, serve_workers, session_databases

_session = ExitStack()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Start the server before the first parallel worker."""
    serve_workers(_session)


def pytest_unconfigure() -> None:
    """Stop what was started for parallel workers, after the last of them is gone."""
    _session.close()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Databases on the session's server."""
    with session_databases() as made:
        yield made


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A migrated database of the test's own."""
    made = databases.fresh()
    yield made
    databases.drop(made)


@pytest.fixture(scope="session")
def shared_database(databases: Databases) -> Iterator[Database]:
    """A migrated database for tests that only read, or roll back what they do."""
    made = databases.fresh()
    yield made
    databases.drop(made)


@pytest.fixture
async def as_admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the administrator, who can plant what every guard refuses."""
    connection = await asyncpg.connect(database.dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def as_owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner of the tables."""
    connection = await asyncpg.connect(database.owner_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def as_app(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the application."""
    connection = await asyncpg.connect(database.app_dsn)
    yield connection
    await connection.close()
