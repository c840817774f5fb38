"""A confirm that dies at every call of a port, before, after, or with its answer lost, heals by client or worker."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from paymux_core.errors import Refused
from paymux_core.ids import Kind, public_id
from paymux_core.money import Money
from paymux_core.records import Payment, PaymentMethod
from paymux_core.transitions import PAYMENT_TERMINAL, PaymentStatus
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.reconcile import check
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings
from tests.crash_points.stage import PORT_CALLS, Crash, CrashPoint, Dies, Stage, set_up
from tests.support.postgres import Database

POINTS = 12
"""4 calls, 3 ways to die: a new await in a confirm changes this consciously."""
TRUTHS = {
    "sandbox_approve": {("succeeded", 1)},
    "sandbox_decline_hard": {("failed", 0)},
    # Time is ours and the gateway's pause is not: it may be fenced at the deadline before it charges.
    "sandbox_pending": {("succeeded", 1), ("failed", 0)},
    "sandbox_error_before_charge_always": {("failed", 0)},
}
_TEST_MODE = False


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    home: Path = tmp_path_factory.mktemp("sandbox")
    with SandboxProcess(home, settings=SandboxSettings(clock_divisor=1000)) as running:
        yield running


def test_the_number_of_crash_points_is_the_one_checked_in() -> None:
    assert len(PORT_CALLS) * len(Dies) == POINTS


@pytest.mark.parametrize("token", TRUTHS)
@pytest.mark.parametrize("resumer", ["client", "worker"])
@pytest.mark.parametrize("dies", list(Dies))
@pytest.mark.parametrize("at", range(1, len(PORT_CALLS) + 1))
async def test_a_crash_heals(
    database: Database, sandbox: SandboxProcess, at: int, dies: Dies, resumer: str, token: str
) -> None:
    async with set_up(database.dsn, sandbox.url, seed=f"{at} {dies} {resumer} {token}") as stage:
        payment_id = await _created(stage, token)
        point = CrashPoint(at, dies)
        confirm = _confirm(stage, payment_id)
        with contextlib.suppress(Crash, Refused):
            await confirm_payment(confirm, stage.dying(point))
        assert point.seen == list(PORT_CALLS[:at])[: len(point.seen)]
        if resumer == "client" or at <= PORT_CALLS.index("open_attempt") + 1:
            # The client sends the same request again after its owner's deadline, as it was told to.
            stage.clock.seconds += 31
            reply = await confirm_payment(confirm, stage.deps)
            assert reply.http_status in (200, 202)
        payment = await _settled(stage, payment_id)
        violations = await _violations(database, stage)
    charges = sandbox.charges(public_id(Kind.PAYMENT, payment_id))
    assert (str(payment.status), len(charges)) in TRUTHS[token]
    assert len(payment.attempts) == 1
    assert violations == []


async def _created(stage: Stage, token: str) -> UUID:
    method = PaymentMethod("card", token)
    command = CreatePayment(caller=_caller(stage), money=Money(1999, "eur"), payment_method=method)
    await create_payment(command, stage.deps)
    found, _, _ = await stage.store.walk_payments(
        stage.merchant_id, _TEST_MODE, UUID(int=2**128 - 1), UUID(int=0), None, None, None, 10, None, None, 10
    )
    return found[0]


def _caller(stage: Stage) -> Caller:
    return Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")


def _confirm(stage: Stage, payment_id: UUID) -> ConfirmPayment:
    return ConfirmPayment(_caller(stage), payment_id, KeyUse("key-1", bytes(32)))


async def _settled(stage: Stage, payment_id: UUID) -> Payment:
    """Let the worker's time pass until the payment is final."""
    for _ in range(40):
        payment = await stage.store.load_payment(stage.merchant_id, payment_id)
        assert payment is not None
        if payment.status in PAYMENT_TERMINAL:
            return payment
        assert payment.status is not PaymentStatus.REQUIRES_CONFIRMATION
        checks = [attempt.next_check_at for attempt in payment.attempts if attempt.next_check_at]
        wait = (min(checks) - stage.clock.now()) / timedelta(seconds=1)
        stage.clock.seconds += max(0.0, wait) + 1
        now = stage.clock.now()
        due = await stage.store.claim_due_attempts(
            at=now, lease_token=stage.deps.ids.new(), lease_expires_at=now + timedelta(seconds=60), limit=10
        )
        for item in due:
            await check(item, stage.deps, actor="worker:test")
    pytest.fail("the payment was never settled")


async def _violations(database: Database, stage: Stage) -> list[str]:
    connection = await asyncpg.connect(database.dsn)
    try:
        rows = await connection.fetch("select invariant, detail from inv.all_violations($1)", stage.clock.now())
        return [str(row) for row in rows]
    finally:
        await connection.close()
