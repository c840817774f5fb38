"""One server, one database, and quiet logs for all seeds that a process runs."""

from collections.abc import Iterator

import pytest

from tests.simulation.database import Server
from tests.simulation.seeds import quiet_logs
from tests.support.postgres import Databases


@pytest.fixture(scope="session")
def server(databases: Databases) -> Iterator[Server]:
    """Real Postgres, one statement at a time."""
    database = databases.fresh()
    made = Server(database.dsn)
    with quiet_logs():
        yield made
    made.close()
    databases.drop(database)
