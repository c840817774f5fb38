"""One server and one database for all seeds that a process runs, and quiet logs."""

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
    yield made
    made.close()
    databases.drop(database)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """For these tests alone: others read the logs, in the same process."""
    with quiet_logs():
        yield


@pytest.fixture
def idle_sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A sandbox that is there, and is asked nothing."""
    with SandboxProcess(tmp_path) as running:
        yield running
