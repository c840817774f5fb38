"""`paymux run`: everything on this machine, one line for each thing started, and all of it gone at the end."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from paymux_cli.composition import StackSettings, open_stack
from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.home import Home
from paymux_cli.manage import add_account, add_key, add_merchant
from paymux_cli.postgres_errors import EmbeddedPostgresError
from paymux_cli.processes import answers, free_port, last_words, start_process
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_postgres.merchants import list_gateway_accounts, move_gateway_account
from paymux_postgres.migrate import MigrationRefused, migrate
from paymux_postgres.server_checks import ServerUnfit
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings

READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 35.0
_DEMO_SCOPES = frozenset({Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE, Scope.PAYMENTS_CONFIRM, Scope.OPERATOR})


@dataclass(slots=True)
class Run:
    """One run of everything: what was started, in order, so that it can be stopped in the opposite one."""

    environment: Mapping[str, str]
    home: Home
    console: Console = field(default_factory=lambda: Console(stderr=False, highlight=False))
    started_at: float = field(default_factory=time.monotonic)
    children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    database: EmbeddedPostgres | None = None
    sandbox: SandboxProcess | None = None

    def say(self, what: str) -> None:
        """One line for each thing."""
        self.console.print(f"  {time.monotonic() - self.started_at:5.1f} s  {what}", soft_wrap=True, markup=False)


async def run_everything(environment: Mapping[str, str]) -> int:
    """Start, wait for a signal or for a part that dies, stop; answers the exit code."""
    run = Run(environment, Home.from_environment(environment))
    run.home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    code = 0
    try:
        starting = asyncio.ensure_future(_start(run))
        waiting = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
        else:
            starting.result()
            code = await _until_the_end(run, stopping)
    except (EmbeddedPostgresError, MigrationRefused, ServerUnfit, OSError, RuntimeError) as error:
        run.console.print(f"[red]cannot start:[/red] {error}")
        code = 1
    finally:
        await _stop(run)
    return code


async def _start(run: Run) -> None:
    known = {**run.home.secrets(), **{k: v for k, v in run.environment.items() if k.startswith("PAYMUX_")}}
    dsn = run.environment.get("PAYMUX_DATABASE_URL") or await _start_postgres(run)
    known["PAYMUX_DATABASE_URL"] = dsn
    for name in await migrate(dsn, now=datetime.now(UTC), progress=run.say):  # noqa: TID251
        run.say(f"migrated   {name}")
    run.sandbox = await asyncio.to_thread(
        SandboxProcess,
        run.home.path / "sandbox",
        settings=SandboxSettings(clock_divisor=float(known.get("PAYMUX_TEST_CLOCK_DIVISOR") or 1)),
    )
    run.say(f"sandbox    {run.sandbox.url}/book")
    host = known.get("PAYMUX_HOST") or "127.0.0.1"
    port = int(known.get("PAYMUX_PORT") or 8080) or free_port(host)
    url = f"http://{host}:{port}"
    known |= {"PAYMUX_HOST": host, "PAYMUX_PORT": str(port), "PAYMUX_PUBLIC_URL": url}
    key = await _seed(run, known)
    await _child(run, "api", known)
    await _child(run, "worker", known)
    await _ready(run, url)
    run.say(f"api        {url}  ({url}/docs)")
    run.say("worker     asks about everything unknown")
    run.home.write_running(
        {"PAYMUX_DATABASE_URL": dsn, "PAYMUX_URL": url, "PAYMUX_SANDBOX_URL": run.sandbox.url}
        | {f"{name}_pid": str(child.pid) for name, child in run.children.items()}
        | {"sandbox_pid": str(run.sandbox.pid), "postgres_pid": str(run.database.pid if run.database else "")}
    )
    demo = {"PAYMUX_URL": url, "PAYMUX_API_KEY": key, "PAYMUX_SANDBOX_URL": run.sandbox.url}
    file = run.home.write_demo(demo)
    _tell(run, file)


async def _start_postgres(run: Run) -> str:
    run.database = EmbeddedPostgres(run.home.path)
    dsn = await run.database.start()
    run.say("postgres   embedded, for trial and tests; production brings its own by PAYMUX_DATABASE_URL")
    return dsn


async def _seed(run: Run, known: Mapping[str, str]) -> str:
    """Make the demo merchant the first time; later only move its accounts to where the sandbox now listens."""
    assert run.sandbox is not None
    async with open_stack(StackSettings.from_environment(known), name="seed") as stack:
        demo = run.home.read_demo()
        file = run.home.path / "demo_merchant"
        merchant_id = parse_public_id(Kind.MERCHANT, file.read_text()) if file.exists() else None
        if merchant_id is not None and demo.get("PAYMUX_API_KEY"):
            for account in await list_gateway_accounts(stack.store.pool, merchant_id):
                if account.gateway in {"mock", "flaky"}:
                    await move_gateway_account(
                        stack.store.pool,
                        merchant_id=merchant_id,
                        account_id=account.id,
                        base_url=run.sandbox.url,
                        at=stack.deps.clock.now(),
                    )
            return demo["PAYMUX_API_KEY"]
        merchant_id = await add_merchant(stack, "Demo shop", limits={"rates": "none"})
        for priority, gateway in ((10, "mock"), (20, "flaky")):
            await add_account(
                stack,
                merchant_id,
                gateway,
                base_url=run.sandbox.url,
                name=gateway,
                priority=priority,
                secret="sandbox",  # noqa: S106  the sandbox takes any
            )
        key = await add_key(stack, merchant_id, name="demo", scopes=_DEMO_SCOPES, mode="test", peppers=known)
        run.home.write_demo({"PAYMUX_API_KEY": key})
        file.write_text(public_id(Kind.MERCHANT, merchant_id))
        run.say("seeded     a demo merchant with the gateways mock and flaky")
        return key


async def _child(run: Run, name: str, known: Mapping[str, str]) -> None:
    run.children[name] = await start_process(name, {**run.environment, **known}, log=run.home.path / f"{name}.log")


async def _ready(run: Run, url: str) -> None:
    """Wait until the API answers. Raises: RuntimeError if a part dies or it takes too long."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        for name, child in run.children.items():
            if child.returncode is not None:
                raise RuntimeError(_last_words(run, name))
        if await asyncio.to_thread(answers, f"{url}/health/ready"):
            return
        await asyncio.sleep(0.03)
    raise RuntimeError(_last_words(run, "api"))


