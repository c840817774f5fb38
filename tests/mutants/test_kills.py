"""Each rule of the protocol is needed: without it, some seed of the product simulation fails."""

import sys

import pytest

from tests.mutants.kills import SEEDS, first_kill, kill_by_simulation
from tests.mutants.patched import Mutant
from tests.mutants.record import ELSEWHERE, SIMULATED, read_record

IN_SHORT = (
    *("gateway_before_attempt", "failover_on_timeout", "not_found_closes", "decline_of_resend_closes"),
    *("no_review_at_deadline", "late_charge_forgotten", "charge_after_window", "machine_clock"),
    *("charge_before_remember", "unseen_commit_calls", "phase_two_without_compare", "retry_charges"),
)
"""One for each kind of rule; `make simulate` kills them all."""


def test_every_mutant_has_somebody_who_kills_it() -> None:
    assert {mutant.name for mutant in SIMULATED} == set(read_record())
    assert set(IN_SHORT) <= set(read_record())
    assert not set(ELSEWHERE) & set(read_record())


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_SHORT)
def test_a_product_without_the_rule_is_found_out(name: str) -> None:
    _kill(next(mutant for mutant in SIMULATED if mutant.name == name))


@pytest.mark.simulation
@pytest.mark.parametrize("mutant", SIMULATED, ids=lambda mutant: mutant.name)
def test_a_product_without_any_one_rule_is_found_out(mutant: Mutant, capsys: pytest.CaptureFixture[str]) -> None:
    told = _kill(mutant)
    with capsys.disabled():
        sys.stdout.write(f"\n{mutant.name:<32} killed by the simulation, {told}")


def _kill(mutant: Mutant) -> str:
    # The recorded seed first: the search runs only where workload or product have changed since.
    recorded = read_record()[mutant.name]
    kill = kill_by_simulation(mutant, first=recorded.seed, seeds=1) or first_kill(mutant)
    assert kill is not None, f"{mutant.name} lives through {SEEDS} seeds: the workload is too gentle"
    return f"seed {kill.seed}: {kill.symptom.partition(chr(10))[0][:90]}"
