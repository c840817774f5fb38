"""A second crash, while the first one is being healed: what is left heals all the same."""

import os
from random import Random

import pytest

from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.healing import OWNER_SECONDS, TRUTHS, ask_again, crash, is_unconfirmed, settle, violations
from tests.crash_points.stage import PORT_CALLS, CrashPoint, Dies, Ground, Scenario, set_up

pytestmark = pytest.mark.asyncio(loop_scope="module")
SAMPLES = 500
SAMPLES_IN_SHORT = 24
# `make simulate SEED=` draws other samples.
FIRST = int(os.environ.get("PAYMUX_SEED", "1")) * 1_000
HEALING_CALLS_MAX = 14


@pytest.mark.simulation
@pytest.mark.parametrize("sample", range(FIRST, FIRST + SAMPLES))
async def test_two_crashes_heal(ground: Ground, sandbox: SandboxProcess, sample: int) -> None:
    await _two_crashes(ground, sandbox, sample)


@pytest.mark.parametrize("sample", range(SAMPLES_IN_SHORT))
async def test_a_few_pairs_of_crashes_heal(ground: Ground, sandbox: SandboxProcess, sample: int) -> None:
    await _two_crashes(ground, sandbox, sample)


async def _two_crashes(ground: Ground, sandbox: SandboxProcess, sample: int) -> None:
    draw = Random(sample)
    scenario, truth = draw.choice(list(Scenario)), draw.choice(list(TRUTHS))
    first = CrashPoint(draw.randint(1, len(PORT_CALLS[scenario])), draw.choice(list(Dies)))
    second = CrashPoint(draw.randint(1, HEALING_CALLS_MAX), draw.choice(list(Dies)))
    resumer = draw.choice(["client", "worker"])
    async with set_up(ground, sandbox, scenario, truth, seed=f"two {sample}") as stage:
        await stage.create()
        await crash(stage, first)
        if resumer == "client" or await is_unconfirmed(stage):
            stage.clock.seconds += OWNER_SECONDS
            await crash(stage, second)
            if await is_unconfirmed(stage):
                await ask_again(stage)
            payment = await settle(stage)
        else:
            payment = await settle(stage, dying=second)
        found = await violations(ground.administrator, stage)
        charges = stage.charges(payment)
    told = f"{scenario} of {truth}: {first}, then by the {resumer}: {second}"
    # After two crashes the window may have closed before anything was sent: then nothing is.
    assert (str(payment.status), charges) in TRUTHS[truth] | {("failed", 0)}, told
    assert found == [], told
