"""A login for the application alone: it can act as paymux_app and as nobody else.

The statements here are not in a `.sql` file: they are about the server, and utility statements take no parameters.
"""

import hashlib
import re
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from paymux_postgres.connections import APPLICATION_ROLE


async def make_application_login(dsn: str, *, password: str) -> str:
    """Make a login that is a member of paymux_app only, as an administrator, unless it is there; return its DSN.

    The login's name comes from its password, so that two installations on one server never share one.
    Raises: ValueError for a password that is not hexadecimal, asyncpg.InsufficientPrivilegeError.
    """
    if not re.fullmatch("[0-9a-f]{64}", password):
        raise ValueError("the password of a login is 64 hexadecimal digits")
    name = login_name(password)
    connection = await asyncpg.connect(dsn)
    try:
        if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", name):
            await connection.execute(f"create role {name} login password '{password}' in role {APPLICATION_ROLE}")
    finally:
        await connection.close()
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))


def login_name(password: str) -> str:
    """Name the login of a password; the name tells nothing about it."""
    return f"paymux_app_{hashlib.sha256(password.encode()).hexdigest()[:12]}"
