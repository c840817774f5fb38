"""Webhooks from the sandbox's gateways to the running product: whatever befalls them, one payment ends once."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio

from paymux_cli.composition import open_stack
from paymux_cli.settings import StackSettings
from paymux_cli.webhook_secrets import put_first
from paymux_core.ids import Kind, public_id
from tests.support.http import Merchant, eventually
from tests.support.inbound import payment_id_of
from tests.support.stack import Account, Stack

SECRET, NEXT_SECRET = "whsec_of_the_first_days", "whsec_after_the_roll"
FAULTS = {
    "none": ("stored",),
    "duplicate": ("stored",),
    "out_of_order": ("stored", "stored"),
    "late": ("stored",),
    "new_event_id": ("stored", "stored"),
    "both_secrets": ("stored",),
    "old_secret": ("stored",),
    "forged": ("signature_wrong",),
    "wrong_secret": ("signature_wrong",),
    "stale": ("timestamp_out_of_tolerance",),
    "future": ("timestamp_out_of_tolerance",),
    "reserialised": ("signature_wrong",),
    "unknown_reference": ("stored",),
    "silent": (),
}
"""What is stored of the one change of a charge that each fault strikes."""


@dataclass(slots=True)
class Shop:
    """A merchant whose gateway sends webhooks."""

    stack: Stack
    merchant: Merchant
    gateway: str
    api_key: str
    account: str

    async def strike(self, *faults: str) -> None:
        """Say what befalls the webhooks from now on."""
        await asyncio.to_thread(
            self.stack.sandbox.send_webhooks,
            self.gateway,
            self.api_key,
            url=f"{self.stack.url}/webhooks/{self.account}",
            secret=NEXT_SECRET,
            previous_secret=SECRET,
            account=self.account,
            faults=faults,
        )

    async def stored(self) -> list[str]:
        """Say of each webhook that came whether it was believed, or why not."""
        rows = await self.stack.fetch(
            "select coalesce(refusal, 'stored') as became from inbound_webhooks where merchant_id = $1 order by id",
            self.stack.ids[self.merchant.api_key],
        )
        return [row["became"] for row in rows]


async def open_shop(stack: Stack, *, gateway: str = "mock") -> Shop:
    """Make a merchant, give its account two secrets, and tell the sandbox where to send."""
    api_key = f"sk_{secrets.token_hex(8)}"
    merchant = await asyncio.to_thread(stack.new_merchant, accounts=[Account(gateway, secret=api_key)])
    merchant_id = stack.ids[merchant.api_key]
    (row,) = await stack.fetch("select id from gateway_accounts where merchant_id = $1", merchant_id)
    async with open_stack(StackSettings.from_environment(stack.environment), name="tests") as made:
        for secret in (SECRET, NEXT_SECRET):
            await put_first(made, merchant_id, row["id"], secret=secret, keep=1)
    shop = Shop(stack, merchant, gateway, api_key, public_id(Kind.GATEWAY_ACCOUNT, row["id"]))
    await shop.strike()
    return shop


@dataclass(slots=True)
class Struck:
    """A payment whose webhooks a fault befell, and what was stored of them."""

    payment_id: str
    stored: Sequence[str]


def _at_least(count: int) -> Callable[[list[str]], bool]:
    return lambda rows: len(rows) >= count


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(stack: Stack) -> Shop:
    """One shop for all faults."""
    return await open_shop(stack)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def struck(shop: Shop) -> dict[str, Struck]:
    """For each fault a payment of which only a webhook or a look can tell."""
    found: dict[str, Struck] = {}
    before = 0
    for fault, expected in FAULTS.items():
        await shop.strike(*([] if fault == "none" else [fault]))
        payment_id = await shop.merchant.new_payment("sandbox_error_after_charge")
        await shop.merchant.confirm(payment_id, key=f"webhook-{fault}")
        stored = await eventually(shop.stored, _at_least(before + len(expected)))
        found[fault] = Struck(payment_id, stored[before:])
        before = len(stored)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_one_transition_and_everything_is_stored(
    fault: str, stack: Stack, shop: Shop, struck: dict[str, Struck]
) -> None:
    payment_id = struck[fault].payment_id
    assert tuple(struck[fault].stored) == FAULTS[fault]
    payment = await shop.merchant.settled(payment_id)
    assert payment["status"] == "succeeded"
    assert len(stack.sandbox.charges(payment_id)) == 1
    ends = await stack.fetch(
        "select to_status from payment_events where payment_id = $1 and to_status is not null order by position",
        payment_id_of(payment_id),
    )
    assert [row["to_status"] for row in ends] == ["requires_confirmation", "processing", "succeeded"]


@pytest.mark.slow
@pytest.mark.parametrize("gateway", ["mock", "flaky"])
async def test_a_webhook_settles_what_was_silent_long_before_the_first_check(stack: Stack, gateway: str) -> None:
    shop = await open_shop(stack, gateway=gateway)
    payment_id = await shop.merchant.new_payment("sandbox_pending")
    await shop.merchant.confirm(payment_id, key=f"pending at {gateway}")
    payment = await shop.merchant.settled(payment_id)
    assert payment["status"] == "succeeded"

    async def applied() -> list[str]:
        rows = await stack.fetch(
            "select w.result from inbound_webhook_work w where payment_id = $1 and status = 'applied'",
            payment_id_of(payment_id),
        )
        return [row["result"] for row in rows]

    results = await eventually(applied, lambda found: len(found) >= 2)
    assert set(results) <= {"pending", "succeeded", "no_change", "known"}


@pytest.mark.slow
async def test_webhooks_are_stored_while_no_worker_runs_and_applied_when_one_does(stack: Stack) -> None:
    shop = await open_shop(stack)
    with stack.worker.paused():
        payment_id = await shop.merchant.new_payment("sandbox_error_after_charge")
        await shop.merchant.confirm(payment_id, key="nobody works")
        assert await eventually(shop.stored, bool) == ["stored"]
        assert {row["status"] for row in stack.sandbox.sendings(payment_id)} == {200}
    assert (await shop.merchant.settled(payment_id))["status"] == "succeeded"


async def test_hostile_bodies_are_refused_and_harm_nobody(stack: Stack) -> None:
    shop = await open_shop(stack)
    await shop.strike("silent")
    path = f"/webhooks/{shop.account}"
    for body in (b"", b"\0", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 12_000, b'{"id": "\\ud800"}', b"4242424242424242"):
        for signature in ("", "t=1,v1=" + "0" * 64, "t=99999999999999,v1=zz", "v1=,,,,t=" * 50):
            status, answer = await post(stack, path, body, signature)
            assert (status, b"webhook_refused" in answer) == (400, True), (body[:20], signature, answer)
    assert (await post(stack, path, b"x" * (64 * 1024 + 1), ""))[0] == 413
    assert (await post(stack, path, b"x" * (64 * 1024), ""))[0] == 400
    assert (await post(stack, "/webhooks/ga_00000000000000000000000000", b"{}", ""))[0] == 404
    assert (await post(stack, "/webhooks/nobody", b"{}", ""))[0] == 404
    assert await shop.merchant.new_payment("sandbox_approve")
    assert set(await shop.stored()) == {"signature_malformed", "signature_wrong"}


async def post(stack: Stack, path: str, body: bytes, signature: str) -> tuple[int, bytes]:
    """Send bytes as a stranger would."""
    host, port = stack.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSandbox-Signature: {signature}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = b""
        # A reset after the answer, for a body that nobody reads to its end, takes nothing away from it.
        with contextlib.suppress(ConnectionResetError):
            while chunk := await reader.read(1 << 16):
                answer += chunk
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer
