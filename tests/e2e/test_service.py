"""What operators and supervisors ask: health, metrics, invariants, the documents."""

import re

import pytest

from paymux_core.api_keys import Scope
from paymux_worker.tasks import TASKS
from tests.support.http import Merchant, eventually
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def operator(stack: Stack) -> Merchant:
    """A key of an operator."""
    return stack.new_merchant(scopes=frozenset({Scope.OPERATOR}))


@pytest.fixture(scope="module")
def private(stack: Stack) -> Merchant:
    """The private listener, asked without a valid key."""
    return Merchant(stack.admin_url, "none")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/openapi.json", "/docs"])
async def test_what_is_open_needs_no_key(path: str, shop: Merchant) -> None:
    assert (await Merchant(shop.url, "none").get(path)).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/health/invariants"])
async def test_what_is_the_operators_needs_an_operators_key_or_the_private_listener(
    path: str, shop: Merchant, operator: Merchant, private: Merchant
) -> None:
    assert (await Merchant(shop.url, "none").get(path)).status == 401
    refused = await shop.get(path)
    assert (refused.status, refused.code, refused.content["required_scope"]) == (403, "permission_denied", "operator")
    assert (await operator.get(path)).status == 200
    assert (await private.get(path)).status == 200


async def test_the_private_listener_serves_no_payments(private: Merchant) -> None:
    assert (await private.get("/payments")).code == "not_found"
    assert (await private.get("/health/ready")).status == 200


async def test_an_operators_key_takes_no_payments(operator: Merchant) -> None:
    assert (await operator.create()).code == "permission_denied"
    assert (await operator.get("/payments")).code == "permission_denied"


async def test_metrics_count_what_was_answered(shop: Merchant, operator: Merchant) -> None:
    before = _refusals(await operator.get("/metrics"))
    await shop.create(amount=0)
    assert _refusals(await operator.get("/metrics")) == before + 1


async def test_metrics_tell_of_the_book_and_of_both_loops(operator: Merchant, stack: Stack) -> None:
    async def scraped() -> str:
        return (await operator.get("/metrics")).body.decode()

    def every_task_ran(text: str) -> bool:
        return all(f'paymux_schedule_last_success_seconds{{kind="{task.kind}"}}' in text for task in TASKS)

    text = await eventually(scraped, every_task_ran, seconds=30)
    assert {"paymux_oldest_unknown_seconds", "paymux_figures_age_seconds", "paymux_loop_lag_seconds"} <= _names(text)
    of_worker = (await Merchant(stack.worker_url, "none").get("/metrics")).body.decode()
    assert {"paymux_loop_lag_seconds", "paymux_loop_late_total"} <= _names(of_worker)


async def test_a_sound_book_is_ok(operator: Merchant) -> None:
    report = (await operator.get("/health/invariants")).content
    assert (report["status"], report["violations"]) == ("ok", [])


async def test_the_documentation_asks_no_other_host(shop: Merchant) -> None:
    page = await shop.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.body.decode())
    files = [link for link in links if not link.startswith("data:")]
    assert len(files) >= 3
    for path in files:
        reply = await shop.get(path)
        assert reply.status == 200, path
        assert b"//" not in re.sub(rb"(?m)^\s*//.*$", b"", reply.body) or path == "/openapi.json", path


def _refusals(reply: object) -> float:
    body = getattr(reply, "body", b"").decode()
    found = re.search(r'paymux_api_refusals_total\{code="validation_failed"\} ([0-9.]+)', body)
    return float(found[1]) if found else 0.0


def _names(text: str) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}
