"""Each trouble, made on real parts, is found by `paymux doctor`, and a sound installation has none."""

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from paymux_cli.composition import open_stack
from paymux_cli.doctor import COULD_NOT_LOOK, FOUND, NOTHING_FOUND, SHOWN_MAX, examine
from paymux_cli.embedded_postgres import CLUSTER_NAME, EmbeddedPostgres
from paymux_cli.processes import free_port
from paymux_cli.settings import StackSettings
from paymux_core.ids import uuid7
from paymux_postgres.logins import make_application_login
from paymux_postgres.migrate import migrate
from paymux_worker.schedules import Scheduler
from paymux_worker.tasks import TASKS
from tests.support import builders
from tests.support.commands import paymux
from tests.support.postgres import Database, Databases

Settings = dict[str, str]
SECRETS = {"PAYMUX_MASTER_KEY": secrets.token_hex(32), "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}"}


async def let_schedules_run(settings: Settings) -> None:
    """Do what a worker does when it starts."""
    async with open_stack(StackSettings.from_environment(settings), name="worker") as stack:
        scheduler = Scheduler(stack.deps, "test", asyncio.Event(), TASKS, stack.retention_months)
        await scheduler.begin_due()
        await scheduler.finish()


@pytest.fixture
async def sound(database: Database) -> Settings:
    """An installation with nothing wrong."""
    settings = {**SECRETS, "PAYMUX_DATABASE_URL": database.app_dsn}
    await let_schedules_run(settings)
    return settings


async def checks_of(settings: Settings, *, everything: bool = False) -> set[str]:
    return {finding.check for finding in await examine(settings, everything=everything)}


async def test_a_sound_installation_has_nothing(sound: Settings) -> None:
    assert await examine(sound, everything=False) == []
    assert await examine(sound, everything=True) == []


async def test_a_database_that_does_not_answer(sound: Settings) -> None:
    down = sound | {"PAYMUX_DATABASE_URL": f"postgresql://paymux@127.0.0.1:{free_port()}/paymux"}
    (finding,) = await examine(down, everything=False)
    assert finding.check == "database"
    assert "cannot connect" in finding.what


async def test_an_api_that_does_not_answer(sound: Settings) -> None:
    assert await checks_of(sound | {"PAYMUX_URL": f"http://127.0.0.1:{free_port()}"}) == {"api"}


async def test_migrations_that_are_missing(databases: Databases) -> None:
    empty = databases.empty()
    (finding,) = await examine({**SECRETS, "PAYMUX_DATABASE_URL": empty.app_dsn}, everything=False)
    assert finding.check == "migrations"
    assert "paymux migrate" in finding.what
    databases.drop(empty)


@pytest.mark.parametrize("seconds", [-5.0, 5.0])
async def test_a_machine_whose_clock_is_wrong(sound: Settings, seconds: float) -> None:
    (finding,) = await examine(sound, everything=False, machine=lambda: time.time() + seconds)
    assert finding.check == "clock"
    assert ("5.0 s ahead of" if seconds > 0 else "5.0 s behind") in finding.what


async def test_checks_that_nobody_does(sound: Settings, as_admin: asyncpg.Connection) -> None:
    book = await builders.open_book(as_admin)
    await builders.confirmed_payment(as_admin, book)
    found = await examine(sound, everything=False)
    assert {finding.check for finding in found} == {"checks", "invariants"}
    assert "1 checks are overdue" in next(finding.what for finding in found if finding.check == "checks")


async def test_an_invariant_that_is_broken_recently_or_long_ago(sound: Settings, as_admin: asyncpg.Connection) -> None:
    book = await builders.open_book(as_admin)
    old = await builders.plant_payment(as_admin, book, "succeeded")
    (told,) = {f.what for f in await examine(sound, everything=True) if "status_unproven" in f.what}
    assert "succeeded with attempts (none)" in told
    assert await checks_of(sound) == set(), "too old for a short look"
    async with builders.planting(as_admin):
        young = uuid7(int(time.time() * 1000), 1)
        await as_admin.execute("update payments set id = $2 where id = $1", old, young)
        await as_admin.execute("update payment_events set payment_id = $2 where payment_id = $1", old, young)
    assert await checks_of(sound) == {"invariants"}


async def test_many_violations_are_not_told_one_by_one(sound: Settings, as_admin: asyncpg.Connection) -> None:
    book = await builders.open_book(as_admin)
    for _ in range(SHOWN_MAX + 1):
        await builders.plant_payment(as_admin, book, "succeeded")
    found = await examine(sound, everything=True)
    assert len(found) == SHOWN_MAX + 1
    assert found[-1].what.startswith("there are more")


