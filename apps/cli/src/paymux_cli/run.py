"""`paymux run`: everything on this machine, one line for each thing started, and all of it gone at the end."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import asyncpg

from paymux_api.settings import parse_settings
from paymux_cli.embedded_postgres import EmbeddedPostgres
from paymux_cli.home import Home
from paymux_cli.processes import answers, listen_on
from paymux_cli.refusals import NotPossible, reaching_database
from paymux_cli.settings import StackSettings, given
from paymux_cli.supervision import DatabasePart, Part, ProductProcess, SandboxPart, keep
from paymux_postgres.logins import make_application_login
from paymux_postgres.migrate import migrate
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings

READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 35.0


def _process_started_at() -> float:
    """Say when this process was started, on the monotonic clock: a person waits for the imports too."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    lived_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - lived_seconds


@dataclass(slots=True)
class Run:
    """One run of everything: what was started, so that it can be kept, and stopped in the opposite order."""

    home: Home
    environment: Mapping[str, str]
    known: dict[str, str]
    """The settings of every process: what was given, and what this run chose."""
    listening: socket.socket
    started_at: float = field(default_factory=_process_started_at)
    database: EmbeddedPostgres | None = None
    sandbox: SandboxProcess | None = None
    processes: dict[str, ProductProcess] = field(default_factory=dict)

    def say(self, what: str) -> None:
        """One line for each thing."""
        with contextlib.suppress(OSError):  # the terminal may be gone; what we do goes on
            print(f"  {time.monotonic() - self.started_at:5.1f} s  {what}", flush=True)

    @property
    def url(self) -> str:
        """Where the API answers."""
        host, port = self.known["PAYMUX_HOST"], self.known["PAYMUX_PORT"]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def local_url(self) -> str:
        """Where the sandbox beside it reaches the API, also if that listens everywhere."""
        everywhere = self.known["PAYMUX_HOST"] in {"0.0.0.0", "::"}  # noqa: S104  a comparison
        return f"http://127.0.0.1:{self.known['PAYMUX_PORT']}" if everywhere else self.url


async def run_everything(environment: Mapping[str, str]) -> int:
    """Start, keep alive until a signal comes, stop; answers the exit code. Raises: whatever kept it from starting."""
    stopping = _stop_on_signals()
    os.umask(0o077)  # everything in the home is ours alone
    home = Home.from_environment(environment)
    home.make()
    with home.locked():
        known = _checked({**home.make_secrets(), **given(environment), "PAYMUX_HOME": str(home.path)})
        home.forget_running()
        with listen_on(known["PAYMUX_HOST"], int(known["PAYMUX_PORT"])) as listening:
            known["PAYMUX_PORT"] = str(listening.getsockname()[1])
            run = Run(home, environment, known, listening)
            try:
                await _until(stopping, run)
            finally:
                await _stop(run)
    return 0


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _checked(known: dict[str, str]) -> dict[str, str]:
    """Refuse settings that the processes would refuse, before anything is started. Raises: SettingRefused."""
    settings = parse_settings(known)
    StackSettings.from_environment({"PAYMUX_DATABASE_URL": "postgresql://embedded/paymux", **known})
    return {**known, "PAYMUX_HOST": settings.host, "PAYMUX_PORT": str(settings.port)}


async def _until(stopping: asyncio.Event, run: Run) -> None:
    """Start and keep until told to stop. Raises: what ends a run by itself."""
    working = asyncio.ensure_future(_start_and_keep(run))
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _start_and_keep(run: Run) -> None:
    await _start(run)
    parts: dict[str, Part] = dict(run.processes)
    if run.sandbox is not None:
        parts["sandbox"] = SandboxPart(run.sandbox)
    if run.database is not None:
        parts["postgres"] = DatabasePart(run.database)

    def came_back(name: str) -> None:
        run.home.write_running(_who_runs_where(run))
        run.say(f"{name} runs again")

    keepers = [
        asyncio.ensure_future(keep(name, part, say=run.say, came_back=came_back)) for name, part in parts.items()
    ]
    try:
        await asyncio.gather(*keepers)
    finally:
        for keeper in keepers:
            keeper.cancel()


