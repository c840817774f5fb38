"""The start-up check refuses a server that forgets, and a role that the guards do not bind."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from paymux_postgres.logins import login_name, make_application_login
from paymux_postgres.server_checks import ServerUnfit, check_server, findings, read_server
from tests.support.postgres import Database


async def as_admin(database: Database, statement: str) -> None:
    """Run a statement as the administrator."""
    connection = await asyncpg.connect(database.dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def login(database: Database, attributes: str) -> AsyncIterator[str]:
    """Make a login of a certain kind; give its DSN."""
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    await as_admin(database, f"create role {name} login password '{password}' {attributes}")
    try:
        parts = urlsplit(database.dsn)
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
    finally:
        await as_admin(database, f"drop role {name}")


async def test_a_member_of_the_application_role_on_a_durable_server_is_accepted(reader: asyncpg.Connection) -> None:
    await check_server(reader)


async def test_a_login_that_may_become_the_owner_is_refused_though_it_acts_as_the_application(
    shared_database: Database,
) -> None:
    async with login(shared_database, "in role paymux_app, paymux_owner") as dsn:
        connection = await asyncpg.connect(dsn, server_settings={"role": "paymux_app"})
        assert await connection.fetchval("select current_user::text") == "paymux_app"
        with pytest.raises(ServerUnfit, match="could change their guards"):
            await check_server(connection)
        await connection.close()


async def test_a_superuser_is_refused_though_it_acts_as_the_application(shared_database: Database) -> None:
    connection = await asyncpg.connect(shared_database.dsn, server_settings={"role": "paymux_app"})
    with pytest.raises(ServerUnfit, match="is a superuser"):
        await check_server(connection)
    await connection.close()


async def test_a_login_that_bypasses_row_security_is_refused(shared_database: Database) -> None:
    async with login(shared_database, "bypassrls in role paymux_app") as dsn:
        connection = await asyncpg.connect(dsn, server_settings={"role": "paymux_app"})
        with pytest.raises(ServerUnfit, match="bypasses row security"):
            await check_server(connection)
        await connection.close()


async def test_the_login_that_we_make_is_the_applications_and_is_made_once(shared_database: Database) -> None:
    password = secrets.token_hex(32)
    dsn = await make_application_login(shared_database.dsn, password=password)
    try:
        assert await make_application_login(shared_database.dsn, password=password) == dsn
        connection = await asyncpg.connect(dsn, server_settings={"role": "paymux_app"})
        await check_server(connection)
        await connection.close()
    finally:
        await as_admin(shared_database, f"drop role {login_name(password)}")


@pytest.mark.parametrize("value", ["off", "local"])
async def test_a_session_that_does_not_wait_for_its_commit_is_refused(shared_database: Database, value: str) -> None:
    connection = await asyncpg.connect(shared_database.app_dsn, server_settings={"synchronous_commit": value})
    with pytest.raises(ServerUnfit, match=f"synchronous_commit is {value}"):
        await check_server(connection)
    await connection.close()


@pytest.mark.parametrize(
    ("setting", "value", "finding"),
    [
        ("version", 140_005, "this server is 14"),
        ("fsync", "off", "fsync is off"),
        ("full_page_writes", "off", "full_page_writes is off"),
    ],
)
async def test_a_server_that_can_lose_payments_is_refused(
    reader: asyncpg.Connection, setting: str, value: object, finding: str
) -> None:
    server = {**dict(await read_server(reader)), setting: value}
    assert [finding in sentence for sentence in findings(server)] == [True]
