"""What nobody called yet, and what was lost on its way: told apart, and each on record."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
import msgspec
import pytest

from paymux_connectors.transport import Sent
from paymux_core.exchange import Answer, HttpRequest, Verb
from paymux_core.phases import Claim, DueAttempt
from paymux_core.transitions import AttemptStatus, PaymentStatus
from paymux_flows.look import look_now
from paymux_flows.reconcile import check
from paymux_testkit.merchant_client import eventually
from tests.support.postgres import Database
from tests.worker.stage import AMOUNT, Stage, absent, charged, worker_stage


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


class Killed(BaseException):
    """The process is gone."""


async def _absent(_request: HttpRequest) -> Sent:
    return absent()


async def _declined(request: HttpRequest) -> Sent:
    ours = request.url.partition("attempt_id=")[2]
    decline = {"code": "issuer_not_available", "message": "No.", "retryable": True}
    shown = {"id": f"ch_{ours}", "status": "declined", "amount": AMOUNT, "currency": "EUR", "attempt_id": ours}
    return Sent(Answer(200, {}, msgspec.json.encode({"data": [shown | {"decline": decline}]})))


async def _left_to_the_worker(stage: Stage) -> UUID:
    """Have a client's look find a decline: a second attempt is opened, and this request does not call it."""
    await stage.add_account("flaky")
    payment_id = await stage.unknown_payment(gateway="both")
    stage.gateway.look = _declined
    await look_now(stage.merchant_id, payment_id, stage.deps)
    statuses = [attempt.status for attempt in (await stage.payment(payment_id)).attempts]
    assert statuses == [AttemptStatus.FAILED, AttemptStatus.STARTED]
    return payment_id


async def _claimed(stage: Stage) -> Sequence[DueAttempt]:
    now = stage.clock.now()
    claim = Claim(now, stage.clock.monotonic(), stage.deps.ids.new(), now + timedelta(seconds=60), limit=4)
    return await stage.deps.store.claim_due_attempts(claim)


async def _noted(stage: Stage, payment_id: UUID, number: int) -> list[tuple[str, str | None]]:
    rows = await stage.admin.fetch(
        "select verb, transport_error from gateway_interactions where payment_id = $1 and attempt_number = $2 "
        "order by recorded_at, verb",
        payment_id,
        number,
    )
    return [(row["verb"], row["transport_error"]) for row in rows]


async def test_an_attempt_that_nobody_called_is_called_at_once_and_not_taken_for_lost(stage: Stage) -> None:
    payment_id = await _left_to_the_worker(stage)
    before = len(stage.gateway.sent)
    async with stage.working():
        assert await _second_checked(stage, payment_id) == "unknown"
    assert [request.verb for request in stage.gateway.sent[before:]] == [Verb.CHARGE]
    assert await _noted(stage, payment_id, 2) == [("charge", "timeout")]
    second = (await stage.payment(payment_id)).attempts[1]
    assert second.next_check_at is not None
    assert second.next_check_at - stage.clock.now() >= timedelta(seconds=30)
    stage.gateway.look = _charged
    stage.clock.seconds += 90
    async with stage.working():
        assert await _second_checked(stage, payment_id) == "succeeded"
    assert (await stage.payment(payment_id)).status is PaymentStatus.SUCCEEDED


async def test_a_call_whose_process_died_is_not_made_twice(stage: Stage) -> None:
    payment_id = await _left_to_the_worker(stage)
    (due,) = await _claimed(stage)
    assert due.number == 2
    # That process was never heard of again; nobody can tell whether it called.
    stage.gateway.look = _charged
    stage.clock.seconds += 61
    async with stage.working():
        assert await _second_checked(stage, payment_id) == "succeeded"
    assert await _noted(stage, payment_id, 2) == [("charge", "process_lost"), ("inquire", None)]


async def test_after_the_charge_window_nobody_calls_what_was_left(stage: Stage) -> None:
    payment_id = await _left_to_the_worker(stage)
    before = len(stage.gateway.sent)
    stage.gateway.look = _absent
    stage.clock.seconds += 130
    async with stage.working():
        assert await _second_checked(stage, payment_id) == "unknown"
    assert Verb.CHARGE not in [request.verb for request in stage.gateway.sent[before:]]


async def test_a_re_send_whose_process_dies_is_on_record_and_counts_as_the_last_request(stage: Stage) -> None:
    stage.able(lookup_consistency_seconds=20)
    payment_id = await stage.unknown_payment()
    stage.gateway.look = _absent
    await stage.let_it_be_due(payment_id)
    (due,) = await _claimed(stage)

    async def dies() -> None:
        raise Killed

    stage.gateway.on_charge = dies
    with pytest.raises(Killed):
        await check(due, stage.deps, actor="worker:doomed")
    resent_at = stage.clock.now()
    stage.gateway.on_charge = None
    stage.clock.seconds += 61
    await stage.checked(payment_id)
    noted = await _noted(stage, payment_id, 1)
    # The first, and the one that followed: the absence counted again, and the window was still open.
    assert noted.count(("charge", "timeout")) == 2
    assert noted.count(("charge", "process_lost")) == 1
    assert noted.count(("inquire", None)) == 2
    lost_at = await stage.admin.fetchval(
        "select sent_at from gateway_interactions where payment_id = $1 and transport_error = 'process_lost'",
        payment_id,
    )
    assert lost_at == resent_at
    assert await stage.admin.fetch("select * from inv.all_violations($1)", stage.clock.now()) == []


async def _charged(request: HttpRequest) -> Sent:
    return charged(request)


async def _second_checked(stage: Stage, payment_id: UUID) -> str:
    """Wait for the end of the check of the second attempt that is due now; its status then."""

    async def read() -> asyncpg.Record | None:
        return await stage.admin.fetchrow(
            "select status from payment_attempts where payment_id = $1 and number = 2 and lease_token is null "
            "and (next_check_at is null or next_check_at > $2)",
            payment_id,
            stage.clock.now(),
        )

    row = await eventually(read, lambda seen: seen is not None, seconds=30)
    assert row is not None
    status: str = row["status"]
    return status
