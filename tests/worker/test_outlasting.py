"""A worker ends when it is told to, and for no other reason; what ends its process does not end the others' checks."""

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

from paymux_connectors.transport import Sent
from paymux_core.exchange import HttpRequest
from paymux_core.ids import attempt_id
from paymux_testkit.merchant_client import eventually
from paymux_worker.loop import UNFINISHED_MAX
from tests.support.postgres import Database
from tests.worker.stage import Stage, charged, work_where_a_look_kills, worker_stage

NEIGHBOURS = 4
KILLS_MAX = 8
DIES_WITHIN_SECONDS = 60


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


async def _charged(request: HttpRequest) -> Sent:
    return charged(request)


async def _waiting(admin: asyncpg.Connection) -> list[int]:
    rows = await admin.fetch(
        "select pid from pg_locks l join pg_database d on d.oid = l.database "
        "where not l.granted and d.datname = current_database()"
    )
    return [row["pid"] for row in rows]


async def test_a_worker_outlasts_a_lock_that_nobody_gives_it(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.gateway.look = _charged
    await stage.let_it_be_due(payment_id)
    async with stage.working():
        async with stage.admin.transaction():
            await stage.admin.execute("lock table payment_attempts in access exclusive mode")
            await eventually(lambda: _waiting(stage.admin), bool)
            # The claim gives up after its lock timeout, and waits for the next one.
            await eventually(lambda: _waiting(stage.admin), lambda pids: not pids)
            await eventually(lambda: _waiting(stage.admin), bool)
        await stage.until(payment_id, lambda row: row["status"] == "succeeded")


async def test_a_worker_outlasts_connections_that_are_ended_under_its_claims(
    stage: Stage, as_admin: asyncpg.Connection
) -> None:
    payment_id = await stage.unknown_payment()
    stage.gateway.look = _charged
    await stage.let_it_be_due(payment_id)
    async with stage.working():
        async with stage.admin.transaction():
            await stage.admin.execute("lock table payment_attempts in access exclusive mode")
            for _ in range(3):
                for pid in await eventually(lambda: _waiting(as_admin), bool):
                    await as_admin.execute("select pg_terminate_backend($1)", pid)
        await stage.until(payment_id, lambda row: row["status"] == "succeeded")


async def test_a_worker_outlasts_an_error_that_nobody_foresaw(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.gateway.look = _charged
    await stage.let_it_be_due(payment_id)
    # As in the middle of an upgrade: the statement itself is refused.
    await stage.admin.execute("alter table payment_attempts rename column looked_at to looked")
    await stage.admin.execute("alter table payment_attempts rename column check_count to checks")
    async with stage.working() as worker:
        await asyncio.to_thread(lambda: None)
        await worker._wait(1.0)
        await stage.admin.execute("alter table payment_attempts rename column looked to looked_at")
        await stage.admin.execute("alter table payment_attempts rename column checks to check_count")
        await stage.until(payment_id, lambda row: row["status"] == "succeeded")


def _doomed(dsn: str, merchant_id: object, poison: str, offset_seconds: float) -> None:
    asyncio.run(work_where_a_look_kills(dsn, merchant_id, poison, offset_seconds))  # type: ignore[arg-type]


@pytest.mark.slow
async def test_a_check_that_kills_its_process_is_isolated_and_a_person_is_called(
    stage: Stage, database: Database
) -> None:
    poison = await stage.unknown_payment()
    neighbours = [await stage.unknown_payment() for _ in range(NEIGHBOURS)]
    stage.clock.seconds += 40
    kills = 0
    while kills < KILLS_MAX and await stage.reviews(poison) == []:
        # What the last process had leased is free again.
        stage.clock.seconds += stage.deps.clocks.lease + 1
        child = multiprocessing.get_context("spawn").Process(
            target=_doomed, args=(database.dsn, stage.merchant_id, attempt_id(poison, 1), stage.clock.seconds)
        )
        child.start()
        await asyncio.to_thread(child.join, DIES_WITHIN_SECONDS)
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        if kills == 4:
            # Twice it took its neighbours along; then nothing ran beside it, and they did not wait for its end.
            assert [(await stage.row(n))["status"] for n in neighbours] == ["succeeded"] * NEIGHBOURS
    assert kills == UNFINISHED_MAX + 1
    assert await stage.reviews(poison) == ["handler_failed"]
    assert [await stage.reviews(n) for n in neighbours] == [[]] * NEIGHBOURS
    row = await stage.row(poison)
    assert row["next_check_at"] > stage.clock.now(), "tomorrow, not again and again"
