"""The server's side of a connection: what is no HTTP, too long or too slow gets a problem, like everything else."""

import asyncio
import secrets
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from paymux_api.answers import ALWAYS
from paymux_api.problems import PROBLEM_CONTENT_TYPE, render_problem

HEAD_BYTES_MAX = 16 * 1024
"""Address and headers of a request; ours are below 1 KiB, proxies add some."""
HEAD_SECONDS_MAX = 10.0
"""A head comes in one piece from whoever means it."""


class ApiConnection(HttpToolsProtocol):
    """uvicorn's connection with a limit and a deadline for heads, problems instead of plain text, and no upgrades."""

    docs_url = "/docs"
    head_seconds_max = HEAD_SECONDS_MAX

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the clock: who connects has something to say."""
        super().connection_made(transport)
        self._in_head = True
        self._head_began = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(self.head_seconds_max, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._stop_head_timer()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that is still incomplete afterwards is counted and timed."""
        self._head_began = False
        self._parse(data)
        if self._in_head:
            # What stands before it in the same piece belongs to earlier requests.
            self._await_head(len(data.rpartition(b"\r\n\r\n")[2] if self._head_began else data))
        elif self._head_timer is not None:
            self._stop_head_timer()

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._in_head = self._head_began = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Note that it is complete."""
        if not self.parser.should_upgrade():
            self._in_head = False
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Answer a client that has said all it will say."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        unread = memoryview(data)
        try:
            while unread:
                unread = self._feed(unread)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _feed(self, data: memoryview) -> memoryview:
        """Parse; gives what stands behind the head of a request that offers another protocol. Raises: HttpParserError.

        Such a request is read as if it offered none (RFC 9110, 7.8): the parser would drop its body.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            if method == b"CONNECT":
                self.send_400_response("")
                return data[:0]
            head = [method, b" ", self.url, b" HTTP/", version, b"\r\n"]
            for name, value in self.headers:
                if name != b"upgrade":
                    head += (name, b": ", value, b"\r\n")
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's first one
            self.parser.feed_data(b"".join((*head, b"\r\n")))
            return data[offer.args[0] :]
        return data[:0]

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's signature; its words are not ours
        """Answer what is no HTTP. An answer that is due to an earlier request comes first, and is the last."""
        cycle: RequestResponseCycle | None = self.cycle
        waits_for_body = cycle is None or (cycle.more_body and not cycle.response_started)
        if cycle is None or cycle.response_complete or waits_for_body:
            self._refuse("malformed_request", "What came is not a request of HTTP/1.1.")
        else:
            cycle.keep_alive = False

    def _await_head(self, received: int) -> None:
        self._head_bytes += received
        if self.transport.is_closing():
            self._stop_head_timer()
        elif self._head_bytes > HEAD_BYTES_MAX:
            self._refuse("headers_too_large", f"Address and headers have at most {HEAD_BYTES_MAX} bytes.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds_max, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes:
            self._refuse("request_timeout", f"Address and headers have to arrive within {self.head_seconds_max:g} s.")
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, code: str, detail: str) -> None:
        self._stop_head_timer()
        self.transport.write(_raw_problem(code, detail, self.docs_url))
        self.transport.close()


def connections_for(docs_url: str) -> type[ApiConnection]:
    """Make the class of a server's connections; uvicorn creates them and passes nothing of ours."""
    return type("ConfiguredConnection", (ApiConnection,), {"docs_url": docs_url})


def _raw_problem(code: str, detail: str, docs_url: str) -> bytes:
    """Write a whole answer; there is no request to take an id from."""
    request_id = f"req_{secrets.token_hex(12)}"
    status, body = render_problem(code, detail=detail, request_id=request_id, docs_url=docs_url)
    headers = [
        (b"content-type", PROBLEM_CONTENT_TYPE),
        (b"content-length", str(len(body)).encode()),
        (b"request-id", request_id.encode()),
        (b"connection", b"close"),
        *ALWAYS,
    ]
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return head + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body
