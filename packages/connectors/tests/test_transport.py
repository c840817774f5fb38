# tidy-skip: file-length: every way a wire can fail, in one place; to be split
"""What the transport says of each way a request can go wrong, against real sockets, and what the gateway saw of it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from paymux_connectors.transport import ANSWER_BYTES_MAX, IDLE_SECONDS, Transport
from paymux_core.exchange import Answer, HttpRequest, NoReply, NotSent, TransportError
from paymux_core.ports import CallLimits

GatewayOf = Callable[..., Awaitable[Any]]
RequestAt = Callable[[str], HttpRequest]


async def answers(seen: Any) -> None:
    """Answer whatever comes, for ever."""
    while True:
        await seen.request()
        await seen.answer()


async def silent(seen: Any) -> None:
    """Read and never answer."""
    await seen.request()
    await seen.reader.read()


def short(clock: Any, seconds: float = 0.2) -> CallLimits:
    start = clock.monotonic()
    return CallLimits(ends_at=start + seconds, first_byte_before=start + seconds, connect_seconds=seconds)


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


def server_tls(folder: Path) -> ssl.SSLContext:
    """Make a certificate that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