async def _start(run: Run) -> None:
    # The sandbox, and the imports that take longest, come beside the database.
    beside = asyncio.gather(asyncio.to_thread(_start_sandbox, run), asyncio.to_thread(import_module, "paymux_cli.demo"))
    try:
        await _prepare_database(run)
    finally:
        await asyncio.wait({beside})  # also when we stop: what is half started could not be stopped
    await beside
    from paymux_cli.demo import seed_demo_merchant, what_to_try

    assert run.sandbox is not None
    run.say(f"sandbox    {run.sandbox.url}/book")
    await _start_process(run, "api", inherits=(run.listening.fileno(),), PAYMUX_LISTEN_FD=str(run.listening.fileno()))
    key = await seed_demo_merchant(run.home, run.known, run.sandbox, api_url=run.local_url)
    await _until_api_answers(run)
    run.say(f"api        {run.url}  ({run.url}/docs)")
    await _start_process(run, "worker")
    run.say("worker     asks about everything unknown")
    run.home.write_running(_who_runs_where(run))
    file = run.home.write_demo({"PAYMUX_URL": run.url, "PAYMUX_API_KEY": key, "PAYMUX_SANDBOX_URL": run.sandbox.url})
    ready_seconds = time.monotonic() - run.started_at
    told = f"\nready in {ready_seconds:.1f} s. Ctrl-C stops everything; the data stays.\n\n{what_to_try(file)}"
    print(told, flush=True)


async def _prepare_database(run: Run) -> None:
    """Start the embedded server unless another one was named; migrate, and make the login of API and worker."""
    if "PAYMUX_DATABASE_URL" in run.known:
        run.say("postgres   yours, at PAYMUX_DATABASE_URL")
        admin_dsn = run.known["PAYMUX_DATABASE_URL"]
    else:
        run.say("postgres   starting the embedded one, for trial and tests; production brings its own")
        run.database = EmbeddedPostgres(run.home.path)
        admin_dsn = await run.database.start()
        run.say("postgres   answers")
    with reaching_database():
        migrated = await migrate(admin_dsn, now=datetime.now(UTC), progress=run.say)  # noqa: TID251
    if migrated:
        run.say(f"migrated   {len(migrated)} migrations")
    run.known["PAYMUX_DATABASE_URL"] = await _application_dsn(run, admin_dsn)


async def _application_dsn(run: Run, admin_dsn: str) -> str:
    """Give API and worker a login that the guards bind."""
    password = hashlib.sha256(f"database login {run.known['PAYMUX_MASTER_KEY']}".encode()).hexdigest()
    with reaching_database():
        try:
            return await make_application_login(admin_dsn, password=password)
        except asyncpg.InsufficientPrivilegeError:
            return admin_dsn  # it may be such a login already; the start-up check tells


def _start_sandbox(run: Run) -> None:
    divisor = float(run.known.get("PAYMUX_TEST_CLOCK_DIVISOR", 1))
    run.sandbox = SandboxProcess(run.home.path / "sandbox", settings=SandboxSettings(clock_divisor=divisor))


async def _start_process(run: Run, verb: str, *, inherits: tuple[int, ...] = (), **extra: str) -> None:
    environment = {**run.environment, **run.known, **extra}
    run.processes[verb] = ProductProcess(verb, environment, run.home.path / f"{verb}.log", inherits)
    await run.processes[verb].start()


async def _until_api_answers(run: Run) -> None:
    """Wait until the API answers. The port is ours, so nobody else can. Raises: NotPossible."""
    api = run.processes["api"]
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline and not api.has_ended:
        if await asyncio.to_thread(answers, f"{run.url}/health/ready"):
            return
        await asyncio.sleep(0.03)
    raise NotPossible(f"api did not start; its last words:\n{api.last_words()}")


def _who_runs_where(run: Run) -> dict[str, str]:
    assert run.sandbox is not None
    pids = {f"{name}_pid": str(part.process.pid) for name, part in run.processes.items() if part.process is not None}
    return {
        "PAYMUX_DATABASE_URL": run.known["PAYMUX_DATABASE_URL"],
        "PAYMUX_URL": run.url,
        "PAYMUX_SANDBOX_URL": run.sandbox.url,
        **pids,
        "sandbox_pid": str(run.sandbox.pid),
        "postgres_pid": str(run.database.pid if run.database else ""),
    }


async def _stop(run: Run) -> None:
    """Stop in the opposite order: nobody may talk to what is gone."""
    run.home.forget_running()
    run.listening.close()
    for name, part in run.processes.items():
        if not part.has_ended:
            run.say(f"stopping   {name}")
    await asyncio.gather(*(part.stop(patience_seconds=STOP_SECONDS_MAX) for part in run.processes.values()))
    if run.sandbox is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it was killed then
            await asyncio.to_thread(run.sandbox.stop)
    if run.database is not None:
        await run.database.stop()
    run.say("stopped    everything; the data stays for the next run")
