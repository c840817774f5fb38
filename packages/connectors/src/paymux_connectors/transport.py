"""Send one request and tell *not sent* from *perhaps sent*: the only way to a gateway.

Nothing here re-sends, follows a redirect, keeps a cookie, reads a proxy from the environment or waits longer than the
one deadline of the exchange.
"""

import asyncio
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Self

import aiohttp  # noqa: TID251  this is the one file
from aiohttp.abc import AbstractStreamWriter  # noqa: TID251  the same
from aiohttp.client_proto import ResponseHandler  # noqa: TID251  the same
from aiohttp.connector import Connection  # noqa: TID251  the same
from msgspec import Struct
from yarl import URL

from paymux_core.exchange import Answer, HttpReply, HttpRequest, NoReply, NotSent, TransportError
from paymux_core.ports import CallLimits, Clock

ANSWER_BYTES_MAX = 1024 * 1024
IDLE_SECONDS = 10.0
"""Below the idle time of every gateway we know, so that a request rarely meets a connection that is being closed."""
IN_FLIGHT_MAX = 4096
_DNS_CACHE_SECONDS = 10
_STALE_SECONDS = 1.0
"""A connection that was closing dies within a round trip; one that dies later had the request read."""
_OWN_HEADERS = {"User-Agent": "paymux", "Accept": "application/json", "Accept-Encoding": "identity"}


class Sent(Struct, frozen=True, gc=False):
    """What became of one request on the wire.

    `stale_connection`: a kept-alive connection died before any byte of an answer, so the gateway most likely never
    read the request; the same bytes may follow at once if the gateway collapses them or if they only read.
    """

    reply: HttpReply
    stale_connection: bool = False


@dataclass(slots=True)
class _Flight:
    """What is known of the request that is on its way in this task."""

    clock: Clock
    first_byte_before: float | None
    bytes_sent: bool = False
    written_at: float = 0.0
    reused: bool = False
    answer_began: bool = False
    protocol: "_Protocol | None" = None

    def start(self) -> None:
        """Note that the first byte leaves, or raise if its moment has passed: the last act before the write."""
        self.written_at = self.clock.monotonic()
        if self.first_byte_before is not None and self.written_at >= self.first_byte_before:
            raise _TooLate
        self.bytes_sent = True

    def met_a_closing_connection(self) -> bool:
        """Tell whether the other end most likely closed the connection while the request was on its way."""
        at_once = self.clock.monotonic() - self.written_at < _STALE_SECONDS
        return at_once and self.reused and not self.answer_began


class _TooLate(Exception):
    """The first byte would leave too late; not one was written."""


class _ClosedBeforeWrite(Exception):
    """The pooled connection was closed when we came to write; not one byte was written."""


_flight: ContextVar[_Flight] = ContextVar("flight")


class _Protocol(ResponseHandler):
    """A connection that knows whether it was used before and whether an answer began."""

    flight: _Flight | None = None
    was_used = False

    def board(self, flight: _Flight) -> None:
        """Give the connection to a request."""
        flight.reused = self.was_used
        flight.protocol = self
        self.was_used = True
        self.flight = flight

    def leave(self, flight: _Flight) -> None:
        """Take the connection back, unless the next request is on it already."""
        if self.flight is flight:
            self.flight = None

    def data_received(self, data: bytes) -> None:
        """Note that an answer began; bytes that nobody asked for end the connection."""
        if self.flight is None:
            # They would be taken for the answer to the next request, another payment's.
            self.abort()
            return
        self.flight.answer_began = True
        super().data_received(data)


