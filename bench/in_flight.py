"""The third table: many confirms in flight at a slow gateway, and the two-phase gateway with its three commits."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from bench.counters import Counters, memory_bytes
from bench.figures import median_of
from bench.loading import confirm_payments, create_payments
from bench.stage import Api, Server, Shop, open_shop, running_api, running_server
from bench.verify import insist_on_whole_confirms
from paymux_postgres import queries

SQL = queries.load(__file__)
ROUNDS = 5
GATEWAY_MS = 50
CONFIRMS = {50: 2_500, 1_000: 5_000}
TWO_PHASE_IN_FLIGHT = 32
TWO_PHASE_CONFIRMS = 3_000
LOOK_SECONDS = 0.1
Say = Callable[[str], None]
Figures = dict[str, float]


async def measure_slow_gateway(say: Say, *, rounds: int = ROUNDS) -> Figures:
    """Give the figures of a gateway that takes 50 ms."""
    async with running_server("in_flight") as server:
        return median_of([await _slow_gateway(server, number, say) for number in range(1, rounds + 1)])


async def measure_two_phase(say: Say, *, rounds: int = ROUNDS) -> Figures:
    """Give the figures of a two-phase gateway that takes no time."""
    async with running_server("two_phase") as server:
        return median_of([await _two_phase(server, number, say) for number in range(1, rounds + 1)])


async def _slow_gateway(server: Server, number: int, say: Say) -> Figures:
    figures: Figures = {"gateway_ms": GATEWAY_MS}
    async with _running_gateway(GATEWAY_MS) as url:
        shop = await open_shop(server, f"slow_{number}", gateway="mock", base_url=url)
        async with running_api(shop) as api:
            ids = await create_payments(api, shop, 1_000)
            await confirm_payments(api, shop, ids, in_flight=50)
            for in_flight, count in CONFIRMS.items():
                figures |= await _measure(api, shop, in_flight, count)
                p50 = figures[f"p50_ms_{in_flight}"]
                say(f"gateway of {GATEWAY_MS} ms, {in_flight} in flight, round {number}: p50 {p50:.1f} ms")
        await insist_on_whole_confirms(shop, answered=1_000 + sum(CONFIRMS.values()))
    return figures


async def _measure(api: Api, shop: Shop, in_flight: int, count: int) -> Figures:
    ids = await create_payments(api, shop, count)
    before = memory_bytes(api.pid)
    async with _watched(api, shop) as seen:
        loaded = await confirm_payments(api, shop, ids, in_flight=in_flight)
    return {
        f"confirms_{in_flight}": loaded.rate,
        f"p50_ms_{in_flight}": loaded.p50_ms,
        f"p99_ms_{in_flight}": loaded.p99_ms,
        f"p50_over_gateway_ms_{in_flight}": loaded.p50_ms - GATEWAY_MS,
        f"connections_{in_flight}": seen.connections,
        f"memory_kb_each_{in_flight}": max(0, seen.memory - before) / in_flight / 1000,
        f"errors_{in_flight}": 0,  # an answer that is wrong ends the bench
    }


@dataclass(slots=True)
class _Seen:
    """The most that was seen during a run."""

    connections: int = 0
    memory: int = 0


@asynccontextmanager
async def _watched(api: Api, shop: Shop) -> AsyncIterator[_Seen]:
    """Look ten times a second at the API's connections to the database and at its memory."""
    seen = _Seen()
    connection = await asyncpg.connect(shop.dsn)

    async def look() -> None:
        while True:
            seen.connections = max(seen.connections, await connection.fetchval(SQL["count_connections"]))
            seen.memory = max(seen.memory, memory_bytes(api.pid))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await connection.close()


async def _two_phase(server: Server, number: int, say: Say) -> Figures:
    """Reserve, commit the id, charge: three commits and two requests for each confirm."""
    async with _running_gateway(0) as url:
        shop = await open_shop(server, f"two_phase_{number}", gateway="stripe", base_url=url)
        connection = await asyncpg.connect(shop.dsn)
        try:
            async with running_api(shop) as api:
                ids = await create_payments(api, shop, 1_000 + TWO_PHASE_CONFIRMS)
                await confirm_payments(api, shop, ids[:1_000], in_flight=TWO_PHASE_IN_FLIGHT)
                counters = Counters(server, connection, api)
                before = await counters.read()
                loaded = await confirm_payments(api, shop, ids[1_000:], in_flight=TWO_PHASE_IN_FLIGHT)
                after = await counters.read()
        finally:
            await connection.close()
        await insist_on_whole_confirms(shop, answered=1_000 + TWO_PHASE_CONFIRMS, requests_each=2)
    say(f"two-phase gateway, {TWO_PHASE_IN_FLIGHT} in flight, round {number}: {loaded.rate:,.0f} confirms/s")
    return {
        "confirms_32": loaded.rate,
        "p50_ms_32": loaded.p50_ms,
        "p99_ms_32": loaded.p99_ms,
        "wal_bytes": (after.wal_bytes - before.wal_bytes) / loaded.requests,
        "statements_per_confirm_32": (after.statements - before.statements) / loaded.requests,
    }


@asynccontextmanager
async def _running_gateway(delay_ms: float) -> AsyncIterator[str]:
    """Run the gateway's process; gives its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.gateway", "--delay-ms", str(delay_ms), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()
