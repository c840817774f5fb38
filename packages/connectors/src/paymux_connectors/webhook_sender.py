"""Send events to addresses that merchants chose: each one may point at our own network, hang, or answer without end.

The name is resolved here, at the moment of sending; every address it has must be public, and the socket is made for one
of them only if that very address is. Nothing is followed, kept alive or read from the environment.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import aiohttp  # noqa: TID251  the guard is in the connector of this library
from aiohttp.abc import AbstractResolver, ResolveResult  # noqa: TID251  the same
from yarl import URL

from paymux_connectors.redaction import without_card_number
from paymux_core.delivering import Answered
from paymux_core.errors import ValidationFailed
from paymux_core.ports import Clock
from paymux_core.webhook_urls import address_is_public, check_webhook_url

SEND_SECONDS_MAX = 15.0
"""From the look-up of the name to the end of the answer."""
ANSWER_BYTES_MAX = 64 * 1024
EXCERPT_BYTES_MAX = 2 * 1024
HEADER_BYTES_MAX = 8 * 1024
RESOLVING_AT_ONCE = 32
"""Threads of their own: a name server that hangs must not hold up anything but names."""

Addresses = Sequence[tuple[socket.AddressFamily, str]]
Resolve = Callable[[str, int], Awaitable[Addresses]]

_HEADERS = {"User-Agent": "paymux", "Content-Type": "application/json", "Accept-Encoding": "identity"}
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


class _AddressRefused(OSError):
    """The name leads where we do not go."""


class _Guard(AbstractResolver):
    """Gives the connector addresses only if all of a name's are allowed."""

    def __init__(self, resolve: Resolve, *, allow_insecure: bool) -> None:
        self._resolve = resolve
        self._allow_insecure = allow_insecure

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002  the library's signature
    ) -> list[ResolveResult]:
        """Resolve once; a name with one forbidden address is forbidden. Raises: OSError."""
        found = await self._resolve(host, port)
        if not found:
            raise OSError("no address")
        if not self._allow_insecure and not all(address_is_public(address) for _, address in found):
            raise _AddressRefused
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=of_family, proto=0, flags=socket.AI_NUMERICHOST
            )
            for of_family, address in found
        ]

    async def close(self) -> None:
        """Keep nothing."""


class WebhookSender:
    """Sends one signed body at a time; open it with `async with`. `allow_insecure` is for tests and a demo."""

    def __init__(
        self,
        clock: Clock,
        *,
        allow_insecure: bool = False,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        seconds_max: float = SEND_SECONDS_MAX,
    ) -> None:
        self._clock = clock
        self._allow_insecure = allow_insecure
        self._seconds_max = seconds_max
        self._tls = tls
        self._resolving = ThreadPoolExecutor(RESOLVING_AT_ONCE, thread_name_prefix="resolve")
        self._guard = _Guard(resolve or self._ask_system, allow_insecure=allow_insecure)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session; it keeps no connection."""
        connector = aiohttp.TCPConnector(
            resolver=self._guard,
            use_dns_cache=False,
            force_close=True,
            limit=0,
            ssl=True if self._tls is None else self._tls,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
        self._resolving.shutdown(wait=False, cancel_futures=True)

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Send once, in at most 15 s altogether. Never raises for what the network or the receiver does."""
        began = self._clock.monotonic()
        try:
            target = check_webhook_url(url, allow_insecure=self._allow_insecure)
            async with asyncio.timeout(self._seconds_max):
                answered = await self._exchange(target.url, headers, body)
        except Exception as error:  # noqa: BLE001  whatever it is, the event was not taken
            answered = Answered(None, _why(error))
        took_ms = max(0, int((self._clock.monotonic() - began) * 1000))
        return Answered(answered.http_status, answered.error, answered.excerpt, answered.retry_after, took_ms)

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        assert self._session is not None
        async with self._session.post(
            URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
        ) as response:
            read = bytearray()
            too_long = False
            async for chunk in response.content.iter_any():
                read += chunk
                if len(read) > ANSWER_BYTES_MAX:
                    too_long = True
                    response.close()  # what follows is not read, so that a flood costs us no more than this
                    break
            retry_after = response.headers.get("Retry-After")
            status = None if too_long else response.status
            return Answered(status, "answer_too_long" if too_long else None, excerpt_of(bytes(read)), retry_after)

    def _socket(self, found: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """Make the socket of one address: the last look before it is dialled. Raises: OSError."""
        family, kind, protocol, _, address = found
        if not self._allow_insecure and not address_is_public(str(address[0])):
            raise _AddressRefused
        return socket.socket(family, kind, protocol)

    async def _ask_system(self, host: str, port: int) -> Addresses:
        found = await asyncio.get_running_loop().run_in_executor(
            self._resolving, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [(family, str(address[0])) for family, _, _, _, address in found]


def excerpt_of(body: bytes) -> str | None:
    """Give the beginning of an answer as text that can be stored and shown."""
    text = _NOT_TEXT.sub("", body[:EXCERPT_BYTES_MAX].decode("utf-8", "replace"))
    return without_card_number(text) if text else None


def _why(error: Exception) -> str:
    match error:
        case ValidationFailed():
            return "url_refused"
        case _AddressRefused():
            return "address_refused"
        case TimeoutError():
            return "timeout"
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            return "address_refused" if _refused_inside(error) else "name_not_found"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls_failed"
        case aiohttp.ClientConnectorError():
            return "address_refused" if _refused_inside(error) else "connection_failed"
        case aiohttp.ClientResponseError():
            return "malformed_answer"
        case _:
            return "address_refused" if _refused_inside(error) else "connection_lost"


def _refused_inside(error: BaseException) -> bool:
    """Whether our own refusal is what the library wrapped."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _AddressRefused) or isinstance(getattr(seen, "os_error", None), _AddressRefused):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