def _new_protocol(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _Protocol(loop)


class _Request(aiohttp.ClientRequest):
    """A request that says when its first byte leaves."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write the request; without a body everything is written here, in one go."""
        flight = _flight.get()
        assert isinstance(conn.protocol, _Protocol)
        conn.protocol.board(flight)
        if not self.body:
            self._start(flight, conn)
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write headers and body; runs in a task of its own, in a copy of the sender's context."""
        try:
            self._start(_flight.get(), conn)
        except (_TooLate, _ClosedBeforeWrite) as refusal:
            if conn.protocol is not None:
                conn.protocol.set_exception(refusal)
            conn.close()
            return
        await super().write_bytes(writer, conn, content_length)

    @staticmethod
    def _start(flight: _Flight, conn: Connection) -> None:
        if conn.transport is None or conn.transport.is_closing():
            raise _ClosedBeforeWrite
        flight.start()


class _Pool(aiohttp.TCPConnector):
    """A connection pool of our protocol."""

    def __init__(self, *, tls: ssl.SSLContext | None, idle_seconds: float | None) -> None:
        super().__init__(
            ssl=True if tls is None else tls,
            limit=0,  # Transport counts: its wait has an error of its own
            ttl_dns_cache=_DNS_CACHE_SECONDS,
            **({"force_close": True} if idle_seconds is None else {"keepalive_timeout": idle_seconds}),
        )
        self._factory = partial(_new_protocol, loop=self._loop)


class Transport:
    """Sends requests over pooled connections; open it with `async with`."""

    def __init__(
        self,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
        idle_seconds: float = IDLE_SECONDS,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        self._clock = clock
        self._tls = tls
        self._idle_seconds = idle_seconds
        self._slots = asyncio.Semaphore(in_flight_max)
        self._pooled: aiohttp.ClientSession | None = None
        self._unpooled: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the pools."""
        self._pooled = _session(_Pool(tls=self._tls, idle_seconds=self._idle_seconds))
        self._unpooled = _session(_Pool(tls=self._tls, idle_seconds=None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        for session in (self._pooled, self._unpooled):
            if session is not None:
                await session.close()

    async def send(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        """Send one request over a pooled connection. Never raises for what the network or the gateway does."""
        assert self._pooled is not None
        sent = await self._send_once(request, limits, session=self._pooled)
        if sent is None:
            return await self.send_on_new_connection(request, limits=limits)
        return sent

    async def send_on_new_connection(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        """Send one request over a connection made for it. Never raises for what the network or the gateway does."""
        assert self._unpooled is not None
        sent = await self._send_once(request, limits, session=self._unpooled)
        return sent or Sent(NotSent(TransportError.CONNECT, "closed before the first byte"))

    async def _send_once(
        self, request: HttpRequest, limits: CallLimits, *, session: aiohttp.ClientSession
    ) -> Sent | None:
        """Send; None if the connection was found closed before the first byte, so that another may be taken."""
        flight = _Flight(self._clock, limits.first_byte_before if request.verb.moves_money else None)
        seconds_left = limits.ends_at - self._clock.monotonic()
        if seconds_left <= 0:
            return Sent(NotSent(TransportError.TOO_LATE, "deadline passed"))
        try:
            async with asyncio.timeout(seconds_left):
                await self._take_slot(limits.connect_seconds)
                try:
                    return Sent(await _exchange(session, request, limits, flight))
                finally:
                    self._slots.release()
        except _ClosedBeforeWrite:
            return None
        except Exception as error:  # noqa: BLE001  whatever it is, it is one of two values
            return _explain(error, flight)
        finally:
            if flight.protocol is not None:
                flight.protocol.leave(flight)

    async def _take_slot(self, seconds: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise _PoolTimeout from None


class _PoolTimeout(Exception):
    """Too many requests are in flight already."""


class _TooLarge(Exception):
    """The answer is longer than any gateway's."""


def _session(pool: _Pool) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=pool,
        request_class=_Request,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("Content-Type",),
        headers=_OWN_HEADERS,
        raise_for_status=False,
    )
    # aiohttp re-sends a GET on a dead connection by itself; a request nobody recorded must not exist.
    session._retry_connection = False  # noqa: SLF001  there is no public switch
    return session


@lru_cache(maxsize=64)
def _timeouts(connect_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=connect_seconds, sock_read=None)


async def _exchange(
    session: aiohttp.ClientSession, request: HttpRequest, limits: CallLimits, flight: _Flight
) -> Answer:
    token = _flight.set(flight)
    try:
        async with session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
            timeout=_timeouts(limits.connect_seconds),
        ) as response:
            body = await _read(response)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, body)
    finally:
        _flight.reset(token)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > ANSWER_BYTES_MAX:
        response.close()
        raise _TooLarge
    chunks: list[bytes] = []
    length = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        length += len(chunk)
        if length > ANSWER_BYTES_MAX:
            response.close()
            raise _TooLarge
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _explain(error: Exception, flight: _Flight) -> Sent:
    """Turn whatever went wrong into one of two values; the flag set right before the write decides which."""
    detail = type(error).__name__
    if not flight.bytes_sent:
        return Sent(NotSent(_why_not_sent(error), detail))
    why = _why_no_reply(error)
    died = why in {TransportError.RESET, TransportError.CLOSED}
    return Sent(NoReply(why, detail), stale_connection=died and flight.met_a_closing_connection())


def _why_not_sent(error: Exception) -> TransportError:
    match error:
        case _TooLate():
            return TransportError.TOO_LATE
        case _PoolTimeout():
            return TransportError.POOL
        case aiohttp.ClientConnectorDNSError():
            return TransportError.DNS
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return TransportError.TLS
        case _:
            return TransportError.CONNECT


def _why_no_reply(error: Exception) -> TransportError:
    match error:
        case _TooLarge():
            return TransportError.TOO_LARGE
        case TimeoutError():
            return TransportError.TIMEOUT
        case aiohttp.ClientResponseError():
            return TransportError.MALFORMED
        case aiohttp.ClientPayloadError():
            return TransportError.RESET if isinstance(error.__cause__, ConnectionResetError) else TransportError.CLOSED
        case ConnectionResetError():
            return TransportError.RESET
        case aiohttp.ClientOSError() if isinstance(error.__cause__, ConnectionResetError):
            return TransportError.RESET
        case _:
            return TransportError.CLOSED
