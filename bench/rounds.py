"""The first table: confirms of one API process against pgbench on the same server, in interleaved rounds."""

from collections.abc import Callable
from statistics import median

import asyncpg

from bench import limits
from bench.counters import Counters, Reading, hot_percent, memory_bytes
from bench.figures import median_of
from bench.loading import Loaded, confirm_payments, create_payments
from bench.stage import Api, Server, Shop, open_shop, running_api, running_server
from bench.verify import insist_on_whole_confirms

ROUNDS = 5
WARM_UP = 1_000
"""The first after a checkpoint write whole pages; and Python, plans and caches are cold."""
CONFIRMS = {1: 600, 32: 8_000, 128: 8_000}
"""So many for each number in flight: some seconds each, and fewer than the API remembers of its creates."""
TURNS, TURN = 6, 100
"""With one request in flight, so often and so many at a time, with and without batching."""
Say = Callable[[str], None]
Figures = dict[str, float]


async def measure_rounds(say: Say, *, rounds: int = ROUNDS) -> Figures:
    """Give the median of every figure."""
    async with running_server("main") as server:
        return median_of([await _round(server, number, say) for number in range(1, rounds + 1)])


async def _round(server: Server, number: int, say: Say) -> Figures:
    l0 = await limits.measure_reference(server, f"l0_{number}")
    await server.drop_database(f"l0_{number}")
    say(f"round {number}: L0 {l0:,.0f} confirms/s")
    shop = await open_shop(server, f"api_{number}", gateway="instant", base_url="instant://gateway")
    figures = await _measure_api(shop, say)
    plain = await open_shop(server, f"l1_{number}", gateway="instant", base_url="instant://gateway")
    limit = await limits.measure_plain(plain, await limits.documents_of_the_api(shop))
    for database in (shop.database, plain.database):
        await server.drop_database(database)
    say(f"round {number}: L1 {limit.confirms:,.0f} confirms/s")
    rate = figures["confirms_32"]
    return figures | {
        "l0": l0,
        "l1": limit.confirms,
        "cpu_us_postgres_l1": limit.cpu_us_postgres,
        "ratio_l0_32": rate / l0,
        "ratio_l1_32": rate / limit.confirms,
        "postgres_cpu_over_l1": figures["cpu_us_postgres"] / limit.cpu_us_postgres,
    }


async def _measure_api(shop: Shop, say: Say) -> Figures:
    figures: Figures = {}
    connection = await asyncpg.connect(shop.dsn)
    try:
        async with running_api(shop) as api:
            await _warm_up(api, shop, connection)
            counters = Counters(shop.server, connection, api)
            for in_flight, count in CONFIRMS.items():
                figures |= await _measure_in_flight(counters, shop, in_flight, count)
                say(f"  {in_flight} in flight: {figures[f'confirms_{in_flight}']:,.0f} confirms/s")
            figures["memory_mb"] = memory_bytes(api.pid) / 1e6
            async with running_api(shop, batch_max=1) as unbatched:
                await _warm_up(unbatched, shop, connection)
                figures |= await _compare_with_unbatched(api, unbatched, shop)
        figures |= {f"hot_pct_{table}": percent for table, percent in (await hot_percent(connection)).items()}
    finally:
        await connection.close()
    await insist_on_whole_confirms(shop, answered=2 * (WARM_UP + TURNS * TURN) + sum(CONFIRMS.values()))
    return figures


async def _compare_with_unbatched(batched: Api, unbatched: Api, shop: Shop) -> Figures:
    """Take turns with one request in flight: two processes, so that both have the same weather."""
    p50: dict[str, list[float]] = {"batched": [], "unbatched": []}
    for _ in range(TURNS):
        for name, api in (("batched", batched), ("unbatched", unbatched)):
            ids = await create_payments(api, shop, TURN)
            p50[name].append((await confirm_payments(api, shop, ids, in_flight=1)).p50_ms)
    return {
        "unbatched_p50_ms_1": median(p50["unbatched"]),
        "p50_1_over_unbatched": median(ours / theirs for ours, theirs in zip(*p50.values(), strict=True)),
    }


async def _warm_up(api: Api, shop: Shop, connection: asyncpg.Connection) -> None:
    ids = await create_payments(api, shop, WARM_UP)
    await connection.execute("checkpoint")
    await confirm_payments(api, shop, ids, in_flight=32)


async def _measure_in_flight(counters: Counters, shop: Shop, in_flight: int, count: int) -> Figures:
    ids = await create_payments(counters.api, shop, count)
    before = await counters.read()
    loaded = await confirm_payments(counters.api, shop, ids, in_flight=in_flight)
    after = await counters.read()
    figures = {
        f"confirms_{in_flight}": loaded.rate,
        f"p50_ms_{in_flight}": loaded.p50_ms,
        f"p99_ms_{in_flight}": loaded.p99_ms,
        f"p99_over_p50_{in_flight}": loaded.p99_ms / loaded.p50_ms,
    }
    if in_flight == 1:
        # Where nothing shares a statement; with more in flight it is a fraction.
        figures["statements_per_confirm"] = (after.statements - before.statements) / count
    if in_flight == 32:
        figures |= costs(before, after, loaded)
    return figures


def costs(before: Reading, after: Reading, loaded: Loaded) -> Figures:
    """Give what one confirm cost between two readings."""
    count = loaded.requests
    return {
        "cpu_us_api": (after.api_cpu - before.api_cpu) / count * 1e6,
        "cpu_us_postgres": (after.postgres_cpu - before.postgres_cpu) / count * 1e6,
        "cpu_us_load": loaded.cpu_us,
        "wal_bytes": (after.wal_bytes - before.wal_bytes) / count,
        "fpi": (after.full_page_images - before.full_page_images) / count,
        "statements_per_confirm_32": (after.statements - before.statements) / count,
    }
