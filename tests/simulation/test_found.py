"""What the simulation found, each as its smallest case."""

from paymux_core.attempt_rules import Asked
from paymux_core.connector import Caching
from paymux_core.exchange import Interaction, TransportError, Verb
from paymux_core.outcomes import NotFound, Outcome, Unknown, UnknownReason
from paymux_core.records import Payment
from paymux_flows.record_outcome import Report, record_outcome
from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.healing import crash
from tests.crash_points.stage import CrashPoint, Dies, Scenario, Stage, open_ground, set_up
from tests.support.postgres import Database

AUTHORIZE = 4


async def test_a_look_decided_before_a_resend_does_not_take_back_that_money_was_asked_for(
    database: Database, idle_sandbox: SandboxProcess
) -> None:
    async with (
        open_ground(database.dsn) as ground,
        set_up(ground, idle_sandbox, Scenario.CONFIRM, "sandbox_approve", seed="stale") as stage,
    ):
        await stage.create()
        await crash(stage, CrashPoint(AUTHORIZE, Dies.BEFORE))
        payment = await stage.payment()
        assert payment is not None
        lost = _report(stage, payment, Asked.LOOK_UP, Unknown(UnknownReason.PROCESS_LOST))
        seen_by_both = (await record_outcome(lost, stage.deps)).payment
        stage.clock.seconds += 40
        resent = _report(stage, seen_by_both, Asked.RESEND, Unknown(UnknownReason.NO_REPLY), Verb.CHARGE)
        await record_outcome(resent, stage.deps)
        resent_at = stage.clock.now()
        stage.clock.seconds += 1
        await record_outcome(_report(stage, seen_by_both, Asked.LOOK_UP, NotFound()), stage.deps)
        now = await stage.payment()
    assert now is not None
    assert now.attempts[0].money_requested
    assert now.attempts[0].last_request_at == resent_at


def _report(stage: Stage, payment: Payment, asked: Asked, outcome: Outcome, verb: Verb = Verb.INQUIRE) -> Report:
    sent = Interaction(
        id=stage.deps.ids.new().bytes,
        verb=verb,
        method="POST",
        url="http://gateway.example",
        sent_at=stage.clock.now(),
        duration_ms=1,
        bytes_sent=True,
        http_status=None,
        transport_error=TransportError.TIMEOUT,
        idempotency_key=None,
        gateway_request_id=None,
        request={},
        response={},
        response_sha256=None,
        outcome="unknown",
    )
    return Report(
        payment=payment,
        number=1,
        asked=asked,
        outcome=outcome,
        interactions=(sent,),
        caching=Caching.ALL,
        actor="worker:test",
        request_id="req_test",
    )
