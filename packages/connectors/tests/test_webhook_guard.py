"""No URL of a merchant reaches what only we can reach: a listener inside sees no connection."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from paymux_connectors.webhook_sender import ANSWER_BYTES_MAX, EXCERPT_BYTES_MAX, WebhookSender, excerpt_of
from paymux_core.errors import ValidationFailed
from paymux_core.webhook_urls import address_is_public, check_webhook_url
from tests.support.one_account import VirtualClock

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

REFUSED_AS_TEXT = [
    *("", "shop.example", "//shop.example/", "https://", "https:///path", "https:shop.example", "file:///etc/passwd"),
    *("http://shop.example/", "ftp://shop.example/", "gopher://shop.example:443/", "javascript:alert(1)", "ws://shop.example/"),
    *("https://user@shop.example/", "https://user:word@shop.example/", "https://127.0.0.1@shop.example/"),
    *("https://shop.example@127.0.0.1/", "https://shop.example#@127.0.0.1/", "https://shop.example/#part"),
    *("https://shop.example:80/", "https://shop.example:22/", "https://shop.example:5432/", "https://shop.example:65536/"),
    *("https://shop.example:-1/", "https://shop.example:port/", "https://shop.example:443:22/", "https://shop.example:0/"),
    *("https://shop.example /", "https://shop.example/\r\nHost: inside", "https://shop.example/a b", "https://shop\t.example/"),
    *("https://shop.example\\@127.0.0.1/", "https://shop.example\n/", "https://shop.example/\x00", "https://shop.example\x7f/"),
    *("https://shop.example./", "https://localhost./", "https://127.0.0.1./", "https://.example/", "https://shop..example/"),
    *("https://localhost/", "https://intranet/", "https://-shop.example/", "https://" + "a" * 64 + ".example/"),
    "https://shop.example/" + "a" * 2_048,
    *("https://127.0.0.1/", "https://127.1/", "https://127.0.1/", "https://0/", "https://0.0.0.0/", "https://2130706433/"),
    *("https://0x7f.1/", "https://0x7f000001/", "https://017700000001/", "https://0177.0.0.1/", "https://0x7f.0.0.1/"),
    *("https://127.0.0.1:8443/", "https://\uff11\uff12\uff17.0.0.1/", "https://127\u30020\u30020\u30021/", "https://\u2460\u2461\u2466.0.0.1/", "https://1.1/"),  # noqa: E501
    *("https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://169.254.169.254/latest/meta-data/"),
    *("https://100.64.0.1/", "https://100.100.100.200/", "https://192.0.0.192/", "https://192.88.99.1/", "https://198.18.0.1/"),
    *("https://224.0.0.1/", "https://255.255.255.255/", "https://240.0.0.1/", "https://192.0.2.1/", "https://203.0.113.1/"),
    *("https://[::1]/", "https://[::]/", "https://[::127.0.0.1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
    *("https://[::ffff:10.0.0.1]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/"),
    *("https://[fec0::1]/", "https://[ff02::1]/", "https://[2002:7f00:1::1]/", "https://[64:ff9b::7f00:1]/"),
    *("https://[64:ff9b:1::1]/", "https://[3fff::1]/", "https://[5f00::1]/", "https://[2001:db8::1]/", "https://[2001::1]/"),
    *("https://[::1/", "https://::1/", "https://[127.0.0.1]/", "https://256.1.1.1/", "https://1.2.3.4.5/", "https://0x/"),
]  # fmt: skip
TAKEN = [
    *("https://shop.example/webhooks", "https://shop.example:8443/", "https://shop.example:443/a?b=c%20d&e=%2F", "HTTPS://Shop.Example"),
    *("https://xn--bcher-kva.example/", "https://bücher.example/päth", "https://8.8.8.8/", "https://[2606:4700:4700::1111]/"),
    *("https://a_b.shop.example/", "https://1.shop.example/", "https://shop1.example/"),
]  # fmt: skip
NAMES_THAT_LEAD_INSIDE = [
    *(["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["::1"], ["fd00::1"], ["10.1.2.3"]),  # noqa: E501
    *(["169.254.169.254"], ["0.0.0.0"], ["fe80::1%eth0"], ["64:ff9b::7f00:1"], ["2002:7f00:1::1"], ["not an address"]),  # noqa: S104  # noqa: E501
    ["::ffff:127.0.0.1"],
]  # fmt: skip


@dataclass(slots=True)
class Canary:
    """A listener inside, and how many connections it saw."""

    port: int
    seen: int = 0


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    """Listen where nobody may come from outside."""
    made = Canary(0)

    async def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.seen += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """Run a receiver; gives its port, and ends only when its connections have."""
    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await handler(reader, writer)
        except OSError:
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*running)


def naming(*answers: Sequence[str]) -> tuple[list[str], object]:
    """A resolver that gives one answer after another, and the names it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses]

    return asked, resolve


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(set(REFUSED_AS_TEXT)) + len(NAMES_THAT_LEAD_INSIDE) >= 100


