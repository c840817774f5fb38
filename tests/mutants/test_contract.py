"""The tests named beside a mutant see every rule that is taken away."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.contract import CAUGHT
from tests.mutants.patched import ROOT, Caught, environment_of, write_mutant
from tests.mutants.upkeep import UPKEEP_CAUGHT
from tests.mutants.webhook_patches import CAUGHT_WEBHOOKS

# Only what our settings name: the others take longer to load than the tests to run.
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")
TESTS_FAILED = 1
"""Pytest's exit status for that, and for nothing else."""


IN_SHORT = {
    *("endless_id", "webhook_believed", "webhook_signature_unchecked", "results_under_any_lease"),
    *("budget_ignored", "expiry_without_compare"),
}
"""One for each kind of rule; `make simulate` takes every rule away."""


def _marked(caught: Caught) -> object:
    long = () if caught.mutant.name in IN_SHORT else (pytest.mark.simulation,)
    return pytest.param(caught, id=caught.mutant.name, marks=long)


@pytest.mark.slow
@pytest.mark.parametrize("caught", [_marked(caught) for caught in (*CAUGHT, *CAUGHT_WEBHOOKS, *UPKEEP_CAUGHT)])
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
