"""The load generator: keeps so many requests in flight on as many connections and times each of them.

A process of its own, one thread, plain sockets on epoll: its CPU is small, measured, and told beside the others' (the
three of them share the cores, as they do with pgbench). Every request is built before the clock starts.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.figures import percentile

ERRORS_SHOWN = 3
SILENCE_SECONDS_MAX = 60.0
_CREATED = b"HTTP/1.1 201"


class NoAnswers(Exception):
    """Nothing came for a minute: there is nothing to measure."""


@dataclass(slots=True)
class _Connection:
    """One client: it has one request in flight."""

    socket: socket.socket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Load:
    """One run over a list of requests. An answer counts only if its status line and its body say `expected`."""

    port: int
    expected: tuple[bytes, bytes]
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def run(self, requests: Sequence[bytes], *, in_flight: int) -> dict[str, object]:
        """Send all, and give the figures."""
        todo = iter(requests)
        clients = min(in_flight, len(requests))
        with selectors.EpollSelector() as selector:
            for _ in range(clients):
                connection = _Connection(socket.create_connection(("127.0.0.1", self.port)))
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            cpu_before, began = time.process_time(), time.perf_counter()
            for key in list(selector.get_map().values()):
                _send(key.data, next(todo))
            self._answer_all(selector, todo, busy=clients)
            took, cpu = time.perf_counter() - began, time.process_time() - cpu_before
        return {
            "requests": len(requests),
            "seconds": took,
            "p50_ms": percentile(self.seconds, 50) * 1000,
            "p99_ms": percentile(self.seconds, 99) * 1000,
            "cpu_us": cpu / len(requests) * 1e6,
            "errors": len(self.errors),
            "first_errors": self.errors[:ERRORS_SHOWN],
            "ids": self.ids,
        }

    def _answer_all(self, selector: selectors.EpollSelector, todo: Iterator[bytes], *, busy: int) -> None:
        while busy:
            ready = selector.select(SILENCE_SECONDS_MAX)
            if not ready:
                raise NoAnswers(f"{busy} requests got no answer for {SILENCE_SECONDS_MAX:g} s")
            for key, _ in ready:
                connection: _Connection = key.data
                if not self._received(connection):
                    continue
                request = next(todo, None)
                if request is None:
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    busy -= 1
                else:
                    _send(connection, request)

    def _received(self, connection: _Connection) -> bool:
        """Take what came; tell whether the answer is complete. Raises: ConnectionResetError."""
        chunk = connection.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionResetError("the API closed a connection that had a request in flight")
        connection.received += chunk
        answer = bytes(connection.received)
        if not _is_complete(answer):
            return False
        self.seconds.append(time.perf_counter() - connection.sent_at)
        connection.received.clear()
        status, part = self.expected
        if not (answer.startswith(status) and part in answer):
            self.errors.append(answer[:1000].decode(errors="replace"))
        elif answer.startswith(_CREATED):
            id_at = answer.index(b'{"id":"') + 7
            self.ids.append(answer[id_at : answer.index(b'"', id_at)].decode())
        return True


def _send(connection: _Connection, request: bytes) -> None:
    connection.sent_at = time.perf_counter()
    connection.socket.sendall(request)


def _is_complete(answer: bytes) -> bool:
    head_ends = answer.find(b"\r\n\r\n")
    if head_ends < 0:
        return False
    length_at = answer.find(b"content-length: ", 0, head_ends)
    if length_at < 0:
        raise ValueError("an answer without content-length")
    length = int(answer[length_at + 16 : answer.index(b"\r", length_at)])
    return len(answer) >= head_ends + 4 + length


def main() -> None:
    """Read what to send from standard input, write the figures to standard output."""
    asked = json.load(sys.stdin)
    head = asked["head"]
    requests = [head.replace("{id}", name).replace("{key}", key).encode() for name, key in asked["requests"]]
    status, part = asked["expected"]
    load = Load(asked["port"], (status.encode(), part.encode()))
    print(json.dumps(load.run(requests, in_flight=asked["in_flight"])))


if __name__ == "__main__":
    main()
