"""Kill mutants: run a harness on each mutant's copy of the product and see whether it finds the rule missing."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.patched import ROOT, Mutant, environment_of, write_mutant
from tests.simulation.workload import HARSH_FROM

SEEDS = 300
"""How many of each kind of seeds a mutant may live through."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What found a mutant out: the seed, and what it saw first."""

    seed: int
    symptom: str


def first_kill(mutant: Mutant) -> Kill | None:
    """Search ordinary seeds, then harsh ones."""
    ordinary = kill_by_simulation(mutant, first=0, seeds=SEEDS)
    return ordinary or kill_by_simulation(mutant, first=HARSH_FROM, seeds=SEEDS)


def kill_by_simulation(mutant: Mutant, *, first: int, seeds: int) -> Kill | None:
    """Find the first seed of the product simulation that fails under a mutant; None if it lives."""
    with tempfile.TemporaryDirectory(prefix=f"paymux-{mutant.name}-") as home:
        copy = write_mutant(mutant, Path(home))
        ran = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--first", str(first), "--seeds", str(seeds), "--json"],
            env=environment_of(mutant, copy),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    found = json.loads(ran.stdout) if ran.stdout.strip() else None
    if found is None and ran.returncode:
        raise AssertionError(f"{mutant.name}: the harness itself failed: {ran.stderr[-2000:]}")
    return None if found is None else Kill(found["seed"], found["symptom"])
