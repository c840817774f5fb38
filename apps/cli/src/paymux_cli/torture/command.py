"""`paymux torture`: a stack in a temporary home, a plan, a report; afterwards nothing of it is left."""

import asyncio
import contextlib
import logging
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from paymux_cli.postgres_errors import EmbeddedPostgresError
from paymux_cli.torture.oracle import examine
from paymux_cli.torture.plan import Plan, draw_plan
from paymux_cli.torture.report import tell
from paymux_cli.torture.run import CLOCKS, Story, run_plan
from paymux_cli.torture.stack import torture_stack

FOUND = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130
_SEED_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class TortureOptions:
    """What was asked for on the command line."""

    payments: int
    kills: int
    seed: int | None
    keep: bool


async def torture(options: TortureOptions) -> int:
    """Run and report; answers the exit code: 0 nothing found, 1 something was, 2 could not run, 130 interrupted."""
    console = Console(highlight=False)
    seed = secrets.randbelow(_SEED_MAX) if options.seed is None else options.seed
    plan = draw_plan(
        seed=seed,
        payments=options.payments,
        kills=options.kills,
        deadline_seconds=CLOCKS.processing_deadline,
    )
    with _home(console) as home:
        task = asyncio.ensure_future(_run(plan, home.path, console))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            story = await task
        except asyncio.CancelledError:
            console.print("interrupted; everything is stopped")
            return INTERRUPTED
        except (EmbeddedPostgresError, OSError, RuntimeError) as error:
            home.kept = True
            console.print(f"[red]could not run:[/] {error}")
            return COULD_NOT_RUN
        findings = examine(story.evidence)
        tell(console, plan, story, findings)
        home.kept = options.keep or bool(findings)
        console.print(
            f"\n{'[red]found[/]' if findings else '[green]nothing found[/]'}; again with:  paymux torture"
            f" --payments {options.payments} --kills {options.kills} --seed {seed}"
        )
        return FOUND if findings else 0


async def _run(plan: Plan, home: Path, console: Console) -> Story:
    def say(what: str) -> None:
        console.print(f"  {what}", markup=False, soft_wrap=True)

    _log_to(home / "torture.log")
    say(f"seed       {plan.seed}: some {plan.seconds:.0f} s of load, then quiet until everything is settled")
    async with torture_stack(home, seed=plan.seed, say=say) as stack:
        with _Bars(console) as bars:
            return await stack.run(run_plan(plan, stack, bars))


def _log_to(file: Path) -> None:
    """Keep our own complaints about a database that we kill out of the report."""
    logging.basicConfig(filename=file)
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file.open("a")))


@dataclass(slots=True)
class _Home:
    path: Path
    kept: bool = False


@contextlib.contextmanager
def _home(console: Console) -> Iterator[_Home]:
    home = _Home(Path(tempfile.mkdtemp(prefix="paymux-torture-")))
    # The embedded server may have to run as another account, which passes through to what it owns.
    home.path.chmod(0o711)
    try:
        yield home
    finally:
        if home.kept:
            console.print(f"kept: {home.path} (logs, database, the sandbox's book)", soft_wrap=True)
        else:
            shutil.rmtree(home.path)


@dataclass(slots=True)
class _Bars:
    """One bar per phase."""

    console: Console
    progress: Progress = field(init=False)
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (TextColumn("  {task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=self.console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def phase(self, name: str, *, total: int) -> None:
        """Begin a phase, or correct its total."""
        if name in self.tasks:
            self.progress.update(self.tasks[name], total=total)
        else:
            self.tasks[name] = self.progress.add_task(name, total=total)

    def done(self, name: str, *, count: int) -> None:
        """Show how much of a phase is done."""
        self.progress.update(self.tasks[name], completed=count)
