"""Whatever comes over a connection, in whatever pieces: an answer with its names, or an orderly end."""

import asyncio
import json
import re

import pytest

from paymux_api import API_VERSION
from tests.support.http import Merchant, Reply, hang_up
from tests.support.stack import Stack

NOT_HTTP = {
    "words": b"hello, is this the shop?\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "an unknown method": b"CHARGE /payments HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown version": b"GET /payments HTTP/9.9\r\nHost: x\r\n\r\n",
    "NUL in a header": b"GET /payments HTTP/1.1\r\nHost: x\r\nX-Name: a\x00b\r\n\r\n",
    "a length that is no number": b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": (
        b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a chunk without a size": b"POST /payments HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_no_http_is_a_problem_with_its_names(name: str, shop: Merchant) -> None:
    reply = await shop.send_raw(NOT_HTTP[name])
    assert (reply.status, reply.code) == (400, "malformed_request"), reply.body
    _has_its_names(reply)
    assert reply.headers["content-type"] == "application/problem+json"


async def test_every_answer_has_its_names(shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    nobody = Merchant(shop.url, "nobody")
    replies = [
        await shop.get("/health/live"),
        await shop.create(),
        await shop.send("OPTIONS", "/payments"),
        await shop.send("POST", "/payments", b"{"),
        await nobody.get("/payments"),
        await shop.get("/metrics"),
        await shop.get("/nowhere"),
        await shop.send("DELETE", "/payments"),
        await shop.confirm(payment_id, key="names", off_session=False),
        await shop.confirm(payment_id, key="names again"),
        await shop.send("POST", "/payments", b" " * 65_537),
        await shop.create(amount="1"),
        await shop.get("/openapi.json"),
    ]
    expected = [200, 201, 204, 400, 401, 403, 404, 405, 200, 409, 413, 422, 200]
    assert [reply.status for reply in replies] == expected
    for reply in replies:
        _has_its_names(reply)
    for reply in replies:
        if reply.status >= 400:
            assert reply.headers["content-type"] == "application/problem+json"
            problem = reply.content
            assert problem["type"] == f"{shop.url}/docs#problem-{reply.code}"
            assert (problem["status"], problem["request_id"]) == (reply.status, reply.headers["request-id"])
            assert problem["title"]
            assert problem["detail"]
    assert replies[7].headers["allow"] == replies[2].headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert replies[4].headers["www-authenticate"] == "Bearer"
    assert "content-length" not in replies[2].headers


async def test_a_head_is_asked_for_without_its_body(shop: Merchant) -> None:
    reader, writer = await shop.connect()
    writer.write(shop.request_bytes("HEAD", "/health/live"))
    async with asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    await hang_up(writer)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert (b"content-length: 15" in head, body) == (True, b"")


@pytest.mark.parametrize("sent", ["order-1001_a", "x" * 8, "x" * 64])
async def test_a_request_id_is_kept_if_it_has_the_form(sent: str, shop: Merchant) -> None:
    assert (await _with_request_id(sent, shop)).headers["request-id"] == sent


@pytest.mark.parametrize("sent", ["short", "x" * 65, "with space", "semi;colon", "é" * 8, "4242-4242-4242-4242"])
async def test_a_request_id_of_another_form_is_replaced(sent: str, shop: Merchant) -> None:
    reply = await _with_request_id(sent, shop)
    assert re.fullmatch("req_[0-9a-f]{24}", reply.headers["request-id"])


async def _with_request_id(sent: str, shop: Merchant) -> Reply:
    request = shop.request_bytes("GET", "/payments").replace(b"\r\n", f"\r\nRequest-Id: {sent}\r\n".encode(), 1)
    return await shop.send_raw(request)


async def test_a_head_that_does_not_end_is_cut_off(shop: Merchant) -> None:
    request = b"GET /payments HTTP/1.1\r\n" + b"".join(b"X-%05d: %s\r\n" % (n, b"y" * 100) for n in range(400))
    reply = await shop.send_raw(request)
    assert (reply.status, reply.code) == (431, "headers_too_large")
    _has_its_names(reply)


async def test_garbage_after_a_request_does_not_reach_into_its_answer(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    request = shop.request_bytes("POST", f"/payments/{payment_id}/confirm", b"{}", key="garbage behind")
    keep_open = request.replace(b"Connection: close\r\n", b"")
    reply = await shop.send_raw(keep_open + b"\x00\x01 garbage\r\n\r\n")
    assert (reply.status, reply.content["status"]) == (200, "succeeded")
    assert len(stack.sandbox.charges(payment_id)) == 1


async def test_two_requests_in_one_piece_are_answered_in_their_order(shop: Merchant) -> None:
    first = shop.request_bytes("GET", "/health/live").replace(b"Connection: close\r\n", b"")
    second = shop.request_bytes("GET", "/nowhere")
    reader, writer = await shop.connect()
    writer.write(first + second)
    async with asyncio.timeout(30):
        answers = await reader.read()
    await hang_up(writer)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"404"]


async def test_a_request_in_single_bytes_is_a_request(shop: Merchant) -> None:
    body = json.dumps({"amount": 5, "currency": "eur"}).encode()
    reader, writer = await shop.connect()
    for byte in shop.request_bytes("POST", "/payments", body):
        writer.write(bytes([byte]))
        await writer.drain()
    async with asyncio.timeout(30):
        answer = await reader.read()
    await hang_up(writer)
    assert answer.startswith(b"HTTP/1.1 201 ")


@pytest.mark.slow
async def test_a_body_that_does_not_come_is_408_and_holds_up_nobody(stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    reader, writer = await shop.connect()
    writer.write(shop.head_bytes("POST", "/payments", "Content-Length: 40") + b'{"amount": 1,')
    assert (await shop.get("/health/live")).status == 200
    async with asyncio.timeout(60):
        answer = await reader.read()
    await hang_up(writer)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer
    assert await stack.payments_count(shop) == before


@pytest.mark.slow
@pytest.mark.parametrize("length", ["Content-Length: 10000000", "Transfer-Encoding: chunked"])
async def test_ten_megabytes_that_are_really_sent_change_nothing(length: str, stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    reader, writer = await shop.connect()
    answering = asyncio.ensure_future(reader.read())
    piece = b" " * 100_000
    framed = piece if "Content" in length else b"186a0\r\n" + piece + b"\r\n"
    try:
        writer.write(shop.head_bytes("POST", "/payments", length))
        for _ in range(100):
            writer.write(framed)
            await writer.drain()
    except ConnectionError:
        # The server answered and hung up while we were still sending.
        pass
    async with asyncio.timeout(30):
        (answer,) = await asyncio.gather(answering, return_exceptions=True)
    await hang_up(writer)
    # The reset of a connection whose rest is not read may overtake the answer.
    assert answer.startswith(b"HTTP/1.1 413 ") if isinstance(answer, bytes) else isinstance(answer, ConnectionError)
    assert (await shop.get("/health/live")).status == 200
    assert await stack.payments_count(shop) == before


async def test_an_upgrade_that_nobody_speaks_is_an_ordinary_request(shop: Merchant) -> None:
    request = shop.request_bytes("GET", "/health/live").replace(
        b"Connection: close\r\n",
        b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n",
    )
    reply = await shop.send_raw(request)
    assert (reply.status, reply.content) == (200, {"status": "ok"})
    _has_its_names(reply)


def _offering_http_2(request: bytes, connection: bytes = b"Connection: Upgrade, HTTP2-Settings, close\r\n") -> bytes:
    """Make it a request as `curl --http2` and Java send theirs."""
    offer = connection + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    return request.replace(b"Connection: close\r\n", offer, 1)


@pytest.mark.parametrize("pieces", ["in one piece", "with its body later", "in single bytes"])
async def test_an_upgrade_that_is_offered_takes_no_body_away(pieces: str, stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    body = json.dumps({"payment_method": {"type": "card", "token": "sandbox_decline_hard"}}).encode()
    request = _offering_http_2(
        shop.request_bytes("POST", f"/payments/{payment_id}/confirm", body, key=f"offer {pieces}")
    )
    head, end, rest = request.partition(b"\r\n\r\n")
    reader, writer = await shop.connect()
    parts = {"in one piece": [request], "with its body later": [head + end, rest]}.get(pieces)
    for part in parts or [bytes([byte]) for byte in request]:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        answer = await reader.read()
    await hang_up(writer)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"status":"failed"' in answer
    assert stack.sandbox.charges(payment_id) == []


async def test_a_body_behind_an_offered_upgrade_is_no_request_of_its_own(stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    inner = shop.request_bytes("POST", "/payments", json.dumps({"amount": 5, "currency": "eur"}).encode())
    outer = shop.request_bytes("POST", "/payments", inner)
    head, end, rest = _offering_http_2(outer, b"Connection: Upgrade\r\n").partition(b"\r\n\r\n")
    reader, writer = await shop.connect()
    writer.write(head + end)
    await writer.drain()
    writer.write(rest + shop.request_bytes("GET", "/nowhere"))
    async with asyncio.timeout(30):
        answers = await reader.read()
    await hang_up(writer)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"400", b"404"]
    assert await stack.payments_count(shop) == before


async def test_many_offers_in_one_piece_are_each_answered(shop: Merchant) -> None:
    offer = _offering_http_2(shop.request_bytes("GET", "/health/live"), b"Connection: Upgrade\r\n")
    reader, writer = await shop.connect()
    writer.write(offer * 1_500 + shop.request_bytes("GET", "/nowhere"))
    async with asyncio.timeout(60):
        answers = await reader.read()
    await hang_up(writer)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200"] * 1_500 + [b"404"]


async def test_a_connect_is_no_request(shop: Merchant) -> None:
    reply = await shop.send_raw(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
    assert (reply.status, reply.code) == (400, "malformed_request")


async def test_who_has_said_all_it_will_say_is_answered(stack: Stack, shop: Merchant) -> None:
    payment_id = await shop.new_payment("sandbox_approve")
    reader, writer = await shop.connect()
    writer.write(shop.request_bytes("POST", f"/payments/{payment_id}/confirm", b"{}", key="half closed"))
    writer.write_eof()
    async with asyncio.timeout(30):
        answer = await reader.read()
    await hang_up(writer)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(stack.sandbox.charges(payment_id)) == 1


def _has_its_names(reply: Reply) -> None:
    assert re.fullmatch("[A-Za-z0-9_-]{8,64}", reply.headers["request-id"])
    assert reply.headers["paymux-version"] == API_VERSION
