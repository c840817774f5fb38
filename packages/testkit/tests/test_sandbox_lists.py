"""The sandbox's list, page by page, and look-ups that lag behind what was charged."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from paymux_testkit.sandbox_client import SandboxClient
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings

LAG_SECONDS = 2.0
DIVISOR = 10
CHARGES = 7


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as process:
        yield process


def window(**query: str) -> dict[str, str]:
    now = datetime.now(UTC)
    at = {
        "created_from": (now - timedelta(minutes=1)).isoformat(),
        "created_to": (now + timedelta(minutes=1)).isoformat(),
    }
    return at | query


def test_a_list_shows_each_charge_once_newest_first(sandbox: SandboxProcess) -> None:
    client = SandboxClient(sandbox.url)
    keys = [f"listed-{number}" for number in range(CHARGES)]
    for key in keys:
        client.charge("sandbox_decline_hard" if key.endswith("3") else "sandbox_approve", key=key)
    SandboxClient(sandbox.url, gateway="flaky").charge("sandbox_approve_always", key="another-gateway")
    seen: list[object] = []
    query = window(limit="3")
    pages = 0
    while True:
        page = client.get("/charges", **query).content()
        charges = page["data"]
        assert isinstance(charges, list)
        seen += [charge["attempt_id"] for charge in charges]
        pages += 1
        if not page["has_more"]:
            break
        query["starting_after"] = charges[-1]["id"]
    assert seen == keys[::-1]
    assert pages == 3


def test_a_list_keeps_to_its_time(sandbox: SandboxProcess) -> None:
    client = SandboxClient(sandbox.url)
    client.charge("sandbox_approve", key="now")
    long_ago = {"created_from": "2020-01-01T00:00:00+00:00", "created_to": "2020-01-02T00:00:00+00:00"}
    assert client.get("/charges", **long_ago).content() == {"data": [], "has_more": False}


@pytest.mark.parametrize("query", [{"created_to": "x"}, {"created_to": "2020-01-01T00:00:00Z", "limit": "many"}])
def test_a_list_that_nobody_can_mean_is_refused(sandbox: SandboxProcess, query: dict[str, str]) -> None:
    reply = SandboxClient(sandbox.url).get("/charges", created_from="2020-01-01T00:00:00Z", **query)
    assert (reply.status, reply.error_code()) == (400, "invalid_request")


def test_look_ups_and_lists_lag_behind_a_charge_that_is_in_the_book(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = SandboxSettings(clock_divisor=DIVISOR, lookup_lag_seconds=LAG_SECONDS * DIVISOR)
    with SandboxProcess(tmp_path_factory.mktemp("lagging"), settings=settings) as sandbox:
        client = SandboxClient(sandbox.url)
        charged_at = time.monotonic()
        charge_id = client.charge("sandbox_approve", key="late").content()["id"]
        shown = (
            client.charges_of_attempt("late"),
            client.get("/charges", **window()).content()["data"],
            client.get(f"/charges/{charge_id}").status,
        )
        if time.monotonic() - charged_at < LAG_SECONDS:
            assert shown == ([], [], 404)
        assert len(sandbox.charges()) == 1
        while not client.charges_of_attempt("late"):
            time.sleep(0.05)
        assert time.monotonic() - charged_at >= LAG_SECONDS - 0.1
        assert client.get(f"/charges/{charge_id}").status == 200
