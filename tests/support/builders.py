"""Rows in plain SQL: merchants, payments, attempts and keys, born and moved exactly as the guards demand.

`bear` and `change` go by the rules; `plant` writes what no rule allows and works for an administrator only.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import asyncpg

from paymux_core.ids import uuid7
from paymux_core.transitions import ATTEMPT_CLOSED, PAYMENT_TERMINAL
from paymux_postgres.bodies import pack_body

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=30)
HASH = bytes(32)
ANSWER = pack_body(b'{"object": "payment"}')

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Book:
    """A merchant with one gateway account."""

    merchant_id: UUID
    account_id: UUID


def new_id() -> UUID:
    """Make a time-ordered id that no other call of this process makes."""
    return uuid7(int(NOW.timestamp() * 1000), next(_numbers))


async def insert(connection: asyncpg.Connection, table: str, **columns: object) -> None:
    """Insert one row."""
    names, places = ", ".join(columns), ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    await connection.execute(f"insert into {table} ({names}) values ({places})", *columns.values())


async def open_book(connection: asyncpg.Connection) -> Book:
    """Insert a merchant and its gateway account."""
    book = Book(new_id(), new_id())
    await insert(connection, "merchants", id=book.merchant_id, name="a shop", created_at=NOW)
    await insert(
        connection,
        "gateway_accounts",
        merchant_id=book.merchant_id,
        id=book.account_id,
        gateway="mock",
        name="mock",
        status="enabled",
        livemode=False,
        base_url="http://127.0.0.1:1",
        created_at=NOW,
        updated_at=NOW,
    )
    return book


def payment_row(book: Book, **columns: object) -> dict[str, object]:
    """A payment as it is born; `columns` replace the defaults."""
    return {
        "merchant_id": book.merchant_id,
        "id": new_id(),
        "amount": 1000,
        "currency": "usd",
        "currency_exponent": 2,
        "status": "requires_confirmation",
        "capture_method": "automatic",
        "livemode": False,
        "event_position": 1,
        "event_sequence": 1,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    } | columns


def attempt_row(book: Book, payment_id: UUID, **columns: object) -> dict[str, object]:
    """An attempt as it is born; `columns` replace the defaults."""
    return {
        "merchant_id": book.merchant_id,
        "payment_id": payment_id,
        "number": 1,
        "gateway": "mock",
        "gateway_account_id": book.account_id,
        "status": "started",
        "amount": 1000,
        "currency": "usd",
        "payment_method": '{"type": "card", "token": "sandbox_approve"}',
        "request_digest": HASH,
        "connector_version": "1",
        "request_id": "req_1",
        "charge_window_ends_at": NOW + timedelta(seconds=120),
        "next_check_at": SOON,
        "created_at": NOW,
        "updated_at": NOW,
    } | columns


def event_row(book: Book, payment_id: UUID, position: int, **columns: object) -> dict[str, object]:
    """An event of a payment, of the type that its statuses tell; `columns` replace the defaults."""
    moved_to = columns.get("to_status")
    kind = "attempt.unknown" if moved_to is None else f"payment.{moved_to}"
    return {
        "merchant_id": book.merchant_id,
        "payment_id": payment_id,
        "position": position,
        "sequence": position,
        "type": kind if position > 1 else "payment.created",
        "actor": "test",
        "reason": "test",
        "recorded_at": NOW,
    } | columns


def key_row(book: Book, payment_id: UUID, **columns: object) -> dict[str, object]:
    """An idempotency key that is not finished; `columns` replace the defaults."""
    return {
        "merchant_id": book.merchant_id,
        "idempotency_key": f"key-{new_id()}",
        "request_hash": HASH,
        "payment_id": payment_id,
        "owned_until": SOON,
        "success_status": 200,
        "expires_at": NOW + timedelta(days=7),
        "created_at": NOW,
    } | columns


def interaction_row(book: Book, payment_id: UUID, **columns: object) -> dict[str, object]:
    """One request to a gateway with its answer; `columns` replace the defaults."""
    return {
        "merchant_id": book.merchant_id,
        "payment_id": payment_id,
        "id": new_id(),
        "attempt_number": 1,
        "event_position": 2,
        "verb": "charge",
        "method": "POST",
        "url": "http://127.0.0.1:1/charges",
        "request": "{}",
        "response": "{}",
        "bytes_sent": True,
        "outcome": "captured",
        "provider_payment_id": "ch_1",
        "actor": "test",
        "request_id": "req_1",
        "sent_at": NOW,
        "duration_ms": 5,
        "recorded_at": NOW,
    } | columns


async def bear_payment(connection: asyncpg.Connection, book: Book, **columns: object) -> UUID:
    """Insert a payment together with the event of its birth."""
    row = payment_row(book, **columns)
    names, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await connection.execute(
        f"with born as (insert into payments ({names}) values ({places}) returning *) "
        "insert into payment_events (merchant_id, payment_id, position, sequence, type, to_status, actor, reason, "
        "recorded_at) select merchant_id, id, 1, 1, 'payment.created', status, 'test', 'created', created_at from born",
        *row.values(),
    )
    payment_id = row["id"]
    assert isinstance(payment_id, UUID)
    return payment_id


async def change_payment(
    connection: asyncpg.Connection, book: Book, payment_id: UUID, status: str, **columns: object
) -> str:
    """Move a payment with all that its new status demands, and the event, in one statement; return the command tag."""
    before = await connection.fetchrow(
        "select status, amount, event_position from payments where merchant_id = $1 and id = $2",
        book.merchant_id,
        payment_id,
    )
    assert before is not None
    columns = payment_columns(status, amount=before["amount"], final_position=before["event_position"] + 1) | columns
    sets = "".join(f", {name} = ${n}" for n, name in enumerate(columns, 7))
    return await connection.execute(
        "with moved as (update payments set status = $3, event_position = event_position + 1, "
        f"event_sequence = event_sequence + 1, version = version + 1, updated_at = $5{sets} "
        "where merchant_id = $1 and id = $2 returning merchant_id, id, event_position, event_sequence) "
        "insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status, actor, "
        "reason, body, recorded_at) select merchant_id, id, event_position, event_sequence, 'payment.' || $3, $4, $3, "
        "'test', 'test', $6, $5 from moved",
        book.merchant_id,
        payment_id,
        status,
        before["status"],
        NOW,
        ANSWER,
        *columns.values(),
    )


def payment_columns(status: str, *, amount: int, final_position: int) -> dict[str, object]:
    """What else a payment in `status` has."""
    is_final = status in PAYMENT_TERMINAL
    succeeded = status == "succeeded"
    return {
        "processing_deadline_at": NOW + timedelta(hours=1) if status in {"processing", "requires_action"} else None,
        "amount_capturable": amount if status == "requires_capture" else 0,
        "amount_captured": amount if succeeded else 0,
        "succeeded_attempt": 1 if succeeded else None,
        "finalized_at": NOW if is_final else None,
        "final_position": final_position if is_final else None,
    }


async def open_attempt(connection: asyncpg.Connection, book: Book, payment_id: UUID, **columns: object) -> None:
    """Insert an attempt as it is born."""
    await insert(connection, "payment_attempts", **attempt_row(book, payment_id, **columns))


def attempt_columns(status: str) -> dict[str, object]:
    """What else an attempt in `status` has."""
    is_closed = status in ATTEMPT_CLOSED
    return {"next_check_at": None if is_closed else SOON, "finished_at": NOW if is_closed else None}


async def change_attempt(
    connection: asyncpg.Connection, book: Book, payment_id: UUID, status: str, **columns: object
) -> str:
    """Move the first attempt with all that its new status demands; return the command tag."""
    columns = attempt_columns(status) | columns
    sets = "".join(f", {name} = ${n}" for n, name in enumerate(columns, 4))
    return await connection.execute(
        f"update payment_attempts set status = $3{sets} where merchant_id = $1 and payment_id = $2 and number = 1",
        book.merchant_id,
        payment_id,
        status,
        *columns.values(),
    )


async def confirm_payment(connection: asyncpg.Connection, book: Book, payment_id: UUID, **columns: object) -> None:
    """Move a born payment to processing with its attempt and event, in one statement; `columns`: the attempt's."""
    row = attempt_row(book, payment_id, **columns)
    names, places = ", ".join(row), ", ".join(f"${n}" for n in range(4, len(row) + 4))
    await connection.execute(
        "with moved as (update payments set status = 'processing', gateway = 'mock', processing_deadline_at = $3, "
        "event_position = event_position + 1, event_sequence = event_sequence + 1, version = version + 1 "
        "where merchant_id = $1 and id = $2 returning *), "
        f"opened as (insert into payment_attempts ({names}) values ({places})) "
        "insert into payment_events (merchant_id, payment_id, position, sequence, type, from_status, to_status, actor, "
        "reason, recorded_at) select merchant_id, id, event_position, event_sequence, 'payment.processing', "
        "'requires_confirmation', 'processing', 'test', 'test', updated_at from moved",
        book.merchant_id,
        payment_id,
        NOW + timedelta(hours=1),
        *row.values(),
    )


