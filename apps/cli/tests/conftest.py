"""Runs of everything, ended with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import RunOfEverything, start_run

StartRun = Callable[..., RunOfEverything]


@pytest.fixture
def runs() -> Iterator[StartRun]:
    """Start runs of everything; those that still run at the end are stopped."""
    started: list[RunOfEverything] = []

    def start(home: Path, **settings: str) -> RunOfEverything:
        started.append(start_run(home, settings))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.end()
        assert run.process.stdout is not None
        run.process.stdout.close()
