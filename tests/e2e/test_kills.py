"""Processes killed while money moves: afterwards everything is settled, and the book agrees."""

import asyncio
import contextlib
from collections import Counter
from itertools import cycle, islice

import pytest

from tests.support.http import Merchant, Reply, eventually
from tests.support.stack import Child, Stack

TOKENS = (
    "sandbox_approve",
    "sandbox_approve",
    "sandbox_timeout_after_charge",
    "sandbox_approve",
    "sandbox_error_after_charge",
    "sandbox_decline_hard",
    "sandbox_approve",
    "sandbox_reset_after_charge",
    "sandbox_timeout_before_charge",
    "sandbox_conflict_in_flight",
)
PAYMENTS = 80
AT_ONCE = 20
KILLS = 3


@pytest.fixture
def victim(stack: Stack) -> Merchant:
    """A merchant whose requests meet the kills."""
    return stack.new_merchant()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["api", "worker"])
async def test_everything_resolves_after_a_process_is_killed_under_load(
    who: str, stack: Stack, victim: Merchant
) -> None:
    children: dict[str, Child] = {"api": stack.api, "worker": stack.worker}
    slots = asyncio.Semaphore(AT_ONCE)
    answered: list[Reply] = []

    async def pay(number: int, token: str) -> str:
        fields = {
            "amount": 1000 + number,
            "currency": "eur",
            "reference": f"kill-{number}",
            "confirm": True,
            "payment_method": {"type": "card", "token": token},
        }
        async with slots:
            reply = await _insist(victim, fields, key=f"kill-{number}")
        answered.append(reply)
        return reply.payment_id

    load = asyncio.gather(*(pay(n, token) for n, token in enumerate(islice(cycle(TOKENS), PAYMENTS))))
    for kill in range(1, KILLS + 1):
        await _answers_reach(answered, kill * PAYMENTS // (KILLS + 2))
        children[who].kill()
        children[who].start()
    await stack.ready()
    payments = {payment_id: await victim.settled(payment_id) for payment_id in await load}
    assert len(payments) == PAYMENTS == await stack.payments_count(victim)
    booked = Counter(str(charge["payment_id"]) for charge in stack.sandbox.charges())
    for payment_id, payment in payments.items():
        assert booked[payment_id] == (1 if payment["status"] == "succeeded" else 0)
    assert await stack.violations() == []


async def _insist(merchant: Merchant, fields: dict[str, object], *, key: str) -> Reply:
    """Send the same request until the API says what became of it, as a merchant does after a lost answer."""

    async def attempt() -> Reply | None:
        with contextlib.suppress(OSError):
            reply = await merchant.post("/payments", fields, key=key)
            assert reply.status in {201, 202, 409, 503}, reply.body
            return reply if reply.status in {201, 202} else None
        return None

    reply = await eventually(attempt, lambda reply: reply is not None)
    assert reply is not None
    return reply


async def _answers_reach(answered: list[Reply], enough: int) -> None:
    async def count() -> int:
        return len(answered)

    await eventually(count, lambda answers: answers >= enough)
