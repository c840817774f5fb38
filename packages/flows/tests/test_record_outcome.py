"""Where an outcome becomes state, on real Postgres: what is told once, what is kept, what holds nothing up."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import pytest
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.connector import Caching
from paymux_core.errors import StorageUnavailable
from paymux_core.exchange import Answer, HttpReply, HttpRequest
from paymux_core.money import Money
from paymux_core.outcomes import Captured, Outcome, Unknown, UnknownReason
from paymux_core.records import Payment, PaymentMethod
from paymux_core.routing import Candidate
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse, Reply
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.record_outcome import Report, record_outcome
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import PostgresStore
from tests.support.chance import TEST_SEALER, SeededRng
from tests.support.one_account import Stage, set_up
from tests.support.postgres import Database

EUROS = Money(1999, "eur")
Responder = Callable[[HttpRequest], HttpReply]


def answering(status: str, **fields: object) -> Responder:
    """A gateway that answers every charge with one status."""

    def respond(request: HttpRequest) -> HttpReply:
        asked = json.loads(request.body)
        charge = {"id": "ch_1", "status": status, "attempt_id": asked["attempt_id"]}
        body = {**charge, "amount": asked["amount"], "currency": asked["currency"], **fields}
        return Answer(200, {"request-id": "gw_1"}, json.dumps(body).encode())

    return respond


def gateway_answering(
    database: Database, respond: Responder, *, gateway: str = "mock"
) -> AbstractAsyncContextManager[Stage]:
    """A stage whose gateway answers in the process."""
    return set_up(database.dsn, "test:", seed="flows", gateway=gateway, in_process={"test": respond})


def caller(stage: Stage) -> Caller:
    return Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")


async def confirmed(stage: Stage) -> tuple[Payment, Reply]:
    """Create and confirm one payment."""
    create = CreatePayment(caller(stage), EUROS, payment_method=PaymentMethod("card", "tok_1"))
    born = json.loads((await create_payment(create, stage.deps)).body)
    payment_id = UUID(int=_number(born["id"]))
    reply = await confirm_payment(ConfirmPayment(caller(stage), payment_id, KeyUse("key-1", bytes(32))), stage.deps)
    return await loaded(stage, payment_id), reply


def _number(public: str) -> int:
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    number = 0
    for character in public.partition("_")[2]:
        number = number * 32 + digits.index(character)
    return number


async def loaded(stage: Stage, payment_id: UUID) -> Payment:
    payment = await stage.store.load_payment(stage.merchant_id, payment_id)
    assert payment is not None
    return payment


async def reported(stage: Stage, payment: Payment, outcome: Outcome) -> Payment:
    """Record what a look-up at the gateway said."""
    report = Report(
        payment=payment,
        number=1,
        asked=Asked.LOOK_UP,
        outcome=outcome,
        interactions=(),
        caching=Caching.ALL,
        actor="test",
        request_id="req_test",
    )
    await record_outcome(report, stage.deps)
    return await loaded(stage, payment.id)


async def types_of_events(admin: asyncpg.Connection, payment: Payment) -> list[str]:
    rows = await admin.fetch("select type from payment_events where payment_id = $1 order by position", payment.id)
    return [row["type"] for row in rows]


async def violations(admin: asyncpg.Connection, stage: Stage) -> list[asyncpg.Record]:
    return list(await admin.fetch("select * from inv.all_violations($1)", stage.clock.now()))


async def test_a_second_charge_beside_a_success_is_one_late_charge_told_once(
    database: Database, as_admin: asyncpg.Connection
) -> None:
    async with gateway_answering(database, answering("succeeded")) as stage:
        payment, _ = await confirmed(stage)
        for _ in range(3):
            payment = await reported(stage, payment, Captured("ch_2", EUROS))
        again = await reported(stage, payment, Captured("ch_1", EUROS))
        told = await types_of_events(as_admin, payment)
        assert await violations(as_admin, stage) == []
    assert (str(again.status), again.amount_captured) == ("succeeded", 1999)
    assert [(c.provider_payment_id, c.amount) for c in again.late_charges] == [("ch_2", 1999)]
    assert [review.reason for review in again.reviews] == ["late_charge"]
    assert told.count("payment.late_success") == told.count("payment.needs_review") == 1


async def test_a_review_that_the_gateways_answer_does_not_settle_stays_open_and_is_shown(
    database: Database, as_admin: asyncpg.Connection
) -> None:
    wrong = answering("succeeded", amount=1)
    async with gateway_answering(database, wrong) as stage:
        payment, _ = await confirmed(stage)
        assert [str(a.status) for a in payment.attempts] == ["unknown"]
        for _ in range(2):
            payment = await reported(stage, payment, Captured("ch_1", Money(1, "eur")))
            stage.clock.seconds += 60
        payment = await reported(stage, payment, Unknown(UnknownReason.UNMAPPED))
        assert [review.reason for review in payment.reviews] == ["integrity_mismatch", "unmapped_answer"]
        payment = await reported(stage, payment, Captured("ch_1", EUROS))
        told = await types_of_events(as_admin, payment)
    assert str(payment.status) == "succeeded"
    assert [review.reason for review in payment.reviews] == ["integrity_mismatch"]
    assert told.count("payment.needs_review") == 2
    assert told.count("payment.review_resolved") == 1


@dataclass(slots=True)
class GoneDirectory:
    """The list of accounts, readable for one look only."""

    candidate: Candidate
    looks: int = 0

    async def candidates(self, _merchant_id: UUID) -> Sequence[Candidate]:
        self.looks += 1
        if self.looks > 1:
            raise StorageUnavailable("the accounts cannot be read", retry_after_seconds=1)
        return [self.candidate]


async def test_an_answer_about_money_is_kept_though_the_accounts_cannot_be_read(database: Database) -> None:
    async with gateway_answering(database, answering("succeeded")) as stage:
        (candidate,) = await stage.deps.accounts.candidates(stage.merchant_id)
        stage.deps = replace(stage.deps, accounts=GoneDirectory(candidate))
        payment, reply = await confirmed(stage)
    assert (reply.http_status, str(payment.status)) == (200, "succeeded")


@pytest.mark.parametrize("message", ["\ud800 said no", "no\0pe", "x" * 5000])
async def test_what_a_gateway_writes_never_stands_in_the_way_of_its_answer(
    database: Database, as_admin: asyncpg.Connection, message: str
) -> None:
    declined = answering("declined", decline={"code": "stolen_card", "message": message, "retryable": False})
    async with gateway_answering(database, declined) as stage:
        payment, reply = await confirmed(stage)
    assert (reply.http_status, str(payment.status)) == (200, "failed")
    assert await as_admin.fetchval("select count(*) from gateway_interactions") == 1


async def test_the_id_that_was_committed_during_the_call_is_in_the_answer_and_in_its_event(
    database: Database, as_admin: asyncpg.Connection
) -> None:
    def silent_after_reserve(request: HttpRequest) -> HttpReply:
        if request.url.endswith("/confirm"):
            return Answer(500, {}, b"{}")
        attempt_id = dict(pair.split("=") for pair in request.body.decode().split("&"))["metadata%5Battempt_id%5D"]
        intent = {"id": "pi_1", "status": "requires_confirmation", "metadata": {"attempt_id": attempt_id}}
        return Answer(200, {}, json.dumps(intent).encode())

    async with gateway_answering(database, silent_after_reserve, gateway="stripe") as stage:
        payment, reply = await confirmed(stage)
    assert (reply.http_status, json.loads(reply.body)["attempts"][0]["provider_payment_id"]) == (202, "pi_1")
    assert payment.attempts[0].provider_payment_id == "pi_1"


async def test_two_processes_that_create_with_one_key_make_one_payment(database: Database) -> None:
    async with gateway_answering(database, answering("succeeded")) as stage:
        other = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("2"), sealer=TEST_SEALER)
        await other.open()
        try:
            both = (stage.deps, replace(stage.deps, store=other))
            ids: list[set[str]] = []
            for number in range(20):
                create = CreatePayment(caller(stage), EUROS, key=KeyUse(f"key-{number}", bytes(32)))
                replies = await asyncio.gather(*(create_payment(create, deps) for deps in both))
                ids.append({json.loads(reply.body)["id"] for reply in replies})
        finally:
            await other.close()
    assert [len(made) for made in ids] == [1] * 20
