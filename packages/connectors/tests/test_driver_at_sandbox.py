"""The driver and the sandbox's connectors against the real sandbox: each misbehaviour is told apart."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from paymux_connectors.driver import HttpGateways
from paymux_core.connector import GatewayAccount, ListWindow
from paymux_core.exchange import Page
from paymux_core.outcomes import Captured, NotExecuted, Outcome
from paymux_core.ports import CallLimits
from paymux_testkit.sandbox_process import SandboxProcess
from tests.support.charge_call import CALL

GatewayOf = Callable[..., Awaitable[Any]]
SECRET = "sandbox_secret_key_9"


def account(url: str, gateway: str = "mock") -> GatewayAccount:
    return GatewayAccount("ga_1", gateway, url, {"api_key": SECRET}, livemode=False)


async def remember_nothing(provider_payment_id: str) -> bool:
    pytest.fail(f"nothing is reserved here, but {provider_payment_id} was")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield process
    process.stop()


@pytest.mark.parametrize("gateway", ["mock", "flaky"])
async def test_a_charge_at_the_real_sandbox_is_charged_found_and_cannot_be_fenced(
    gateways: HttpGateways, limits: CallLimits, sandbox: SandboxProcess, gateway: str
) -> None:
    token = "sandbox_approve" if gateway == "mock" else "sandbox_approve_always"
    call = replace(CALL, attempt_id=f"att_{gateway}_1", token=token)
    target = account(sandbox.url, gateway)
    charged = (await gateways.authorize(target, call, limits=limits, remember=remember_nothing)).outcome
    assert isinstance(charged, Captured)
    assert charged.money == call.money
    assert (await gateways.inquire(target, call, limits=limits)).outcome == charged
    assert (await gateways.fence(target, call, limits=limits, remember=remember_nothing)).outcome == charged


SANDBOX_TOKENS: Mapping[str, tuple[str, str]] = {
    "sandbox_decline_soft": ("declined:do_not_honor", "declined:do_not_honor"),
    "sandbox_decline_hard": ("declined:lost_or_stolen", "declined:lost_or_stolen"),
    "sandbox_error_before_charge": ("unknown:server_error", "not_found"),
    "sandbox_error_after_charge": ("unknown:server_error", "captured"),
    "sandbox_reset_after_charge": ("unknown:no_reply", "captured"),
    "sandbox_garbage_after_charge": ("unknown:unreadable", "captured"),
    "sandbox_conflict_in_flight": ("unknown:in_flight", "pending"),
    "sandbox_rate_limited": ("not_executed:gateway_rate_limited", "not_found"),
    "sandbox_pending_always": ("pending", "pending"),
    "sandbox_no_such_token": ("declined:unknown", "not_found"),
}


@pytest.mark.parametrize("token", SANDBOX_TOKENS)
async def test_each_misbehaviour_of_the_sandbox_is_told_apart(
    gateways: HttpGateways, limits: CallLimits, sandbox: SandboxProcess, token: str
) -> None:
    call = replace(CALL, attempt_id=f"att_{token}_1", token=token)
    target = account(sandbox.url)
    charged = await gateways.authorize(target, call, limits=limits, remember=remember_nothing)
    looked_up = await gateways.inquire(target, call, limits=limits)
    assert (charged.interactions[-1].outcome, looked_up.interactions[-1].outcome) == SANDBOX_TOKENS[token]


async def test_a_fenced_attempt_is_refused_ever_after(
    gateways: HttpGateways, limits: CallLimits, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    call = replace(CALL, attempt_id="att_fenced_1")
    target = account(sandbox.url)
    outcomes: list[Outcome] = []
    for number in (1, 2):
        fence = replace(call, fence_number=number)
        outcomes.append((await gateways.fence(target, fence, limits=limits, remember=remember_nothing)).outcome)
    outcomes.append((await gateways.authorize(target, call, limits=limits, remember=remember_nothing)).outcome)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Voided"] * 3


async def test_wrong_credentials_did_nothing(
    gateways: HttpGateways, limits: CallLimits, sandbox: SandboxProcess
) -> None:
    target = replace(account(sandbox.url), credentials={"api_key": "sandbox_bad_key"})
    result = await gateways.authorize(target, CALL, limits=limits, remember=remember_nothing)
    assert result.interactions[-1].outcome == "not_executed:gateway_configuration"


async def test_the_real_sandboxs_list_is_read_page_by_page_and_noted(
    gateways: HttpGateways, limits: CallLimits, sandbox: SandboxProcess
) -> None:
    calls = [replace(CALL, attempt_id=f"att_list_{number}", token="sandbox_approve") for number in range(3)]
    target = account(sandbox.url)
    for call in calls:
        await gateways.authorize(target, call, limits=limits, remember=remember_nothing)
    now = datetime.now(UTC)
    result = await gateways.list_page(
        target, ListWindow(now - timedelta(minutes=5), now + timedelta(minutes=5)), limits=limits
    )
    assert isinstance(result.page, Page)
    found = {listed.attempt_id: listed.outcome for listed in result.page.found}
    assert all(isinstance(found[call.attempt_id], Captured) for call in calls)
    assert result.interaction is not None
    assert result.interaction.http_status == 200
    assert SECRET not in repr(result)


async def test_a_list_that_cannot_be_read_says_why(gateways: HttpGateways, limits: CallLimits) -> None:
    now = datetime.now(UTC)
    result = await gateways.list_page(account("http://127.0.0.1:1"), ListWindow(now, now), limits=limits)
    assert isinstance(result.page, NotExecuted)
    assert result.interaction is not None
    assert not result.interaction.bytes_sent
