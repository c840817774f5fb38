"""The command line of the model: many seeds, one seed with its trace, or the table of mutants."""

from __future__ import annotations

import argparse
import sys
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.model.mutants import Mutant
from tests.model.seeds import KILLED_WITHIN_SEEDS, first_failure, how_to_repeat, write_record
from tests.model.workload import Run, run_seed

_console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Return 1 when the protocol (or the mutant asked for) violated something, or when a mutant lives."""
    asked = _parser().parse_args()
    mutant = Mutant[asked.mutant] if asked.mutant else None
    if asked.mutants or asked.record:
        return _kill_all(asked.record)
    if asked.seed is not None:
        return _show(run_seed(asked.seed, mutant=mutant), mutant, "trace" if asked.trace else "verdict")
    return _run_many(asked.first, asked.seeds, mutant)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds to run (default 10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happened")
    parser.add_argument("--mutant", choices=[mutant.name for mutant in Mutant], help="remove one rule")
    parser.add_argument("--mutants", action="store_true", help="find the first failing seed of every mutant")
    parser.add_argument("--record", action="store_true", help="the same, and write first_failing_seeds.json")
    return parser


def _run_many(first: int, seeds: int, mutant: Mutant | None) -> int:
    started_at, steps, days = monotonic(), 0, 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_console, transient=True) as progress:
        for seed in progress.track(range(first, first + seeds), description=mutant or "the protocol"):
            run = run_seed(seed, mutant=mutant)
            steps, days = steps + run.steps, days + run.virtual_days
            if run.violations:
                _console.print(how_to_repeat(run, mutant=mutant), markup=False)
                return 1
    seconds = monotonic() - started_at
    _console.print(
        f"{seeds:,} seeds from {first:,}, 0 violations: {steps:,} steps, {days:,.0f} virtual days"
        f" in {seconds:.1f} s ({seeds / seconds:.0f} seeds/s)"
    )
    return 0


def _show(run: Run, mutant: Mutant | None, detail: str) -> int:
    if detail == "trace":
        for at_seconds, actor, what in run.trace:
            _console.print(f"{at_seconds:12.3f}  {actor:12} {what}", markup=False)
    verdict = how_to_repeat(run, mutant=mutant) if run.violations else f"seed {run.seed}: 0 violations"
    _console.print(f"{verdict}\ntrace hash {run.trace_hash}", markup=False)
    return 1 if run.violations else 0


def _kill_all(record: bool) -> int:  # noqa: FBT001 - a flag on the command line is a boolean
    kills: dict[Mutant, Run] = {}
    for mutant in Mutant:
        run = first_failure(range(KILLED_WITHIN_SEEDS), mutant=mutant)
        seed, symptom = (run.seed, run.violations[0]) if run else ("-", "ALIVE")
        _console.print(f"{seed:>6}  {mutant.name:32} {symptom}", markup=False)
        if run:
            kills[mutant] = run
    if record:
        write_record(kills)
    return 0 if len(kills) == len(Mutant) else 1


if __name__ == "__main__":
    sys.exit(main())
