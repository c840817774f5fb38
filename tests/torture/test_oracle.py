"""Whatever the torture says that it counts is found when it is planted, in a real database and a real book."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

import asyncpg
import pytest

from paymux_cli.torture.gathering import gather
from paymux_cli.torture.oracle import Crime, examine
from paymux_cli.torture.telling import Telling
from paymux_cli.torture.watch import Seen, Watch
from paymux_core.clocks import Clocks
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_postgres.connections import DatabaseSettings, Pool
from paymux_testkit.sandbox_client import SandboxClient
from tests.support.builders import new_id
from tests.support.http import Merchant
from tests.support.stack import CLOCK_DIVISOR, Stack

CLOCKS = Clocks().shortened(CLOCK_DIVISOR)
NOTHING_WRONG = Telling(events=0, deliveries=0, waiting=0, untold=(), mistold=())
_numbers = count(1)


@pytest.fixture
async def as_admin(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """An administrator with every trigger off."""
    connection = await asyncpg.connect(stack.database.dsn)
    await connection.execute("set session_replication_role = replica")
    yield connection
    await connection.close()


async def crimes(
    stack: Stack, payment_id: str, watch: Watch | None = None, telling: Telling | None = None
) -> set[Crime]:
    """Examine everything, and give what was found about one payment."""
    pool = Pool(DatabaseSettings(stack.database.dsn))
    await pool.open()
    try:
        evidence = await gather(
            pool,
            stack.sandbox,
            watch or Watch(),
            misanswers=(),
            telling=telling or NOTHING_WRONG,
            clocks=CLOCKS,
            now=datetime.now(UTC),
        )
    finally:
        await pool.close()
    return {finding.crime for finding in examine(evidence) if finding.payment_id == payment_id}


async def paid(shop: Merchant, token: str = "sandbox_approve", **fields: object) -> str:
    """Pay at once; answers the payment's id."""
    key = f"torture-oracle-{next(_numbers)}"
    method = {"type": "card", "token": token}
    return (await shop.post("/payments", _body(confirm=True, payment_method=method, **fields), key=key)).payment_id


def _body(**fields: object) -> dict[str, object]:
    return {"amount": 1999, "currency": "eur"} | fields


def charge_behind_our_back(stack: Stack, payment_id: str) -> None:
    """Charge a payment once more, at the gateway, under a key that we never made."""
    key = f"planted-{next(_numbers)}"
    reply = SandboxClient(stack.sandbox.url).charge(
        "sandbox_approve", key=key, payment_id=payment_id, amount=1999, currency="EUR"
    )
    assert reply.status == 200


def as_uuid(payment_id: str) -> UUID:
    """Read a payment's id."""
    found = parse_public_id(Kind.PAYMENT, payment_id)
    assert found is not None
    return found


async def test_a_healthy_payment_is_no_crime(stack: Stack, shop: Merchant) -> None:
    watch = Watch()
    payment_id = await paid(shop)
    watch.promised.add(payment_id)
    watch.see(Seen(payment_id, "succeeded", 1.0, 2.0))
    assert await crimes(stack, payment_id, watch) == set()


async def test_a_second_charge_in_the_book_is_found(stack: Stack, shop: Merchant) -> None:
    payment_id = await paid(shop)
    charge_behind_our_back(stack, payment_id)
    assert await crimes(stack, payment_id) == {Crime.DOUBLE}


async def test_a_second_charge_that_was_given_back_is_no_crime(stack: Stack, shop: Merchant) -> None:
    payment_id = await paid(shop)
    charge_behind_our_back(stack, payment_id)
    charge = stack.sandbox.charges(payment_id)[-1]
    assert SandboxClient(stack.sandbox.url).post(f"/charges/{charge['id']}/refunds", {}, key="given back").status == 200
    assert await crimes(stack, payment_id) == set()


async def test_an_order_charged_by_two_payments_is_found(stack: Stack, shop: Merchant) -> None:
    first, second = [await paid(shop, customer_reference="one order") for _ in range(2)]
    assert await crimes(stack, first) | await crimes(stack, second) == {Crime.DOUBLE}


async def test_a_charge_of_a_payment_that_is_not_there_is_found(stack: Stack) -> None:
    payment_id = public_id(Kind.PAYMENT, new_id())
    charge_behind_our_back(stack, payment_id)
    assert await crimes(stack, payment_id) == {Crime.LOST}


async def test_a_payment_that_was_answered_and_is_not_there_is_found(stack: Stack) -> None:
    payment_id = public_id(Kind.PAYMENT, new_id())
    assert await crimes(stack, payment_id, Watch(promised={payment_id})) == {Crime.LOST}


async def test_a_charge_of_a_failed_payment_is_found(stack: Stack, shop: Merchant) -> None:
    payment_id = await paid(shop, "sandbox_decline_hard")
    charge_behind_our_back(stack, payment_id)
    assert await crimes(stack, payment_id) == {Crime.LOST}


