"""Tasks run once per slot on any number of workers, and a slot whose runner died is finished by another."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg
import pytest

from paymux_core.upkeep import SlotClaim
from paymux_worker.schedules import RETRY_PAUSE_SECONDS, TRIES_MAX, Scheduler
from paymux_worker.tasks import Stopped, Task, Turn
from tests.support.one_account import Stage, set_up
from tests.support.postgres import Database

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with set_up(database.dsn, "http://127.0.0.1:1", seed=request.node.name) as opened:
        yield opened


@dataclass(slots=True)
class Noted:
    """A task that notes in which slots it ran."""

    stage: Stage
    runs: list[datetime] = field(default_factory=list)
    trouble: Exception | None = None
    ran: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, _turn: Turn) -> str:
        """Run once."""
        self.runs.append(self.stage.clock.now())
        self.ran.set()
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        return "noted"


def scheduler(stage: Stage, name: str, tasks: Sequence[Task]) -> Scheduler:
    return Scheduler(stage.deps, name, asyncio.Event(), tasks, retention_months=13)


async def turn_of(schedulers: Sequence[Scheduler]) -> None:
    """Let all of them begin what is due, at the same time, and finish it."""
    while any(await asyncio.gather(*(each.begin_due() for each in schedulers))):
        pass
    await asyncio.gather(*(each.finish() for each in schedulers))


async def slots(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("select * from schedules order by kind, slot")


async def test_four_workers_run_each_of_a_hundred_slots_once(stage: Stage, as_admin: asyncpg.Connection) -> None:
    often, seldom = Noted(stage), Noted(stage)
    tasks = [Task("often", MINUTE, often.run), Task("seldom", 10 * MINUTE, seldom.run)]
    workers = [scheduler(stage, str(number), tasks) for number in range(4)]
    for _ in range(100):
        await turn_of(workers)
        stage.clock.seconds += 60
    assert Counter(often.runs) == Counter(dict.fromkeys(often.runs, 1))
    assert (len(often.runs), len(seldom.runs)) == (100, 10)
    rows = await slots(as_admin)
    assert len({(row["kind"], row["slot"]) for row in rows}) == len(rows) == 110
    assert {(row["tries"], row["outcome"], row["lease_token"]) for row in rows} == {(1, "noted", None)}


async def test_a_slot_whose_runner_died_is_finished_by_another(stage: Stage, as_admin: asyncpg.Connection) -> None:
    noted = Noted(stage)
    task = Task("often", MINUTE, noted.run)
    survivor = scheduler(stage, "survivor", [task])
    begins_at = survivor.slot_at(task, stage.clock.now())
    # Its process dies here: nobody renews the lease, nobody finishes.
    claim = SlotClaim(
        {"often": begins_at}, stage.clock.now(), stage.deps.ids.new(), stage.clock.now() + 2 * MINUTE, TRIES_MAX
    )
    assert await stage.store.schedules.claim_slot(claim) is not None
    await turn_of([survivor])
    assert noted.runs == [], "the lease still stands"
    stage.clock.seconds += 121
    await turn_of([survivor])
    await turn_of([survivor])  # one slot of a kind at a time
    rows = await slots(as_admin)
    assert [(row["slot"] - begins_at, row["tries"], row["outcome"]) for row in rows] == [
        (timedelta(), 2, "noted"),
        (2 * MINUTE, 1, "noted"),
    ]


async def test_a_lease_that_was_lost_finishes_nothing(stage: Stage) -> None:
    now = stage.clock.now()

    def claim() -> SlotClaim:
        at = stage.clock.now()
        return SlotClaim({"often": now}, at, stage.deps.ids.new(), at + MINUTE, TRIES_MAX)

    stale = await stage.store.schedules.claim_slot(claim())
    stage.clock.seconds += 61
    mine = await stage.store.schedules.claim_slot(claim())
    assert stale is not None
    assert mine is not None
    at = stage.clock.now()
    assert not await stage.store.schedules.hold_slot(stale, until=at + MINUTE)
    assert not await stage.store.schedules.put_slot_off(stale, until=at, tries=1)
    assert not await stage.store.schedules.finish_slot(stale, at=at, outcome="stale")
    assert await stage.store.schedules.hold_slot(mine, until=at + MINUTE)
    assert await stage.store.schedules.finish_slot(mine, at=at, outcome="mine")
    assert await stage.store.schedules.claim_slot(claim()) is None


async def test_a_failure_is_tried_again_with_growing_pauses_and_then_left(
    stage: Stage, as_admin: asyncpg.Connection
) -> None:
    noted = Noted(stage, trouble=ValueError("no"))
    worker = scheduler(stage, "1", [Task("yearly", timedelta(days=365), noted.run)])
    pauses = []
    for _ in range(TRIES_MAX + 2):
        await turn_of([worker])
        row = (await slots(as_admin))[0]
        pause = (row["lease_expires_at"] - stage.clock.now()).total_seconds()
        pauses.append(pause)
        stage.clock.seconds += max(pause, 0.0)
    assert len(noted.runs) == TRIES_MAX
    assert pauses[:3] == [RETRY_PAUSE_SECONDS, 2 * RETRY_PAUSE_SECONDS, 4 * RETRY_PAUSE_SECONDS]
    assert (await slots(as_admin))[0]["finished_at"] is None


async def test_a_task_that_fails_holds_up_no_other(stage: Stage, as_admin: asyncpg.Connection) -> None:
    bad, good = Noted(stage, trouble=ValueError("no")), Noted(stage)
    await turn_of([scheduler(stage, "1", [Task("bad", MINUTE, bad.run), Task("good", MINUTE, good.run)])])
    finished = {row["kind"]: row["finished_at"] is not None for row in await slots(as_admin)}
    assert finished == {"bad": False, "good": True}


async def test_a_task_under_way_holds_its_lease_and_its_own_next_slot_only(stage: Stage) -> None:
    go_on, others = asyncio.Event(), Noted(stage)
    ran = 0

    async def slow(_turn: Turn) -> str:
        nonlocal ran
        ran += 1
        await go_on.wait()
        return "done"

    worker = scheduler(stage, "1", [Task("slow", MINUTE, slow), Task("quick", MINUTE, others.run)])
    for _ in range(3):
        await worker.begin_due()
        await asyncio.sleep(0.05)  # lets the quick one end; nothing depends on how long that takes
        stage.clock.seconds += 30
    assert ran == 1
    assert others.runs
    go_on.set()
    await worker.finish()


async def test_a_stop_gives_an_unfinished_slot_back_at_once(stage: Stage, as_admin: asyncpg.Connection) -> None:
    started = asyncio.Event()

    async def long(turn: Turn) -> str:
        started.set()
        await worker.stopping.wait()
        assert turn.stopping()
        raise Stopped

    worker = scheduler(stage, "1", [Task("long", MINUTE, long)])
    running = asyncio.create_task(worker.run())
    await started.wait()
    worker.stopping.set()
    await running
    (row,) = await slots(as_admin)
    assert (row["finished_at"], row["lease_token"], row["tries"]) == (None, None, 1)
    noted = Noted(stage)
    await turn_of([scheduler(stage, "2", [Task("long", MINUTE, noted.run)])])
    assert len(noted.runs) == 1


async def test_the_loop_outlives_a_database_that_cannot_be_asked(stage: Stage) -> None:
    noted = Noted(stage)
    worker = scheduler(stage, "1", [Task("often", MINUTE, noted.run)])
    await stage.store.pool.close()
    running = asyncio.create_task(worker.run())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(running), 0.2)
    assert not running.done()
    await stage.store.pool.open()
    await noted.ran.wait()
    worker.stopping.set()
    await running
