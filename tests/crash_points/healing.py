"""What comes after a crash: the client that asks again, the worker, and what must then be true."""

import contextlib
from datetime import timedelta

import asyncpg
import pytest

from paymux_core.errors import Refused
from paymux_core.phases import Claim
from paymux_core.records import Payment
from paymux_core.transitions import PAYMENT_TERMINAL, PaymentStatus
from paymux_flows.reconcile import check
from tests.crash_points.stage import Crash, CrashPoint, Dies, Stage

TRUTHS = {
    "sandbox_approve": {("succeeded", 1)},
    "sandbox_decline_hard": {("failed", 0)},
    # Time is ours and the gateway's pause is not: it may be fenced at the deadline before it charges.
    "sandbox_pending": {("succeeded", 1), ("failed", 0)},
    "sandbox_error_before_charge_always": {("failed", 0)},
}
OWNER_SECONDS = 31
ROUNDS_MAX = 60
NEVER = CrashPoint(0, Dies.BEFORE)


async def crash(stage: Stage, point: CrashPoint) -> None:
    """Let the client's request die at a point, or be refused."""
    with contextlib.suppress(Crash, Refused):
        await stage.request(stage.dying(point))


async def ask_again(stage: Stage) -> None:
    """Send the same request after its owner's deadline, as the client was told to."""
    stage.clock.seconds += OWNER_SECONDS
    reply = await stage.request(stage.deps)
    assert reply.http_status in {200, 201, 202}


async def is_unconfirmed(stage: Stage) -> bool:
    """Tell whether nobody but the client can go on."""
    payment = await stage.payment()
    return payment is None or payment.status is PaymentStatus.REQUIRES_CONFIRMATION


async def settle(stage: Stage, *, dying: CrashPoint = NEVER) -> Payment:
    """Let the worker's time pass until the payment is final; its first process may die."""
    deps = stage.dying(dying)
    for _ in range(ROUNDS_MAX):
        payment = await stage.payment()
        assert payment is not None
        if payment.status in PAYMENT_TERMINAL:
            return payment
        assert payment.status is not PaymentStatus.REQUIRES_CONFIRMATION
        checks = [attempt.next_check_at for attempt in payment.attempts if attempt.next_check_at]
        wait = (min(checks) - stage.clock.now()) / timedelta(seconds=1)
        # A second longer than it takes; what a dead worker leased is free when that lease has run out.
        stage.clock.seconds += max(stage.deps.clocks.lease if wait < 0 else 0.0, wait) + 1
        now, claimed_at = stage.clock.now(), stage.clock.monotonic()
        with contextlib.suppress(Crash, Refused):
            lease_expires_at = now + timedelta(seconds=deps.clocks.lease)
            claim = Claim(now, claimed_at, deps.ids.new(), lease_expires_at, limit=10)
            for item in await deps.store.claim_due_attempts(claim):
                await check(item, deps, actor="worker:test")
        if dying.at and len(dying.seen) >= dying.at:
            deps = stage.deps
    pytest.fail("the payment was never settled")


async def violations(dsn: str, stage: Stage) -> list[str]:
    """List the invariants that do not hold."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select invariant, detail from inv.all_violations($1)", stage.clock.now())
        return [str(row) for row in rows]
    finally:
        await connection.close()
