"""Every pair of states is tried in SQL: the legal ones pass, all others are refused, whoever asks."""

from collections.abc import Awaitable
from itertools import product

import asyncpg
import pytest

from paymux_core.transitions import ATTEMPT_TRANSITIONS, PAYMENT_TRANSITIONS, AttemptStatus, PaymentStatus
from tests.support.builders import (
    attempt_row,
    bear_payment,
    change_attempt,
    change_payment,
    insert,
    open_book,
    payment_row,
    plant_attempt,
    plant_payment,
)

ROLES = ["paymux_app", "paymux_owner"]

LEGAL_PAYMENTS = {(origin, to) for origin, exits in PAYMENT_TRANSITIONS.items() for to in exits.values()}
PROOFS = {"succeeded": "succeeded", "requires_capture": "authorized", "failed": "failed", "canceled": "voided"}
"""What the attempt of a payment has to say, where it is not only to be open."""
LEGAL_ATTEMPTS = {(origin, to) for origin, exits in ATTEMPT_TRANSITIONS.items() for to in exits.values()}


async def test_the_tables_in_the_database_equal_those_in_the_code(as_app: asyncpg.Connection) -> None:
    payments = await as_app.fetch("select from_status, to_status from payment_transitions")
    attempts = await as_app.fetch("select from_status, to_status from attempt_transitions")
    assert {tuple(row) for row in payments} == LEGAL_PAYMENTS
    assert {tuple(row) for row in attempts} == LEGAL_ATTEMPTS


async def only_the_table_decides(as_admin: asyncpg.Connection) -> None:
    """Drop the guards that know a wrong move by its event or by what else it changes, before the table is asked."""
    await as_admin.execute("alter table payment_events drop constraint events_type_tells_move")
    await as_admin.execute("drop trigger attempts_written_once on payment_attempts")


async def accepted(as_admin: asyncpg.Connection, work: Awaitable[object], role: str) -> bool:
    """Try a statement as a role, undo it, and tell whether it passed; another refusal than the guard's is an error."""
    undone = as_admin.transaction()
    await undone.start()
    try:
        await as_admin.execute(f"set local role {role}")
        await work
    except asyncpg.IntegrityConstraintViolationError as refused:
        if "no transition from" not in str(refused) and "not born as" not in str(refused):
            raise
        return False
    else:
        return True
    finally:
        await undone.rollback()


@pytest.mark.parametrize("role", ROLES)
async def test_a_payment_moves_along_the_table_and_nowhere_else(as_admin: asyncpg.Connection, role: str) -> None:
    await only_the_table_decides(as_admin)
    book = await open_book(as_admin)
    passed = set()
    for origin, to in product(PaymentStatus, PaymentStatus):
        if origin is to:
            continue
        payment_id = await plant_payment(as_admin, book, origin)
        await plant_attempt(as_admin, book, payment_id, PROOFS.get(to, "pending"))
        if await accepted(as_admin, change_payment(as_admin, book, payment_id, to), role):
            passed.add((origin, to))
    assert passed == {pair for pair in LEGAL_PAYMENTS if pair[0] is not None}


@pytest.mark.parametrize("role", ROLES)
async def test_an_attempt_moves_along_the_table_and_nowhere_else(as_admin: asyncpg.Connection, role: str) -> None:
    await only_the_table_decides(as_admin)
    book = await open_book(as_admin)
    passed = set()
    for origin, to in product(AttemptStatus, AttemptStatus):
        if origin is to:
            continue
        payment_id = await plant_payment(as_admin, book, "processing")
        await plant_attempt(as_admin, book, payment_id, origin)
        if await accepted(as_admin, change_attempt(as_admin, book, payment_id, to), role):
            passed.add((origin, to))
    assert passed == {pair for pair in LEGAL_ATTEMPTS if pair[0] is not None}


@pytest.mark.parametrize("role", ROLES)
async def test_a_payment_is_born_waiting_for_its_confirmation_only(as_admin: asyncpg.Connection, role: str) -> None:
    await only_the_table_decides(as_admin)
    book = await open_book(as_admin)
    passed = set()
    for status in PaymentStatus:
        if status == "succeeded":
            continue  # needs an attempt, which needs its payment: refused below
        row = payment_row(book)
        births = {"status": status, "id": row["id"]}
        if status in {"processing", "requires_action"}:
            births["processing_deadline_at"] = row["created_at"]
        if status in {"failed", "canceled"}:
            births |= {"finalized_at": row["created_at"], "final_position": 1}
        if await accepted(as_admin, bear_payment(as_admin, book, **births), role):
            passed.add((None, status))
    assert passed == {pair for pair in LEGAL_PAYMENTS if pair[0] is None}


@pytest.mark.parametrize("role", ROLES)
async def test_an_attempt_is_born_started_only(as_admin: asyncpg.Connection, role: str) -> None:
    book = await open_book(as_admin)
    passed = set()
    for status in AttemptStatus:
        payment_id = await plant_payment(as_admin, book, "processing")
        row = attempt_row(book, payment_id, status=status)
        if status in {"succeeded", "failed", "not_executed", "voided"}:
            row["finished_at"] = row["created_at"]
        if await accepted(as_admin, insert(as_admin, "payment_attempts", **row), role):
            passed.add((None, status))
    assert passed == {pair for pair in LEGAL_ATTEMPTS if pair[0] is None}


async def test_without_the_guards_every_pair_would_pass(as_admin: asyncpg.Connection) -> None:
    book = await open_book(as_admin)
    await as_admin.execute("drop trigger payments_guard on payments; drop trigger attempts_guard on payment_attempts")
    await as_admin.execute("drop trigger attempts_written_once on payment_attempts")
    payment_id = await plant_payment(as_admin, book, "failed")
    await plant_attempt(as_admin, book, payment_id, "failed")
    assert await accepted(as_admin, change_payment(as_admin, book, payment_id, "processing"), "paymux_owner")
    assert await accepted(as_admin, change_attempt(as_admin, book, payment_id, "unknown"), "paymux_owner")
