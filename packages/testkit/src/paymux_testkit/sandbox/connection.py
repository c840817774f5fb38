"""Serve one connection on its bare socket, so that an answer can also be swallowed, cut, dripped or reset."""

import asyncio
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import assert_never

from .answers import Answer, refusal
from .delays import Delays
from .journal import Journal
from .scripts import Reply
from .wire import CONTINUE, Request, RequestReader, UnreadableRequest, answer_head, chunk

# A caller that floods us while its request is being answered is read again after the answer.
WAITING_BYTES_MAX = 256 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Service:
    """What every connection shares."""

    answer: Callable[[Request], Answer]
    journal: Journal
    delays: Delays
    latency_seconds: float
    open_connections: set["Connection"] = field(default_factory=set)


class Connection(asyncio.Protocol):
    """Read a request, have it executed, answer it once the book is on disk, read the next."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = RequestReader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_answering = False
        self._is_clogged = False
        self._streamed: Iterator[bytes] | None = None
        self._keep_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._service.open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the caller. What it asked for stays done."""
        self._transport = None
        self._service.open_connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """Wait: the caller reads slower than we write."""
        self._is_clogged = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_clogged = False
        if self._streamed is not None:
            self._stream_next()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._reader.feed(data)
        if not self._is_answering:
            self._read_next()
        elif self._transport is not None and self._reader.waiting_bytes() > WAITING_BYTES_MAX:
            self._transport.pause_reading()

    def abort(self) -> None:
        """End it, whatever is going on."""
        if self._transport is not None:
            self._transport.abort()

    def _read_next(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            request = self._reader.next_request()
        except UnreadableRequest as error:
            self._is_answering = True
            self._keep_alive = False
            self._write_whole(refusal(error.status, "unreadable_request", str(error)))
            return
        if request is None:
            if self._reader.waits_for_continue():
                self._transport.write(CONTINUE)
            return
        self._is_answering = True
        self._keep_alive = request.keep_alive
        earliest_at = self._loop.time() + self._service.latency_seconds
        answer = self._executed(request)
        self._service.journal.when_durable(lambda: self._answer_durable(answer, earliest_at))

    def _executed(self, request: Request) -> Answer:
        try:
            return self._service.answer(request)
        except Exception:  # noqa: BLE001 - the border of the process: a bug of ours must be seen, not hang the caller
            traceback.print_exc(file=sys.stderr)
            return refusal(500, "sandbox_bug", "The sandbox itself is broken; its log says where.")

    def _answer_durable(self, answer: Answer, earliest_at: float) -> None:
        if answer.takes_latency and earliest_at > self._loop.time():
            self._timer = self._loop.call_at(earliest_at, self._deliver, answer)
        else:
            self._deliver(answer)

    def _deliver(self, answer: Answer) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        match answer.reply:
            case Reply.ANSWER | Reply.ERROR | Reply.CONFLICT | Reply.RATE_LIMITED:
                if answer.pieces is None:
                    self._write_whole(answer)
                else:
                    self._begin_stream(answer, answer.pieces)
            case Reply.SILENCE:
                self._timer = self._loop.call_later(self._service.delays.silence_seconds, self.abort)
            case Reply.RESET:
                self._write_half_and_reset(answer)
            case Reply.GARBAGE:
                self._write_cut(answer)
            case Reply.DRIP:
                self._transport.write(self._head(answer, body_bytes=len(answer.body)))
                self._drip(answer.body, 0)
            case _:
                assert_never(answer.reply)

    def _head(self, answer: Answer, *, body_bytes: int | None) -> bytes:
        headers = answer.headers if self._keep_alive else {**answer.headers, "connection": "close"}
        return answer_head(answer.status, answer.content_type, headers, body_bytes=body_bytes)

    def _write_whole(self, answer: Answer) -> None:
        assert self._transport is not None
        self._transport.write(self._head(answer, body_bytes=len(answer.body)) + answer.body)
        self._answered()

    def _write_cut(self, answer: Answer) -> None:
        assert self._transport is not None
        half = answer.body[: len(answer.body) // 2]
        self._transport.write(self._head(answer, body_bytes=len(half)) + half)
        self._answered()

    def _write_half_and_reset(self, answer: Answer) -> None:
        assert self._transport is not None
        half = answer.body[: len(answer.body) // 2]
        self._transport.write(self._head(answer, body_bytes=len(answer.body)) + half)
        # Closed with lingering on and no time for it, a socket sends RST and not FIN.
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _drip(self, body: bytes, position: int) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(body[position : position + 1])
        if position + 1 < len(body):
            self._timer = self._loop.call_later(self._service.delays.drip_seconds, self._drip, body, position + 1)
        else:
            self._answered()

    def _begin_stream(self, answer: Answer, pieces: Iterator[bytes]) -> None:
        assert self._transport is not None
        self._transport.write(self._head(answer, body_bytes=None))
        self._streamed = pieces
        self._loop.call_soon(self._stream_next)

    def _stream_next(self) -> None:
        if self._streamed is None or self._is_clogged or self._transport is None or self._transport.is_closing():
            return
        piece = next(self._streamed, b"")
        self._transport.write(chunk(piece))
        if piece:
            self._loop.call_soon(self._stream_next)
        else:
            self._streamed = None
            self._answered()

    def _answered(self) -> None:
        self._timer = None
        self._is_answering = False
        if self._transport is None:
            return
        if not self._keep_alive:
            self._transport.close()
            return
        self._transport.resume_reading()
        if self._reader.waiting_bytes():
            self._loop.call_soon(self._read_waiting)

    def _read_waiting(self) -> None:
        if not self._is_answering:
            self._read_next()
