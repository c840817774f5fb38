"""A connection on which no request comes is closed in time, with an answer if there is something to answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
import uvicorn

from paymux_api.connections import connections_for

READ_SECONDS_MAX = 30


async def _app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """A server that is patient for a tenth of a second."""
    hurried = type("Hurried", (connections_for("https://pay.example/docs"),), {"head_seconds_max": 0.1})
    config = uvicorn.Config(_app, port=0, http=hurried, ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def _said(port: int, *pieces: bytes) -> bytes:
    """Send pieces, each once the one before is on its way, and read until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(READ_SECONDS_MAX):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_whoever_says_nothing_is_hung_up_on(port: int) -> None:
    assert await _said(port) == b""


async def test_a_head_that_stays_incomplete_is_408(port: int) -> None:
    answer = await _said(port, b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"type":"https://pay.example/docs#problem-request_timeout"' in answer
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_head_that_stays_incomplete_behind_a_request_is_408(port: int) -> None:
    answer = await _said(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1 408 " in answer


async def test_a_complete_head_stops_the_clock(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(4):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(READ_SECONDS_MAX):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        # When a silent one has been hung up on, the time is over: idle between requests is no head under way.
        assert await _said(port) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_head_without_end_is_431(port: int) -> None:
    answer = await _said(port, b"GET / HTTP/1.1\r\nX: ", b"y" * 20_000)
    assert answer.startswith(b"HTTP/1.1 431 ")
