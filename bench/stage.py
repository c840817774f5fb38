"""What is measured, set up: a Postgres server of our own, databases on it, one API process, a merchant, payments."""

import secrets
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from uuid import UUID

import asyncpg

from paymux_cli.composition import open_stack
from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.manage import add_account, add_key, add_merchant
from paymux_cli.processes import free_port
from paymux_cli.settings import StackSettings
from paymux_core.api_keys import Scope
from paymux_postgres import queries
from paymux_postgres.logins import make_application_login
from paymux_postgres.migrate import migrate
from tests.support.stack import READY_SECONDS_MAX, Child

SQL = queries.load(__file__)
OUT = Path(__file__).with_name("out")
"""On the disk of the sources: a folder for temporary files may be in memory, where a commit costs nothing."""
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
LOAD_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Server:
    """One running Postgres with its own data directory, and a migrated template for databases."""

    postgres: EmbeddedPostgres

    @property
    def bindir(self) -> Path:
        """Where its programs are, pgbench among them."""
        assert self.postgres.binaries is not None
        return self.postgres.binaries.bindir

    def dsn(self, database: str) -> str:
        """Address of a database, as its administrator."""
        return self.postgres.dsn(database=database)

    async def execute(self, database: str, *statements: str) -> None:
        """Run statements, each on its own."""
        connection = await asyncpg.connect(self.dsn(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def new_database(self, name: str, *, template: str = "migrated") -> str:
        """Make a database anew; answers its DSN."""
        await self.execute(
            "postgres",
            f"drop database if exists {name} with (force)",
            f"create database {name} template {template} strategy wal_log",
        )
        return self.dsn(name)

    async def drop_database(self, name: str) -> None:
        """Drop a database, so that its autovacuum writes no WAL while the next one is measured."""
        await self.execute("postgres", f"drop database {name} with (force)")


@asynccontextmanager
async def running_server(name: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Start a server on an empty data directory, stop it at the end and remove what it kept."""
    home = OUT / name
    shutil.rmtree(home, ignore_errors=True)
    postgres = EmbeddedPostgres(home, settings=settings or {})
    server = Server(postgres)
    await postgres.start()
    try:
        dsn = await server.new_database("migrated", template="template1")
        await migrate(dsn, now=STARTED_AT, progress=lambda _: None)
        await server.execute("migrated", "create extension if not exists pg_stat_statements")
        yield server
    finally:
        await postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


@dataclass(slots=True)
class Shop:
    """A merchant in one database, with a key for its API, and what an API process on that database needs to know."""

    server: Server
    database: str
    merchant_id: UUID
    api_key: str
    environment: Mapping[str, str]
    loaded: int = 0

    @property
    def dsn(self) -> str:
        """Address of its database, as the administrator."""
        return self.server.dsn(self.database)

    async def load_payments(self, count: int) -> None:
        """Insert payments that wait for their confirm, with their events, past no guard; their ids are a counter."""
        connection = await asyncpg.connect(self.dsn)
        try:
            first = self.loaded + 1
            for start in range(first, first + count, LOAD_CHUNK):
                end = min(start + LOAD_CHUNK, first + count) - 1
                await connection.execute(SQL["load_payments"], self.merchant_id, start, end, STARTED_AT)
        finally:
            await connection.close()
        self.loaded += count


async def open_shop(server: Server, database: str, *, gateway: str, base_url: str) -> Shop:
    """Make a database with a merchant without rate limits (the limiter stays on the path), a key and an account."""
    dsn = await make_application_login(await server.new_database(database), password=secrets.token_hex(32))
    environment = {
        "PAYMUX_DATABASE_URL": dsn,
        "PAYMUX_MASTER_KEY": secrets.token_hex(32),
        "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
        "PAYMUX_HOST": "127.0.0.1",
    }
    scopes = frozenset({Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE, Scope.PAYMENTS_CONFIRM})
    async with open_stack(StackSettings.from_environment(environment), name="bench") as stack:
        merchant = await add_merchant(stack, "Bench", limits={"rates": "none"})
        await add_account(stack, merchant, gateway, base_url=base_url, name=gateway, priority=1, secret="bench")  # noqa: S106
        key = await add_key(stack, merchant, name="bench", scopes=scopes, mode="test", peppers=environment)
    return Shop(server, database, merchant, key, environment)


@dataclass(frozen=True, slots=True)
class Api:
    """One API process."""

    child: Child
    port: int

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.child.process is not None
        return self.child.process.pid


@asynccontextmanager
async def running_api(shop: Shop, *, batch_max: int | None = None) -> AsyncIterator[Api]:
    """Serve a shop with the product's default settings. `batch_max` 1: without batching, for comparison."""
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", **shop.environment, "PAYMUX_PORT": str(port)}
    if batch_max is not None:
        environment["PAYMUX_BATCH_MAX"] = str(batch_max)
    child = Child("api", environment, OUT / "api.log")
    child.start()
    try:
        _wait_until_ready(child, port)
        yield Api(child, port)
    finally:
        child.stop()


def _wait_until_ready(child: Child, port: int) -> None:
    give_up_at = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < give_up_at:
        assert child.process is not None
        if child.process.poll() is not None:
            break
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise RuntimeError(f"the API did not start: {child.log.read_text(errors='replace')[-2000:]}")
