"""Bring a database to the schema of this version: plain `.sql` folders, each applied once, in one transaction.

The statements here are not in a `.sql` file: they make roles and run before there is a schema to prepare them on.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import LiteralString

import asyncpg

from paymux_postgres.connections import APPLICATION_ROLE
from paymux_postgres.server_checks import SERVER_VERSION_MIN

OWNER = "paymux_owner"
APPLICATION = APPLICATION_ROLE

_FOLDER = Path(__file__).parent / "migrations"
# One number for all versions of the product, so that an old and a new one never migrate at the same time.
_LOCK = 7_296_886_120_001
_LOCK_PAUSE_SECONDS = 0.2
_LOCK_WAIT_SECONDS = 60

_IN_EPOCHS = ("payment_events", "merchant_events", "gateway_interactions")
"""Tables whose rows are read in the order of their transactions."""

_BY_HAND: LiteralString = """
    create role paymux_owner nologin;
    create role paymux_app nologin;
    grant paymux_owner, paymux_app to {login};
    grant create on database {database} to paymux_owner;
    alter schema public owner to paymux_owner;
"""


class MigrationRefused(Exception):
    """The database cannot be brought to this version; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One folder: its name orders it, its checksum tells whether its file changed after it was applied."""

    name: str
    sql: LiteralString
    checksum: str

    @classmethod
    def read(cls, folder: Path) -> "Migration":
        """Read a migration's `up.sql`."""
        content = (folder / "up.sql").read_bytes()
        return cls(folder.name, content.decode(), hashlib.sha256(content).hexdigest())


def migrations(folder: Path = _FOLDER) -> Sequence[Migration]:
    """Read the migrations of this version in the order in which they are applied."""
    return [Migration.read(path.parent) for path in sorted(folder.glob("[0-9]*/up.sql"))]


async def migrate(dsn: str, *, now: datetime, progress: Callable[[str], None], folder: Path = _FOLDER) -> list[str]:
    """Apply what is missing and name it; a second run finds nothing to do. Locks: one advisory lock per database.

    Raises: MigrationRefused.
    """
    known = migrations(folder)
    connection = await asyncpg.connect(dsn)
    try:
        await _check_server(connection)
        if not _missing(known, await _applied(connection)) and await epoch_is_current(connection):
            return []
        progress("migrations: waiting for other migrations to end")
        async with _only_one(connection):
            await _prepare_roles(connection)
            await _prepare_schema(connection)
            missing = _missing(known, await _applied(connection))
            for migration in missing:
                progress(f"migrations: applying {migration.name}")
                await _apply(connection, migration, now=now)
            await _begin_epoch(connection, now=now)
        return [migration.name for migration in missing]
    finally:
        await connection.close()


async def pending(connection: asyncpg.Connection, *, folder: Path = _FOLDER) -> list[str]:
    """Name the migrations that the database lacks. One from the future is no reason to stop: it is migrated first."""
    applied = await _applied(connection)
    return [migration.name for migration in migrations(folder) if migration.name not in applied]


async def epoch_is_current(connection: asyncpg.Connection) -> bool:
    """Say whether the log was last written on this cluster; after a logical restore it was not."""
    if await connection.fetchval("select to_regclass('public.event_epochs')") is None:
        return True
    return bool(
        await connection.fetchval(
            "select system_identifier = (select system_identifier from pg_control_system()) "
            "from public.event_epochs order by epoch desc limit 1"
        )
    )


async def _begin_epoch(connection: asyncpg.Connection, *, now: datetime) -> None:
    """Number what is written on this cluster behind all that was restored: its transaction ids start anew."""
    if (
        await epoch_is_current(connection)
        or await connection.fetchval("select to_regclass('public.event_epochs')") is None
    ):
        return
    async with connection.transaction():
        await connection.execute(f"set local role {OWNER}")
        epoch = await connection.fetchval(
            "insert into public.event_epochs (epoch, system_identifier, since) "
            "select coalesce((select max(epoch) from public.event_epochs), 0) + 1, system_identifier, $1 "
            "from pg_control_system() returning epoch",
            now,
        )
        for table in _IN_EPOCHS:
            await connection.execute(f"alter table public.{table} alter column epoch set default {int(epoch)}")


async def _check_server(connection: asyncpg.Connection) -> None:
    version = int(await connection.fetchval("select current_setting('server_version_num')"))
    if version < SERVER_VERSION_MIN:
        raise MigrationRefused(f"PostgreSQL 15 or newer is needed; this server is {version // 10_000}")


async def _applied(connection: asyncpg.Connection) -> Mapping[str, str]:
    """Read names and checksums of what was applied; nothing on a fresh database."""
    if await connection.fetchval("select to_regclass('public.schema_migrations')") is None:
        return {}
    rows = await connection.fetch("select name, checksum from public.schema_migrations order by version")
    return {row["name"]: row["checksum"] for row in rows}


