"""What comes after a crash: the client that asks again, the worker, and what must then be true."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import timedelta

import asyncpg
import pytest

from paymux_core.errors import Refused
from paymux_core.ids import attempt_id
from paymux_core.inbound_webhooks import ReceivedWebhook
from paymux_core.phases import Claim
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import PAYMENT_TERMINAL, PaymentStatus
from paymux_flows.gateway_events import OWN_CALL_SECONDS
from paymux_flows.receive_webhook import receive_webhook
from paymux_flows.reconcile import check
from paymux_worker.inbound import InboundWorker
from tests.crash_points.stage import Crash, CrashPoint, Dies, Stage

TRUTHS = {
    "sandbox_approve": {("succeeded", 1)},
    "sandbox_decline_hard": {("failed", 0)},
    # Time is ours and the gateway's pause is not: it may be fenced at the deadline before it charges.
    "sandbox_pending": {("succeeded", 1), ("failed", 0)},
    "sandbox_error_before_charge_always": {("failed", 0)},
}
OWNER_SECONDS = 31
OK = 200
_SECRET = "whsec_of_the_stage"
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


async def hear(stage: Stage) -> Payment:
    """Let the gateway tell of the last attempt, whatever it knows, and a worker apply that; the payment after it.

    The event always says that the charge succeeded: where it did not, asking the gateway has to find that out.
    """
    payment = await stage.payment()
    assert payment is not None
    attempt = payment.attempts[-1]
    await stage.store.inbound.change_secrets(
        stage.merchant_id, attempt.gateway_account_id, new=_SECRET, keep=1, at=stage.clock.now()
    )
    body, headers = _event(attempt, at=int(stage.clock.now().timestamp()))
    received = ReceivedWebhook(body, headers, stage.clock.now())
    assert (await receive_webhook(attempt.gateway_account_id, received, stage.deps)).http_status == OK
    # An attempt that has just begun is left to its own call for a moment.
    await apply_webhooks(stage, after_seconds=(0, OWN_CALL_SECONDS + 1))
    heard = await stage.payment()
    assert heard is not None
    return heard


async def apply_webhooks(stage: Stage, *, after_seconds: Iterable[float]) -> None:
    """Let a worker apply what is due now and then."""
    worker = InboundWorker(stage.deps, "test", asyncio.Event())
    for seconds in after_seconds:
        stage.clock.seconds += seconds
        while await worker.begin_due():
            await worker.finish_running()


def _event(attempt: Attempt, *, at: int) -> tuple[bytes, dict[str, str]]:
    """Word and sign an event about an attempt, in the dialect of its gateway."""
    named = attempt_id(attempt.payment_id, attempt.number)
    if attempt.gateway == "stripe":
        intent = {"object": "payment_intent", "id": "pi_told", "metadata": {"attempt_id": named}}
        told: dict[str, object] = {"object": "event", "type": "payment_intent.succeeded", "data": {"object": intent}}
    else:
        told = {"type": "charge.succeeded", "created": at, "charge": {"id": "ch_1", "attempt_id": named}}
    if attempt.gateway == "flaky":
        body = json.dumps(told).encode()
        return body, {"sandbox-signature": _signed(body), "sandbox-event-id": f"evt_{named}"}
    body = json.dumps({"id": f"evt_{named}", **told}).encode()
    header = "stripe-signature" if attempt.gateway == "stripe" else "sandbox-signature"
    return body, {header: f"t={at},v1={_signed(b'%d.%b' % (at, body))}"}


def _signed(message: bytes) -> str:
    return hmac.new(_SECRET.encode(), message, hashlib.sha256).hexdigest()


async def violations(administrator: asyncpg.Connection, stage: Stage) -> list[str]:
    """List the invariants that do not hold."""
    rows = await administrator.fetch("select invariant, detail from inv.all_violations($1)", stage.clock.now())
    return [str(row) for row in rows]
