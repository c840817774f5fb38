"""The stack under torture: real processes in a home of their own, each started again whenever it dies."""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from paymux_cli.composition import open_stack
from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.home import Home
from paymux_cli.manage import add_account, add_key, add_merchant
from paymux_cli.postgres_processes import servers_in
from paymux_cli.processes import answers, free_port, last_words, start_process
from paymux_cli.settings import StackSettings
from paymux_cli.torture.plan import FAULTS, MERCHANTS, Victim
from paymux_cli.webhook_secrets import put_first, webhook_url
from paymux_core.api_keys import Scope
from paymux_postgres.logins import make_application_login
from paymux_postgres.migrate import migrate
from paymux_testkit.merchant_client import Merchant
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings

DIVISOR = 15.0
LATENCY_MS = 60.0
"""What a gateway far away takes: the time in which a kill finds a charge booked and its answer on the way."""
READY_SECONDS_MAX = 60.0
RESTART_SECONDS = 0.1
_POLL_SECONDS = 0.1
_SCOPES = frozenset({
    *(Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE, Scope.PAYMENTS_CONFIRM),
    *(Scope.WEBHOOKS_MANAGE, Scope.EVENTS_READ),
})  # fmt: skip

Say = Callable[[str], None]
_Result = TypeVar("_Result")


@dataclass(slots=True)
class Kept:
    """A process of the product that is started again when it ends, as a supervisor does."""

    verb: str
    environment: Mapping[str, str]
    log: Path
    ends: int = 0
    process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Run it, again and again, until cancelled."""
        while True:
            self.process = await start_process(self.verb, self.environment, log=self.log)
            await self.process.wait()
            self.ends += 1
            await asyncio.sleep(RESTART_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Signal the process that runs now, if one does."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()


@dataclass(slots=True)
class TortureStack:
    """Everything that runs."""

    database: EmbeddedPostgres
    sandbox: SandboxProcess
    environment: Mapping[str, str]
    url: str
    kept: Mapping[Victim, Kept]
    merchants: list[Merchant] = field(default_factory=list)
    database_is_up: asyncio.Event = field(default_factory=asyncio.Event)
    keepers: list["asyncio.Task[None]"] = field(default_factory=list)

    async def run(self, work: Coroutine[object, object, _Result]) -> _Result:
        """Do work while everything is kept running. Raises: what work raises, and what ends a keeper."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, *self.keepers}, return_when=asyncio.FIRST_COMPLETED)
            for keeper in self.keepers:
                if keeper.done():
                    keeper.result()
            return await task
        finally:
            await _cancel(task)

    async def keep_database(self) -> None:
        """Start the database again whenever it ends, until cancelled."""
        while True:
            self.database_is_up.set()
            await self.database.wait()
            self.database_is_up.clear()
            await self.database.stop()
            await self.database.start()

    async def kill(self, victim: Victim) -> None:
        """Kill a victim with SIGKILL once it is up; Postgres with all its processes, as a power cut does."""
        await self.until_up(victim)
        if victim is Victim.POSTGRES:
            for pid in servers_in(self.database.data_directory):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.database_is_up.clear()
        else:
            await self.kept[victim].kill()

    async def pause_api(self, *, seconds: float) -> None:
        """Let the API do nothing for a while, by SIGSTOP. Whatever ends this, it goes on."""
        api = self.kept[Victim.API]
        api.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            api.signal(signal.SIGCONT)

    async def until_up(self, victim: Victim) -> None:
        """Wait until a victim runs; the API, until it answers. Raises: RuntimeError after a minute."""
        if victim is Victim.POSTGRES:
            await self.database_is_up.wait()
            return
        ends_at = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < ends_at:
            process = self.kept[victim].process
            alive = process is not None and process.returncode is None
            if alive and (victim is not Victim.API or await asyncio.to_thread(answers, f"{self.url}/health/live")):
                return
            await asyncio.sleep(_POLL_SECONDS)
        message = f"{victim} does not come up; its last words:\n{last_words(self.kept[victim].log)}"
        raise RuntimeError(message)


