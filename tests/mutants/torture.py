"""Run the torture against mutants of the product: each has to be found out. `python -m tests.mutants.torture [name …]`.

A mutant that outlives its first torture meets the next seed; the last column says what it died of.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paymux_cli.processes import die_with_parent
from tests.mutants.patched import Mutant, environment_of, write_mutant
from tests.mutants.patches import by_name

VISIBLE = (
    "gateway_before_attempt",
    "fresh_key_on_resend",
    "failover_on_timeout",
    "not_found_closes",
    "phase_two_without_compare",
    "failed_without_fence",
    "charge_after_window",
    "late_first_byte",
    "asked_once",
    "key_left_open",
)
"""Those that kills, faults and two clients at once can bring to light; the others are the simulation's."""
PAYMENTS = 200
KILLS = 8
SEEDS = (1, 2, 3)
FOUND = 1
_COUNT = re.compile(r"^(?P<crime>[a-z][a-z ]+?) +│ +(?P<count>\d+) │")


@dataclass(frozen=True, slots=True)
class Death:
    """How one mutant fared. No `crimes`: it lives."""

    mutant: str
    seed: int
    seconds: float
    crimes: Sequence[str]


def torture_mutant(mutant: Mutant, *, seed: int) -> Death:
    """Run one torture on a mutant. Raises: RuntimeError if it could not run."""
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paymux-mutant-") as folder:
        home = write_mutant(mutant, Path(folder) / "tree")
        environment = environment_of(mutant, home) | {"TMPDIR": folder, "COLUMNS": "120"}
        command = ["torture", "--payments", str(PAYMENTS), "--kills", str(KILLS), "--seed", str(seed)]
        ran = subprocess.run(
            [sys.executable, "-m", "paymux_cli.main", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=die_with_parent,
        )
    if ran.returncode not in {0, FOUND}:
        message = f"{mutant.name}: the torture could not run\n{ran.stdout}{ran.stderr}"
        raise RuntimeError(message)
    counts = (match for match in map(_COUNT.match, ran.stdout.splitlines()) if match is not None)
    crimes = [f"{match['crime']} {match['count']}" for match in counts if match["count"] != "0"]
    assert bool(crimes) is (ran.returncode == FOUND), ran.stdout
    return Death(mutant.name, seed, time.monotonic() - began_at, crimes)


def main(names: Sequence[str]) -> int:
    """Torture every mutant until it dies; the exit code is 1 if one lives."""
    living = []
    for name in names or VISIBLE:
        for seed in SEEDS:
            death = torture_mutant(by_name(name), seed=seed)
            died_of = ", ".join(death.crimes) or "nothing: it lives"
            sys.stdout.write(f"{name:<28} seed {seed}  {death.seconds:4.0f} s  {died_of}\n")
            sys.stdout.flush()
            if death.crimes:
                break
        else:
            living.append(name)
    sys.stdout.write(f"{len(names or VISIBLE) - len(living)} died, {len(living)} live {' '.join(living)}\n")
    return 1 if living else 0


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    sys.exit(main(sys.argv[1:]))
