"""One server, one database, and quiet logs for all seeds that a process runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from paymux_testkit.sandbox_process import SandboxProcess
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


@pytest.fixture
def idle_sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A sandbox that is there, and is asked nothing."""
    with SandboxProcess(tmp_path) as running:
        yield running
