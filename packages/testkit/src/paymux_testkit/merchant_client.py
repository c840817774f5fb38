"""Speak HTTP to our own API as a merchant does: one connection per request, every byte under the caller's control."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

REPLY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05

_Value = TypeVar("_Value")


class NotInTime(Exception):
    """What was waited for did not come; the message says what was there instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as it came. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, object]:
        """The body as JSON."""
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content

    @property
    def code(self) -> object:
        """The code of a problem; None if this is none."""
        return self.content.get("code")

    @property
    def payment_id(self) -> str:
        """The id of the payment in the answer."""
        return str(self.content["id"])

    @property
    def is_replay(self) -> bool:
        """Whether the key was seen before."""
        return self.headers.get("idempotent-replayed") == "true"


@dataclass(frozen=True, slots=True)
class Merchant:
    """An API with one merchant's key. OSError and NotInTime are the caller's to expect."""

    url: str
    api_key: str

    async def get(self, path: str) -> Reply:
        """Send a GET."""
        return await self.send("GET", path)

    async def post(self, path: str, fields: object, *, key: str | None = None) -> Reply:
        """Send a POST with JSON, under an idempotency key."""
        return await self.send("POST", path, json.dumps(fields).encode(), key=key)

    async def send(self, method: str, path: str, body: bytes = b"", *, key: str | None = None) -> Reply:
        """Send a request and read the whole answer."""
        return await self.send_raw(self.request_bytes(method, path, body, key=key))

    async def send_raw(self, request: bytes) -> Reply:
        """Send bytes, whatever they are, and read the whole answer."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            async with asyncio.timeout(REPLY_SECONDS_MAX):
                return _parsed(await _everything(reader))
        finally:
            await hang_up(writer)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection; it is the caller's to hang up."""
        address = urlsplit(self.url)
        return await asyncio.open_connection(address.hostname, address.port)

    def request_bytes(self, method: str, path: str, body: bytes = b"", *, key: str | None = None) -> bytes:
        """Write a request with its length."""
        return self.head_bytes(method, path, f"Content-Length: {len(body)}", key=key) + body

    def head_bytes(self, method: str, path: str, length: str, *, key: str | None = None) -> bytes:
        """Write the head of a request; `length` is the header that tells where the body ends."""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {urlsplit(self.url).netloc}",
            "Connection: close",
            "Content-Type: application/json",
            f"Authorization: Bearer {self.api_key}",
            length,
            *([] if key is None else [f"Idempotency-Key: {key}"]),
        ]
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"

    async def create(self, **fields: object) -> Reply:
        """Create a payment of 19.99 EUR; `fields` add to it or replace."""
        return await self.post("/payments", {"amount": 1999, "currency": "eur"} | fields)

    async def new_payment(self, token: str, **fields: object) -> str:
        """Create a payment that will be paid with `token`; answers its id."""
        reply = await self.create(payment_method={"type": "card", "token": token}, **fields)
        assert reply.status == HTTPStatus.CREATED, reply.body
        return reply.payment_id

    async def confirm(self, payment_id: str, *, key: str, **fields: object) -> Reply:
        """Confirm a payment."""
        return await self.post(f"/payments/{payment_id}/confirm", fields, key=key)

    async def cancel(self, payment_id: str, *, key: str, **fields: object) -> Reply:
        """Cancel a payment."""
        return await self.post(f"/payments/{payment_id}/cancel", fields, key=key)

    async def payment(self, payment_id: str) -> dict[str, object]:
        """Read a payment."""
        reply = await self.get(f"/payments/{payment_id}")
        assert reply.status == HTTPStatus.OK, reply.body
        return reply.content

    async def settled(self, payment_id: str, *, seconds: float = 60.0) -> dict[str, object]:
        """Read a payment until it is terminal. Raises: NotInTime."""
        return await eventually(
            lambda: self.payment(payment_id),
            lambda payment: payment["status"] in {"succeeded", "failed", "canceled"},
            seconds=seconds,
        )


async def eventually(
    read: Callable[[], Awaitable[_Value]], accepts: Callable[[_Value], bool], *, seconds: float = 60.0
) -> _Value:
    """Read until the value is accepted. Raises: NotInTime."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while True:
        value = await read()
        if accepts(value):
            return value
        if loop.time() > ends_at:
            raise NotInTime(f"after {seconds:g} s still {value!r}")
        await asyncio.sleep(POLL_SECONDS)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state it is in."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _everything(reader: asyncio.StreamReader) -> bytes:
    """Read until the end; a reset after the answer takes nothing away from it."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := await reader.read(1 << 16):
            received += chunk
    return received


def _parsed(raw: bytes) -> Reply:
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        raise ConnectionResetError("the answer ended in its head")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if len(body) != int(headers.get("content-length", "0")):
        raise ConnectionResetError("the answer ended in its body")
    return Reply(int(status_line.split()[1]), headers, body)
