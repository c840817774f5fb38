"""Webhooks from the sandbox's gateways to the running product: whatever befalls them, one payment ends once."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio

from paymux_core.ids import Kind, public_id
from tests.support.http import Merchant, eventually
from tests.support.postgres import LoopThread
from tests.support.stack import Account, Stack
from tests.support.webhooks import payment_id_of

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
    """A merchant whose gateway sends webhooks in its own way."""

    merchant: Merchant
    gateway: str
    api_key: str
    account: str
    payment_id: str = ""


async def open_shop(stack: Stack, *, gateway: str = "mock", faults: Sequence[str] = ()) -> Shop:
    """Make a merchant, give its account two secrets, and tell the sandbox where to send."""
    api_key = f"sk_{secrets.token_hex(8)}"
    merchant = await asyncio.to_thread(stack.new_merchant, accounts=[Account(gateway, secret=api_key)])
    merchant_id = stack.ids[merchant.api_key]
    (row,) = await stack.fetch("select id from gateway_accounts where merchant_id = $1", merchant_id)

    async def connect() -> None:
        from paymux_cli.composition import open_stack
        from paymux_cli.settings import StackSettings
        from paymux_cli.webhook_secrets import put_first

        async with open_stack(StackSettings.from_environment(stack.environment), name="tests") as made:
            for secret in (SECRET, NEXT_SECRET):
                await put_first(made, merchant_id, row["id"], secret=secret, keep=1)

    thread = LoopThread()
    try:
        await asyncio.to_thread(thread.run, connect())
    finally:
        thread.close()
    account = public_id(Kind.GATEWAY_ACCOUNT, row["id"])
    await asyncio.to_thread(
        stack.sandbox.send_webhooks,
        gateway,
        api_key,
        url=f"{stack.url}/webhooks/{account}",
        secret=NEXT_SECRET,
        previous_secret=SECRET,
        account=account,
        faults=faults,
    )
    return Shop(merchant, gateway, api_key, account)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shops(stack: Stack) -> dict[str, Shop]:
    """For each fault a shop with a payment of which only a webhook or a look can tell; all under way at once."""

    async def begun(fault: str) -> Shop:
        shop = await open_shop(stack, faults=[] if fault == "none" else [fault])
        shop.payment_id = await shop.merchant.new_payment("sandbox_error_after_charge")
        await shop.merchant.confirm(shop.payment_id, key=f"webhook-{fault}")
        return shop

    return dict(zip(FAULTS, await asyncio.gather(*map(begun, FAULTS)), strict=True))


async def stored(stack: Stack, shop: Shop) -> list[str]:
    rows = await stack.fetch(
        "select coalesce(w.refusal, 'stored') as became from inbound_webhooks w where merchant_id = $1 order by id",
        stack.ids[shop.merchant.api_key],
    )
    return [row["became"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_one_transition_and_everything_is_stored(
    fault: str, stack: Stack, shops: dict[str, Shop]
) -> None:
    shop = shops[fault]
    payment = await shop.merchant.settled(shop.payment_id)
    assert payment["status"] == "succeeded"
    assert len(stack.sandbox.charges(shop.payment_id)) == 1
    seen = await eventually(lambda: stored(stack, shop), lambda rows: len(rows) >= len(FAULTS[fault]))
    assert tuple(seen) == FAULTS[fault]
    ends = await stack.fetch(
        "select to_status from payment_events where payment_id = $1 and to_status is not null order by position",
        payment_id_of(shop.payment_id),
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
        assert await eventually(lambda: stored(stack, shop), bool) == ["stored"]
        assert {row["status"] for row in stack.sandbox.sendings(payment_id)} == {200}
    assert (await shop.merchant.settled(payment_id))["status"] == "succeeded"


async def test_hostile_bodies_are_refused_and_harm_nobody(stack: Stack) -> None:
    shop = await open_shop(stack, faults=["silent"])
    path = f"/webhooks/{shop.account}"
    for body in (b"", b"\0", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 12_000, b'{"id": "\\ud800"}', b"4242424242424242"):
        for signature in ("", "t=1,v1=" + "0" * 64, "t=99999999999999,v1=zz", "v1=,,,,t=" * 50):
            status, answer = await post(stack, path, body, signature)
            assert (status, b"webhook_refused" in answer) == (400, True)
    assert (await post(stack, path, b"x" * (64 * 1024 + 1), ""))[0] == 413
    assert (await post(stack, path, b"x" * (64 * 1024), ""))[0] == 400
    assert (await post(stack, "/webhooks/ga_00000000000000000000000000", b"{}", ""))[0] == 404
    assert (await post(stack, "/webhooks/nobody", b"{}", ""))[0] == 404
    assert await shop.merchant.new_payment("sandbox_approve")
    assert set(await stored(stack, shop)) == {"signature_malformed", "signature_wrong"}


async def post(stack: Stack, path: str, body: bytes, signature: str) -> tuple[int, bytes]:
    """Send bytes as a stranger would."""
    host, port = stack.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSandbox-Signature: {signature}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer
