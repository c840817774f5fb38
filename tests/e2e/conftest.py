"""One running stack for all of these tests: start-up is paid once."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.http import Merchant
from tests.support.localstripe import SECRET_KEY, Localstripe
from tests.support.postgres import Databases
from tests.support.stack import Account, Stack, running_stack
from tests.support.stripe_proxy import StripeProxy, stripe_proxy


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


@pytest.fixture(scope="session")
def localstripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localstripe]:
    """A stand-in for Stripe that others wrote."""
    running = Localstripe(tmp_path_factory.mktemp("localstripe"))
    yield running
    running.stop()


@pytest.fixture
async def proxy(localstripe: Localstripe) -> AsyncIterator[StripeProxy]:
    """The way from our API to localstripe, which the test can cut."""
    async with stripe_proxy(localstripe.port) as opened:
        yield opened


@pytest.fixture
def stripe_shop(stack: Stack, proxy: StripeProxy) -> Merchant:
    """A merchant whose only gateway is Stripe, on the way that the test can cut."""
    return stack.new_merchant(accounts=[Account("stripe", proxy.url, secret=SECRET_KEY)])
