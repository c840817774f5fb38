"""What Postgres itself can do, by pgbench on the same server: L0 on a fixed schema, L1 on the product's own."""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from bench import reference
from bench.counters import postgres_cpu_seconds
from bench.stage import OUT, Server, Shop
from paymux_postgres import queries

SQL = queries.load(__file__)
CLIENTS = 8
"""Four for each of two cores; more clients reached less."""
TRANSACTIONS = 1_500
"""Of each client: some four seconds on two cores."""
PAYMENTS = CLIENTS * TRANSACTIONS


class PgbenchFailed(Exception):
    """pgbench is missing, or did not do what was asked; the message says which."""


async def measure_reference(server: Server, database: str) -> float:
    """Give L0 in confirms/s. Raises: PgbenchFailed."""
    dsn = await server.new_database(database, template="template1")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(reference.SQL["make_tables"])
        await connection.execute(reference.SQL["load_payments"], reference.MERCHANT_ID, PAYMENTS)
        await connection.execute("checkpoint")
        rate = await _run_pgbench(server, dsn, reference.SQL["confirm_reference"], reference.values())
        await _insist_on_all(connection)
    finally:
        await connection.close()
    return rate


@dataclass(frozen=True, slots=True)
class Limit:
    """What pgbench reached, and the CPU of Postgres for one confirm in microseconds."""

    confirms: float
    cpu_us_postgres: float


async def measure_plain(shop: Shop, documents: Mapping[str, str]) -> Limit:
    """Give L1. `documents`: request, response and body as the API writes them. Raises: PgbenchFailed."""
    await shop.load_payments(PAYMENTS)
    connection = await asyncpg.connect(shop.dsn)
    try:
        account_id = await connection.fetchval(SQL["find_account"])
        await connection.execute("checkpoint")
        values = {"merchant_id": str(shop.merchant_id), "account_id": str(account_id), **documents}
        before = postgres_cpu_seconds(shop.server)
        rate = await _run_pgbench(shop.server, shop.dsn, SQL["confirm_plainly"], values)
        cpu = postgres_cpu_seconds(shop.server) - before
        await _insist_on_all(connection)
    finally:
        await connection.close()
    return Limit(rate, cpu / PAYMENTS * 1e6)


async def documents_of_the_api(shop: Shop) -> dict[str, str]:
    """Take what the API wrote for one of its payments, so that both write the same."""
    connection = await asyncpg.connect(shop.dsn)
    try:
        row = await connection.fetchrow(SQL["documents_of_the_api"])
    finally:
        await connection.close()
    assert row is not None, "the API has confirmed something before"
    return dict(row)


async def _insist_on_all(connection: asyncpg.Connection) -> None:
    done = await connection.fetchval(SQL["count_succeeded"])
    if done != PAYMENTS:
        raise PgbenchFailed(f"{done} of {PAYMENTS} payments succeeded")


async def _run_pgbench(server: Server, dsn: str, script: str, values: Mapping[str, str]) -> float:
    file = OUT / "pgbench.sql"
    file.write_text(script)
    pgbench = server.bindir / "pgbench"
    if not os.access(pgbench, os.X_OK):
        raise PgbenchFailed(f"{pgbench} is missing; set PAYMUX_POSTGRES_BINDIR to an installation that has it")
    options = [f"-D{name}={value}" for name, value in {**values, "clients": str(CLIENTS), "n": "0"}.items()]
    command = [str(pgbench), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1", "-t", str(TRANSACTIONS)]
    process = await asyncio.create_subprocess_exec(
        *command, "-f", str(file), *options, dsn, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    found = re.search(rb"tps = ([0-9.]+) \(without", output)
    if process.returncode or found is None:
        raise PgbenchFailed(errors.decode(errors="replace")[-2000:])
    return float(found[1])
