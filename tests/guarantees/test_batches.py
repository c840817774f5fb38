"""The guards look at whole statements: one wrong row among many that are right is found, wherever it stands."""

from uuid import UUID

import asyncpg
import pytest

from paymux_postgres.server_checks import minor_is_current
from tests.support import builders
from tests.support.builders import Book

NEIGHBOURS = 20

CHANGES = {
    "payments": "update payments set version = version + (id <> $1)::integer",
    "attempts": "update payment_attempts set status = case when payment_id = $1 then 'started' else 'pending' end",
    "attempts_born": """
        insert into payment_attempts (merchant_id, payment_id, number, gateway, gateway_account_id, status, amount,
                                      currency, payment_method, request_digest, connector_version, request_id,
                                      charge_window_ends_at, next_check_at, created_at, updated_at)
        select merchant_id, payment_id, 2, gateway, gateway_account_id, 'started', amount + (payment_id = $1)::integer,
               currency, payment_method, request_digest, connector_version, request_id,
               charge_window_ends_at, created_at, created_at, updated_at
        from payment_attempts""",
    "events": """
        insert into payment_events (merchant_id, payment_id, position, type, actor, reason, recorded_at)
        select merchant_id, id, event_position + (id = $1)::integer, 'internal', 'test', 'test', created_at
        from payments""",
    "keys": """
        update idempotency_keys set finished_at = created_at, response_status = 200
        where payment_id = $1 or payment_id in (select id from payments where finalized_at is not null)""",
}
GUARDS = {
    "payments": ("payments", "payments_guard", "version must grow"),
    "attempts": ("payment_attempts", "attempts_guard", "no transition from unknown to started"),
    "attempts_born": ("payment_attempts", "attempts_guard_birth", "of its amount and currency"),
    "events": ("payment_events", "events_guard", "beyond the payment's counter"),
    "keys": ("idempotency_keys", "keys_answered", "is not final"),
}


async def plant_neighbours(connection: asyncpg.Connection, book: Book, what: str) -> list[UUID]:
    """Plant payments at which the change is right, and one at which it is wrong, somewhere in the middle."""
    found: list[UUID] = []
    for number in range(NEIGHBOURS):
        wrong = number == NEIGHBOURS // 2
        if what == "keys" and not wrong:
            payment_id = await builders.plant_payment(connection, book, "failed")
        else:
            payment_id = await builders.plant_payment(connection, book, "processing")
        status = "failed" if what == "attempts_born" else "unknown"
        await builders.plant_attempt(connection, book, payment_id, status)
        if what == "keys":
            row = builders.key_row(book, payment_id, idempotency_key=f"key {number}", success_status=200)
            await builders.insert(connection, "idempotency_keys", **row)
        found.append(payment_id)
    return found


@pytest.mark.parametrize("what", CHANGES)
async def test_one_wrong_row_among_many_is_refused(as_admin: asyncpg.Connection, what: str) -> None:
    book = await builders.open_book(as_admin)
    payments = await plant_neighbours(as_admin, book, what)
    wrong = payments[NEIGHBOURS // 2]
    table, guard, words = GUARDS[what]
    if what == "events":
        # Those that are right repeat a number: only the guard is asked here.
        await as_admin.execute("alter table payment_events drop constraint payment_events_pkey")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=words) as refused:
        async with as_admin.transaction():
            await as_admin.execute(CHANGES[what], wrong)
    assert str(wrong) in str(refused.value)
    await as_admin.execute(f"drop trigger {guard} on {table}")
    changed = await as_admin.execute(CHANGES[what], wrong)
    assert int(changed.split()[-1]) == NEIGHBOURS


@pytest.mark.parametrize("what", CHANGES)
async def test_without_the_wrong_row_the_others_pass(as_admin: asyncpg.Connection, what: str) -> None:
    book = await builders.open_book(as_admin)
    await plant_neighbours(as_admin, book, what)
    if what == "events":
        await as_admin.execute("alter table payment_events drop constraint payment_events_pkey")
    changed = await as_admin.execute(CHANGES[what], builders.new_id())
    assert int(changed.split()[-1]) == NEIGHBOURS - (what == "keys")


async def test_a_merge_beside_another_update_is_seen(as_admin: asyncpg.Connection) -> None:
    version = int(await as_admin.fetchval("select current_setting('server_version_num')"))
    if not minor_is_current(version):
        pytest.skip(f"PostgreSQL {version // 10_000}.{version % 10_000} hides it, as start-up warns: update the server")
    book = await builders.open_book(as_admin)
    payment_id = await builders.bear_payment(as_admin, book)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="no transition from"):
        await as_admin.execute(
            "with decoy as (update payments set version = version + 1 where false) "
            "merge into payments p using (values ($1::uuid)) s (id) on p.id = s.id when matched then update "
            "set status = 'succeeded', succeeded_attempt = 1, amount_captured = amount, finalized_at = created_at, "
            "final_position = 1, version = version + 1",
            payment_id,
        )
