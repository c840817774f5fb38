"""The conformance kit and the tables of cases see every rule that is taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.contract import CAUGHT, Caught
from tests.mutants.patched import ROOT, environment_of, write_mutant

# Only what our settings name: the others take longer to load than the tests to run.
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")
TESTS_FAILED = 1
"""Pytest's exit status for that, and for nothing else."""


@pytest.mark.slow
@pytest.mark.parametrize("caught", CAUGHT, ids=lambda caught: caught.mutant.name)
def test_a_rule_that_is_taken_away_is_missed_by_its_test(caught: Caught, tmp_path: Path) -> None:
    home = write_mutant(caught.mutant, tmp_path)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *PLUGINS, caught.file, "-k", caught.tests],
        cwd=ROOT,
        env=environment_of(caught.mutant, home) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == TESTS_FAILED, f"{caught.mutant.rule}: {ran.stdout[-1500:]}{ran.stderr[-500:]}"
