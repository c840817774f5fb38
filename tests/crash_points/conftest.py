"""A sandbox and a database for all crash points of a file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings
from tests.crash_points.stage import Ground, open_ground
from tests.support.postgres import Database, Databases


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    home: Path = tmp_path_factory.mktemp("sandbox")
    with SandboxProcess(home, settings=SandboxSettings(clock_divisor=1000, flaky_rates={})) as running:
        yield running


@pytest.fixture(scope="module")
def emptied(databases: Databases) -> Iterator[Database]:
    """A database that each case empties before it begins."""
    made = databases.fresh()
    yield made
    databases.drop(made)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(emptied: Database) -> AsyncIterator[Ground]:
    """Connections to it that all cases use: making and planning them took longer than the cases."""
    async with open_ground(emptied.dsn) as opened:
        yield opened
