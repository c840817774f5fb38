"""Refuse to start on a server that may forget what it acknowledged, or as a login that the guards do not bind."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import asyncpg
import structlog

from paymux_postgres.queries import load

SERVER_VERSION_MIN = 150_000
MINORS_MIN = MappingProxyType({15: 16, 16: 12, 17: 8, 18: 2})
"""Older ones hide from the guards what a MERGE changes beside another statement of its query (their release notes)."""
_AS_WHOM = "Connect as a login that is a member of paymux_app and of no other role of paymux."

_SQL = load(__file__)
log = structlog.get_logger()


class ServerUnfit(Exception):
    """What is wrong with the server or the login; one sentence per finding, each says what to do."""


async def check_server(connection: asyncpg.Connection) -> None:
    """Refuse a server or login on which the guarantees do not hold. Raises: ServerUnfit."""
    server = await read_server(connection)
    if found := list(findings(server)):
        raise ServerUnfit("\n".join(found))
    warn_of_minor(server)


def warn_of_minor(server: Mapping[str, object]) -> None:
    """Warn of a server that is too old in its minor version; that is no reason to stop."""
    if not minor_is_current(int(str(server["version"]))):
        # Nothing here sends a MERGE; whoever has our login and does, is not stopped on this server.
        log.warning("server.minor_too_old", reason="update it: guards do not see every MERGE")


async def read_server(connection: asyncpg.Connection) -> Mapping[str, object]:
    """Read version, durability settings and login of this connection."""
    record = await connection.fetchrow(_SQL["read_server"])
    assert record is not None
    return dict(record)


def minor_is_current(version: int) -> bool:
    """Tell whether a server sees all that its guards should see; `version` as `server_version_num` gives it."""
    major, minor = divmod(version, 10_000)
    return minor >= MINORS_MIN.get(major, 0)


def findings(server: Mapping[str, object]) -> Iterator[str]:
    """Find what keeps the guarantees from holding on this server, or for this login; `server` as it was read."""
    version = server["version"]
    assert isinstance(version, int)
    if version < SERVER_VERSION_MIN:
        yield f"PostgreSQL 15 or newer is needed; this server is {version // 10_000}."
    for setting in ("fsync", "full_page_writes"):
        if server[setting] != "on":
            yield f"{setting} is off: a crash would lose or tear payments. Set it to on and restart the server."
    if server["synchronous_commit"] in ("off", "local"):
        yield (
            f"synchronous_commit is {server['synchronous_commit']}: a crash, or a standby that takes over, would "
            "forget charges that were already sent. Set it to on, for this role and for the server."
        )
    if server["bypasses_guards"]:
        yield f"{server['login']} is a superuser or bypasses row security. {_AS_WHOM}"
    elif server["may_become_owner"]:
        yield f"{server['login']} owns the tables, or may become who does, and could change their guards. {_AS_WHOM}"
