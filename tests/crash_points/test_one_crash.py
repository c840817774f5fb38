"""A money request dies at any call of a port, before, after, or with its answer lost; client or worker heal it."""

import pytest

from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.healing import TRUTHS, ask_again, crash, is_unconfirmed, settle, violations
from tests.crash_points.stage import PORT_CALLS, CrashPoint, Dies, Scenario, set_up
from tests.support.postgres import Database

POINTS = 72
"""Port calls of all scenarios, times 3 ways to die: a new await in a money request changes this consciously."""
CASES = [(scenario, at) for scenario in Scenario for at in range(1, len(PORT_CALLS[scenario]) + 1)]


def test_the_number_of_crash_points_is_the_one_checked_in() -> None:
    assert len(CASES) * len(Dies) == POINTS


@pytest.mark.parametrize("scenario", list(Scenario))
async def test_an_undisturbed_request_calls_the_ports_that_are_checked_in(
    emptied: Database, sandbox: SandboxProcess, scenario: Scenario
) -> None:
    point = CrashPoint(0, Dies.BEFORE)
    async with set_up(emptied.dsn, sandbox, scenario, "sandbox_approve", seed=f"undisturbed {scenario}") as stage:
        await stage.create()
        reply = await stage.request(stage.dying(point))
    assert point.seen == list(PORT_CALLS[scenario])
    assert reply.http_status == (201 if scenario is Scenario.CREATE else 200)


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("resumer", ["client", "worker"])
@pytest.mark.parametrize("dies", list(Dies))
@pytest.mark.parametrize(("scenario", "at"), CASES)
async def test_a_crash_heals(
    emptied: Database, sandbox: SandboxProcess, scenario: Scenario, at: int, dies: Dies, resumer: str, truth: str
) -> None:
    seed = f"{scenario} {at} {dies} {resumer} {truth}"
    async with set_up(emptied.dsn, sandbox, scenario, truth, seed=seed) as stage:
        await stage.create()
        point = CrashPoint(at, dies)
        await crash(stage, point)
        assert point.seen[: len(PORT_CALLS[scenario])] == list(PORT_CALLS[scenario])[: len(point.seen)]
        if resumer == "client" or await is_unconfirmed(stage):
            await ask_again(stage)
        payment = await settle(stage)
        found = await violations(emptied.dsn, stage)
        charges = stage.charges(payment)
    assert (str(payment.status), charges) in TRUTHS[truth]
    assert len(payment.attempts) == (2 if scenario is Scenario.FAILOVER else 1)
    assert found == []
