"""Claims, leases and slots: what one worker takes at a time, and what it does when it is told to stop."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial

import asyncpg
import pytest
from msgspec.structs import replace

from paymux_connectors.transport import Sent
from paymux_core.exchange import HttpRequest
from paymux_core.phases import Claim
from paymux_core.transitions import PaymentStatus
from paymux_testkit.merchant_client import eventually
from paymux_worker.loop import AT_ONCE_MAX
from tests.support.postgres import Database
from tests.worker.stage import Stage, charged, worker_stage

SILENT = AT_ONCE_MAX + 5


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


class Held:
    """A gateway whose looks wait until the test lets them go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()

    async def look(self, request: HttpRequest) -> Sent:
        """Hold a look."""
        self.asked += 1
        await self.go_on.wait()
        return charged(request)

    async def until_asked(self, number: int) -> None:
        """Wait for a number of looks under way."""

        async def asked() -> int:
            return self.asked

        await eventually(asked, lambda looks: looks >= number, seconds=30)


async def test_a_silent_gateway_leaves_the_others_their_slots(stage: Stage) -> None:
    silent = [await stage.unknown_payment() for _ in range(SILENT)]
    await stage.add_account("flaky")
    spoken = [await stage.unknown_payment(gateway="flaky") for _ in range(3)]
    held = Held()

    async def look(request: HttpRequest) -> Sent:
        return charged(request) if "/flaky/" in request.url else await held.look(request)

    stage.gateway.look = look
    stage.clock.seconds += 40
    async with stage.working():
        for payment_id in spoken:
            await stage.until(payment_id, lambda row: row["status"] == "succeeded")
        assert held.asked < AT_ONCE_MAX
        held.go_on.set()
        for payment_id in silent:
            await stage.until(payment_id, lambda row: row["status"] == "succeeded")


async def test_nothing_is_claimed_that_does_not_begin(stage: Stage) -> None:
    for _ in range(SILENT):
        await stage.unknown_payment()
    held = Held()
    stage.gateway.look = held.look
    stage.clock.seconds += 40
    async with stage.working():
        await held.until_asked(8)
        leased = await stage.admin.fetchval("select count(*) from payment_attempts where lease_token is not null")
        await held.until_asked(leased)
        assert leased <= AT_ONCE_MAX
        held.go_on.set()


async def test_a_stop_begins_nothing_more_and_finishes_what_has_begun(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(SILENT)]
    held = Held()
    stage.gateway.look = held.look
    stage.clock.seconds += 40
    async with stage.working() as worker:
        await held.until_asked(1)
        worker.stopping.set()
        held.go_on.set()
    statuses = [(await stage.payment(payment_id)).status for payment_id in payments]
    assert statuses.count(PaymentStatus.SUCCEEDED) == held.asked
    left = await stage.admin.fetch("select unfinished_checks from payment_attempts where lease_token is not null")
    assert left == []
    begun = await stage.admin.fetch("select from payment_attempts where unfinished_checks > 0")
    assert begun == [], "what was given back had not begun"


def _expires_at_the_earliest(moment: datetime, row: asyncpg.Record) -> bool:
    expires_at: datetime = row["lease_expires_at"]
    return expires_at >= moment


async def test_a_check_holds_its_lease_to_its_end_and_beyond_its_time(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    held = Held()
    stage.gateway.look = held.look
    # The lease is renewed every third of it, in real time; the test moves time, never past the lease.
    stage.deps = replace(stage.deps, clocks=replace(stage.deps.clocks, lease=3.0))
    await stage.let_it_be_due(payment_id)
    async with stage.working():
        await held.until_asked(1)
        first = await stage.row(payment_id)
        for moved in (2, 4):
            stage.clock.seconds += 2
            expires_at = first["lease_expires_at"] + timedelta(seconds=moved)
            again = await stage.until(payment_id, partial(_expires_at_the_earliest, expires_at))
            assert again["lease_token"] == first["lease_token"]
        assert held.asked == 1, "nobody else took it"
        held.go_on.set()


async def test_after_a_look_that_proved_nothing_the_lease_is_held_for_what_follows(
    stage: Stage, as_admin: asyncpg.Connection
) -> None:
    payment_id = await stage.unknown_payment()
    leases: list[object] = []

    async def fence() -> None:
        query = "select lease_token from payment_attempts where payment_id = $1"
        leases.append(await as_admin.fetchval(query, payment_id))

    stage.gateway.on_fence = fence
    stage.clock.seconds += 3700
    await stage.checked(payment_id)
    assert len(leases) == 1
    assert leases[0] is not None
    assert (await stage.row(payment_id))["lease_token"] is None


async def test_a_stale_lease_moves_nothing(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    await stage.let_it_be_due(payment_id)

    async def claim() -> Claim:
        now = stage.clock.now()
        return Claim(now, 0.0, stage.deps.ids.new(), now + timedelta(seconds=60), limit=1)

    (stale,) = await stage.deps.store.claim_due_attempts(await claim())
    stage.clock.seconds += 61
    (due,) = await stage.deps.store.claim_due_attempts(await claim())
    before = await stage.row(payment_id)
    later = stage.clock.now() + timedelta(days=1)
    assert not await stage.deps.store.release_attempt(due=stale, next_check_at=later, unfinished_checks=0)
    assert not await stage.deps.store.renew_lease(due=stale, lease_expires_at=later, next_check_at=later)
    assert await stage.row(payment_id) == before
    assert await stage.deps.store.release_attempt(due=due, next_check_at=later, unfinished_checks=0)
