"""What the transport says of each way a request can go wrong, against real sockets, and what the gateway saw of it."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from paymux_connectors.transport import ANSWER_BYTES_MAX, Transport
from paymux_core.exchange import Answer, NoReply, NotSent, TransportError
from paymux_core.ports import CallLimits
from tests.support.wire import GatewayOf, RequestAt, answers, server_tls, short, silent


async def test_an_answer_comes_back_whole_and_the_gateway_saw_our_bytes(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def created(seen: Any) -> None:
        await seen.request()
        await seen.answer(b'{"id":"ch_1"}', head=b"HTTP/1.1 201 Created\r\nRequest-Id: req_1")

    gateway = await gateway_of(created)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert (sent.reply.http_status, sent.reply.body) == (201, b'{"id":"ch_1"}')
    assert sent.reply.headers["request-id"] == "req_1"
    head, _, body = gateway.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"amount":1999}'
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert names == {
        b"host",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"idempotency-key",
        b"content-type",
        b"content-length",
    }


async def test_a_query_goes_out_exactly_as_written(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, look_up_at: RequestAt
) -> None:
    gateway = await gateway_of(answers)
    await transport.send(look_up_at(gateway.url), limits=limits)
    assert gateway.requests[0].startswith(b"GET /charges?expand%5B%5D=x HTTP/1.1\r\n")


async def test_a_refused_connection_is_not_sent(
    transport: Transport, limits: CallLimits, charge_at: RequestAt, refused_url: str
) -> None:
    sent = await transport.send(charge_at(refused_url), limits=limits)
    assert isinstance(sent.reply, NotSent)
    assert sent.reply.error is TransportError.CONNECT


async def test_a_name_that_does_not_exist_is_not_sent(
    transport: Transport, limits: CallLimits, charge_at: RequestAt
) -> None:
    sent = await transport.send(charge_at("http://gateway.invalid"), limits=limits)
    assert isinstance(sent.reply, NotSent)
    assert sent.reply.error is TransportError.DNS


async def test_tls_spoken_to_a_plain_port_is_not_sent(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def plain(seen: Any) -> None:
        await seen.reader.read(1)
        seen.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await seen.writer.drain()

    gateway = await gateway_of(plain)
    sent = await transport.send(charge_at(gateway.url.replace("http", "https")), limits=limits)
    assert isinstance(sent.reply, NotSent)
    assert sent.reply.error is TransportError.TLS
    assert gateway.requests == []


async def test_a_certificate_nobody_vouches_for_is_not_sent_and_a_trusted_one_is(
    transport: Transport, clock: Any, limits: CallLimits, charge_at: RequestAt, tmp_path: Path
) -> None:
    served = server_tls(tmp_path)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=served)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    refused = await transport.send(charge_at(url), limits=limits)
    assert isinstance(refused.reply, NotSent)
    assert refused.reply.error is TransportError.TLS
    assert seen == []
    async with Transport(clock, tls=ssl.create_default_context(cafile=tmp_path / "cert.pem")) as trusting:
        sent = await trusting.send(charge_at(url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert len(seen) == 1
    server.close()


async def test_silence_after_the_request_is_no_reply(
    transport: Transport, gateway_of: GatewayOf, clock: Any, charge_at: RequestAt
) -> None:
    gateway = await gateway_of(silent)
    sent = await transport.send(charge_at(gateway.url), limits=short(clock))
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error is TransportError.TIMEOUT
    assert len(gateway.requests) == 1


async def test_a_reset_in_the_middle_of_an_answer_is_no_reply(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def resets(seen: Any) -> None:
        await seen.request()
        seen.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await seen.writer.drain()
        seen.reset()

    gateway = await gateway_of(resets)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error in {TransportError.RESET, TransportError.CLOSED}
    assert not sent.stale_connection


async def test_a_reset_of_a_new_connection_is_no_reply_and_not_stale(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def resets(seen: Any) -> None:
        await seen.request()
        seen.reset()

    gateway = await gateway_of(resets)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error is TransportError.RESET
    assert not sent.stale_connection
    assert len(gateway.requests) == 1


async def test_a_body_that_is_cut_is_no_reply(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def cuts(seen: Any) -> None:
        await seen.request()
        seen.writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id":')
        await seen.writer.drain()

    gateway = await gateway_of(cuts)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error is TransportError.CLOSED


async def test_what_is_no_http_is_no_reply(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def babbles(seen: Any) -> None:
        await seen.request()
        seen.writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await seen.writer.drain()

    gateway = await gateway_of(babbles)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error is TransportError.MALFORMED


async def test_an_answer_that_drips_ends_at_the_one_deadline(
    transport: Transport, gateway_of: GatewayOf, clock: Any, charge_at: RequestAt
) -> None:
    async def drips(seen: Any) -> None:
        await seen.request()
        seen.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not seen.writer.is_closing():
            seen.writer.write(b" ")
            await seen.writer.drain()
            await asyncio.sleep(0.01)

    gateway = await gateway_of(drips)
    sent = await transport.send(charge_at(gateway.url), limits=short(clock))
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error is TransportError.TIMEOUT


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % (ANSWER_BYTES_MAX + 1), b"Transfer-Encoding: chunked"])
async def test_an_answer_over_a_mebibyte_is_not_read_to_its_end(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt, framing: bytes
) -> None:
    async def floods(seen: Any) -> None:
        await seen.request()
        seen.writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while True:
            seen.writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await seen.writer.drain()

    gateway = await gateway_of(floods)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NoReply)
    assert sent.reply.error is TransportError.TOO_LARGE


async def test_an_answer_of_a_mebibyte_is_read(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def fills(seen: Any) -> None:
        await seen.request()
        await seen.answer(b"x" * ANSWER_BYTES_MAX)

    gateway = await gateway_of(fills)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert len(sent.reply.body) == ANSWER_BYTES_MAX


async def test_a_redirect_is_an_answer_and_is_not_followed(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    elsewhere = await gateway_of(answers)

    async def redirects(seen: Any) -> None:
        await seen.request()
        await seen.answer(head=b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + elsewhere.url.encode())

    gateway = await gateway_of(redirects)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert sent.reply.http_status == 307
    assert elsewhere.connections == []


async def test_proxies_in_the_environment_are_ignored(
    clock: Any, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, gateway = await gateway_of(answers), await gateway_of(answers)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    async with Transport(clock) as transport:
        sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert proxy.connections == []


async def test_cookies_are_not_kept(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def bakes(seen: Any) -> None:
        while True:
            await seen.request()
            await seen.answer(head=b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b")

    gateway = await gateway_of(bakes)
    for _ in range(2):
        await transport.send(charge_at(gateway.url), limits=limits)
    assert all(b"ookie" not in request for request in gateway.requests)
    assert len(gateway.requests) == 2


async def test_a_compressed_answer_is_not_unpacked(
    transport: Transport, gateway_of: GatewayOf, limits: CallLimits, charge_at: RequestAt
) -> None:
    async def compresses(seen: Any) -> None:
        await seen.request()
        await seen.answer(b"\x1f\x8b not gzip at all", head=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip")

    gateway = await gateway_of(compresses)
    sent = await transport.send(charge_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, Answer)
    assert sent.reply.body == b"\x1f\x8b not gzip at all"


async def test_a_charge_whose_moment_passed_while_connecting_is_not_written(
    transport: Transport, gateway_of: GatewayOf, clock: Any, charge_at: RequestAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = asyncio.Event()

    async def accepts(seen: Any) -> None:
        accepted.set()
        await seen.request()

    gateway = await gateway_of(accepts)
    start = clock.monotonic()
    late = CallLimits(ends_at=start + 30, first_byte_before=start - 1, connect_seconds=10)
    sent = await transport.send(charge_at(gateway.url), limits=late)
    assert isinstance(sent.reply, NotSent)
    assert sent.reply.error is TransportError.TOO_LATE
    await accepted.wait()
    assert gateway.requests == []


async def test_a_look_up_has_no_latest_moment(
    transport: Transport, gateway_of: GatewayOf, clock: Any, look_up_at: RequestAt
) -> None:
    gateway = await gateway_of(answers)
    start = clock.monotonic()
    late = CallLimits(ends_at=start + 30, first_byte_before=start - 1, connect_seconds=10)
    sent = await transport.send(look_up_at(gateway.url), limits=late)
    assert isinstance(sent.reply, Answer)


async def test_nothing_is_begun_after_the_deadline(
    transport: Transport, gateway_of: GatewayOf, clock: Any, limits: CallLimits, look_up_at: RequestAt
) -> None:
    gateway = await gateway_of(answers)
    clock.ahead_seconds = 60
    sent = await transport.send(look_up_at(gateway.url), limits=limits)
    assert isinstance(sent.reply, NotSent)
    assert sent.reply.error is TransportError.TOO_LATE
    assert gateway.connections == []