def _missing(known: Sequence[Migration], applied: Mapping[str, str]) -> Sequence[Migration]:
    """Choose what is still to be applied. Raises: MigrationRefused for a history that is not ours."""
    if strangers := sorted(applied.keys() - {migration.name for migration in known}):
        raise MigrationRefused(
            f"the database has {', '.join(strangers)}, which this version does not know; start the newer version"
        )
    for migration in known:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationRefused(
                f"{migration.name}/up.sql is not the file that was applied (its checksum differs); "
                "restore the file, and put the change into a new migration"
            )
    missing = [migration for migration in known if migration.name not in applied]
    if missing and applied and missing[0].name < max(applied):
        raise MigrationRefused(
            f"{missing[0].name} is older than {max(applied)}, which was applied; give it a new number"
        )
    return missing


@asynccontextmanager
async def _only_one(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the advisory lock. It is polled: a statement that waits in Postgres blocks concurrent index builds."""
    try:
        async with asyncio.timeout(_LOCK_WAIT_SECONDS):
            while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110  no event
                await asyncio.sleep(_LOCK_PAUSE_SECONDS)
    except TimeoutError:
        raise MigrationRefused(
            f"another migration has been running for {_LOCK_WAIT_SECONDS} s; wait for it and run this again"
        ) from None
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", _LOCK)


async def _prepare_roles(connection: asyncpg.Connection) -> None:
    """Make both roles and let the login use them. Roles belong to the whole server, so others may make them too."""
    try:
        for role in (OWNER, APPLICATION):
            if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", role):
                await _unless_done_by_others(connection, f"create role {role} nologin")
            if not await _may_become(connection, role):
                await _unless_done_by_others(connection, f"grant {role} to current_user")
    except asyncpg.InsufficientPrivilegeError as refused:
        raise await _by_hand(connection, refused) from refused


async def _unless_done_by_others(connection: asyncpg.Connection, sql: str) -> None:
    try:
        await connection.execute(sql)
    except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
        return


async def _may_become(connection: asyncpg.Connection, role: str) -> bool:
    # Since 16 the creator of a role is a member that may not become it until it grants itself that.
    right = "SET" if connection.get_server_version().major >= 16 else "MEMBER"  # noqa: PLR2004
    return bool(await connection.fetchval("select pg_has_role(current_user, $1::name, $2)", role, right))


async def _prepare_schema(connection: asyncpg.Connection) -> None:
    """Give the schema to the owner, and let nobody else create in it."""
    try:
        async with connection.transaction():
            database = await connection.fetchval("select quote_ident(current_database())")
            if not await connection.fetchval("select has_database_privilege($1, current_database(), 'create')", OWNER):
                await connection.execute(f"grant create on database {database} to {OWNER}")
            owner = await connection.fetchval(
                "select nspowner::regrole::text from pg_namespace where nspname = 'public'"
            )
            if owner != OWNER:
                await connection.execute(f"alter schema public owner to {OWNER}")
            await connection.execute(f"set local role {OWNER}")
            await connection.execute("revoke create on schema public from public")
            await connection.execute(
                "create table if not exists public.schema_migrations (version integer primary key, "
                "name text not null unique, checksum text not null, applied_at timestamptz not null)"
            )
    except asyncpg.InsufficientPrivilegeError as refused:
        raise await _by_hand(connection, refused) from refused


async def _by_hand(connection: asyncpg.Connection, refused: asyncpg.PostgresError) -> MigrationRefused:
    """Say what an administrator has to run once."""
    login = await connection.fetchval("select quote_ident(current_user)")
    database = await connection.fetchval("select quote_ident(current_database())")
    return MigrationRefused(
        f"the login {login} may not prepare the database ({refused}); let an administrator run, in {database}:\n"
        + _BY_HAND.format(login=login, database=database)
    )


async def _apply(connection: asyncpg.Connection, migration: Migration, *, now: datetime) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"set local role {OWNER}")
            await connection.execute("set local search_path = public")
            # A migration that waits for a lock makes everybody behind it wait too: better to fail and be run again.
            await connection.execute("set local lock_timeout = '5s'")
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into public.schema_migrations (version, name, checksum, applied_at) values ($1, $2, $3, $4)",
                int(migration.name.partition("_")[0]),
                migration.name,
                migration.checksum,
                now,
            )
    except asyncpg.LockNotAvailableError as busy:
        raise MigrationRefused(f"{migration.name} waited 5 s for a lock and changed nothing; run it again") from busy
    except asyncpg.PostgresError as failed:
        raise MigrationRefused(f"{migration.name} failed and changed nothing: {failed}") from failed
