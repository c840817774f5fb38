"""A connection between our API and localstripe that a test can cut: before a request arrives, or before its answer.

It also bridges what localstripe has not: it refuses parameters that Stripe knows; an intent does not say how much was
received, only its charge does; a confirm or a cancel in the wrong state is refused without Stripe's error code, and all
errors have one type. Nothing else is changed, and no idempotency key is remembered here.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

Forward = Callable[[], Awaitable[bytes]]
Script = Callable[[Forward], Awaitable[bytes | None]]
"""What becomes of one request: it may be passed on, and is answered, or (None) its connection is reset."""

UNKNOWN_PARAMETERS = ("return_url", "off_session", "error_on_requires_action", "cancellation_reason", "created")


async def never_arrives(_forward: Forward) -> bytes | None:
    """Lose the request."""
    return None


async def answer_is_lost(forward: Forward) -> bytes | None:
    """Pass the request on and lose its answer."""
    await forward()
    return None


@dataclass(slots=True)
class Held:
    """A script that keeps a request until the test lets it go on, or loses it."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    passed_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, forward: Forward) -> bytes | None:
        """Keep it before it is passed on; its sender is gone when it is."""
        self.arrived.set()
        await self.let_go.wait()
        answer = await forward()
        self.passed_on.set()
        return answer

    async def after(self, forward: Forward) -> bytes | None:
        """Pass it on and keep the answer."""
        answer = await forward()
        self.arrived.set()
        await self.let_go.wait()
        return answer


@dataclass(slots=True)
class StripeProxy:
    """Passes requests on to localstripe; `scripts` names what befalls the next requests of a verb."""

    target: tuple[str, int]
    url: str = ""
    scripts: dict[str, deque[Script]] = field(default_factory=dict)
    """By verb: create, confirm, cancel, read. The last script of a verb stays."""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Verb and idempotency key of each request that arrived here."""

    def script(self, verb: str, *scripts: Script) -> None:
        """Let the next requests of a verb meet these, in order; afterwards all are passed on."""
        self.scripts[verb] = deque(scripts)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection with one request."""
        try:
            head, body = await _read_message(reader)
            method, target = head.split(b" ", 2)[:2]
            verb = _verb(method.decode(), target.decode())
            self.seen.append((verb, _header(head, b"idempotency-key")))
            request = _understood(head, target.decode(), body)
            waiting = self.scripts.get(verb)
            script = waiting.popleft() if waiting else _passes
            answer = await script(lambda: self._forward(verb, request))
            if answer is None:
                _reset(writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            _reset(writer)
        finally:
            writer.close()

    async def _forward(self, verb: str, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self.target)
        try:
            writer.write(request)
            head, body = await _read_message(reader)
        finally:
            writer.close()
        status = int(head.split(b" ", 2)[1])
        body = _as_stripe_says_it(verb, status, body)
        return (
            b"HTTP/1.1 %d Localstripe\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % (status, len(body))
        ) + body


@asynccontextmanager
async def stripe_proxy(port: int) -> AsyncIterator[StripeProxy]:
    """Open a proxy to localstripe for the loop of one test."""
    proxy = StripeProxy(("127.0.0.1", port))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()


async def _passes(forward: Forward) -> bytes | None:
    return await forward()


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(int(_header(head, b"content-length") or "0"))


def _header(head: bytes, name: bytes) -> str | None:
    for line in head.split(b"\r\n"):
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip().decode()
    return None


def _verb(method: str, target: str) -> str:
    if method == "GET":
        return "read"
    last = urlsplit(target).path.rpartition("/")[2]
    return {"payment_intents": "create"}.get(last, last)


def _understood(head: bytes, target: str, body: bytes) -> bytes:
    """Write the request anew, without what localstripe does not know."""
    address = urlsplit(target)
    query, form = _known(address.query), _known(body.decode())
    path = address.path + (f"?{query}" if query else "")
    lines = [
        f"{head.split(b' ', 1)[0].decode()} {path} HTTP/1.1",
        "Host: localstripe",
        "Connection: close",
        f"Authorization: {_header(head, b'authorization')}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(form)}",
    ]
    return "\r\n".join([*lines, "", form]).encode()


def _known(fields: str) -> str:
    pairs = parse_qsl(fields, keep_blank_values=True)
    return urlencode([pair for pair in pairs if pair[0].partition("[")[0] not in UNKNOWN_PARAMETERS])


def _as_stripe_says_it(verb: str, status: int, body: bytes) -> bytes:
    document = json.loads(body)
    if status == 200:
        for intent in document.get("data", [document]):
            charge = intent["latest_charge"] or {}
            succeeded = charge.get("status") == "succeeded"
            intent["amount_received"] = charge["amount"] if succeeded and charge["captured"] else 0
            intent["amount_capturable"] = charge["amount"] if succeeded and not charge["captured"] else 0
    elif status == 402:
        document["error"]["type"] = "card_error"
    elif status == 400 and verb in {"confirm", "cancel"}:
        document["error"]["code"] = "payment_intent_unexpected_state"
    return json.dumps(document).encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: the peer cannot take it for an answer's end."""
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
