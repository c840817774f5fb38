"""Run many seeds, find the first seed that kills a mutant, and say how to repeat a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.model.mutants import Mutant
from tests.model.workload import Run, run_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

KILLED_WITHIN_SEEDS = 2_000
RECORD = Path(__file__).with_name("first_failing_seeds.json")


def first_failure(seeds: Iterable[int], *, mutant: Mutant | None = None) -> Run | None:
    """Return the first run with a violation."""
    for seed in seeds:
        run = run_seed(seed, mutant=mutant)
        if run.violations:
            return run
    return None


def read_record() -> dict[Mutant, int]:
    """Read the seeds that killed each mutant when the record was written."""
    return {Mutant[name]: entry["seed"] for name, entry in json.loads(RECORD.read_text(encoding="utf-8")).items()}


def write_record(kills: dict[Mutant, Run]) -> None:
    """Write the first failing seed and its symptom for each mutant."""
    record = {
        mutant.name: {"rule removed": mutant.value, "seed": run.seed, "symptom": run.violations[0].partition(" (")[0]}
        for mutant, run in kills.items()
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def how_to_repeat(run: Run, *, mutant: Mutant | None = None) -> str:
    """Render a failure with its whole option set."""
    option = f" --mutant {mutant.name}" if mutant else ""
    return "\n".join(
        (
            f"seed {run.seed}: " + "; ".join(run.violations),
            f"repeat: python -m tests.model --seed {run.seed} --trace{option}",
            f"options: {run.options}",
        )
    )
