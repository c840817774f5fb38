"""The command line of the simulation: many seeds, or one seed with its trace."""

from __future__ import annotations

import argparse
import json
import sys
from time import monotonic

from rich.console import Console

from tests.simulation.seeds import first_failure, how_to_repeat, open_server, quiet_logs
from tests.simulation.workload import run_seed

_console = Console(highlight=False, soft_wrap=True, markup=False)


def main() -> int:
    """Return 1 when a seed violated something."""
    asked = _parser().parse_args()
    with quiet_logs(), open_server() as server:
        if asked.trace:
            run = run_seed(asked.first, server)
            _console.print("\n".join(run.trace))
            _console.print(f"{run.violations}\n{run.options}\ntrace hash {run.trace_hash}, {run.statements} statements")
            return 1 if run.violations else 0
        began = monotonic()
        failed = first_failure(range(asked.first, asked.first + asked.seeds), server)
        if asked.json:
            _console.print(
                json.dumps(None if failed is None else {"seed": failed.seed, "symptom": failed.violations[0]})
            )
        elif failed is not None:
            _console.print(how_to_repeat(failed))
        else:
            _console.print(f"{asked.seeds} seeds from {asked.first}, 0 violations, {monotonic() - began:.1f} s")
    return 0 if failed is None else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds (default 100)")
    parser.add_argument("--trace", action="store_true", help="run only the first seed and print what happened")
    parser.add_argument("--json", action="store_true", help="print the first failure as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
