"""Phase 2 where it is not the ordinary one: no other account, money that comes too late, a restless payment."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.connector import Caching
from paymux_core.errors import Overloaded
from paymux_core.money import Money
from paymux_core.outcomes import Captured, NotFound, Outcome
from paymux_core.phases import Key, PhaseTwo
from paymux_core.records import Payment
from paymux_flows.record_outcome import ROUNDS_MAX, Report, record_outcome
from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.healing import crash
from tests.crash_points.stage import CrashPoint, Dies, Scenario, Stage, open_ground, set_up
from tests.support.postgres import Database

AUTHORIZE = 4


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path) as running:
        yield running


def _report(payment: Payment, outcome: Outcome) -> Report:
    return Report(
        payment=payment,
        number=1,
        asked=Asked.LOOK_UP,
        outcome=outcome,
        interactions=(),
        caching=Caching.ALL,
        actor="worker:test",
        request_id="req_test",
    )


async def _payment(stage: Stage) -> Payment:
    payment = await stage.payment()
    assert payment is not None
    return payment


async def test_a_soft_decline_is_final_where_there_is_no_other_account(
    database: Database, sandbox: SandboxProcess
) -> None:
    async with (
        open_ground(database.dsn) as ground,
        set_up(ground, sandbox, Scenario.CONFIRM, "sandbox_decline_soft", seed="alone") as stage,
    ):
        await stage.create()
        reply = await stage.request(stage.deps)
        payment = await _payment(stage)
    assert (reply.http_status, payment.status, len(payment.attempts)) == (200, "failed", 1)
    assert payment.last_error is not None


async def test_money_for_a_failed_payment_becomes_a_late_charge_and_a_question_to_a_person(
    database: Database, sandbox: SandboxProcess
) -> None:
    async with (
        open_ground(database.dsn) as ground,
        set_up(ground, sandbox, Scenario.CONFIRM, "sandbox_decline_hard", seed="late") as stage,
    ):
        await stage.create()
        await stage.request(stage.deps)
        failed = await _payment(stage)
        taken = Captured("ch_late", Money(failed.amount, failed.currency))
        await record_outcome(_report(failed, taken), stage.deps)
        await record_outcome(_report(failed, taken), stage.deps)
        now = await _payment(stage)
    assert now.status == "failed"
    assert [(charge.provider_payment_id, charge.amount) for charge in now.late_charges] == [("ch_late", now.amount)]
    assert now.review is not None
    assert now.review.reason == "late_charge"


@dataclass(slots=True)
class Overtaken:
    """The store, where somebody else is always a moment faster."""

    stage: Stage
    times: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.stage.store, name)

    async def record_outcome(self, phase: PhaseTwo) -> bool:
        self.times += 1
        now = self.stage.clock.now()
        cancelled = await self.stage.store.request_cancellation(
            payment=phase.before,
            reason="requested_by_merchant",
            at=now,
            key=Key(f"key-cancel-{self.times}", bytes(32), 200, now, now),
            actor="test",
            request_id="req_faster",
        )
        assert cancelled
        return await self.stage.store.record_outcome(phase)


async def test_a_payment_that_never_rests_is_given_up_and_left_to_the_next_check(
    database: Database, sandbox: SandboxProcess
) -> None:
    async with (
        open_ground(database.dsn) as ground,
        set_up(ground, sandbox, Scenario.CONFIRM, "sandbox_approve", seed="restless") as stage,
    ):
        await stage.create()
        await crash(stage, CrashPoint(AUTHORIZE, Dies.BEFORE))
        faster = Overtaken(stage)
        with pytest.raises(Overloaded):
            await record_outcome(
                _report(await _payment(stage), NotFound()),
                replace(stage.deps, store=faster),
            )
        payment = await _payment(stage)
    assert faster.times == ROUNDS_MAX
    assert payment.attempts[0].status == "started"
