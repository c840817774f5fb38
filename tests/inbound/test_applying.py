"""A webhook is a hint: the gateway is asked, and what it says is recorded once, whatever the event claims."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from paymux_connectors import sandbox_webhooks
from paymux_connectors.answers import json_object, to_json
from paymux_connectors.instant import respond
from paymux_core.exchange import Answer, HttpReply, HttpRequest, NoReply, TransportError
from paymux_core.ids import Kind, public_id
from paymux_core.inbound_webhooks import TRIES_MAX, WebhookEnd, WebhookStatus
from paymux_core.records import Payment
from paymux_core.transitions import AttemptStatus, PaymentStatus
from paymux_testkit.sandbox_process import SandboxProcess
from tests.support.inbound import Gateway, confirmed, loaded, public, results
from tests.support.one_account import OneAccount, Stage, set_up
from tests.support.postgres import Database

TEN_MINUTES = 600


@dataclass(slots=True)
class Truth:
    """What the gateway says when it is asked: silence, a decline, or the charge."""

    says: str = "silence"
    charge: str = "first"
    seen: list[str] = field(default_factory=list)

    def respond(self, request: HttpRequest) -> HttpReply:
        """Answer charge and question alike."""
        self.seen.append(request.verb)
        if self.says == "silence":
            return NoReply(TransportError.TIMEOUT)
        answer = respond(request)
        document = dict(json_object(answer.body) or {})
        if self.says == "declined":
            document |= {"status": "declined", "code": "instant_decline_hard"}
        else:
            document["id"] = f"instant_{self.charge}"
        return Answer(200, answer.headers, to_json(document))


@dataclass(slots=True)
class Told:
    """A gateway whose truth a test decides, and the webhooks it sends."""

    gateway: Gateway
    truth: Truth

    @property
    def stage(self) -> Stage:
        return self.gateway.stage

    async def confirmed(self) -> Payment:
        """Confirm a payment of which nobody knows whether it was charged; the time of the call is over."""
        payment = await confirmed(self.stage, "tok")
        assert payment.attempts[0].status is AttemptStatus.UNKNOWN
        return payment

    async def work(self) -> list[tuple[str, str]]:
        """Send nothing, apply what is due, and give what became of everything."""
        await self.gateway.work()
        return results(await self.gateway.rows("select status, result from inbound_webhook_work order by webhook_id"))


@pytest.fixture
async def told(emptied: Database, request: pytest.FixtureRequest) -> AsyncIterator[Told]:
    truth = Truth()
    webhooks = {"instant": sandbox_webhooks.MOCK}
    in_process = {"instant": truth.respond}
    opening = set_up(
        emptied.dsn,
        "instant://gateway",
        seed=request.node.name,
        gateway="instant",
        in_process=in_process,
        webhooks=webhooks,
    )
    async with opening as stage:
        gateway = Gateway(stage, emptied.dsn)
        await gateway.connect()
        yield Told(gateway, truth)
        assert await gateway.violations() == []


async def positions(told: Told, payment: Payment) -> tuple[int, int]:
    now = await loaded(told.stage, payment.id)
    return now.event_position, now.version


async def test_an_unknown_is_settled_by_asking_not_by_the_event(told: Told) -> None:
    payment = await told.confirmed()
    told.truth.says = "charged"
    await told.gateway.send(told.gateway.event(payment, "charge.declined"))
    assert await told.work() == [("applied", "succeeded")]
    settled = await loaded(told.stage, payment.id)
    assert settled.status is PaymentStatus.SUCCEEDED
    (webhook,) = await told.stage.store.inbound.of_payment(told.stage.merchant_id, payment.id)
    assert (webhook.payment_id, webhook.attempt_number, webhook.type) == (payment.id, 1, "charge.declined")
    assert webhook.event_position == settled.event_position
    (asked,) = await told.gateway.rows("select actor, verb from gateway_interactions where actor like 'webhook:%'")
    assert (asked["actor"], asked["verb"]) == (f"webhook:{public_id(Kind.WEBHOOK, webhook.id)}", "inquire")


async def test_an_event_that_lies_changes_nothing(told: Told) -> None:
    payment = await told.confirmed()
    told.truth.says = "declined"
    await told.gateway.send(told.gateway.event(payment, "charge.succeeded", captured=1999, amount=1999))
    assert await told.work() == [("applied", "failed")]
    assert (await loaded(told.stage, payment.id)).status is PaymentStatus.FAILED


async def test_ten_times_the_same_and_others_out_of_order_are_one_transition(told: Told) -> None:
    payment = await told.confirmed()
    told.truth.says = "charged"
    succeeded = told.gateway.event(payment)
    for _ in range(10):
        await told.gateway.send(succeeded)
    assert await told.work() == [("applied", "succeeded")]
    ended, asked = await positions(told, payment), len(told.truth.seen)
    for kind in ("charge.pending", "charge.declined", "charge.authorized", "charge.a_word_of_tomorrow"):
        await told.gateway.send(told.gateway.event(payment, kind, id=None))
    told.stage.clock.seconds += 3 * 86_400
    await told.gateway.send(told.gateway.event(payment, "charge.succeeded", id=None, amount=7))
    await told.work()
    await told.gateway.work()
    assert await told.work() == [("applied", "succeeded"), *[("applied", "known")] * 5]
    assert (await positions(told, payment), len(told.truth.seen)) == (ended, asked)


async def test_a_success_after_the_end_is_a_late_charge_for_a_person(told: Told) -> None:
    payment = await told.confirmed()
    told.truth.says = "declined"
    await told.gateway.send(told.gateway.event(payment, "charge.declined"))
    await told.work()
    assert (await loaded(told.stage, payment.id)).status is PaymentStatus.FAILED
    told.truth.says, told.truth.charge = "charged", "late"
    await told.gateway.send(told.gateway.event(payment, "charge.succeeded"))
    assert await told.work() == [("applied", "failed"), ("applied", "late_charge")]
    now = await loaded(told.stage, payment.id)
    assert (now.status, now.late_charges[0].provider_payment_id) == (PaymentStatus.FAILED, "instant_late")
    assert now.review is not None
    await told.gateway.send(told.gateway.event(payment, "charge.succeeded", again=True))
    assert (await told.work())[-1] == ("applied", "no_change")
    assert len((await loaded(told.stage, payment.id)).late_charges) == 1


async def test_a_second_charge_under_another_id_is_asked_about_though_the_first_is_booked(told: Told) -> None:
    payment = await told.confirmed()
    told.truth.says = "charged"
    await told.gateway.send(told.gateway.event(payment, "charge.succeeded", id="instant_first"))
    await told.work()
    told.truth.charge = "second"
    await told.gateway.send(told.gateway.event(payment, "charge.succeeded", id="instant_second"))
    assert await told.work() == [("applied", "succeeded"), ("applied", "late_charge")]


async def test_what_nobody_asked_for_is_retried_and_then_a_person_is_called_in_time(told: Told) -> None:
    payment = await told.confirmed()
    for stranger in (
        told.gateway.event(None, attempt_id="not one of ours", id="ch_x"),
        told.gateway.event(None, attempt_id=None, id=None),
        told.gateway.event(payment, attempt_id=public_id(Kind.ATTEMPT, payment.id) + "_2"),
        told.gateway.event(payment, attempt_id=public_id(Kind.ATTEMPT, told.stage.deps.ids.new()) + "_1"),
    ):
        await told.gateway.send(stranger)
    assert await told.work() == [("pending", "unmatched")] * 4
    await told.gateway.work_for(TEN_MINUTES)
    assert await told.work() == [("unmatched", "unmatched_webhook")] * 4
    assert await told.gateway.violations() == []
    rows = await told.gateway.rows("select reason, payment_id from reviews where webhook_id is not null")
    assert [(row["reason"], row["payment_id"]) for row in rows] == [("unmatched_webhook", None)] * 4
    rows = await told.gateway.rows("select type, public, reason from merchant_events")
    assert [tuple(row) for row in rows] == [("webhook.needs_review", False, "unmatched_webhook")] * 4
    assert "inquire" not in told.truth.seen


async def test_an_event_that_comes_before_its_payment_is_known_is_applied_once_it_is(told: Told) -> None:
    payment = await told.confirmed()
    told.truth.says = "charged"
    async with administrator(told.gateway) as connection:
        await connection.execute("update payment_attempts set gateway_account_id = $1", told.stage.deps.ids.new())
        await told.gateway.send(told.gateway.event(payment))
        assert await told.work() == [("pending", "unmatched")]
        await connection.execute("update payment_attempts set gateway_account_id = $1", told.gateway.account_id)
    told.stage.clock.seconds += 1
    assert await told.work() == [("applied", "succeeded")]


async def test_a_gateway_that_does_not_answer_leaves_it_to_the_checks(told: Told) -> None:
    payment = await told.confirmed()
    await told.gateway.send(told.gateway.event(payment))
    assert await told.work() == [("pending", "no_answer")]
    await told.gateway.work_for(TEN_MINUTES)
    assert await told.work() == [("applied", "left_to_checks")]
    assert told.truth.seen.count("inquire") == TRIES_MAX
    now = await loaded(told.stage, payment.id)
    assert (now.status, now.attempts[0].next_check_at) == (PaymentStatus.PROCESSING, payment.attempts[0].next_check_at)
    told.stage.clock.seconds -= TEN_MINUTES  # for the invariants: nobody ran the checks here


async def test_a_handler_that_fails_is_tried_ten_times_and_is_then_a_dead_letter(told: Told) -> None:
    payment = await told.confirmed()
    accounts = told.stage.deps.accounts
    assert isinstance(accounts, OneAccount)
    # Its credentials cannot be opened any more: it is somebody else's account as far as asking goes.
    accounts.candidate = replace(accounts.candidate, account_id=told.stage.deps.ids.new())
    await told.gateway.send(told.gateway.event(payment))
    assert await told.work() == [("pending", "NotAsked")]
    await told.gateway.work_for(TEN_MINUTES)
    assert await told.work() == [("dead", "NotAsked")]
    (work,) = await told.gateway.rows("select tries from inbound_webhook_work")
    assert work["tries"] == TRIES_MAX
    told.stage.clock.seconds -= TEN_MINUTES  # for the invariants: nobody ran the checks here


async def test_one_that_ends_its_process_each_time_is_a_dead_letter_too(told: Told) -> None:
    payment = await told.confirmed()
    await told.gateway.send(told.gateway.event(payment))
    claimed = []
    for _ in range(TRIES_MAX):
        now = told.stage.clock.now()
        lease: Any = {"lease_token": told.stage.deps.ids.new(), "lease_expires_at": now + timedelta(seconds=60)}
        claimed += await told.stage.store.inbound.claim_due(at=now, limit=9, busy_accounts=(), **lease)
        assert await told.stage.store.inbound.claim_due(at=now, limit=9, busy_accounts=(), **lease) == []
        told.stage.clock.seconds += 61
    assert [due.tries for due in claimed] == list(range(1, TRIES_MAX + 1))
    assert await told.work() == [("dead", "process_lost")]
    # Whoever comes to life again with its old lease writes nothing.
    end = WebhookEnd(WebhookStatus.APPLIED, "known", told.stage.clock.now())
    assert not await told.stage.store.inbound.finish(claimed[-1], end)
    told.stage.clock.seconds -= TEN_MINUTES


async def test_accounts_with_enough_under_way_are_left_out(told: Told) -> None:
    await told.gateway.send(told.gateway.event(None))
    now = told.stage.clock.now()
    lease: Any = {"lease_token": told.stage.deps.ids.new(), "lease_expires_at": now + timedelta(seconds=60)}
    busy = [told.gateway.account_id]
    assert await told.stage.store.inbound.claim_due(at=now, limit=9, busy_accounts=busy, **lease) == []
    assert len(await told.stage.store.inbound.claim_due(at=now, limit=9, busy_accounts=(), **lease)) == 1
    told.stage.clock.seconds += 61


async def test_an_event_that_is_about_no_payment_is_kept_and_no_more(told: Told) -> None:
    payment = await told.confirmed()
    await told.gateway.send(told.gateway.event(None, "payout.paid"))
    await told.gateway.send(told.gateway.event(payment, "dispute.created"))
    assert await told.work() == [("applied", "informational")] * 2
    assert "inquire" not in told.truth.seen
    (webhook,) = await told.stage.store.inbound.of_payment(told.stage.merchant_id, payment.id)
    assert webhook.type == "dispute.created"


# While our own call runs ------------------------------------------------------------------------------------------


async def test_an_event_before_the_answer_leaves_the_attempt_to_its_call(
    stage: Stage, gateway: Gateway, sandbox: SandboxProcess
) -> None:
    """The first charge did not arrive yet, and the event came before it: nothing may call the attempt lost."""
    payment = await confirmed(stage, "sandbox_timeout_before_charge")
    async with planted_as_started(gateway, payment):
        stage.clock.seconds += 1
        await gateway.send(gateway.event(payment))
        await gateway.work()
        assert results(await gateway.rows("select * from inbound_webhook_work")) == [("pending", "own_call_runs")]
        stage.clock.seconds += 2
        await gateway.work()
        assert results(await gateway.rows("select * from inbound_webhook_work")) == [("pending", "no_answer")]
        now = await loaded(stage, payment.id)
        assert (now.attempts[0].status, now.version) == (AttemptStatus.STARTED, payment.version)
        assert now.attempts[0].next_check_at == payment.attempts[0].next_check_at


async def test_an_event_before_the_answer_settles_what_was_charged(
    stage: Stage, gateway: Gateway, sandbox: SandboxProcess
) -> None:
    payment = await confirmed(stage, "sandbox_timeout_after_charge")
    async with planted_as_started(gateway, payment):
        stage.clock.seconds += 3
        await gateway.send(gateway.event(payment))
        await gateway.work()
        now = await loaded(stage, payment.id)
        assert (now.status, now.attempts[0].status) == (PaymentStatus.SUCCEEDED, AttemptStatus.SUCCEEDED)
    assert len(sandbox.charges(public(payment))) == 1


@contextlib.asynccontextmanager
async def planted_as_started(gateway: Gateway, payment: Payment) -> AsyncIterator[None]:
    """Put the attempt back to where it is while its call runs."""
    async with administrator(gateway) as connection:
        await connection.execute(
            "update payment_attempts set status = 'started', money_requested = false, last_request_at = null "
            "where payment_id = $1",
            payment.id,
        )
    yield


@contextlib.asynccontextmanager
async def administrator(gateway: Gateway) -> AsyncIterator[asyncpg.Connection]:
    """Connect as the administrator, whom no guard stops here."""
    connection = await asyncpg.connect(gateway.dsn)
    try:
        await connection.execute("set session_replication_role = replica")
        yield connection
    finally:
        await connection.close()