async def test_live_keys_on_the_embedded_server(sound: Settings, as_admin: asyncpg.Connection) -> None:
    if await as_admin.fetchval("show cluster_name") != CLUSTER_NAME:
        pytest.skip("these tests run on a server of somebody's own")
    book = await builders.open_book(as_admin)
    await builders.insert(
        as_admin,
        "api_keys",
        key_id="0123456789",
        merchant_id=book.merchant_id,
        name="live",
        token_hash=bytes(32),
        pepper_version=1,
        last4="abcd",
        scopes=[],
        livemode=True,
        created_at=builders.NOW,
    )
    assert await checks_of(sound) == {"embedded"}
    assert await checks_of(sound | {"PAYMUX_TEST_CLOCK_OFFSET": "1"}) == {"embedded", "test_clock"}


async def test_a_database_that_was_restored(sound: Settings, as_admin: asyncpg.Connection) -> None:
    await as_admin.execute("update event_epochs set system_identifier = 1")
    assert await checks_of(sound) == {"epoch"}


async def test_a_login_that_the_guards_do_not_bind(sound: Settings, database: Database) -> None:
    (finding,) = await examine(sound | {"PAYMUX_DATABASE_URL": database.dsn}, everything=False)
    assert finding.check == "server"
    assert "is a superuser" in finding.what


async def test_schedules_that_never_ran(database: Database) -> None:
    found = await examine({**SECRETS, "PAYMUX_DATABASE_URL": database.app_dsn}, everything=False)
    told = " ".join(finding.what for finding in found if finding.check == "schedules")
    assert all(f"{task.kind} never ran" in told for task in TASKS)


async def test_schedules_that_stopped_and_slots_that_were_given_up(
    sound: Settings, as_admin: asyncpg.Connection
) -> None:
    async with builders.planting(as_admin):
        await as_admin.execute("update schedules set finished_at = finished_at - interval '3 days' where kind = 'reap'")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await builders.insert(
        as_admin, "schedules", kind="reap", slot=an_hour_ago, started_at=an_hour_ago, lease_expires_at=an_hour_ago
    )
    found = await examine(sound, everything=False)
    assert {finding.check for finding in found} == {"schedules"}
    assert [finding.what.partition(" ago")[0].partition(";")[0] for finding in found] == [
        found[0].what.partition(" ago")[0],
        "reap was given up 1 times in a day",
    ]
    assert found[0].what.startswith("reap last succeeded 3 days")


async def test_months_that_are_not_made_and_rows_without_a_month(
    sound: Settings, as_admin: asyncpg.Connection, as_owner: asyncpg.Connection
) -> None:
    for row in await as_admin.fetch(
        "select name from monthly_partitions('gateway_interactions') where upper_bound is not null and name ~ '_y'"
    ):
        await as_owner.execute(f"drop table {row['name']}")
    await as_owner.execute("alter table gateway_interactions detach partition gateway_interactions_before")
    last_month = uuid7(int((time.time() - 40 * 86_400) * 1000), 1)
    await as_owner.execute(
        "alter table gateway_interactions attach partition gateway_interactions_before "
        f"for values from (minvalue) to ('{last_month}')"
    )
    assert await checks_of(sound) == {"partitions"}
    book = await builders.open_book(as_admin)
    payment_id = await builders.succeeded_payment(as_admin, book)
    now = builders.interaction_row(book, payment_id, id=uuid7(int(time.time() * 1000), 2))
    await builders.insert(as_admin, "gateway_interactions", **now)
    found = [finding.what for finding in await examine(sound, everything=False)]
    assert any("rows that no month was made for" in what for what in found)


@pytest.mark.slow
async def test_a_server_that_forgets(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, settings={"fsync": "off"})
    dsn = await server.start()
    try:
        await migrate(dsn, now=datetime.now(UTC), progress=lambda _: None)
        app_dsn = await make_application_login(dsn, password=secrets.token_hex(32))
        found = await examine({**SECRETS, "PAYMUX_DATABASE_URL": app_dsn}, everything=False)
        assert any(finding.check == "server" and "fsync is off" in finding.what for finding in found)
    finally:
        await server.stop()


async def test_a_script_is_told_by_the_exit_code_and_in_json(sound: Settings, tmp_path: Path) -> None:
    ran = paymux("doctor", settings=sound)
    assert (ran.code, ran.out) == (NOTHING_FOUND, "nothing found"), ran
    down = sound | {"PAYMUX_DATABASE_URL": f"postgresql://paymux@127.0.0.1:{free_port()}/paymux"}
    ran = paymux("doctor", "--all", "--json", settings=down)
    assert ran.code == FOUND
    assert [finding["check"] for finding in json.loads(ran.out)["findings"]] == ["database"]
    ran = paymux("doctor", "--json", settings={"PAYMUX_HOME": str(tmp_path / "nothing")})
    assert ran.code == COULD_NOT_LOOK
    assert "nothing runs on" in json.loads(ran.out)["could_not_look"]
    ran = paymux("doctor", settings=sound | {"PAYMUX_RETENTION_MONTHS": "1"})
    assert (ran.code, ran.out) == (
        COULD_NOT_LOOK,
        "could not look: PAYMUX_RETENTION_MONTHS: give a number of months from 3 to 999",
    )
