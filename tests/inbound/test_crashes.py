"""A process dies after storing a webhook, before its answer left; or after the answer, before it was applied."""

import contextlib

import pytest
from msgspec.structs import replace

from paymux_core.errors import StorageUnavailable
from paymux_core.transitions import PaymentStatus
from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.stage import Crash, CrashPoint, Dies, Dying
from tests.support.inbound import Gateway, confirmed, loaded, public, results
from tests.support.one_account import Stage

INBOUND_CALLS = ("find_account", "store")
APPLYING_CALLS = ("claim_due", "load_payment", "load_payment", "inquire", "record_outcome", "finish")
"""What taking in and applying await, in order; a new await changes this on purpose. Accounts are not asked here."""


class DyingStore:
    """The store, whose own calls and those of its inbound part are counted together."""

    def __init__(self, stage: Stage, point: CrashPoint) -> None:
        self._store = Dying(stage.store, point)
        self.inbound = Dying(stage.store.inbound, point)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def dying(stage: Stage, point: CrashPoint) -> object:
    """Dependencies of a process that will die at a point."""
    return replace(stage.deps, store=DyingStore(stage, point), gateways=Dying(stage.deps.gateways, point))


async def once_settled(stage: Stage, gateway: Gateway, sandbox: SandboxProcess, payment_id: object) -> None:
    """What has to be true in the end, whoever died."""
    assert results(await gateway.rows("select status, result from inbound_webhook_work"))[0][0] == "applied"
    moves = "select from payment_events where payment_id = $1 and type = 'payment.succeeded'"
    assert len(await gateway.rows(moves, payment_id)) == 1
    assert len(await gateway.rows("select from inbound_webhooks")) == 1
    assert await gateway.violations() == []


@pytest.mark.parametrize("dies", list(Dies))
@pytest.mark.parametrize("at", range(1, len(INBOUND_CALLS) + 1))
async def test_a_webhook_whose_answer_was_lost_comes_again_and_is_stored_once(
    stage: Stage, gateway: Gateway, sandbox: SandboxProcess, at: int, dies: Dies
) -> None:
    payment = await confirmed(stage, "sandbox_error_after_charge")
    body, point = gateway.event(payment), CrashPoint(at, dies)
    with pytest.raises((Crash, StorageUnavailable)):
        await gateway.send(body, deps=dying(stage, point))  # type: ignore[arg-type]
    assert tuple(point.seen) == INBOUND_CALLS[:at]
    reply = await gateway.send(body)
    before = at < len(INBOUND_CALLS) or dies is Dies.BEFORE
    assert reply.body == (b'{"status":"stored"}' if before else b'{"status":"duplicate"}')
    await gateway.work()
    assert (await loaded(stage, payment.id)).status is PaymentStatus.SUCCEEDED
    await once_settled(stage, gateway, sandbox, payment.id)


@pytest.mark.parametrize("dies", list(Dies))
@pytest.mark.parametrize("at", range(1, len(APPLYING_CALLS) + 1))
async def test_a_worker_that_dies_while_applying_leaves_it_to_the_next(
    stage: Stage, gateway: Gateway, sandbox: SandboxProcess, at: int, dies: Dies
) -> None:
    payment = await confirmed(stage, "sandbox_error_after_charge")
    await gateway.send(gateway.event(payment))
    point = CrashPoint(at, dies)
    with contextlib.suppress(Crash, StorageUnavailable):
        await gateway.work(deps=dying(stage, point))  # type: ignore[arg-type]
    assert tuple(point.seen[:at]) == APPLYING_CALLS[:at]
    for _ in range(3):
        stage.clock.seconds += stage.deps.clocks.lease + 1
        await gateway.work()
    assert (await loaded(stage, payment.id)).status is PaymentStatus.SUCCEEDED
    assert len(sandbox.charges(public(payment))) == 1
    await once_settled(stage, gateway, sandbox, payment.id)