@contextlib.asynccontextmanager
async def torture_stack(home: Path, *, seed: int, say: Say) -> AsyncIterator[TortureStack]:
    """Start everything; end everything, whatever happens."""
    async with contextlib.AsyncExitStack() as ending:
        database = EmbeddedPostgres(home)
        dsn = await database.start()
        ending.push_async_callback(database.stop)
        await migrate(dsn, now=datetime.now(UTC), progress=lambda _: None)  # noqa: TID251  as `paymux run` does
        dsn = await make_application_login(dsn, password=secrets.token_hex(32))
        say("postgres   embedded, migrated")
        sandbox = SandboxProcess(
            home / "sandbox", settings=SandboxSettings(clock_divisor=DIVISOR, seed=seed, latency_ms=LATENCY_MS)
        )
        ending.callback(sandbox.kill)
        say(f"sandbox    {sandbox.url}/book")
        environment, url = _environment(home, dsn)
        stack = TortureStack(
            database=database,
            sandbox=sandbox,
            environment=environment,
            url=url,
            kept={
                victim: Kept(str(victim), environment, home / f"{victim}.log") for victim in (Victim.API, Victim.WORKER)
            },
        )
        await _make_merchants(stack)
        await _start_keeping(stack, ending)
        await stack.until_up(Victim.API)
        say(f"api        {url}")
        yield stack


async def _start_keeping(stack: TortureStack, ending: contextlib.AsyncExitStack) -> None:
    for kept in stack.kept.values():
        ending.push_async_callback(kept.kill)
    for keep in (*(kept.keep for kept in stack.kept.values()), stack.keep_database):
        task = asyncio.create_task(keep())
        stack.keepers.append(task)
        ending.push_async_callback(_cancel, task)


async def _cancel(task: "asyncio.Future[_Result]") -> None:
    """Cancel a task and wait for its end; what it died of was told to whoever ran it."""
    task.cancel()
    await asyncio.wait({task})


def _environment(home: Path, dsn: str) -> tuple[dict[str, str], str]:
    """Give the processes their settings; none of the caller's own PAYMUX_ settings reaches them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAYMUX_")}  # noqa: TID251
    return {
        **inherited,
        **Home(home).make_secrets(),
        "PAYMUX_HOME": str(home),
        "PAYMUX_DATABASE_URL": dsn,
        "PAYMUX_HOST": "127.0.0.1",
        "PAYMUX_PORT": str(port),
        "PAYMUX_PUBLIC_URL": url,
        "PAYMUX_TEST_CLOCK_DIVISOR": f"{DIVISOR:g}",
        # The receivers listen on this machine.
        "PAYMUX_WEBHOOKS_ALLOW_INSECURE": "1",
    }, url


async def _make_merchants(stack: TortureStack) -> None:
    async with open_stack(StackSettings.from_environment(stack.environment), name="torture") as made:
        for number, gateways in enumerate(MERCHANTS):
            merchant_id = await add_merchant(made, f"Shop {number}", limits={"rates": "none"})
            for priority, gateway in enumerate(gateways):
                # The sandbox takes any key, and tells by it whose webhooks are whose.
                api_key = f"sandbox-{number}-{priority}"
                account_id = await add_account(
                    made,
                    merchant_id,
                    gateway,
                    base_url=stack.sandbox.url,
                    name=f"{gateway} {priority}",
                    priority=priority,
                    secret=api_key,
                )
                secret = f"whsec_{secrets.token_hex(24)}"
                await put_first(made, merchant_id, account_id, secret=secret, keep=0)
                await asyncio.to_thread(
                    stack.sandbox.send_webhooks,
                    gateway,
                    api_key,
                    url=webhook_url(stack.url, account_id),
                    secret=secret,
                    faults=FAULTS[number][priority],
                )
            key = await add_key(
                made, merchant_id, name="torture", scopes=_SCOPES, mode="test", peppers=stack.environment
            )
            stack.merchants.append(Merchant(stack.url, key))
