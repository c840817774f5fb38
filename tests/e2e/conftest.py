"""One running stack for all of these tests: start-up is paid once."""

from collections.abc import Iterator

import pytest

from tests.support.http import Merchant
from tests.support.postgres import Databases
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, running."""
    database = databases.fresh()
    with running_stack(database, tmp_path_factory.mktemp("stack")) as running:
        yield running
    databases.drop(database)


@pytest.fixture(scope="session")
def shop(stack: Stack) -> Merchant:
    """A merchant with one account at the sandbox and without rate limits."""
    return stack.new_merchant()


@pytest.fixture(scope="session")
def other_shop(stack: Stack) -> Merchant:
    """Another merchant."""
    return stack.new_merchant()
