"""A stage for each test, and one running stack for those that need processes."""

from collections.abc import AsyncIterator, Iterator

import pytest

from paymux_core.api_keys import Scope
from tests.support.http import Merchant
from tests.support.postgres import Database, Databases
from tests.support.stack import SCOPES, Stack, running_stack
from tests.webhooks.stage import Receivers, receiving, webhook_stage
from tests.webhooks.stage import Stage as WebhookStage

WEBHOOK_SCOPES = SCOPES | {Scope.WEBHOOKS_MANAGE, Scope.EVENTS_READ}


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[WebhookStage]:
    """One merchant, and receivers."""
    async with webhook_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


@pytest.fixture(scope="session")
def stack(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, running, with leave to send to this machine."""
    database = databases.fresh()
    with running_stack(database, tmp_path_factory.mktemp("stack"), PAYMUX_WEBHOOKS_ALLOW_INSECURE="1") as running:
        yield running
    databases.drop(database)


@pytest.fixture
def shop(stack: Stack) -> Merchant:
    """A merchant of the test's own."""
    return stack.new_merchant(scopes=WEBHOOK_SCOPES)


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    """Where events come in."""
    async with receiving() as opened:
        yield opened
