"""Two hundred endpoints, a tenth of them hanging and a tenth failing: the others are served as if there were none."""

import asyncio
import os
import time
from datetime import UTC, datetime
from statistics import median

import pytest
from msgspec.structs import replace

from tests.support.postgres import Databases
from tests.webhooks.stage import webhook_stage

ROUNDS = int(os.environ.get("PAYMUX_SOAK_ROUNDS", "3"))
ENDPOINTS = 200
BAD_EACH = 20
"""So many hang, and so many fail."""
SECONDS = 20
EVENTS_PER_SECOND = 1.5
"""Each goes to all endpoints: 300 deliveries a second."""


class RealClock:
    """Time as it is."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


async def _p99_ms(databases: Databases, name: str, *, bad: bool) -> float:
    """Give the p99 of how long after its birth an event came to a healthy endpoint."""
    database = databases.fresh()
    async with webhook_stage(database.dsn, seed=name) as stage:
        stage.deps = replace(stage.deps, clock=RealClock())
        for number in range(ENDPOINTS):
            word = "hang" if number < BAD_EACH else "500" if number < 2 * BAD_EACH else "200"
            await stage.endpoint(f"/{word if bad else 200}/{number}")
        healthy = {f"/200/{number}" for number in range(2 * BAD_EACH, ENDPOINTS)}
        came: dict[tuple[str, str], float] = {}
        answer = stage.receivers.status_of

        def note(path: str) -> int | None:
            came[path, str(len(came))] = time.monotonic()
            return None if path.startswith("/hang") else int(path.split("/")[1])

        assert answer is None
        born: list[float] = []
        async with stage.delivering():
            stage.receivers.status_of = note
            for turn in range(int(SECONDS * EVENTS_PER_SECOND)):
                born.append(time.monotonic())
                await stage.payment()
                await asyncio.sleep(max(0.0, born[0] + (turn + 1) / EVENTS_PER_SECOND - time.monotonic()))
            numbers = "endpoint_number > " + str(2 * BAD_EACH)
            await stage.until(f"status = 'succeeded' and {numbers}", len(born) * len(healthy), seconds=150)
        arrived: dict[str, list[float]] = {path: [] for path in healthy}
        for (path, _), at in came.items():
            if path in healthy:
                arrived[path].append(at)
        # Each endpoint's n-th arrival is of the n-th event: one of them is never behind by more than an event.
        took = sorted(at - since for ats in arrived.values() for at, since in zip(sorted(ats), born, strict=True))
    databases.drop(database)
    return took[int(len(took) * 0.99)] * 1000


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_healthy_endpoints_do_not_notice_bad_ones(databases: Databases) -> None:
    rounds = []
    for number in range(ROUNDS):
        without = await _p99_ms(databases, f"without {number}", bad=False)
        among = await _p99_ms(databases, f"among {number}", bad=True)
        rounds.append((without, among))
        print(f"round {number + 1}: p99 {without:.0f} ms without bad endpoints, {among:.0f} ms among them")  # noqa: T201
    ratio = median(among for _, among in rounds) / median(without for without, _ in rounds)
    assert ratio <= 1.25, rounds
