"""Fixtures for the tests of all members: databases on one real server per session."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import asyncpg
import pytest

from tests.support.postgres import Database, Databases, running_server

# Given by the process that controls parallel workers, so that they share its server.
SERVER_DSN = "PAYMUX_TEST_SERVER_DSN"

_session = ExitStack()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Start the server before the first parallel worker: the workers inherit its address."""
    if SERVER_DSN not in os.environ:
        os.environ[SERVER_DSN] = _session.enter_context(running_server())
        _session.callback(os.environ.pop, SERVER_DSN)


def pytest_unconfigure() -> None:
    """Stop what was started for parallel workers, after the last of them is gone."""
    _session.close()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Databases on the session's server."""
    with ExitStack() as stack:
        server_dsn = os.environ.get(SERVER_DSN) or stack.enter_context(running_server())
        yield stack.enter_context(Databases(server_dsn))


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A migrated database of the test's own."""
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
