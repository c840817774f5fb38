"""Every mutant still finds its place in the product, and is Python or SQL that loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.patched import Edit, Mutant, PatchDoesNotApply, environment_of, write_mutant
from tests.mutants.patches import MUTANTS

_LOADS = "import paymux_cli.composition, paymux_worker.loop, paymux_flows, sys; print(paymux_flows.__file__)"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_loads(mutant: Mutant, tmp_path: Path) -> None:
    home = write_mutant(mutant, tmp_path)
    for edit in mutant.edits:
        text = (home / edit.path).read_text()
        if edit.path.endswith(".py"):
            compile(text, edit.path, "exec")


def test_a_child_of_the_test_build_imports_the_mutant(tmp_path: Path) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.edits[0].path.startswith("packages/flows/"))
    home = write_mutant(mutant, tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", _LOADS],
        env=environment_of(mutant, home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith(str(tmp_path))


def test_a_patch_that_no_longer_applies_fails_loudly(tmp_path: Path) -> None:
    stale = Mutant("stale", "none", (Edit("packages/core/src/paymux_core/money.py", "never written", "x"),))
    with pytest.raises(PatchDoesNotApply):
        write_mutant(stale, tmp_path)


def test_no_two_mutants_share_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
