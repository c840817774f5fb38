"""Each invariant finds a violation that was planted, and none in a healthy book."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from tests.guarantees.plants_of_webhooks import healthy_webhooks, webhook_left_pending, webhook_unmatched_unseen
from tests.support import builders
from tests.support.builders import NOW, Book

Plant = Callable[[asyncpg.Connection, Book], Awaitable[UUID]]
HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)


async def invariants(connection: asyncpg.Connection) -> set[str]:
    """Name the functions of the schema but the one that calls all."""
    return {row["name"] for row in await connection.fetch("select name from inv.names() as name")}


def late_charge_row(book: Book, payment_id: UUID, **columns: object) -> dict[str, object]:
    """An open late charge; `columns` replace the defaults."""
    row = {"merchant_id": book.merchant_id, "id": builders.new_id(), "payment_id": payment_id, "attempt_number": 1}
    charge = {"gateway": "mock", "provider_payment_id": "ch_1", "amount": 1000, "currency": "usd", "status": "open"}
    return row | charge | {"policy": "review", "next_check_at": NOW + HOUR, "created_at": NOW} | columns


def open_review_row(book: Book, payment_id: UUID, reason: str) -> dict[str, object]:
    """An open review."""
    row = {"merchant_id": book.merchant_id, "id": builders.new_id(), "payment_id": payment_id, "reason": reason}
    return row | {"status": "open", "opened_at": NOW}


async def charge_unaccounted(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "failed")
    await builders.plant_attempt(c, book, payment_id, "failed")
    await builders.insert(c, "gateway_interactions", **builders.interaction_row(book, payment_id))
    return payment_id


async def charge_beside_a_late_charge(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await charge_unaccounted(c, book)
    await builders.insert(c, "late_charges", **late_charge_row(book, payment_id, provider_payment_id="ch_another"))
    await builders.insert(c, "reviews", **open_review_row(book, payment_id, "late_charge"))
    return payment_id


async def authorization_unaccounted(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "failed")
    await builders.plant_attempt(c, book, payment_id, "failed")
    row = builders.interaction_row(book, payment_id, outcome="authorized", recorded_at=NOW + timedelta(seconds=1))
    await builders.insert(c, "gateway_interactions", **row)
    return payment_id


async def attempt_charged_twice(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.succeeded_payment(c, book)
    row = builders.interaction_row(book, payment_id, provider_payment_id="ch_2")
    await builders.insert(c, "gateway_interactions", **row)
    return payment_id


async def late_charge_forgotten(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "failed")
    await builders.plant_attempt(c, book, payment_id, "failed")
    await builders.insert(c, "late_charges", **late_charge_row(book, payment_id))
    return payment_id


async def late_charge_out_of_sight(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "failed")
    await builders.plant_attempt(c, book, payment_id, "failed")
    await builders.insert(c, "late_charges", **late_charge_row(book, payment_id, next_check_at=NOW + 10 * YEAR))
    return payment_id


async def answer_unclassified(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    row = builders.interaction_row(book, payment_id, outcome="unknown:unmapped_answer", http_status=200)
    await builders.insert(c, "gateway_interactions", **row)
    return payment_id


async def status_unproven(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "succeeded")
    await builders.plant_attempt(c, book, payment_id, "failed")
    return payment_id


async def failed_while_unknown(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "failed")
    await builders.plant_attempt(c, book, payment_id, "unknown")
    return payment_id


async def processing_without_attempt(c: asyncpg.Connection, book: Book) -> UUID:
    return await builders.plant_payment(c, book, "processing")


async def attempts_holding_twice(c: asyncpg.Connection, book: Book) -> UUID:
    await c.execute("drop index attempts_one_holding")
    payment_id = await builders.confirmed_payment(c, book)
    await builders.open_attempt(c, book, payment_id, number=2)
    return payment_id


async def history_illegal(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(
        c, book, "succeeded", event_position=3, event_sequence=3, final_position=3
    )
    await builders.plant_attempt(c, book, payment_id, "succeeded")
    event = {"from_status": "succeeded", "to_status": "succeeded", "body": builders.ANSWER}
    async with builders.planting(c):
        await builders.insert(c, "payment_events", **builders.event_row(book, payment_id, 3, **event))
    return payment_id


async def events_disagree(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    async with builders.planting(c):
        await c.execute("delete from payment_events where payment_id = $1 and position = 2", payment_id)
    return payment_id


async def final_answer_missing(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.succeeded_payment(c, book)
    async with builders.planting(c):
        await c.execute("update payment_events set body = null where payment_id = $1", payment_id)
    return payment_id


async def check_overdue(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    await c.execute("update payment_attempts set next_check_at = $2 where payment_id = $1", payment_id, NOW - HOUR)
    return payment_id


async def check_out_of_sight(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    await c.execute("update payment_attempts set next_check_at = $2 where payment_id = $1", payment_id, NOW + 10 * YEAR)
    return payment_id


async def leased_out_of_sight(c: asyncpg.Connection, book: Book) -> UUID:
    # Nobody can claim it, so that its check stays overdue.
    payment_id = await check_overdue(c, book)
    await c.execute(
        "update payment_attempts set lease_token = $2, lease_expires_at = $3 where payment_id = $1",
        payment_id,
        builders.new_id(),
        NOW + 10 * YEAR,
    )
    return payment_id


async def deadline_out_of_sight(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    async with builders.planting(c):
        await c.execute("update payments set processing_deadline_at = $2 where id = $1", payment_id, NOW + 10 * YEAR)
    return payment_id


async def deadline_passed(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    async with builders.planting(c):
        await c.execute("update payments set processing_deadline_at = $2 where id = $1", payment_id, NOW - HOUR)
    return payment_id


async def attempt_silent(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.bear_payment(c, book)
    await builders.confirm_payment(c, book, payment_id, created_at=NOW - HOUR)
    return payment_id


async def attempt_too_early(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    await builders.change_attempt(c, book, payment_id, "failed", finished_at=NOW + timedelta(seconds=1))
    await builders.open_attempt(c, book, payment_id, number=2)
    return payment_id


async def amounts_disagree(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "succeeded", amount_captured=999)
    await builders.plant_attempt(c, book, payment_id, "succeeded")
    return payment_id


async def accepted_otherwise(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.plant_payment(c, book, "succeeded")
    await builders.plant_attempt(c, book, payment_id, "succeeded", amount=999)
    return payment_id


async def key_unfinished(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.bear_payment(c, book)
    row = builders.key_row(book, payment_id, created_at=NOW - HOUR, owned_until=NOW - HOUR)
    await builders.insert(c, "idempotency_keys", **row)
    return payment_id


async def key_answered_early(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    row = builders.key_row(book, payment_id, finished_at=NOW, response_status=200)
    async with builders.planting(c):
        await builders.insert(c, "idempotency_keys", **row)
    return payment_id


async def lease_stale(c: asyncpg.Connection, book: Book) -> UUID:
    payment_id = await builders.confirmed_payment(c, book)
    await c.execute(
        "update payment_attempts set lease_token = $2, lease_expires_at = $3, next_check_at = $3 where payment_id = $1",
        payment_id,
        builders.new_id(),
        NOW - HOUR,
    )
    return payment_id


def endpoint_row(book: Book, **columns: object) -> dict[str, object]:
    """An enabled endpoint; `columns` replace the defaults."""
    row = {"merchant_id": book.merchant_id, "id": builders.new_id(), "number": 1, "url": "https://shop.example/hook"}
    kept = {"status": "enabled", "secret": b"sealed", "livemode": False}
    return row | kept | dict.fromkeys(("filters_changed_at", "created_at", "updated_at"), NOW) | columns


async def event_undelivered(c: asyncpg.Connection, book: Book) -> UUID:
    created_at = NOW - timedelta(minutes=10)
    await builders.insert(c, "webhook_endpoints", **endpoint_row(book, filters_changed_at=created_at, number=7))
    await c.execute("update webhook_endpoints set event_types = '{payment.canceled}'")
    payment_id = await builders.bear_payment(c, book)
    await builders.change_payment(c, book, payment_id, "canceled")
    # The others were told before the endpoint looked at it.
    async with builders.planting(c):
        await c.execute("delete from payment_events where type = 'payment.canceled' and payment_id <> $1", payment_id)
    return payment_id


PLANTED: list[tuple[str, Plant]] = [
    ("charge_unaccounted", charge_unaccounted),
    ("charge_unaccounted", charge_beside_a_late_charge),
    ("charge_unaccounted", authorization_unaccounted),
    ("attempt_charged_twice", attempt_charged_twice),
    ("late_charge_forgotten", late_charge_forgotten),
    ("answer_unclassified", answer_unclassified),
    ("status_unproven", status_unproven),
    ("status_unproven", failed_while_unknown),
    ("status_unproven", processing_without_attempt),
    ("attempts_holding_twice", attempts_holding_twice),
    ("history_illegal", history_illegal),
    ("events_disagree", events_disagree),
    ("events_disagree", final_answer_missing),
    ("left_alone", check_overdue),
    ("left_alone", check_out_of_sight),
    ("left_alone", leased_out_of_sight),
    ("left_alone", late_charge_out_of_sight),
    ("left_alone", deadline_passed),
    ("left_alone", deadline_out_of_sight),
    ("attempt_silent", attempt_silent),
    ("attempt_too_early", attempt_too_early),
    ("amounts_disagree", amounts_disagree),
    ("accepted_otherwise", accepted_otherwise),
    ("key_unfinished", key_unfinished),
    ("key_answered_early", key_answered_early),
    ("lease_stale", lease_stale),
    ("event_undelivered", event_undelivered),
    ("webhook_unapplied", webhook_left_pending),
    ("webhook_unapplied", webhook_unmatched_unseen),
]


async def healthy_book(c: asyncpg.Connection) -> Book:
    """A merchant with a payment in each ordinary situation."""
    book = await builders.open_book(c)
    await builders.bear_payment(c, book)
    await builders.confirmed_payment(c, book)
    await builders.succeeded_payment(c, book)
    canceled = await builders.bear_payment(c, book)
    await builders.change_payment(c, book, canceled, "canceled")
    failed = await builders.confirmed_payment(c, book)
    await builders.change_attempt(c, book, failed, "failed")
    await builders.change_payment(c, book, failed, "failed")
    second = await builders.confirmed_payment(c, book)
    await builders.change_attempt(c, book, second, "not_executed")
    await builders.open_attempt(c, book, second, number=2)
    unknown = await builders.confirmed_payment(c, book)
    await builders.change_attempt(c, book, unknown, "unknown")
    # Its worker died once the outcome was recorded: the next check is still to come.
    await c.execute(
        "update payment_attempts set lease_token = $2, lease_expires_at = $3 where payment_id = $1",
        unknown,
        builders.new_id(),
        NOW - HOUR,
    )
    held = await builders.confirmed_payment(c, book, capture_method="manual")
    await builders.change_attempt(c, book, held, "authorized")
    await builders.change_payment(c, book, held, "requires_capture")
    late = await builders.confirmed_payment(c, book)
    await builders.change_attempt(c, book, late, "failed")
    await builders.change_payment(c, book, late, "failed")
    await builders.insert(c, "gateway_interactions", **builders.interaction_row(book, late))
    await builders.insert(c, "late_charges", **late_charge_row(book, late))
    await builders.insert(c, "reviews", **open_review_row(book, late, "late_charge"))
    await healthy_webhooks(c, book)
    return book


@pytest.mark.parametrize(("invariant", "plant"), PLANTED, ids=lambda part: getattr(part, "__name__", ""))
async def test_a_planted_violation_is_found(as_admin: asyncpg.Connection, invariant: str, plant: Plant) -> None:
    book = await healthy_book(as_admin)
    payment_id = await plant(as_admin, book)
    found = await as_admin.fetch(f"select * from inv.{invariant}($1)", NOW)
    assert {(row["merchant_id"], row["payment_id"]) for row in found} == {(book.merchant_id, payment_id)}
    assert all(row["detail"] for row in found)
    among_all = await as_admin.fetch("select * from inv.all_violations($1) where invariant = $2", NOW, invariant)
    assert [row["detail"] for row in among_all] == [row["detail"] for row in found]


async def test_a_healthy_book_has_no_violation(as_admin: asyncpg.Connection) -> None:
    await healthy_book(as_admin)
    await as_admin.execute("set role paymux_app")
    assert await as_admin.fetch("select * from inv.all_violations($1)", NOW) == []


async def test_every_invariant_has_a_planted_violation(as_admin: asyncpg.Connection) -> None:
    assert {invariant for invariant, _ in PLANTED} == await invariants(as_admin)


async def test_an_invariant_that_is_added_is_asked_with_the_others(as_admin: asyncpg.Connection) -> None:
    await as_admin.execute("""
        create function inv.never_well(at timestamptz)
        returns table (merchant_id uuid, payment_id uuid, detail text) language sql stable as $$
            select p.merchant_id, p.id, 'never' from public.payments p
        $$
    """)
    book = await builders.open_book(as_admin)
    payment_id = await builders.bear_payment(as_admin, book)
    found = await as_admin.fetch("select invariant, payment_id from inv.all_violations($1)", NOW)
    assert [tuple(row) for row in found] == [("never_well", payment_id)]


async def test_who_asks_about_what_is_recent_is_told_of_that_and_of_what_is_open(as_admin: asyncpg.Connection) -> None:
    book = await healthy_book(as_admin)
    old, old_and_open, young = [await failed_while_unknown(as_admin, book) for _ in range(3)]
    async with builders.planting(as_admin):
        # Broken all the same, and nobody asks about it any more.
        await as_admin.execute(
            "update payment_attempts set next_check_at = null, status = 'succeeded', finished_at = $2 "
            "where payment_id = $1",
            old,
            NOW,
        )
    query = "select payment_id from inv.recent_violations('status_unproven', $1, $2, 100)"
    assert {row["payment_id"] for row in await as_admin.fetch(query, NOW, young)} == {old_and_open, young}
    assert {row["payment_id"] for row in await as_admin.fetch(query, NOW, old)} == {old, old_and_open, young}
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await as_admin.fetch("select * from inv.recent_violations('all_violations', $1, $2, 100)", NOW, young)
