"""A gateway that sends webhooks to a stage on emptied tables."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings
from tests.support.empty import EMPTY
from tests.support.inbound import Gateway
from tests.support.one_account import Stage, set_up
from tests.support.postgres import Database


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """The gateway whose book says what was charged."""
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), settings=SandboxSettings(clock_divisor=50)) as running:
        yield running


@pytest.fixture
async def emptied(shared_database: Database) -> Database:
    """A database without rows."""
    connection = await asyncpg.connect(shared_database.dsn)
    await connection.execute(EMPTY)
    await connection.close()
    return shared_database


@pytest.fixture
async def stage(emptied: Database, sandbox: SandboxProcess, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A merchant with an account at `mock`."""
    async with set_up(emptied.dsn, sandbox.url, seed=request.node.name) as opened:
        yield opened


@pytest.fixture
async def gateway(stage: Stage, emptied: Database) -> Gateway:
    """That account's gateway, which has a secret with us."""
    made = Gateway(stage, emptied.dsn)
    await made.connect()
    return made


@pytest.fixture
async def unsigned(
    emptied: Database, sandbox: SandboxProcess, request: pytest.FixtureRequest
) -> AsyncIterator[Gateway]:
    """A gateway, `flaky`, whose proof covers the body alone."""
    async with set_up(emptied.dsn, sandbox.url, seed=request.node.name, gateway="flaky") as opened:
        made = Gateway(opened, emptied.dsn, signs_time=False)
        await made.connect()
        yield made
