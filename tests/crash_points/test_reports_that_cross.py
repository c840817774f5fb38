"""Two reports of one attempt that were decided on the same rows: the slower one takes nothing back, and both are kept.

A fence may last longer than the pause between two looks; a report that proves nothing leaves the payment's row alone.
"""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.connector import Caching
from paymux_core.exchange import Interaction, Verb
from paymux_core.ids import Kind, parse_public_id
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    DeclineCode,
    Declined,
    NextAction,
    Outcome,
    Refusal,
    RequiresAction,
    Unknown,
    UnknownReason,
    Voided,
    outcome_name,
)
from paymux_core.records import Attempt, Payment, PaymentMethod
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.record_outcome import Report, record_outcome
from tests.crash_points.stage import Crash, CrashPoint, Dies, Dying
from tests.support.one_account import Stage, set_up
from tests.support.postgres import Database

STORE_CALLS = ("read_payment", "open_attempt")
"""What a confirm asks of the store, up to its phase 1."""
NO_GATEWAY = "http://127.0.0.1:1"
REFUSAL = Refusal(DeclineCode.LOST_OR_STOLEN, "The card was reported stolen.", Advice.DO_NOT_RETRY, "stolen_card")
SILENCE = Unknown(UnknownReason.NO_REPLY)
ACTION = RequiresAction("ch_1", NextAction("redirect", "https://bank.example/3ds"))


@pytest.fixture
async def stage(database: Database) -> AsyncIterator[Stage]:
    """A stage whose gateway is never asked: what it answers is given."""
    async with set_up(database.dsn, NO_GATEWAY, seed="reports that cross") as made:
        yield made


async def opened(stage: Stage) -> Payment:
    """A payment whose process died between its phase 1 and its call."""
    caller = Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
    method = PaymentMethod("card", "sandbox_approve")
    reply = await create_payment(CreatePayment(caller, Money(1999, "eur"), payment_method=method), stage.deps)
    payment_id = parse_public_id(Kind.PAYMENT, json.loads(reply.body)["id"])
    assert payment_id is not None
    store = Dying(stage.deps.store, CrashPoint(STORE_CALLS.index("open_attempt") + 1, Dies.AFTER))
    died = replace(stage.deps, store=store)
    with pytest.raises(Crash):
        await confirm_payment(ConfirmPayment(caller, payment_id, KeyUse("key-1", bytes(32))), died)
    payment = await loaded(stage, payment_id)
    assert [attempt.status for attempt in payment.attempts] == ["started"]
    return payment


async def loaded(stage: Stage, payment_id: UUID) -> Payment:
    payment = await stage.store.load_payment(stage.merchant_id, payment_id)
    assert payment is not None
    return payment


def report(payment: Payment, asked: Asked, outcome: Outcome, stage: Stage) -> Report:
    """One request and its outcome, as whoever asked will record it, decided on the rows as they are now."""
    verb = {Asked.FENCE: Verb.FENCE, Asked.LOOK_UP: Verb.INQUIRE}.get(asked, Verb.CHARGE)
    sent = Interaction(
        id=stage.deps.ids.new().bytes,
        verb=verb,
        method="POST",
        url=NO_GATEWAY,
        sent_at=stage.clock.now(),
        duration_ms=1,
        bytes_sent=True,
        http_status=None,
        transport_error=None,
        idempotency_key=None,
        gateway_request_id=None,
        request={},
        response={},
        response_sha256=None,
        outcome=outcome_name(outcome),
        provider_payment_id=getattr(outcome, "provider_payment_id", None),
    )
    return Report(payment, 1, asked, outcome, (sent,), Caching.ALL, actor="test", request_id="req_test")


CROSSINGS: dict[str, tuple[tuple[Outcome, ...], tuple[Asked, Outcome]]] = {
    "a fence, and a look": ((SILENCE,), (Asked.FENCE, SILENCE)),
    "a re-send, and a look": ((SILENCE,), (Asked.RESEND, SILENCE)),
    "a refusal of what the customer did, and a look": ((ACTION,), (Asked.LOOK_UP, Declined(REFUSAL, "ch_1"))),
}
"""What was known before; then the first report of two. The second is a look that got no answer."""


@pytest.mark.parametrize("crossing", CROSSINGS)
async def test_the_slower_of_two_reports_takes_nothing_back(database: Database, stage: Stage, crossing: str) -> None:
    known, (asked, outcome) = CROSSINGS[crossing]
    payment = await opened(stage)
    for earlier in known:
        await record_outcome(report(payment, Asked.LOOK_UP, earlier, stage), stage.deps)
    before = await loaded(stage, payment.id)
    stage.clock.seconds += 11
    first = report(before, asked, outcome, stage)
    slower = report(before, Asked.LOOK_UP, SILENCE, stage)

    await record_outcome(first, stage.deps)
    after_first = await loaded(stage, payment.id)
    assert after_first.version == before.version, "otherwise the version alone would tell the slower one"
    assert facts(after_first.attempts[0]) != facts(before.attempts[0])
    await record_outcome(slower, stage.deps)

    assert facts((await loaded(stage, payment.id)).attempts[0]) == facts(after_first.attempts[0])
    kept = await interactions(database, payment.id)
    assert {UUID(bytes=i.id) for i in (*first.interactions, *slower.interactions)} <= kept


def facts(attempt: Attempt) -> tuple[object, ...]:
    """What the gateway may have seen, and what it last refused."""
    return (attempt.money_requested, attempt.fence_count, attempt.last_request_at, attempt.error)


async def interactions(database: Database, payment_id: UUID) -> set[UUID]:
    connection = await asyncpg.connect(database.dsn)
    try:
        rows = await connection.fetch("select id from gateway_interactions where payment_id = $1", payment_id)
    finally:
        await connection.close()
    return {row["id"] for row in rows}


async def test_a_refusal_that_comes_after_the_end_does_not_change_how_an_attempt_was_closed(stage: Stage) -> None:
    payment = await opened(stage)
    for asked, outcome in ((Asked.LOOK_UP, ACTION), (Asked.FENCE, Voided("ch_1"))):
        await record_outcome(report(await loaded(stage, payment.id), asked, outcome, stage), stage.deps)
    closed = await loaded(stage, payment.id)
    assert (closed.status, closed.attempts[0].status) == ("canceled", "voided")
    await record_outcome(report(closed, Asked.LOOK_UP, Declined(REFUSAL, "ch_1"), stage), stage.deps)
    assert (await loaded(stage, payment.id)).attempts[0].error == closed.attempts[0].error
