"""The demo merchant of `paymux run`, and what a person is told to try with it."""

import asyncio
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from paymux_cli.composition import Stack, open_stack
from paymux_cli.home import Home
from paymux_cli.manage import add_account, add_key, add_merchant
from paymux_cli.settings import StackSettings
from paymux_cli.webhook_secrets import put_first, webhook_url
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_postgres.merchants import AccountRow, list_gateway_accounts, move_gateway_account
from paymux_testkit.sandbox_process import SandboxProcess

_SCOPES = frozenset({
    *(Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE, Scope.PAYMENTS_CONFIRM, Scope.WEBHOOKS_MANAGE, Scope.EVENTS_READ),
    Scope.OPERATOR,
})  # fmt: skip
_GATEWAYS = ("mock", "flaky")
_API_KEY = "sandbox"
"""The sandbox takes any."""


async def seed_demo_merchant(home: Home, known: Mapping[str, str], sandbox: SandboxProcess, *, api_url: str) -> str:
    """Make the demo merchant the first time; later only move its accounts to the sandbox's address. Gives its key.

    The sandbox is told to send its webhooks to `api_url`.
    """
    async with open_stack(StackSettings.from_environment(known), name="seed") as stack:
        demo = home.demo_merchant()
        if not demo:
            demo = await _make(stack, known, sandbox_url=sandbox.url)
            home.write_demo_merchant(demo)
        else:
            await _move_accounts(stack, demo["merchant_id"], sandbox_url=sandbox.url)
        await _connect_webhooks(stack, demo["merchant_id"], sandbox, url=api_url)
    return demo["api_key"]


async def _connect_webhooks(stack: Stack, merchant: str, sandbox: SandboxProcess, *, url: str) -> None:
    """Point the sandbox's webhooks at the demo merchant's accounts, under a secret that is new in each run."""
    for merchant_id, account in await _accounts(stack, merchant):
        secret = f"whsec_{secrets.token_hex(24)}"
        await put_first(stack, merchant_id, account.id, secret=secret, keep=1)
        await asyncio.to_thread(
            sandbox.send_webhooks,
            account.gateway,
            _API_KEY,
            url=webhook_url(url, account.id),
            secret=secret,
            account=public_id(Kind.GATEWAY_ACCOUNT, account.id),
        )


async def _make(stack: Stack, known: Mapping[str, str], *, sandbox_url: str) -> dict[str, str]:
    merchant_id = await add_merchant(stack, "Demo shop", limits={"rates": "none"})
    for priority, gateway in enumerate(_GATEWAYS):
        await add_account(
            stack,
            merchant_id,
            gateway,
            base_url=sandbox_url,
            name=gateway,
            priority=10 * priority + 10,
            secret=_API_KEY,
        )
    key = await add_key(stack, merchant_id, name="demo", scopes=_SCOPES, mode="test", peppers=known)
    return {"merchant_id": public_id(Kind.MERCHANT, merchant_id), "api_key": key}


async def _move_accounts(stack: Stack, merchant: str, *, sandbox_url: str) -> None:
    for merchant_id, account in await _accounts(stack, merchant):
        await move_gateway_account(
            stack.store.pool,
            merchant_id=merchant_id,
            account_id=account.id,
            base_url=sandbox_url,
            at=stack.deps.clock.now(),
        )


async def _accounts(stack: Stack, merchant: str) -> list[tuple[UUID, AccountRow]]:
    """List the accounts that were made here, with their merchant's id."""
    merchant_id = parse_public_id(Kind.MERCHANT, merchant)
    assert merchant_id is not None, "we wrote it"
    accounts = await list_gateway_accounts(stack.store.pool, merchant_id)
    return [(merchant_id, a) for a in accounts if a.gateway in _GATEWAYS and a.name == a.gateway]


def what_to_try(env_file: Path) -> str:
    """Give the commands to copy."""
    return (
        f"  source {shlex.quote(str(env_file))}\n"
        '  curl -s $PAYMUX_URL/payments -H "Authorization: Bearer $PAYMUX_API_KEY" \\\n'
        '    -H \'Idempotency-Key: first-try\' -d \'{"amount": 1999, "currency": "eur", "confirm": true,\n'
        '      "payment_method": {"type": "card", "token": "sandbox_approve"}}\'\n'
    )
