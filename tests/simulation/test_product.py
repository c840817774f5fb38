"""The product keeps its promises under every seed: flows, SQL and connectors on real Postgres, with faults."""

import os

import pytest

from tests.simulation.database import Server
from tests.simulation.seeds import first_failure, how_to_repeat
from tests.simulation.workload import HARSH_FROM, run_seed

CHUNK_SEEDS = 10
CHUNKS = 10
# `make simulate` sets both, for the model; a seed of the product costs as much as ten of the model.
LONG_FIRST_SEED = int(os.environ.get("PAYMUX_SEED", "1"))
LONG_SEEDS = max(1, int(os.environ.get("PAYMUX_SEEDS", "3000")) // 10)
LONG_CHUNKS = min(12, LONG_SEEDS)

FAILED_ONCE = {
    0: "a phase 1 that committed after its key had been looked up was answered 409 by its own key",
    8: "a re-send is judged from its claim, although the first record gives the lease back",
    68: "the rows of a claim come in no promised order",
    77: "a look decided before a re-send was noted took back that it was sent",
    497: "what was answered after phase 2 had lost its acknowledgement was not the stored answer",
}
"""Seeds that found a bug in the product or in its oracle; each one stays."""


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [*range(CHUNKS)])
def test_the_product_violates_nothing(server: Server, chunk: int) -> None:
    first = HARSH_FROM if chunk == CHUNKS - 1 else chunk * CHUNK_SEEDS
    failed = first_failure(range(first, first + CHUNK_SEEDS), server)
    assert failed is None, how_to_repeat(failed)


@pytest.mark.simulation
@pytest.mark.parametrize("chunk", [*range(LONG_CHUNKS)])
def test_the_product_violates_nothing_in_a_long_run(server: Server, chunk: int) -> None:
    first = LONG_FIRST_SEED + (HARSH_FROM if chunk % 3 == 2 else 0)
    failed = first_failure(range(first + chunk, first + LONG_SEEDS, LONG_CHUNKS), server)
    assert failed is None, how_to_repeat(failed)


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_a_seed_that_failed_once_passes(server: Server, seed: int) -> None:
    run = run_seed(seed, server)
    assert not run.violations, how_to_repeat(run)


def test_a_seed_of_the_product_repeats_itself(server: Server) -> None:
    first, between, second = (run_seed(seed, server) for seed in (11, 12, 11))
    assert first.trace_hash == second.trace_hash, "seed 11 is not deterministic"
    assert between.trace_hash != first.trace_hash
