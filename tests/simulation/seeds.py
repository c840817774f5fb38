"""Run many seeds on one database, find the first that fails, and say how to repeat it."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import structlog

from tests.simulation.database import Server
from tests.simulation.workload import Run, run_seed
from tests.support.postgres import session_databases

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def open_server() -> Iterator[Server]:
    """Open a migrated database of one's own."""
    with session_databases() as databases:
        database = databases.fresh()
        server = Server(database.dsn)
        try:
            yield server
        finally:
            server.close()
            databases.drop(database)


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep the product's logs out of the way: a trace says more."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.configure(**before)


def first_failure(seeds: Iterable[int], server: Server) -> Run | None:
    """Return the first run with a violation."""
    for seed in seeds:
        run = run_seed(seed, server)
        if run.violations:
            return run
    return None


def how_to_repeat(run: Run) -> str:
    """Render a failure with its whole option set."""
    return "\n".join(
        (
            f"seed {run.seed}: " + "; ".join(run.violations),
            f"repeat: make simulate SEED={run.seed} SEEDS=1",
            f"trace: python -m tests.simulation --first {run.seed} --trace",
            f"options: {run.options}",
        )
    )
