"""The protocol keeps its promises under every seed, and each rule is needed: without it, some seed fails."""

from __future__ import annotations

import asyncio
import os
from itertools import product
from random import Random

import pytest

from tests.model.loop import DeadlockFoundError, SimulationLoop
from tests.model.mutants import Mutant
from tests.model.rules import ATTEMPT_TRANSITIONS, HOLDING, AttemptStatus, Caches, Outcome, Source, status_after
from tests.model.seeds import KILLED_WITHIN_SEEDS, first_failure, how_to_repeat, read_record
from tests.model.workload import run_seed

CHUNK_SEEDS = 250
CHUNKS = 8
# `make simulate` sets both; alone, the long run is 10,000 seeds beyond those of the short one.
LONG_FIRST_SEED = int(os.environ.get("PAYMUX_SEED", "1"))
LONG_SEEDS = int(os.environ.get("PAYMUX_SEEDS", "10000"))


@pytest.mark.parametrize("chunk", [*range(CHUNKS)])
def test_the_protocol_violates_nothing(chunk: int) -> None:
    failed = first_failure(range(chunk * CHUNK_SEEDS, (chunk + 1) * CHUNK_SEEDS))
    assert failed is None, how_to_repeat(failed)


@pytest.mark.simulation
@pytest.mark.parametrize("chunk", [*range(10)])
def test_the_protocol_violates_nothing_in_a_long_run(chunk: int) -> None:
    failed = first_failure(range(LONG_FIRST_SEED + chunk, LONG_FIRST_SEED + LONG_SEEDS, 10))
    assert failed is None, how_to_repeat(failed)


@pytest.mark.parametrize("mutant", [*Mutant], ids=lambda mutant: mutant.name)
def test_a_protocol_without_the_rule_is_found_out(mutant: Mutant) -> None:
    # The recorded seed first: the search runs only where the workload has changed since.
    recorded = [read_record()[mutant]] if mutant in read_record() else []
    killed_by = first_failure([*recorded, *range(KILLED_WITHIN_SEEDS)], mutant=mutant)
    assert killed_by is not None, f"{mutant.name} lives through {KILLED_WITHIN_SEEDS} seeds: the workload is too gentle"


def test_a_seed_repeats_itself() -> None:
    for seed in range(0, CHUNKS * CHUNK_SEEDS, 100):
        first, second = run_seed(seed), run_seed(seed)
        assert first.trace_hash == second.trace_hash, f"seed {seed} is not deterministic"


def test_different_seeds_go_different_ways() -> None:
    assert len({run_seed(seed).trace_hash for seed in range(20)}) == 20


def test_a_wait_that_nothing_ends_is_a_deadlock() -> None:
    loop = SimulationLoop(Random(1))
    loop.set_exception_handler(lambda _loop, _context: None)
    try:
        with pytest.raises(DeadlockFoundError):
            loop.run_until_complete(_wait_for_ever(loop))
    finally:
        loop.close()


def test_virtual_time_jumps_to_the_next_timer() -> None:
    loop = SimulationLoop(Random(1))
    try:
        loop.run_until_complete(asyncio.sleep(86_400.0))
        assert loop.time() == 86_400.0
    finally:
        loop.close()


@pytest.mark.parametrize(("outcome", "source", "caches"), [*product(Outcome, Source, Caches)])
def test_no_outcome_moves_an_attempt_that_is_closed(outcome: Outcome, source: Source, caches: Caches) -> None:
    for status in (status for status in AttemptStatus if not ATTEMPT_TRANSITIONS[status]):
        assert status_after(status, outcome, source=source, caches=caches, mutant=None) is None


@pytest.mark.parametrize("caches", [*Caches])
def test_a_resend_gives_an_attempt_up_only_by_a_decline_that_every_request_gets(caches: Caches) -> None:
    given_up = {
        outcome
        for outcome in Outcome
        for status in AttemptStatus
        if (after := status_after(status, outcome, source=Source.RESEND, caches=caches, mutant=None)) is not None
        and after not in HOLDING
    }
    declines = {Outcome.DECLINED_SOFT, Outcome.DECLINED_HARD} if caches is Caches.ALL else set()
    assert given_up == declines | {Outcome.VOIDED}


async def _wait_for_ever(loop: SimulationLoop) -> None:
    await loop.create_future()
