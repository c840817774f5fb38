"""A reader of the log gets each event once, whoever commits how late."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from bench import growth
from paymux_core.ids import Kind, public_id
from paymux_flows.commands import ListEvents
from paymux_flows.event_feed import list_events, read_place
from paymux_postgres.bodies import pack_body
from paymux_postgres.event_log import SQL
from tests.support.builders import open_book
from tests.support.http import eventually
from tests.support.postgres import Database
from tests.webhooks.stage import Stage

COMMITS = 10_000
WRITERS = 8
HELD_EACH = 100
"""One transaction in so many stays open while others begin and commit behind it."""
INSERT = (
    "insert into merchant_events (merchant_id, id, type, public, livemode, actor, reason, body, recorded_at) "
    "values ($1, $2, 'webhook_endpoint.test', true, false, 'test', 'test', $3, $4)"
)


async def _page(stage: Stage, after: str | None, *, limit: int = 100) -> dict[str, Any]:
    place = None if after is None else read_place(after)
    reply = await list_events(ListEvents(stage.caller, limit=limit, after=place), stage.deps)
    page: dict[str, Any] = msgspec.json.decode(reply.body)
    return page


async def test_after_ten_thousand_commits_a_reader_has_each_event_once(stage: Stage, database: Database) -> None:
    written: list[UUID] = []
    body = pack_body(b"{}")

    async def write(number: int) -> None:
        connection = await asyncpg.connect(database.app_dsn)
        await connection.execute("set synchronous_commit to off")
        for turn in range(COMMITS // WRITERS):
            event_id = stage.deps.ids.new()
            values = (stage.caller.merchant_id, event_id, body, stage.clock.now())
            if (turn + number) % HELD_EACH:
                await connection.execute(INSERT, *values)
            else:
                async with connection.transaction():
                    await connection.execute(INSERT, *values)
                    await connection.execute("select pg_sleep(0.05)")
            written.append(event_id)
        await connection.close()

    writing = asyncio.gather(*(write(number) for number in range(WRITERS)))
    seen: list[str] = []
    after: str | None = None
    while True:
        over = writing.done()
        page = await _page(stage, after)
        seen += [event["id"] for event in page["data"]]
        after = page["next_cursor"]
        if over and not page["has_more"]:
            break
    await writing
    assert len(seen) == len(set(seen)) == COMMITS
    assert set(seen) == {public_id(Kind.EVENT, event_id) for event_id in written}


async def test_a_transaction_that_runs_hides_what_is_behind_it_until_it_ends(stage: Stage) -> None:
    holder = await asyncpg.connect(stage.admin_dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.fetchval("select pg_current_xact_id()::text")
    await stage.payment()
    hidden = await _page(stage, None)
    assert (hidden["data"], hidden["has_more"]) == ([], False)
    await transaction.commit()
    await holder.close()
    # Other databases of the server have transactions too.
    shown = await eventually(lambda: _page(stage, hidden["next_cursor"]), lambda page: bool(page["data"]), seconds=20)
    assert [event["type"] for event in shown["data"]] == ["payment.created"]


async def test_the_events_of_an_earlier_epoch_come_first_and_the_walk_goes_on(stage: Stage) -> None:
    await stage.payment()
    # As after a logical restore: what was is of the first epoch, what is written now of the second.
    await stage.admin.execute(
        "insert into event_epochs select epoch + 1, system_identifier, since from event_epochs;"
        "alter table payment_events alter column epoch set default 2"
    )
    await stage.payment()
    first = await _page(stage, None, limit=1)
    second = await _page(stage, first["next_cursor"], limit=1)
    pages = [second]
    while not pages[-1]["data"] and pages[-1]["has_more"]:
        pages.append(await _page(stage, pages[-1]["next_cursor"], limit=1))
    assert [len(first["data"]), len(pages[-1]["data"])] == [1, 1]
    assert first["data"][0]["id"] < pages[-1]["data"][0]["id"]
    assert len(pages) < 5


async def test_the_walk_finds_a_range_of_transactions_by_its_index(as_admin: asyncpg.Connection) -> None:
    book = await open_book(as_admin)
    await as_admin.execute("set session_replication_role = replica")
    for table in ("payments", "payment_events"):
        await as_admin.execute(growth.SQL[f"load_{table}"], *growth.values_of(table, book, 1, 5_000))
    await as_admin.execute("analyze")
    await as_admin.execute(f"prepare walk as {SQL['walk_log']}")
    for number in range(7):  # custom plans first, and then perhaps one for all
        plan = await as_admin.fetch(
            f"explain execute walk ('{book.merchant_id}', 1, {number}, false, 10, 74, '{UUID(int=0)}', 0, null, 101)"
        )
        assert any("payment_events_xid" in row[0] for row in plan), plan
        await as_admin.fetch(
            f"execute walk ('{book.merchant_id}', 1, {number}, false, 10, 74, '{UUID(int=0)}', 0, null, 101)"
        )