@pytest.mark.parametrize("url", REFUSED_AS_TEXT)
async def test_a_url_that_leads_inside_or_nowhere_is_refused(url: str) -> None:
    with pytest.raises(ValidationFailed):
        check_webhook_url(url, allow_insecure=False)
    asked, resolve = naming(["127.0.0.1"])
    async with WebhookSender(VirtualClock(), resolve=resolve) as sender:  # type: ignore[arg-type]
        answered = await sender.send(url, {}, b"{}")
    assert (answered.error, asked) == ("url_refused", [])


@pytest.mark.parametrize("url", TAKEN)
def test_an_ordinary_url_is_taken_and_its_spelling_is_stable(url: str) -> None:
    target = check_webhook_url(url, allow_insecure=False)
    assert check_webhook_url(target.url, allow_insecure=False) == target
    assert target.url.isascii()


@pytest.mark.parametrize("addresses", NAMES_THAT_LEAD_INSIDE, ids=str)
async def test_a_name_with_one_address_inside_is_not_dialled(canary: Canary, addresses: list[str]) -> None:
    _, resolve = naming(addresses)
    async with WebhookSender(VirtualClock(), resolve=resolve) as sender:  # type: ignore[arg-type]
        answered = await sender.send("https://shop.example:8443/", {}, b"{}")
    assert answered.error == "address_refused"
    assert canary.seen == 0


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(canary: Canary) -> None:
    """A name server that says something public first and loopback from then on."""
    dialled: list[object] = []
    asked, resolve = naming(["93.184.216.34"], ["127.0.0.1"])
    async with WebhookSender(VirtualClock(), resolve=resolve, seconds_max=2) as sender:  # type: ignore[arg-type]
        sender._session.connector._socket_factory = lambda found: _noted(sender, found, dialled)  # type: ignore[union-attr]
        first = await sender.send("https://shop.example/", {}, b"{}")
        second = await sender.send("https://shop.example/", {}, b"{}")
    assert (len(asked), dialled) == (2, [("93.184.216.34", 443)]), "each send resolves once, and dials what it checked"
    assert first.error != "address_refused"
    assert (second.error, canary.seen) == ("address_refused", 0)


def _noted(
    sender: WebhookSender, found: tuple[int, int, int, str, tuple[object, ...]], dialled: list[object]
) -> socket.socket:
    dialled.append(found[4])
    made = sender._socket(found)
    made.close()  # nothing leaves this machine
    raise OSError("not dialled")


async def test_the_socket_itself_refuses_an_address_inside(canary: Canary) -> None:
    """Whatever a library does with a host before it asks us."""
    async with WebhookSender(VirtualClock()) as sender:
        with pytest.raises(OSError):  # noqa: PT011  it is our own kind
            sender._socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", canary.port)))
    assert canary.seen == 0


async def test_a_redirect_inside_is_a_failure_that_is_not_followed(canary: Canary) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 %d Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % (status, canary.port)
        )
        await writer.drain()

    status = 301
    async with listening(redirect) as port, WebhookSender(VirtualClock(), allow_insecure=True) as sender:
        for status in (301, 302, 303, 307, 308):
            answered = await sender.send(f"http://127.0.0.1:{port}/", {}, b"{}")
            assert (answered.http_status, answered.accepted) == (status, False)
    assert canary.seen == 0


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"a" * 65_536)
            written += 65_536
            await writer.drain()

    async with listening(flood) as port, WebhookSender(VirtualClock(), allow_insecure=True) as sender:
        answered = await sender.send(f"http://127.0.0.1:{port}/", {}, b"{}")
    assert answered.error == "answer_too_long"
    assert len(answered.excerpt or "") <= EXCERPT_BYTES_MAX
    assert written < 200 * ANSWER_BYTES_MAX


async def test_a_receiver_that_trickles_ends_at_the_one_deadline() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.02)

    sender = WebhookSender(VirtualClock(), allow_insecure=True, seconds_max=0.3)
    async with listening(trickle) as port, sender:
        assert (await sender.send(f"http://127.0.0.1:{port}/", {}, b"{}")).error in {"timeout", "malformed_answer"}


async def test_the_library_reads_no_proxy_and_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with WebhookSender(VirtualClock()) as sender:
        session = sender._session
        assert session is not None
        assert not session.trust_env
        assert session.connector is not None
        assert session.connector.force_close


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", None),
        (b"ok", "ok"),
        (b"a\x00b\x1b[31m", "ab[31m"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"4242 4242 4242 4242", "[redacted]"),
        (b"x" * 5_000, "x" * EXCERPT_BYTES_MAX),
    ],
)
def test_an_excerpt_is_short_and_text(body: bytes, excerpt: str | None) -> None:
    assert excerpt_of(body) == excerpt


def test_addresses_that_the_usual_lists_let_through_are_denied() -> None:
    denied = [
        "100.64.0.1",
        "192.88.99.1",
        "fec0::1",
        "2002:7f00:1::1",
        "3fff::1",
        "224.0.0.1",
        "ff02::1",
        "::127.0.0.1",
    ]
    assert [
        address for address in [*denied, "64:ff9b::7f00:1", "5f00::1", "192.0.0.9"] if address_is_public(address)
    ] == []
