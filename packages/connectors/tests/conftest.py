"""A gateway of plain sockets that records what it saw, and the clocks and ids of this process."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

import pytest

from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import CONNECTORS, IN_PROCESS
from paymux_connectors.transport import Transport
from paymux_core.exchange import HttpRequest, Verb
from paymux_core.ids import uuid7
from paymux_core.ports import CallLimits

Script = Callable[["Seen"], Awaitable[None]]


@dataclass
class WallClock:
    """Real time, and a monotonic clock that a test can push forward."""

    ahead_seconds: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_seconds


class CountedIds:
    """UUIDv7s that count up."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def new(self) -> UUID:
        return uuid7(1_800_000_000_000, next(self._numbers))


@dataclass
class Seen:
    """One connection of the gateway: what came in, and how to answer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes] = field(default_factory=list)

    async def request(self) -> bytes:
        """Read one request, complete."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = await self.reader.readexactly(length)
        self.requests.append(head + body)
        return head + body

    async def answer(self, body: bytes = b"{}", *, head: bytes = b"HTTP/1.1 200 OK") -> None:
        """Answer with a length."""
        self.writer.write(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class PlainGateway:
    """Plays one script per connection, in order; the last one is repeated."""

    scripts: list[Script]
    connections: list[Seen] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = Seen(reader, writer)
        script = self.scripts[min(len(self.connections), len(self.scripts) - 1)]
        self.connections.append(seen)
        try:
            await script(seen)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def requests(self) -> list[bytes]:
        """Every complete request, over all connections."""
        return [request for seen in self.connections for request in seen.requests]


@pytest.fixture
async def gateway_of() -> AsyncIterator[Callable[..., Awaitable[PlainGateway]]]:
    servers: list[asyncio.Server] = []

    async def start(*scripts: Script) -> PlainGateway:
        gateway = PlainGateway(list(scripts))
        server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
        servers.append(server)
        gateway.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return gateway

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def ids() -> CountedIds:
    return CountedIds()


@pytest.fixture
async def transport(clock: WallClock) -> AsyncIterator[Transport]:
    async with Transport(clock) as opened:
        yield opened


@pytest.fixture
def gateways(transport: Transport, clock: WallClock, ids: CountedIds) -> HttpGateways:
    return HttpGateways(CONNECTORS, transport=transport, clock=clock, ids=ids, in_process=IN_PROCESS)


@pytest.fixture
def limits(clock: WallClock) -> CallLimits:
    """Generous: no test waits for these."""
    start = clock.monotonic()
    return CallLimits(ends_at=start + 30, first_byte_before=start + 30, connect_seconds=10)


@pytest.fixture
def charge_at() -> Callable[[str], HttpRequest]:
    def build(url: str) -> HttpRequest:
        return HttpRequest(
            verb=Verb.CHARGE,
            method="POST",
            url=f"{url}/charges",
            headers={"Idempotency-Key": "att_1-create-1", "Content-Type": "application/json"},
            body=b'{"amount":1999}',
            idempotency_key="att_1-create-1",
            idempotent_replay=True,
        )

    return build


@pytest.fixture
def look_up_at() -> Callable[[str], HttpRequest]:
    def build(url: str) -> HttpRequest:
        return HttpRequest(verb=Verb.INQUIRE, method="GET", url=f"{url}/charges?expand%5B%5D=x", headers={})

    return build


@pytest.fixture
def refused_url() -> str:
    """Give an address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
