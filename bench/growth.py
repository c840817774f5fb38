"""The second table: whether a confirm gets slower when there are two million payments."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from bench.figures import median_of
from bench.loading import confirm_payments, create_payments
from bench.stage import STARTED_AT, Api, Shop, open_shop, running_api, running_server
from paymux_postgres import queries
from tests.support.builders import Book

SQL = queries.load(__file__)
ROUNDS = 5
SMALL, LARGE = 10_000, 2_000_000
IN_FLIGHT = 32
CONFIRMS = 4_000
WARM_UP = 2_000
LOAD_CHUNK = 50_000
TABLES = ("payments", "payment_attempts", "payment_events", "gateway_interactions", "idempotency_keys")
Say = Callable[[str], None]


async def measure_growth(say: Say, *, rounds: int = ROUNDS) -> dict[str, float]:
    """Give p50 on a small and on a large book, rounds in turns, and how long the large one took to load."""
    async with _loaded("small", SMALL, say) as small, _loaded("large", LARGE, say) as large:
        for api, shop, _ in (small, large):
            await _p50(api, shop, WARM_UP)
        found = []
        for number in range(1, rounds + 1):
            p50 = {
                "p50_ms_10k": await _p50(small[0], small[1], CONFIRMS),
                "p50_ms_2m": await _p50(*large[:2], CONFIRMS),
            }
            say(f"growth round {number}: p50 {p50['p50_ms_10k']:.2f} ms with 10 k, {p50['p50_ms_2m']:.2f} ms with 2 M")
            found.append(p50 | {"p50_2m_over_10k": p50["p50_ms_2m"] / p50["p50_ms_10k"]})
        return median_of(found) | {"load_seconds_2m": large[2]}


async def _p50(api: Api, shop: Shop, count: int) -> float:
    ids = await create_payments(api, shop, count)
    return (await confirm_payments(api, shop, ids, in_flight=IN_FLIGHT)).p50_ms


@asynccontextmanager
async def _loaded(name: str, payments: int, say: Say) -> AsyncIterator[tuple[Api, Shop, float]]:
    """Run a server with so many confirmed payments, in a data directory of its own, and an API on it."""
    # Without replication a table that is filled in the transaction that emptied it needs no WAL.
    async with running_server(name, {"wal_level": "minimal", "max_wal_senders": "0"}) as server:
        shop = await open_shop(server, "grown", gateway="instant", base_url="instant://gateway")
        began = time.monotonic()
        await _load_history(shop, payments, say)
        took = time.monotonic() - began
        async with running_api(shop) as api:
            yield api, shop, took


async def _load_history(shop: Shop, payments: int, say: Say) -> None:
    """Insert confirmed payments with all their rows, past the triggers: the constraints hold, and so do the indexes."""
    connection = await asyncpg.connect(shop.dsn)
    try:
        book = Book(shop.merchant_id, await connection.fetchval(SQL["find_account"]))
        await connection.execute("set session_replication_role = replica")
        await connection.execute("set maintenance_work_mem = '256MB'")
        async with connection.transaction():
            await connection.execute(f"truncate {', '.join(TABLES)} cascade")
            # Sorting once at the end is faster than finding a place for each row.
            indexes = await connection.fetch(SQL["list_indexes"], list(TABLES))
            for index in indexes:
                await connection.execute(f"drop index {index['name']}")
            for start in range(1, payments + 1, LOAD_CHUNK):
                end = min(start + LOAD_CHUNK - 1, payments)
                for table in TABLES:
                    await connection.execute(SQL[f"load_{table}"], *values_of(table, book, start, end))
                if payments > LOAD_CHUNK:
                    say(f"loaded {end:,} of {payments:,} payments")
            for index in indexes:
                await connection.execute(index["definition"])
        await connection.execute("analyze")
        await connection.execute("checkpoint")
    finally:
        await connection.close()


def values_of(table: str, book: Book, start: int, end: int) -> tuple[object, ...]:
    """Give the parameters of a table's statement: which payments, of which merchant and account."""
    values: tuple[object, ...] = (book.merchant_id, start, end, STARTED_AT)
    return (*values, book.account_id) if table == "payment_attempts" else values
