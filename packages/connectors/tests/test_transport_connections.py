"""How the transport keeps connections: which are used again, and what one that died under a request means."""

import asyncio
from typing import Any

import pytest

from paymux_connectors.transport import IDLE_SECONDS, Transport
from paymux_core.exchange import Answer, NoReply, NotSent, TransportError
from paymux_core.ports import CallLimits
from tests.support.wire import GatewayOf, RequestAt, answers


async def test_a_full_transport_says_pool_timeout(
    clock: Any, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    arrived = asyncio.Event()

    async def holds(seen: Any) -> None:
        await seen.request()
        arrived.set()
        await seen.reader.read()

    gateway = await gateway_of(holds)
    async with Transport(clock, in_flight_max=1) as transport:
        first = asyncio.create_task(transport.send(charge_at(gateway.url), limits=limits))
        await arrived.wait()
        impatient = CallLimits(limits.ends_at, limits.first_byte_before, connect_seconds=0.05)
        sent = await transport.send(charge_at(gateway.url), limits=impatient)
        first.cancel()
    assert isinstance(sent.reply, NotSent)
    assert sent.reply.error is TransportError.POOL
    assert len(gateway.connections) == 1


async def test_connections_are_kept_alive(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    gateway = await gateway_of(answers)
    for _ in range(3):
        await transport.send(charge_at(gateway.url), limits=limits)
    assert len(gateway.connections) == 1
    assert len(gateway.requests) == 3


async def test_a_connection_that_idled_too_long_is_not_used_again(
    clock: Any, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    assert IDLE_SECONDS <= 10
    gateway = await gateway_of(answers)
    async with Transport(clock, idle_seconds=0.0) as transport:
        for _ in range(2):
            sent = await transport.send(charge_at(gateway.url), limits=limits)
            assert isinstance(sent.reply, Answer)
    assert [len(seen.requests) for seen in gateway.connections] == [1, 1]


@pytest.mark.parametrize("ending", ["reset", "close"])
@pytest.mark.parametrize("kind", ["charge", "look_up"])
async def test_a_kept_alive_connection_that_dies_is_stale_and_nothing_is_sent_twice(
    transport: Transport,
    gateway_of: GatewayOf,
    limits: CallLimits,
    charge_at: RequestAt,
    look_up_at: RequestAt,
    ending: str,
    kind: str,
) -> None:
    async def dies_at_the_second(seen: Any) -> None:
        await seen.request()
        await seen.answer()
        await seen.request()
        if ending == "reset":
            seen.reset()

    gateway = await gateway_of(dies_at_the_second, answers)
    request = (charge_at if kind == "charge" else look_up_at)(gateway.url)
    await transport.send(request, limits=limits)
    sent = await transport.send(request, limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert sent.stale_connection
    assert len(gateway.requests) == 2
    again = await transport.send_on_new_connection(request, limits=limits)
    assert isinstance(again.reply, Answer)
    assert gateway.requests[1] == gateway.connections[1].requests[0].replace(b"Connection: close\r\n", b"")


async def test_a_connection_that_died_after_half_an_answer_is_not_stale(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def half_an_answer(seen: Any) -> None:
        await seen.request()
        await seen.answer()
        await seen.request()
        seen.writer.write(b"HTTP/1.1 2")
        await seen.writer.drain()

    gateway = await gateway_of(half_an_answer)
    await transport.send(charge_at(gateway.url), limits=limits)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert not sent.stale_connection


async def test_a_second_answer_that_nobody_asked_for_is_never_taken_for_the_next_ones(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    gone = asyncio.Event()
    more = asyncio.Event()

    async def answers_twice(seen: Any) -> None:
        await seen.request()
        await seen.answer(b'{"of":1}')
        await more.wait()
        await seen.answer(b'{"of":"nobody"}')
        await seen.reader.read()
        gone.set()

    async def answers_the_second(seen: Any) -> None:
        await seen.request()
        await seen.answer(b'{"of":2}')

    gateway = await gateway_of(answers_twice, answers_the_second)
    await transport.send(charge_at(gateway.url), limits=limits)
    more.set()
    await gone.wait()
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert sent.reply.body == b'{"of":2}'


async def test_many_requests_share_the_pool_and_each_gets_its_own_answer(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def echoes(seen: Any) -> None:
        while True:
            request = await seen.request()
            await asyncio.sleep(0)
            await seen.answer(request.split(b" ", 2)[1])

    gateway = await gateway_of(echoes)

    async def one(number: int) -> None:
        sent = await transport.send(charge_at(f"{gateway.url}/{number}"), limits=limits)
        assert isinstance(sent.reply, Answer)
        assert sent.reply.body == f"/{number}/charges".encode()

    for _ in range(3):
        await asyncio.gather(*(one(number) for number in range(50)))
    assert len(gateway.connections) <= 50
