"""The plans of the statements every confirm runs: an index of the whole key at each table, whatever the tables hold."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping

import asyncpg
import pytest

from bench import growth
from paymux_postgres import idempotency_keys, inbound_webhooks, outcomes, payment_attempts, payments
from paymux_postgres.connections import _LANE_SESSION, DatabaseSettings, connect
from tests.support.builders import open_book
from tests.support.postgres import Database

HOT: Mapping[str, str] = {
    "create_payments": payments.SQL["create_payments"],
    "read_payments": payments.SQL["read_payments"],
    "open_attempts": payment_attempts.SQL["open_attempts"],
    "record_outcomes": outcomes.SQL["record_outcomes"],
    "read_keys": idempotency_keys.SQL["read_keys"],
    "find_keys": idempotency_keys.SQL["find_keys"],
    "store_webhooks": inbound_webhooks.SQL["store_webhooks"],
    "count_duplicates": inbound_webhooks.SQL["count_duplicates"],
}
KEYS: Mapping[str, frozenset[tuple[str, ...]]] = {
    "payments": frozenset({("merchant_id", "id")}),
    "payment_attempts": frozenset({("merchant_id", "payment_id", "number")}),
    "payment_events": frozenset({("merchant_id", "payment_id", "position")}),
    "idempotency_keys": frozenset({("merchant_id", "idempotency_key"), ("payment_id",)}),
    "reviews": frozenset({("merchant_id", "payment_id")}),
    "webhook_endpoints": frozenset({("merchant_id", "livemode")}),
    "inbound_webhook_keys": frozenset({("merchant_id", "gateway_account_id", "kind", "value")}),
    "inbound_webhook_work": frozenset({("merchant_id", "webhook_id")}),
}
"""The columns that have to be in the condition of an index, one of the sets for each table."""
PAYMENTS = 2_000


@pytest.fixture(params=["empty and never analysed", "filled and analysed"])
async def lane(
    database: Database, as_admin: asyncpg.Connection, request: pytest.FixtureRequest
) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the settings of a lane, on tables of two sizes."""
    if request.param == "filled and analysed":
        book = await open_book(as_admin)
        await as_admin.execute("set session_replication_role = replica")
        for table in growth.TABLES:
            await as_admin.execute(growth.SQL[f"load_{table}"], *growth.values_of(table, book, 1, PAYMENTS))
        await as_admin.execute(
            "insert into reviews (merchant_id, id, payment_id, reason, status, opened_at) "
            "select merchant_id, id, id, 'deadline', 'open', created_at from payments"
        )
        await as_admin.execute("analyze")
    connection = await connect(DatabaseSettings(database.dsn), session=_LANE_SESSION)
    yield connection
    await connection.close()


def nodes(plan: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Walk a plan."""
    yield plan
    inner = plan.get("Plans", [])
    assert isinstance(inner, list)
    for node in inner:
        yield from nodes(node)


async def plan_of(connection: asyncpg.Connection, sql: str) -> Mapping[str, object]:
    """Plan a statement as a lane does: once, for every parameter."""
    statement = await connection.prepare(sql)
    nulls = ", ".join("null" for _ in statement.get_parameters())
    await connection.execute(f"prepare pinned as {sql}")
    explained = await connection.fetchval(f"explain (format json) execute pinned({nulls})")
    plan = json.loads(explained)[0]["Plan"]
    assert isinstance(plan, dict)
    return plan


def complaints(plan: Mapping[str, object]) -> Iterator[str]:
    """Say what a plan does that it must not."""
    for node in nodes(plan):
        kind, table = str(node["Node Type"]), str(node.get("Relation Name", ""))
        if kind == "Seq Scan":
            yield f"Seq Scan on {table}"
        if kind in {"Hash Join", "Merge Join"}:
            yield kind
        if kind in {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}:
            condition = str(node.get("Index Cond", node.get("Recheck Cond", ""))).replace('"', "")
            if not any(all(f"{column} =" in condition for column in key) for key in KEYS[table]):
                yield f"{kind} on {table} with {condition or 'no condition'}"


@pytest.mark.parametrize("name", HOT)
async def test_a_hot_statement_finds_every_row_by_its_whole_key(lane: asyncpg.Connection, name: str) -> None:
    assert list(complaints(await plan_of(lane, HOT[name]))) == []


async def test_what_a_guard_asks_of_each_payment_is_part_of_its_plan(lane: asyncpg.Connection) -> None:
    sql = (
        "select t.* from payments n cross join lateral told_since(n.merchant_id, n.id, n.status, n.status, 0, "
        "n.event_position, 0, n.final_position) t where n.merchant_id = $1 and n.id = $2"
    )
    plan = await plan_of(lane, sql)
    asked = {str(node.get("Relation Name")) for node in nodes(plan)}
    assert asked >= {"payments", "payment_events", "payment_attempts"}, (
        "the function is called, and not planned with it"
    )
    assert not [found for found in complaints(plan) if found.startswith("Seq Scan")]


async def test_a_plan_that_scans_all_keys_of_a_merchant_is_found(lane: asyncpg.Connection) -> None:
    sql = "select k.payment_id from idempotency_keys k where k.merchant_id = $1 and k.request_hash = $2"
    assert list(complaints(await plan_of(lane, sql)))


async def test_a_claim_reads_the_longest_overdue_and_their_payments_by_key(lane: asyncpg.Connection) -> None:
    plan = await plan_of(lane, payment_attempts.SQL["claim_due_attempts"])
    conditions = {
        (str(node.get("Index Name")), "=" in str(node.get("Index Cond", "")).replace("<=", "")) for node in nodes(plan)
    }
    assert ("attempts_due", False) in conditions
    assert ("payments_pkey", True) in conditions
    assert complaints_of_scans(plan) == []


def complaints_of_scans(plan: Mapping[str, object]) -> list[str]:
    """List the tables that a plan reads from end to end."""
    return [str(node.get("Relation Name")) for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