async def confirmed_payment(connection: asyncpg.Connection, book: Book, **columns: object) -> UUID:
    """Bear a payment and confirm it: processing, with a started attempt."""
    payment_id = await bear_payment(connection, book, **columns)
    await confirm_payment(connection, book, payment_id)
    return payment_id


async def succeeded_payment(connection: asyncpg.Connection, book: Book, **columns: object) -> UUID:
    """Bear a payment and walk it to success, with its interaction and its answered key."""
    payment_id = await confirmed_payment(connection, book, **columns)
    await insert(connection, "idempotency_keys", **key_row(book, payment_id, attempt_number=1))
    await insert(connection, "gateway_interactions", **interaction_row(book, payment_id))
    await change_attempt(connection, book, payment_id, "succeeded", money_requested=True, provider_payment_id="ch_1")
    await change_payment(connection, book, payment_id, "succeeded")
    await connection.execute(
        "update idempotency_keys set finished_at = $3, response_status = 200 "
        "where merchant_id = $1 and payment_id = $2",
        book.merchant_id,
        payment_id,
        NOW,
    )
    return payment_id


@asynccontextmanager
async def planting(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Switch triggers and foreign keys off for this administrator's session; checks and unique indexes stay."""
    await connection.execute("set session_replication_role = replica")
    try:
        yield
    finally:
        await connection.execute("set session_replication_role = origin")


async def plant_payment(connection: asyncpg.Connection, book: Book, status: str, **columns: object) -> UUID:
    """Write a payment in any status as if it had come there by the shortest story, told in two events."""
    row = payment_row(book, status=status, event_position=2, event_sequence=2, version=2)
    row |= payment_columns(status, amount=1000, final_position=2) | columns
    payment_id = row["id"]
    assert isinstance(payment_id, UUID)
    async with planting(connection):
        await insert(connection, "payments", **row)
        await insert(connection, "payment_events", **event_row(book, payment_id, 1, to_status="requires_confirmation"))
        await insert(
            connection,
            "payment_events",
            **event_row(book, payment_id, 2, from_status="requires_confirmation", to_status=status, body=ANSWER),
        )
    return payment_id


async def plant_review(connection: asyncpg.Connection, book: Book, payment_id: UUID, **columns: object) -> None:
    """Write a review that was resolved."""
    row = {"merchant_id": book.merchant_id, "id": new_id(), "payment_id": payment_id, "attempt_number": 1}
    told = {"reason": "deadline", "status": "resolved", "opened_at": NOW, "resolved_at": NOW}
    word = {"resolution": "mark_failed", "evidence": "the gateway's own word", "actor": "ann"}
    async with planting(connection):
        await insert(connection, "reviews", **(row | told | word | columns))


async def plant_attempt(
    connection: asyncpg.Connection, book: Book, payment_id: UUID, status: str, **columns: object
) -> None:
    """Write an attempt in any status."""
    async with planting(connection):
        row = attempt_row(book, payment_id, status=status) | attempt_columns(status) | columns
        await insert(connection, "payment_attempts", **row)
