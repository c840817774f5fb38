"""Any order of the API's operations leaves the product where the model of the protocol is."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Bench, Machine
from tests.support.postgres import Databases

STEPS = 50
EXAMPLES = 25
CHUNKS = 4
CHUNKS_LONG = 12


@pytest.fixture(scope="module")
def bench(databases: Databases) -> Iterator[Bench]:
    database = databases.fresh()
    made = Bench(database.dsn)
    yield made
    made.close()
    databases.drop(database)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_product_follows_the_model(bench: Bench, chunk: int) -> None:
    _run(bench, chosen_by=chunk)


@pytest.mark.simulation
@pytest.mark.parametrize("chunk", range(CHUNKS_LONG))
def test_the_product_follows_the_model_in_a_long_run(bench: Bench, chunk: int) -> None:
    _run(bench, chosen_by=int(os.environ.get("PAYMUX_SEED", "1")) * 1_000 + chunk)


def _run(bench: Bench, *, chosen_by: int) -> None:
    class Here(Machine):
        pass

    Here.bench = bench
    options = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=True,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(chosen_by)(Here), settings=options)
