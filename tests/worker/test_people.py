"""A check that cannot do its work: a person is called, and it does not spin."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest

from paymux_connectors.transport import Sent
from paymux_core.exchange import HttpRequest
from paymux_core.transitions import PaymentStatus
from paymux_postgres.bodies import unpack_body
from paymux_worker.loop import UNFINISHED_MAX
from tests.support.postgres import Database
from tests.worker.stage import Stage, charged, worker_stage


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


async def _charged(request: HttpRequest) -> Sent:
    return charged(request)


async def test_a_check_that_fails_five_times_calls_a_person_and_is_tried_daily(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.accounts.broken = True
    for _ in range(UNFINISHED_MAX):
        assert await stage.reviews(payment_id) == []
        await stage.let_it_be_due(payment_id)
        await stage.checked(payment_id)
    row = await stage.row(payment_id)
    assert await stage.reviews(payment_id) == ["handler_failed"]
    assert row["next_check_at"] - stage.clock.now() == timedelta(days=1)
    payment = await stage.payment(payment_id)
    assert payment.review is not None
    assert payment.status is PaymentStatus.PROCESSING
    events = await stage.admin.fetch(
        "select type, actor, body from payment_events where payment_id = $1 order by position", payment_id
    )
    assert (events[-1]["type"], events[-1]["actor"]) == ("payment.needs_review", "worker:test")
    assert msgspec.json.decode(unpack_body(events[-1]["body"]))["review"]["reason"] == "handler_failed"
    assert await _violations(stage) == []


async def test_what_is_mended_settles_at_the_daily_check_and_closes_the_review(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.accounts.broken = True
    for _ in range(UNFINISHED_MAX):
        await stage.let_it_be_due(payment_id)
        await stage.checked(payment_id)
    stage.accounts.broken = False
    stage.gateway.look = _charged
    await stage.let_it_be_due(payment_id)
    await stage.checked(payment_id)
    payment = await stage.payment(payment_id)
    assert (payment.status, payment.review) == (PaymentStatus.SUCCEEDED, None)
    assert (await stage.row(payment_id))["unfinished_checks"] == 0
    assert await _violations(stage) == []


async def test_a_payment_that_cannot_even_be_read_gets_its_review(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    # As after an upgrade that was taken back: a value that this version does not know.
    await stage.admin.execute(
        'update payment_attempts set error = \'{"code": "from_the_future"}\' where payment_id = $1', payment_id
    )
    for _ in range(UNFINISHED_MAX):
        await stage.let_it_be_due(payment_id)
        await stage.checked(payment_id)
    assert await stage.reviews(payment_id) == ["handler_failed"]
    assert await _violations(stage) == []


async def test_past_the_deadline_a_person_is_called_though_the_check_fails(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.accounts.broken = True
    stage.clock.seconds += 3700
    await stage.checked(payment_id)
    assert await stage.reviews(payment_id) == ["deadline"]
    assert await _violations(stage) == []


async def test_without_the_connector_a_person_is_called_at_the_deadline_and_not_before(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.accounts.found = []
    deadline = (await stage.payment(payment_id)).processing_deadline_at
    assert deadline is not None
    while stage.clock.now() < deadline:
        assert await stage.reviews(payment_id) == []
        await stage.let_it_be_due(payment_id)
        await stage.checked(payment_id)
    row = await stage.row(payment_id)
    assert await stage.reviews(payment_id) == ["deadline"]
    assert stage.clock.now() - deadline < timedelta(seconds=2)
    assert row["unfinished_checks"] == 0
    assert await _violations(stage) == []


async def test_a_second_call_for_the_same_payment_is_not_made(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    stage.accounts.broken = True
    stage.clock.seconds += 3700
    for _ in range(UNFINISHED_MAX + 1):
        await stage.checked(payment_id)
        await stage.let_it_be_due(payment_id)
    assert await stage.reviews(payment_id) == ["deadline"]


async def _violations(stage: Stage) -> list[str]:
    rows = await stage.admin.fetch("select * from inv.all_violations($1)", stage.clock.now())
    return [str(row) for row in rows]
