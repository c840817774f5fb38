"""`make bench`: measure, print tables and JSON, write bench/out.json. Exit 1: an answer, or the book, was wrong.

Tables that were whole by then are written all the same.
"""

import argparse
import asyncio
import fcntl
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.bars import judged
from bench.figures import rounded
from bench.growth import measure_growth
from bench.in_flight import measure_slow_gateway, measure_two_phase
from bench.limits import PgbenchFailed
from bench.loading import AnswersWrong
from bench.rounds import measure_rounds
from bench.stage import OUT
from bench.verify import NotComplete
from bench.webhooks import measure_webhooks
from paymux_cli.postgres_binaries import PostgresBinaries
from paymux_cli.postgres_errors import EmbeddedPostgresError

TABLES = ("main", "in_flight", "webhooks", "growth")
Figures = Mapping[str, float]


async def measure(arguments: argparse.Namespace, tables: dict[str, Figures]) -> None:
    """Measure the tables asked for, and add each as soon as it is whole."""
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"[bench] {time.monotonic() - began:5.0f} s  {what}", file=sys.stderr, flush=True)

    if "main" in arguments.tables:
        tables["main"] = rounded(await measure_rounds(say, rounds=arguments.rounds))
    if "in_flight" in arguments.tables:
        tables["in_flight"] = rounded(await measure_slow_gateway(say, rounds=arguments.rounds))
        tables["two_phase"] = rounded(await measure_two_phase(say, rounds=arguments.rounds))
    if "webhooks" in arguments.tables:
        tables["webhooks"] = rounded(await measure_webhooks(say, rounds=arguments.rounds))
    if "growth" in arguments.tables:
        tables["growth"] = rounded(await measure_growth(say, rounds=arguments.rounds))


def report(tables: Mapping[str, Figures], *, load_before: float, rounds: int) -> dict[str, object]:
    """Print the tables, then the JSON: the main table's figures at the top, the others under their names."""
    for name, figures in tables.items():
        print(f"\n{name}")
        for figure, value in figures.items():
            print(f"  {figure:28} {value:>12,g}")
    print("\nwhat it has to be")
    for bar, value, met in judged(tables):
        goal = "" if bar.goal is None else f"   goal {bar.goal:g}"
        print(f"  {'ok    ' if met else 'MISSED'} {bar.table}.{bar.figure} = {value:,g}   {bar.wanted}{goal}")
    written = {
        **tables.get("main", {}),
        **{name: figures for name, figures in tables.items() if name != "main"},
        "missed": [f"{bar.table}.{bar.figure}" for bar, _, met in judged(tables) if not met],
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "load_before": load_before,
            "postgres": PostgresBinaries.find().major_version(),
            "rounds": rounds,
        },
    }
    print("\n" + json.dumps(written, indent=1))
    return written


def main() -> int:
    """Take the lock, measure, write."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="leave the growth table out")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tables = [table for table in arguments.tables if table != "growth"]
    OUT.mkdir(exist_ok=True)
    load_before = os.getloadavg()[0]
    with (OUT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two benches at once measure each other
        tables: dict[str, Figures] = {}
        code = 0
        try:
            asyncio.run(measure(arguments, tables))
        except (AnswersWrong, NotComplete, PgbenchFailed, EmbeddedPostgresError) as failed:
            print(f"[bench] {failed}", file=sys.stderr)
            code = 1
    written = report(tables, load_before=load_before, rounds=arguments.rounds)
    Path(__file__).with_name("out.json").write_text(json.dumps(written, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
