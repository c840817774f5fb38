"""Run the product as it is deployed: an API and a worker process on a database, and the sandbox as their gateway."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import asyncpg

from paymux_cli.composition import Stack as Composition
from paymux_cli.composition import open_stack
from paymux_cli.manage import add_account, add_key, add_merchant
from paymux_cli.processes import die_with_parent, free_port
from paymux_cli.settings import StackSettings
from paymux_core.api_keys import Scope
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings
from tests.support.http import Merchant, Reply, eventually
from tests.support.postgres import Database, LoopThread

CLOCK_DIVISOR = 15.0
LOOK_INTERVAL_SECONDS = 10.0 / CLOCK_DIVISOR
BODY_SECONDS = 5.0
READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 40.0
SCOPES = frozenset({Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE, Scope.PAYMENTS_CONFIRM})


@dataclass(frozen=True, slots=True)
class Account:
    """A gateway account to be made. `base_url` None: the sandbox."""

    gateway: str = "mock"
    base_url: str | None = None
    status: str = "enabled"
    secret: str = "sandbox"


ONE_MOCK = (Account(),)


@dataclass(slots=True)
class Child:
    """A process of the product: started, killed, paused, and started again under the same settings."""

    verb: str
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it ends with us, even if we are killed."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paymux_cli.main", self.verb],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509  one call of the kernel, no lock is taken
            )

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop it as a supervisor does."""
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it do nothing for as long as this lasts."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class Stack:
    """Everything that runs, and the means to make merchants in it."""

    database: Database
    sandbox: SandboxProcess
    url: str
    environment: Mapping[str, str]
    admin_url: str
    """The private listener."""
    worker_url: str
    """Where the worker tells its metrics."""
    api: Child
    worker: Child
    ids: dict[str, UUID] = field(default_factory=dict)
    """Merchants by their API key."""

    def new_merchant(
        self,
        *,
        accounts: Sequence[Account] = ONE_MOCK,
        limits: Mapping[str, str] | None = None,
        scopes: frozenset[Scope] = SCOPES,
        key_limits: Mapping[str, str] | None = None,
    ) -> Merchant:
        """Make a merchant with a key and gateway accounts, tried in this order. Without `limits`: no rate limits."""
        thread = LoopThread()
        try:
            merchant_id, api_key = thread.run(self._make_merchant(accounts, limits, scopes, key_limits or {}))
        finally:
            thread.close()
        self.ids[api_key] = merchant_id
        return Merchant(self.url, api_key)

    async def _make_merchant(
        self,
        accounts: Sequence[Account],
        limits: Mapping[str, str] | None,
        scopes: frozenset[Scope],
        key_limits: Mapping[str, str],
    ) -> tuple[UUID, str]:
        async with open_stack(StackSettings.from_environment(self.environment), name="tests") as made:
            chosen = {"rates": "none"} if limits is None else dict(limits)
            merchant_id = await add_merchant(made, "a shop", limits=chosen)
            for priority, account in enumerate(accounts):
                await self._make_account(made, merchant_id, account, priority=priority)
            key = await add_key(
                made,
                merchant_id,
                name="tests",
                scopes=scopes,
                mode="test",
                peppers=self.environment,
                limits=key_limits,
            )
        return merchant_id, key

    async def _make_account(self, made: Composition, merchant_id: UUID, account: Account, *, priority: int) -> None:
        account_id = await add_account(
            made,
            merchant_id,
            account.gateway,
            base_url=account.base_url or self.sandbox.url,
            name=f"{account.gateway} {priority}",
            priority=priority,
            secret=account.secret,
        )
        if account.status != "enabled":
            await self.fetch(
                "update gateway_accounts set status = $3 where merchant_id = $1 and id = $2",
                merchant_id,
                account_id,
                account.status,
            )

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Ask the database, as its administrator."""
        connection = await asyncpg.connect(self.database.dsn)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def payments_count(self, merchant: Merchant) -> int:
        """Count a merchant's payments."""
        rows = await self.fetch("select count(*) from payments where merchant_id = $1", self.ids[merchant.api_key])
        return int(rows[0]["count"])

    async def violations(self) -> list[dict[str, object]]:
        """List what is broken in the whole database."""
        return [dict(row) for row in await self.fetch("select * from inv.all_violations(now())")]

    def charge_requests(self, payment_id: str) -> list[dict[str, object]]:
        """List the money requests the gateway received for a payment."""
        return [
            request
            for request in self.sandbox.requests(payment_id)
            if request["method"] == "POST" and str(request["path"]).endswith("/charges")
        ]

    def looks(self) -> int:
        """Count how often the gateway was asked about any payment: a look-up need not name its payment."""
        return sum(request["method"] == "GET" for request in self.sandbox.requests())

    async def ready(self) -> None:
        """Wait until the API answers. Raises: AssertionError with the end of its log if it died."""

        async def is_ready() -> bool:
            assert self.api.process is not None
            assert self.api.process.poll() is None, self.api.log.read_text(errors="replace")[-2000:]
            try:
                reply: Reply = await Merchant(self.url, "none").get("/health/ready")
            except OSError:
                return False
            return reply.status == 200

        await eventually(is_ready, bool, seconds=READY_SECONDS_MAX)


@contextmanager
def running_stack(database: Database, home: Path, **settings: str) -> Iterator[Stack]:
    """Start everything, and stop it at the end; `settings` are further ones."""
    port, admin_port, worker_port = free_port(), free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAYMUX_")} | {
        "PAYMUX_DATABASE_URL": database.app_dsn,
        "PAYMUX_MASTER_KEY": secrets.token_hex(32),
        "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
        "PAYMUX_HOST": "127.0.0.1",
        "PAYMUX_PORT": str(port),
        "PAYMUX_ADMIN_PORT": str(admin_port),
        "PAYMUX_WORKER_ADMIN_PORT": str(worker_port),
        "PAYMUX_BODY_DEADLINE_SECONDS": f"{BODY_SECONDS:g}",
        "PAYMUX_TEST_CLOCK_DIVISOR": f"{CLOCK_DIVISOR:g}",
        **settings,
    }
    with ExitStack() as cleanup:
        sandbox = cleanup.enter_context(
            SandboxProcess(home / "sandbox", settings=SandboxSettings(clock_divisor=CLOCK_DIVISOR))
        )
        stack = Stack(
            database=database,
            sandbox=sandbox,
            url=f"http://127.0.0.1:{port}",
            admin_url=f"http://127.0.0.1:{admin_port}",
            worker_url=f"http://127.0.0.1:{worker_port}",
            environment=environment,
            api=Child("api", environment, home / "api.log"),
            worker=Child("worker", environment, home / "worker.log"),
        )
        for child in (stack.api, stack.worker):
            child.start()
            cleanup.callback(child.stop)
        thread = LoopThread()
        cleanup.callback(thread.close)
        thread.run(stack.ready())
        yield stack