async def test_a_charge_of_a_failed_payment_that_a_person_knows_of_is_no_crime(
    stack: Stack, shop: Merchant, as_admin: asyncpg.Connection
) -> None:
    payment_id = await paid(shop, "sandbox_decline_hard")
    charge_behind_our_back(stack, payment_id)
    await open_review(as_admin, payment_id)
    assert await crimes(stack, payment_id) == set()


async def test_a_success_that_was_never_charged_is_found(stack: Stack, shop: Merchant) -> None:
    payment_id = await paid(shop)
    charge = stack.sandbox.charges(payment_id)[0]
    assert SandboxClient(stack.sandbox.url).post(f"/charges/{charge['id']}/refunds", {}, key="taken away").status == 200
    assert await crimes(stack, payment_id) == {Crime.UNPAID}


async def test_a_status_that_regressed_between_two_looks_is_found(
    stack: Stack, shop: Merchant, as_admin: asyncpg.Connection
) -> None:
    payment_id = await paid(shop)
    watch = Watch()
    watch.see(Seen(payment_id, "succeeded", 1.0, 2.0))
    await as_admin.execute(
        """update payments set status = 'failed', succeeded_attempt = null, amount_captured = 0, version = version + 1
           where id = $1""",
        as_uuid(payment_id),
    )
    watch.see(Seen(payment_id, str((await shop.payment(payment_id))["status"]), 3.0, 4.0))
    assert await crimes(stack, payment_id, watch) >= {Crime.REGRESSED, Crime.LOST}


async def test_a_status_that_regressed_in_the_event_log_is_found(
    stack: Stack, shop: Merchant, as_admin: asyncpg.Connection
) -> None:
    payment_id = await paid(shop)
    await as_admin.execute(
        """insert into payment_events (merchant_id, payment_id, position, type, from_status, to_status, actor, reason,
                                       recorded_at)
           select merchant_id, id, event_position + 1, 'payment.processing', status, 'processing', 'nobody', 'planted',
                  updated_at
           from payments where id = $1""",
        as_uuid(payment_id),
    )
    assert await crimes(stack, payment_id) == {Crime.REGRESSED, Crime.VIOLATION}


async def test_an_unresolved_payment_is_found_unless_a_person_was_told(
    stack: Stack, shop: Merchant, as_admin: asyncpg.Connection
) -> None:
    with stack.worker.paused():
        payment_id = await paid(shop, "sandbox_timeout_before_charge")
        assert await crimes(stack, payment_id) == {Crime.UNRESOLVED, Crime.VIOLATION}
        await open_review(as_admin, payment_id)
        assert await crimes(stack, payment_id) == set()
    await shop.settled(payment_id)


async def test_a_charge_after_its_window_is_found(stack: Stack, shop: Merchant, as_admin: asyncpg.Connection) -> None:
    payment_id = await paid(shop)
    await as_admin.execute(
        "update payment_attempts set charge_window_ends_at = created_at - interval '1 minute' where payment_id = $1",
        as_uuid(payment_id),
    )
    assert await crimes(stack, payment_id) == {Crime.TOO_LATE}


async def test_a_late_first_byte_is_found(stack: Stack, shop: Merchant, as_admin: asyncpg.Connection) -> None:
    payment_id = await paid(shop)
    await as_admin.execute(
        "update gateway_interactions set sent_at = sent_at + interval '1 minute' where payment_id = $1",
        as_uuid(payment_id),
    )
    assert await crimes(stack, payment_id) == {Crime.TOO_LATE}


async def test_a_broken_invariant_is_found(stack: Stack, shop: Merchant, as_admin: asyncpg.Connection) -> None:
    payment_id = await paid(shop)
    await as_admin.execute("update payments set event_sequence = event_sequence - 1 where id = $1", as_uuid(payment_id))
    assert await crimes(stack, payment_id) == {Crime.VIOLATION}


async def open_review(as_admin: asyncpg.Connection, payment_id: str) -> None:
    """Tell a person of a payment."""
    await as_admin.execute(
        """insert into reviews (merchant_id, id, payment_id, reason, status, opened_at)
           select merchant_id, $2, id, 'deadline', 'open', updated_at from payments where id = $1""",
        as_uuid(payment_id),
        new_id(),
    )


async def test_what_merchants_were_not_told_or_told_wrongly_is_found(stack: Stack, shop: Merchant) -> None:
    payment_id = await paid(shop)
    untold = replace(NOTHING_WRONG, untold=[(payment_id, "event 3 never came")])
    assert await crimes(stack, payment_id, telling=untold) == {Crime.UNTOLD}
    mistold = replace(NOTHING_WRONG, mistold=[(payment_id, "the signature is not ours")])
    assert await crimes(stack, payment_id, telling=mistold) == {Crime.MISTOLD}
