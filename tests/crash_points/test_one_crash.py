"""A money request dies at any call of a port, before, after, or with its answer lost; client or worker heal it."""

import pytest

from paymux_core.transitions import AttemptStatus, PaymentStatus
from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.healing import (
    TRUTHS,
    apply_webhooks,
    ask_again,
    crash,
    hear,
    is_unconfirmed,
    settle,
    violations,
)
from tests.crash_points.stage import PORT_CALLS, CrashPoint, Dies, Ground, Scenario, Stage, set_up

HEALINGS = 752
"""Points, who goes on, what the gateway did; where phase 1 was not committed no gateway has anything to tell."""
POINTS = 72
"""Port calls of all scenarios, times 3 ways to die: a new await in a money request changes this consciously."""
CASES = [(scenario, at) for scenario in Scenario for at in range(1, len(PORT_CALLS[scenario]) + 1)]


def _is_committed(scenario: Scenario, at: int, dies: Dies) -> bool:
    """Tell whether phase 1 was committed before the process died."""
    phase_one = next(n for n, name in enumerate(PORT_CALLS[scenario], 1) if name in {"open_attempt", "create_and_open"})
    return at > phase_one or (at == phase_one and dies is not Dies.BEFORE)


RESUMPTIONS = [
    (scenario, at, dies, resumer)
    for scenario, at in CASES
    for dies in Dies
    for resumer in ("client", "worker", "webhook")
    if resumer != "webhook" or _is_committed(scenario, at, dies)
]


def test_the_number_of_crash_points_is_the_one_checked_in() -> None:
    assert len(CASES) * len(Dies) == POINTS
    assert len(RESUMPTIONS) * len(TRUTHS) == HEALINGS


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", list(Scenario))
async def test_an_undisturbed_request_calls_the_ports_that_are_checked_in(
    ground: Ground, sandbox: SandboxProcess, scenario: Scenario
) -> None:
    point = CrashPoint(0, Dies.BEFORE)
    async with set_up(ground, sandbox, scenario, "sandbox_approve", seed=f"undisturbed {scenario}") as stage:
        await stage.create()
        reply = await stage.request(stage.dying(point))
    assert point.seen == list(PORT_CALLS[scenario])
    assert reply.http_status == (201 if scenario is Scenario.CREATE else 200)


async def assert_heard(stage: Stage) -> None:
    """Let the gateway's webhook come: of a charge that was made it is enough, and of another it makes none."""
    asked = await stage.payment()
    assert asked is not None
    # A pending charge may be made while we listen.
    charged = stage.charges(asked) == 1
    payment = await hear(stage)
    assert not charged or payment.attempts[-1].status is AttemptStatus.SUCCEEDED
    assert payment.status is not PaymentStatus.SUCCEEDED or stage.charges(payment) == 1


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize(("scenario", "at", "dies", "resumer"), RESUMPTIONS)
async def test_a_crash_heals(
    ground: Ground, sandbox: SandboxProcess, scenario: Scenario, at: int, dies: Dies, resumer: str, truth: str
) -> None:
    seed = f"{scenario} {at} {dies} {resumer} {truth}"
    async with set_up(ground, sandbox, scenario, truth, seed=seed) as stage:
        await stage.create()
        point = CrashPoint(at, dies)
        await crash(stage, point)
        assert point.seen[: len(PORT_CALLS[scenario])] == list(PORT_CALLS[scenario])[: len(point.seen)]
        if resumer == "client" or await is_unconfirmed(stage):
            await ask_again(stage)
        if resumer == "webhook":
            await assert_heard(stage)
        payment = await settle(stage)
        # What the gateway told before it could show it is asked about for some minutes.
        await apply_webhooks(stage, after_seconds=[60] * 10 + [300] * 3 if resumer == "webhook" else [])
        found = await violations(ground.administrator, stage)
        charges = stage.charges(payment)
    assert (str(payment.status), charges) in TRUTHS[truth]
    assert len(payment.attempts) == (2 if scenario is Scenario.FAILOVER else 1)
    assert found == []
