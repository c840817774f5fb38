"""A gateway that shows a charge a minute late: nothing is sent again, fenced or failed before its word counts."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from paymux_connectors.transport import Sent
from paymux_core.exchange import HttpRequest, Verb
from paymux_core.transitions import PaymentStatus
from paymux_flows.look import look_now
from tests.support.postgres import Database
from tests.worker.stage import Stage, absent, charged, worker_stage

LAG_SECONDS = 60


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


class LateSight:
    """Shows what it charged only after a while; what it answered before is on record."""

    def __init__(self, stage: Stage, charged_at: datetime) -> None:
        self._stage = stage
        self._visible_at = charged_at + timedelta(seconds=LAG_SECONDS)
        self.absences = 0

    async def look(self, request: HttpRequest) -> Sent:
        """Answer a look."""
        if self._stage.clock.now() >= self._visible_at:
            return charged(request)
        self.absences += 1
        return absent()


@pytest.mark.parametrize("canceled", [False, True])
async def test_a_charge_that_is_shown_late_is_neither_sent_again_nor_failed(stage: Stage, canceled: bool) -> None:  # noqa: FBT001
    stage.able(lookup_consistency_seconds=LAG_SECONDS)
    payment_id = await stage.unknown_payment()
    gateway = LateSight(stage, stage.clock.now())
    stage.gateway.look = gateway.look
    # Clients look too, all the time.
    for _ in range(3):
        stage.clock.seconds += 10.5
        await look_now(stage.merchant_id, payment_id, stage.deps)
        assert (await stage.payment(payment_id)).status is PaymentStatus.PROCESSING
    while (await stage.payment(payment_id)).status is PaymentStatus.PROCESSING:
        await stage.let_it_be_due(payment_id)
        await stage.checked(payment_id)
    assert (await stage.payment(payment_id)).status is PaymentStatus.SUCCEEDED
    assert gateway.absences >= 3
    assert (stage.gateway.count(Verb.CHARGE), stage.gateway.count(Verb.FENCE)) == (1, 0)


async def test_after_a_re_send_an_absence_counts_a_minute_after_that_one(stage: Stage) -> None:
    stage.able(lookup_consistency_seconds=LAG_SECONDS)

    async def look(_request: HttpRequest) -> Sent:
        return absent()

    stage.gateway.look = look
    payment_id = await stage.unknown_payment()
    sent_at = [stage.clock.now()]
    fenced_at: list[datetime] = []

    async def fence() -> None:
        fenced_at.append(stage.clock.now())

    stage.gateway.on_fence = fence
    while not fenced_at:
        before = stage.gateway.count(Verb.CHARGE)
        await stage.let_it_be_due(payment_id)
        row = await stage.checked(payment_id)
        if stage.gateway.count(Verb.CHARGE) > before:
            sent_at.append(row["last_request_at"])
    assert len(sent_at) == 2, "it was sent again once, while the customer still waited"
    assert sent_at[1] - sent_at[0] >= timedelta(seconds=LAG_SECONDS)
    assert fenced_at[0] - sent_at[1] >= timedelta(seconds=LAG_SECONDS)
    assert (await stage.payment(payment_id)).status is PaymentStatus.PROCESSING
