"""The start-up check refuses a server that forgets, and a role that the guards do not bind."""

import asyncpg
import pytest

from paymux_postgres.server_checks import ServerUnfit, _findings, check_server, read_server
from tests.support.postgres import Database


async def test_the_application_role_on_a_durable_server_is_accepted(reader: asyncpg.Connection) -> None:
    await check_server(reader)
    assert (await read_server(reader))["role"] == "paymux_app"


async def test_the_owner_is_refused(shared_database: Database) -> None:
    connection = await asyncpg.connect(shared_database.owner_dsn)
    with pytest.raises(ServerUnfit, match="paymux_owner owns the tables"):
        await check_server(connection)
    await connection.close()


async def test_a_superuser_is_refused(shared_database: Database) -> None:
    connection = await asyncpg.connect(shared_database.dsn)
    with pytest.raises(ServerUnfit, match="is a superuser"):
        await check_server(connection)
    await connection.close()


async def test_a_session_that_does_not_wait_for_its_commit_is_refused(shared_database: Database) -> None:
    connection = await asyncpg.connect(shared_database.app_dsn, server_settings={"synchronous_commit": "off"})
    with pytest.raises(ServerUnfit, match="synchronous_commit is off"):
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
    assert [finding in sentence for sentence in _findings(server)] == [True]
