"""Which seed killed each mutant, as it was when the record was written: `python -m tests.mutants.record [name …]`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.kills import Kill, first_kill
from tests.mutants.patches import MUTANTS

RECORD = Path(__file__).with_name("first_failing_seeds.json")
ELSEWHERE = {
    "failed_without_fence": "the torture (tests/mutants/torture.py): its deadline is the torture's",
    "moved_on_still_charges": "nothing yet: the object of a closed attempt is cancelled, so that the gateway refuses",
}
"""Mutants that the simulation does not kill, and who does."""
SIMULATED = tuple(mutant for mutant in MUTANTS if mutant.name not in ELSEWHERE)


def read_record() -> dict[str, Kill]:
    """Read the kills."""
    entries = json.loads(RECORD.read_text(encoding="utf-8"))
    return {name: Kill(entry["seed"], entry["symptom"]) for name, entry in entries.items()}


def main(names: Sequence[str]) -> int:
    """Find the first failing seed of mutants, and write it down; the exit code is 1 if one lives."""
    kills = read_record() if RECORD.exists() else {}
    living = []
    for mutant in SIMULATED:
        if names and mutant.name not in names:
            continue
        kill = first_kill(mutant)
        sys.stdout.write(f"{mutant.name:<32} {'ALIVE' if kill is None else f'{kill.seed:>4}  {kill.symptom[:120]}'}\n")
        sys.stdout.flush()
        if kill is None:
            living.append(mutant.name)
            continue
        kills[mutant.name] = Kill(kill.seed, kill.symptom.partition(" (")[0].partition("\n")[0])
        entries = {name: {"seed": kill.seed, "symptom": kill.symptom} for name, kill in sorted(kills.items())}
        RECORD.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return 1 if living else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
