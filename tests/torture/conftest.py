"""A stack whose book and tables tests may spoil."""

from collections.abc import Iterator

import pytest

from tests.support.http import Merchant
from tests.support.postgres import Databases
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, running, for one file of tests."""
    database = databases.fresh()
    with running_stack(database, tmp_path_factory.mktemp("torture")) as running:
        yield running
    databases.drop(database)


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Merchant:
    """A merchant with one account at the sandbox."""
    return stack.new_merchant()
