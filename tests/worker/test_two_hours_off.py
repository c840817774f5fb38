"""No worker for two hours, and then all is worked off: nothing is skipped, whatever the gateway did meanwhile.

What else piles up meanwhile is one more `Backlog`: how it is made, and how one sees that it is gone.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from paymux_connectors.transport import Sent
from paymux_core.exchange import Answer, HttpRequest
from paymux_core.ids import attempt_id
from paymux_testkit.merchant_client import eventually
from paymux_worker.loop import Worker
from tests.support.postgres import Database
from tests.worker.stage import Stage, worker_stage
from tests.worker.test_backlog import Book

OFF_SECONDS = 2 * 3600
SMALL = 150
FULL = 5_000
WORKERS = 2
CONFIRMS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Backlog:
    """One kind of what piles up. `left`: how many of it are still to be done."""

    name: str
    make: Callable[[Stage, int], Awaitable[None]]
    left: Callable[[Stage], Awaitable[int]]


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


async def _unknown_payments(stage: Stage, number: int) -> None:
    """Confirm payments that end unknown: half of them are charged, some declined, and the rest never arrived."""
    some = asyncio.Semaphore(CONFIRMS_AT_ONCE)

    async def confirm() -> UUID:
        async with some:
            return await stage.unknown_payment()

    payments = await asyncio.gather(*(confirm() for _ in range(number)))
    # The newest hundredth is not in the list yet.
    book = Book(hidden_from_list=number // 100)
    decline = {"code": "stolen_card", "message": "Stolen.", "retryable": False}
    for place, payment_id in enumerate(payments):
        if place % 2 == 0:
            book.charge(payment_id)
        elif place % 10 == 1:
            book.charge(payment_id, status="declined", decline=decline)
    # As gateways list: newest first.
    book.charges.reverse()
    stage.gateway.look = book.look
    stage.gateway.fence = _fenced


async def _fenced(request: HttpRequest) -> Sent:
    assert request.body
    return Sent(Answer(200, {}, msgspec.json.encode({"status": "fenced", "charge": None})))


async def _still_open(stage: Stage) -> int:
    return int(await stage.admin.fetchval("select count(*) from payments where finalized_at is null"))


UNKNOWN_PAYMENTS = Backlog("unknown payments", _unknown_payments, _still_open)


@pytest.mark.parametrize("number", [SMALL, pytest.param(FULL, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
async def test_after_two_hours_without_a_worker_everything_is_worked_off(
    stage: Stage, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.able(lists=True)
    # The clock stands, so that a place is waited for in real time.
    stage.deps = replace(stage.deps, sleep=asyncio.sleep)
    backlogs = [UNKNOWN_PAYMENTS]
    for backlog in backlogs:
        await backlog.make(stage, number)
    stage.clock.seconds += OFF_SECONDS
    stopping = asyncio.Event()
    began_at = time.monotonic()
    workers = [asyncio.create_task(Worker(stage.deps, f"back{n}", stopping).run()) for n in range(WORKERS)]
    told = []
    for backlog in backlogs:
        await eventually(partial(backlog.left, stage), lambda left: left == 0, seconds=1000)
        told.append(f"{backlog.name}: {number} in {time.monotonic() - began_at:.1f} s")
    stopping.set()
    await asyncio.gather(*workers)
    with capsys.disabled():
        sys.stdout.write(f"\nafter two hours off, {'; '.join(told)}\n")
    await _nothing_was_skipped(stage, number)


async def _nothing_was_skipped(stage: Stage, number: int) -> None:
    payments = await stage.admin.fetch(
        "select p.id, p.status, a.status as attempt from payments p join payment_attempts a on a.payment_id = p.id"
    )
    assert len(payments) == number
    charged = {attempt_id(row["id"], 1): row["status"] for row in payments}
    shown = Counter(charged.values())
    declined = len(range(1, number, 10))
    assert shown == {"succeeded": (number + 1) // 2, "failed": number // 2}
    assert sum(row["attempt"] == "failed" for row in payments) == declined
    assert sum(row["attempt"] == "voided" for row in payments) == number // 2 - declined
    assert await stage.admin.fetchval("select count(*) from payment_attempts where lease_token is not null") == 0
    silent = await stage.admin.fetchval(
        "select count(*) from payment_attempts a where not exists (select from gateway_interactions i "
        "where i.payment_id = a.payment_id and i.verb <> 'charge')"
    )
    assert silent == 0, "whatever settled an attempt is on record"
    assert await stage.admin.fetch("select * from inv.all_violations($1)", stage.clock.now()) == []