def _last_words(run: Run, name: str) -> str:
    return f"{name} did not start; its last words:\n" + last_words(run.home.path / f"{name}.log")


def _tell(run: Run, file: Path) -> None:
    run.console.print(
        f"\nready in {time.monotonic() - run.started_at:.1f} s. Ctrl-C stops everything; the data stays.\n\n"
        f"  source {file}\n"
        '  curl -s $PAYMUX_URL/payments -H "Authorization: Bearer $PAYMUX_API_KEY" \\\n'
        '    -H \'Idempotency-Key: first-try\' -d \'{"amount": 1999, "currency": "eur", "confirm": true,\n'
        '      "payment_method": {"type": "card", "token": "sandbox_approve"}}\'\n',
        soft_wrap=True,
        markup=False,
    )


async def _until_the_end(run: Run, stopping: asyncio.Event) -> int:
    """Wait for a signal; a part that dies is started again, except Postgres and the sandbox, which end the run."""
    waits: dict[asyncio.Future[object], str] = {
        asyncio.ensure_future(child.wait()): name for name, child in run.children.items()
    }
    if run.database is not None:
        waits[asyncio.ensure_future(run.database.wait())] = "postgres"
    waits[asyncio.ensure_future(stopping.wait())] = ""
    while True:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            name = waits.pop(future)
            if name == "":
                for rest in waits:
                    rest.cancel()
                return 0
            run.say(f"{name} died; starting it again")
            waits[await _again(run, name)] = name


async def _again(run: Run, name: str) -> asyncio.Future[object]:
    if name == "postgres":
        assert run.database is not None
        await run.database.stop()
        await run.database.start()
        return asyncio.ensure_future(run.database.wait())
    running = run.home.running()
    known = {**run.home.secrets(), **{k: v for k, v in run.environment.items() if k.startswith("PAYMUX_")}}
    host, _, port = running["PAYMUX_URL"].removeprefix("http://").rpartition(":")
    known |= {
        "PAYMUX_DATABASE_URL": running["PAYMUX_DATABASE_URL"],
        "PAYMUX_HOST": host,
        "PAYMUX_PORT": port,
        "PAYMUX_PUBLIC_URL": running["PAYMUX_URL"],
    }
    await _child(run, name, known)
    return asyncio.ensure_future(run.children[name].wait())


async def _stop(run: Run) -> None:
    """Stop in the opposite order: nobody may talk to what is gone."""
    for name, child in run.children.items():
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            run.say(f"stopping   {name}")
    for child in run.children.values():
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
    if run.sandbox is not None:
        await asyncio.to_thread(run.sandbox.stop)
    if run.database is not None:
        await run.database.stop()
        run.say("stopped    everything; the data stays for the next run")
    run.home.forget_running()
