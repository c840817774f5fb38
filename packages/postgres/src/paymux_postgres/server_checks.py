"""Refuse to start on a server that may forget what it acknowledged, or as a login that the guards do not bind."""

from collections.abc import Iterator, Mapping

import asyncpg

from paymux_postgres.queries import load

SERVER_VERSION_MIN = 150_000
_AS_WHOM = "Connect as a login that is a member of paymux_app and of no other role of paymux."

_SQL = load(__file__)


class ServerUnfit(Exception):
    """What is wrong with the server or the login; one sentence per finding, each says what to do."""


async def check_server(connection: asyncpg.Connection) -> None:
    """Refuse a server or login on which the guarantees do not hold. Raises: ServerUnfit."""
    if findings := list(_findings(await read_server(connection))):
        raise ServerUnfit("\n".join(findings))


async def read_server(connection: asyncpg.Connection) -> Mapping[str, object]:
    """Read version, durability settings and login of this connection."""
    record = await connection.fetchrow(_SQL["read_server"])
    assert record is not None
    return dict(record)


def _findings(server: Mapping[str, object]) -> Iterator[str]:
    version = server["version"]
    if isinstance(version, int) and version < SERVER_VERSION_MIN:
        yield f"PostgreSQL 15 or newer is needed; this server is {version // 10_000}."
    for setting in ("fsync", "full_page_writes"):
        if server[setting] != "on":
            yield f"{setting} is off: a crash would lose or tear payments. Set it to on and restart the server."
    if server["synchronous_commit"] == "off":
        yield (
            "synchronous_commit is off: a crash would forget charges that were already sent. "
            "Set it to on, for this role and for the server."
        )
    if server["bypasses_guards"]:
        yield f"{server['login']} is a superuser or bypasses row security. {_AS_WHOM}"
    elif server["may_become_owner"]:
        yield f"{server['login']} owns the tables, or may become who does, and could change their guards. {_AS_WHOM}"
