"""One stage for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.reviews.stage import Stage, review_stage
from tests.support.postgres import Database


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A stage of the test's own."""
    async with review_stage(database, seed=request.node.name) as opened:
        yield opened
