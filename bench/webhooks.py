"""The fourth table: webhooks that are proven, read and stored by one API process, each of them a new event."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from uuid import UUID

import asyncpg

from bench.counters import Counters
from bench.figures import median_of
from bench.loading import AnswersWrong, send_requests
from bench.stage import Server, open_shop, running_api, running_server
from paymux_cli.composition import open_stack
from paymux_cli.settings import StackSettings
from paymux_cli.webhook_secrets import put_first
from paymux_core.ids import Kind, public_id

WEBHOOKS = 10_000
WARM_UP = 1_000
IN_FLIGHT = 64
SECRET = "whsec_of_the_bench"  # noqa: S105  proves nothing to anybody else
_CHARGE = {
    "id": "ch_762aef5750c95184a6862a35", "status": "succeeded", "amount": 1050, "currency": "USD",
    "payment_id": "pay_01m85nrj8ffm59ce1gp5skj4s8", "attempt_id": "att_01m85nrj8ffm59ce1gp5skj4s8_1", "captured": 1050,
    "refunded": 0, "decline": None, "created_at": "2026-11-24T00:25:34.660528Z", "description": "x" * 1500,
}  # fmt: skip
Figures = dict[str, float]


async def measure_webhooks(say: Callable[[str], None], *, rounds: int) -> Figures:
    """Give the median of every figure."""
    async with running_server("webhooks") as server:
        return median_of([await _round(server, number, say) for number in range(1, rounds + 1)])


async def _round(server: Server, number: int, say: Callable[[str], None]) -> Figures:
    shop = await open_shop(server, f"webhooks_{number}", gateway="mock", base_url="http://127.0.0.1:1")
    connection = await asyncpg.connect(shop.dsn)
    try:
        account_id = await connection.fetchval("select id from gateway_accounts")
        async with open_stack(StackSettings.from_environment(shop.environment), name="bench") as stack:
            await put_first(stack, shop.merchant_id, account_id, secret=SECRET, keep=1)
        async with running_api(shop) as api:
            expected = ("HTTP/1.1 200", '"stored"')
            await send_requests(api, _requests(account_id, 0, WARM_UP), expected, in_flight=IN_FLIGHT)
            requests = _requests(account_id, WARM_UP, WEBHOOKS)
            counters = Counters(server, connection, api)
            before = await counters.read()
            loaded = await send_requests(api, requests, expected, in_flight=IN_FLIGHT)
            after = await counters.read()
        stored = await connection.fetchval("select count(*) from inbound_webhooks where refusal is null")
    finally:
        await connection.close()
    if stored != WARM_UP + WEBHOOKS:
        raise AnswersWrong(f"{WARM_UP + WEBHOOKS} webhooks were answered 200, and {stored} are stored")
    await server.drop_database(shop.database)
    say(f"round {number}: {loaded.rate:,.0f} webhooks/s, p99 {loaded.p99_ms:.1f} ms")
    return {
        "webhooks": loaded.rate,
        "p50_ms": loaded.p50_ms,
        "p99_ms": loaded.p99_ms,
        "cpu_us_api": (after.api_cpu - before.api_cpu) / WEBHOOKS * 1e6,
        "cpu_us_postgres": (after.postgres_cpu - before.postgres_cpu) / WEBHOOKS * 1e6,
        "wal_bytes": (after.wal_bytes - before.wal_bytes) / WEBHOOKS,
    }


def _requests(account_id: UUID, first: int, count: int) -> list[str]:
    """Word and sign so many different events of 2 kB, as large as a gateway's are."""
    path, at = f"/webhooks/{public_id(Kind.GATEWAY_ACCOUNT, account_id)}", int(time.time())
    requests = []
    for number in range(first, first + count):
        body = json.dumps({"id": f"evt_{number}", "type": "charge.succeeded", "created": at, "charge": _CHARGE})
        made = hmac.new(SECRET.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nSandbox-Signature: t={at},v1={made}\r\n"
        requests.append(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    return requests
