"""Payments that nobody confirmed expire after a day, or after what their merchant chose; a confirm may be faster."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from uuid import UUID

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from paymux_core.errors import Refused
from paymux_core.ids import Kind, parse_public_id, uuid7
from paymux_core.money import Money
from paymux_core.records import PaymentMethod
from paymux_flows import expire
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.expire import expire_unconfirmed
from paymux_postgres.bodies import unpack_body
from paymux_postgres.merchants import MerchantRow, insert_merchant
from tests.support.one_account import Stage, set_up
from tests.support.postgres import Database

DAY = 86_400
_keys = count(1)


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with set_up(database.dsn, "http://127.0.0.1:1", seed=request.node.name, gateway="instant") as opened:
        yield opened


def caller(merchant_id: UUID) -> Caller:
    return Caller(merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")


async def born(stage: Stage, *, reference: str | None = None, merchant_id: UUID | None = None) -> UUID:
    """Create a payment, with a key, and leave it."""
    method = PaymentMethod("card", None, {"instant": "instant_approve"})
    use = KeyUse(f"key-{next(_keys)}", bytes(32))
    command = CreatePayment(
        caller(merchant_id or stage.merchant_id),
        Money(1000, "eur"),
        payment_method=method,
        reference=reference,
        key=use,
    )
    created = await create_payment(command, stage.deps)
    payment_id = parse_public_id(Kind.PAYMENT, msgspec.json.decode(created.body)["id"])
    assert payment_id is not None
    return payment_id


async def confirm(stage: Stage, payment_id: UUID) -> None:
    await confirm_payment(
        ConfirmPayment(caller(stage.merchant_id), payment_id, KeyUse(f"key-{next(_keys)}", bytes(32))), stage.deps
    )


async def swept(stage: Stage) -> int | None:
    return await expire_unconfirmed(stage.deps, actor="schedule:test", stopping=lambda: False)


async def status(connection: asyncpg.Connection, payment_id: UUID) -> str:
    return str(await connection.fetchval("select status from payments where id = $1", payment_id))


async def test_after_a_day_it_is_canceled_with_its_event_and_gives_its_reference_free(
    stage: Stage, as_admin: asyncpg.Connection
) -> None:
    old = await born(stage, reference="order 1")
    stage.clock.seconds += DAY - 60
    young = await born(stage)
    assert await swept(stage) == 0
    stage.clock.seconds += 61
    assert await swept(stage) == 1
    assert (await status(as_admin, old), await status(as_admin, young)) == ("canceled", "requires_confirmation")
    event = await as_admin.fetchrow("select * from payment_events where payment_id = $1 and position = 2", old)
    assert event is not None
    told = msgspec.json.decode(unpack_body(event["body"]))
    assert (event["type"], event["actor"], event["reason"]) == ("payment.canceled", "schedule:test", "expired")
    assert (told["status"], told["cancellation_reason"], told["version"]) == ("canceled", "expired", 2)
    await born(stage, reference="order 1")
    assert await as_admin.fetch("select * from inv.all_violations($1)", stage.clock.now()) == []


async def test_a_merchant_chooses_how_long(stage: Stage, as_admin: asyncpg.Connection) -> None:
    patient = stage.deps.ids.new()
    await insert_merchant(stage.store.pool, MerchantRow(patient, "patient", {}, stage.clock.now()))
    await as_admin.execute(
        "update merchants set settings = '{\"unconfirmed_expires_after_hours\": 48}' where id = $1", patient
    )
    hasty, waiting = await born(stage), await born(stage, merchant_id=patient)
    stage.clock.seconds += DAY + 1
    assert await swept(stage) == 1
    assert (await status(as_admin, hasty), await status(as_admin, waiting)) == ("canceled", "requires_confirmation")
    stage.clock.seconds += DAY
    assert await swept(stage) == 1
    assert await status(as_admin, waiting) == "canceled"


async def test_a_sweep_goes_on_where_the_last_one_stopped_and_again_over_what_came_late(
    stage: Stage, as_admin: asyncpg.Connection
) -> None:
    for _ in range(3):
        await born(stage)
    stage.clock.seconds += DAY + 1
    assert await swept(stage) == 3
    through = await as_admin.fetchval("select swept_through from sweeps")
    late = await born(stage)
    # Its id was made before the sweep's end, and its row was committed after it.
    late_id = uuid7(int((stage.clock.now() - timedelta(seconds=DAY + 30)).timestamp() * 1000), 7)
    assert late_id < through
    await as_admin.execute("set session_replication_role = replica")
    await as_admin.execute("update payments set id = $2 where id = $1", late, late_id)
    await as_admin.execute("update payment_events set payment_id = $2 where payment_id = $1", late, late_id)
    await as_admin.execute("update idempotency_keys set payment_id = $2 where payment_id = $1", late, late_id)
    await as_admin.execute("set session_replication_role = origin")
    assert await swept(stage) == 1
    assert await status(as_admin, late_id) == "canceled"


async def test_a_sweep_walks_in_pieces_and_stops_between_them(
    stage: Stage, as_admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire, "WALK_MAX", 2)
    for _ in range(5):
        await born(stage)
    stage.clock.seconds += DAY + 1
    answers = iter([False, True])
    stopped = await expire_unconfirmed(stage.deps, actor="test", stopping=lambda: next(answers))
    assert stopped is None
    assert await as_admin.fetchval("select count(*) from payments where status = 'canceled'") == 2
    assert await swept(stage) == 3


async def test_what_somebody_holds_is_met_again_by_the_next_sweep(
    stage: Stage, as_admin: asyncpg.Connection, database: Database
) -> None:
    held = await born(stage)
    stage.clock.seconds += 3600  # farther apart than the margin in which a sweep begins again
    after = await born(stage)
    stage.clock.seconds += DAY + 1
    async with as_admin.transaction():
        await as_admin.execute("select from payments where id = $1 for update", held)
        assert await swept(stage) == 1
    assert await status(as_admin, after) == "canceled"
    assert await swept(stage) == 1
    assert await status(as_admin, held) == "canceled"


async def test_a_confirm_during_the_sweep_and_the_sweep_never_both_win(
    stage: Stage, as_admin: asyncpg.Connection
) -> None:
    payments = [await born(stage) for _ in range(40)]
    stage.clock.seconds += DAY + 1
    results = await asyncio.gather(
        *(confirm(stage, payment_id) for payment_id in payments[:20]),
        swept(stage),
        *(confirm(stage, payment_id) for payment_id in payments[20:]),
        swept(stage),
        return_exceptions=True,
    )
    assert all(isinstance(result, (Refused, int, type(None))) for result in results), results
    await swept(stage)
    rows = await as_admin.fetch(
        "select p.status, p.cancellation_reason, a.status as attempt from payments p "
        "left join payment_attempts a on a.payment_id = p.id"
    )
    ends = {(row["status"], row["cancellation_reason"], row["attempt"]) for row in rows}
    assert ends <= {("canceled", "expired", None), ("succeeded", None, "succeeded")}
    confirmed = sum(result is None for result in results)
    assert sum(row["status"] == "succeeded" for row in rows) == confirmed
    assert await as_admin.fetch("select * from inv.all_violations($1)", stage.clock.now()) == []


async def test_a_version_that_moved_on_is_left_alone(stage: Stage, as_admin: asyncpg.Connection) -> None:
    payment_id = await born(stage)
    payment = await stage.store.load_payment(stage.merchant_id, payment_id)
    assert payment is not None
    late = expire._expired(replace(payment, version=payment.version + 1), stage.clock.now())
    assert await stage.store.upkeep.expire_unconfirmed([late], at=stage.clock.now(), actor="test") == set()
    assert await status(as_admin, payment_id) == "requires_confirmation"
