"""A payment born in this process is given to its confirm as it was born: equal to its row, and only once."""

from datetime import UTC, datetime

import asyncpg

from paymux_core.phases import NewPayment
from paymux_core.records import Payment, PaymentMethod
from paymux_core.transitions import PaymentStatus
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import BORN_MAX, PostgresStore
from tests.support.builders import Book, new_id, open_book
from tests.support.chance import TEST_SEALER, SeededRng
from tests.support.postgres import Database

AT = datetime(2026, 1, 15, 12, 30, 15, 123456, tzinfo=UTC)


def born(book: Book) -> Payment:
    return Payment(
        merchant_id=book.merchant_id,
        id=new_id(),
        amount=1999,
        currency="eur",
        status=PaymentStatus.REQUIRES_CONFIRMATION,
        capture_method="automatic",
        livemode=False,
        metadata={"order": "7", "a longer name": "ü"},
        version=1,
        event_position=1,
        event_sequence=1,
        created_at=AT,
        updated_at=AT,
        reference="order-7",
        description="Order 7",
        customer_reference="customer-7",
        payment_method=PaymentMethod("card", None, {"mock": "token"}),
        return_url="https://shop.example/back",
        off_session=True,
    )


async def test_what_is_remembered_equals_the_row_and_is_given_once(
    database: Database, as_admin: asyncpg.Connection
) -> None:
    payment = born(await open_book(as_admin))
    store = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("born"), sealer=TEST_SEALER)
    await store.open()
    try:
        assert await store.create_payment(NewPayment(payment, None, "test", "req_12345678"))
        remembered = await store.read_payment(payment.merchant_id, payment.id)
        read = await store.read_payment(payment.merchant_id, payment.id)
        assert remembered is payment
        assert read is not payment
        assert read == payment
    finally:
        await store.close()


async def test_the_oldest_are_forgotten_and_a_refused_one_was_never_remembered(
    database: Database, as_admin: asyncpg.Connection
) -> None:
    payment = born(await open_book(as_admin))
    store = PostgresStore(DatabaseSettings(database.dsn), rng=SeededRng("born"), sealer=TEST_SEALER)
    await store.open()
    try:
        assert await store.create_payment(NewPayment(payment, None, "test", "req_12345678"))
        again = born(Book(payment.merchant_id, new_id()))
        assert not await store.create_payment(NewPayment(again, None, "test", "req_12345678")), "its reference is held"
        assert await store.read_payment(again.merchant_id, again.id) is None
        assert len(store._born) == 1 <= BORN_MAX
    finally:
        await store.close()
