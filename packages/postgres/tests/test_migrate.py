"""The runner applies each migration once, says what is wrong, and leaves nothing half done."""

import asyncio
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from paymux_postgres import migrate as runner
from paymux_postgres.migrate import MigrationRefused, migrate, pending
from tests.support.postgres import Database, Databases

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ignore(_: str) -> None:
    """Take progress and do nothing."""


async def pending_at(dsn: str, **folder: Path) -> list[str]:
    """Connect and name what is missing."""
    connection = await asyncpg.connect(dsn)
    try:
        return await pending(connection, **folder)
    finally:
        await connection.close()


def migration(folder: Path, name: str, sql: str) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "up.sql").write_text(sql)


@pytest.fixture
def empty(databases: Databases) -> Database:
    return databases.empty()


async def test_a_fresh_database_is_migrated_and_a_second_run_finds_nothing(empty: Database) -> None:
    names = [m.name for m in runner.migrations()]
    said: list[str] = []
    assert await pending_at(empty.dsn) == names
    assert await migrate(empty.dsn, now=NOW, progress=said.append) == names
    assert [name for name in names if any(name in line for line in said)] == names
    assert await pending_at(empty.dsn) == []
    assert await pending_at(empty.app_dsn) == []
    assert await migrate(empty.dsn, now=NOW, progress=ignore) == []


async def test_the_owner_owns_everything_and_nobody_else_creates(empty: Database) -> None:
    await migrate(empty.dsn, now=NOW, progress=ignore)
    connection = await asyncpg.connect(empty.dsn)
    strangers = await connection.fetch(
        "select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where nspname in ('public', 'inv') and relowner <> 'paymux_owner'::regrole"
    )
    assert strangers == []
    assert await connection.fetchval("select applied_at from schema_migrations limit 1") == NOW
    await connection.close()
    application = await asyncpg.connect(empty.app_dsn)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await application.execute("create table mine (id integer)")
    await application.close()


async def test_runs_at_the_same_time_apply_each_migration_once(empty: Database) -> None:
    runs = await asyncio.gather(*(migrate(empty.dsn, now=NOW, progress=ignore) for _ in range(4)))
    assert sorted(name for run in runs for name in run) == [m.name for m in runner.migrations()]


async def test_an_applied_file_that_changed_is_refused(empty: Database, tmp_path: Path) -> None:
    migration(tmp_path, "0001_first", "create table first (id integer)")
    await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)
    migration(tmp_path, "0001_first", "create table first (id bigint)")
    with pytest.raises(MigrationRefused, match="checksum differs"):
        await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)


async def test_a_failing_migration_changes_nothing_and_keeps_those_before_it(empty: Database, tmp_path: Path) -> None:
    migration(tmp_path, "0001_first", "create table first (id integer)")
    migration(tmp_path, "0002_second", "create table second (id integer); select 1 / 0")
    with pytest.raises(MigrationRefused, match="0002_second failed and changed nothing: division by zero"):
        await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)
    assert await pending_at(empty.dsn, folder=tmp_path) == ["0002_second"]
    connection = await asyncpg.connect(empty.dsn)
    assert await connection.fetchval("select to_regclass('second')") is None
    await connection.close()


async def test_a_database_of_a_newer_version_is_refused(empty: Database, tmp_path: Path) -> None:
    migration(tmp_path, "0001_first", "create table first (id integer)")
    migration(tmp_path, "0002_second", "create table second (id integer)")
    await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)
    shutil.rmtree(tmp_path / "0002_second")
    with pytest.raises(MigrationRefused, match="0002_second, which this version does not know"):
        await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)


async def test_a_migration_below_an_applied_one_is_refused(empty: Database, tmp_path: Path) -> None:
    migration(tmp_path, "0002_second", "create table second (id integer)")
    await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)
    migration(tmp_path, "0001_first", "create table first (id integer)")
    with pytest.raises(MigrationRefused, match="give it a new number"):
        await migrate(empty.dsn, now=NOW, progress=ignore, folder=tmp_path)


async def test_a_login_that_may_not_prepare_is_told_what_an_administrator_runs(empty: Database) -> None:
    connection = await asyncpg.connect(empty.dsn)
    await connection.execute(f"create role {empty.name} nologin")
    try:
        with pytest.raises(MigrationRefused, match=re.escape(f"grant paymux_owner, paymux_app to {empty.name}")):
            await migrate(empty.as_role(empty.name), now=NOW, progress=ignore)
    finally:
        await connection.execute(f"drop role {empty.name}")
        await connection.close()


async def test_a_member_of_the_owner_migrates_without_being_a_superuser(empty: Database) -> None:
    connection = await asyncpg.connect(empty.dsn)
    name = empty.name
    await connection.execute(
        f"create role {name} nologin; grant paymux_owner, paymux_app to {name}; "
        f"grant create on database {name} to paymux_owner; alter schema public owner to paymux_owner"
    )
    try:
        assert await migrate(empty.as_role(name), now=NOW, progress=ignore) == [m.name for m in runner.migrations()]
    finally:
        await connection.execute(f"drop role {name}")
        await connection.close()


async def test_a_restored_database_starts_a_new_epoch_of_its_log(empty: Database) -> None:
    await migrate(empty.dsn, now=NOW, progress=ignore)
    connection = await asyncpg.connect(empty.dsn)
    try:
        assert await connection.fetchval("select array_agg(epoch) from event_epochs") == [1]
        assert await runner.epoch_is_current(connection)
        # As a dump brings it along to another cluster.
        await connection.execute("update event_epochs set system_identifier = system_identifier + 1")
        assert not await runner.epoch_is_current(connection)
        assert await migrate(empty.dsn, now=NOW, progress=ignore) == []
        assert await runner.epoch_is_current(connection)
        assert await connection.fetchval("select array_agg(epoch order by epoch) from event_epochs") == [1, 2]
        defaults = await connection.fetch(
            "select pg_get_expr(adbin, adrelid) as value from pg_attrdef d "
            "join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum where attname = 'epoch'"
        )
        assert {row["value"] for row in defaults} == {"2"}
        assert len(defaults) >= len(runner._IN_EPOCHS)
        assert await migrate(empty.dsn, now=NOW, progress=ignore) == []
        assert await connection.fetchval("select count(*) from event_epochs") == 2
    finally:
        await connection.close()
