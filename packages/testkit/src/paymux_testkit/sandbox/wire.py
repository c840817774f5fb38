"""Read HTTP/1.1 requests from bytes and write the heads of answers: as much of HTTP as this gateway speaks."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 1024 * 1024
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, complete. Header names are in lower case."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


class UnreadableRequest(Exception):
    """What came in is not a request we read; the connection is of no further use."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    version: str
    headers: dict[str, str]
    body_bytes: int


class RequestReader:
    """Cut requests out of a stream of bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._head: _Head | None = None

    def feed(self, received: bytes) -> None:
        """Take what came in."""
        self._bytes += received

    def waits_for_continue(self) -> bool:
        """Tell, once, whether the caller holds its body back until it is told to go on."""
        return self._head is not None and self._head.headers.pop("expect", "").lower() == "100-continue"

    def waiting_bytes(self) -> int:
        """Count what was not read yet."""
        return len(self._bytes)

    def next_request(self) -> Request | None:
        """Take the next request, if it is complete. Raises: UnreadableRequest."""
        if self._head is None:
            end = self._bytes.find(b"\r\n\r\n")
            if max(end, 0) > HEAD_BYTES_MAX or (end < 0 and len(self._bytes) > HEAD_BYTES_MAX):
                raise UnreadableRequest(431, "the head is too long")
            if end < 0:
                return None
            self._head = _read_head(bytes(self._bytes[:end]).decode("latin-1"))
            del self._bytes[: end + 4]
        head = self._head
        if len(self._bytes) < head.body_bytes:
            return None
        body = bytes(self._bytes[: head.body_bytes])
        del self._bytes[: head.body_bytes]
        self._head = None
        return _request_of(head, body)


def answer_head(status: int, content_type: str, headers: Mapping[str, str], *, body_bytes: int | None) -> bytes:
    """Write the head of an answer; without a length the body comes in chunks."""
    length = "transfer-encoding: chunked" if body_bytes is None else f"content-length: {body_bytes}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {content_type}\r\n{length}\r\n{more}\r\n".encode("latin-1")


def chunk(piece: bytes) -> bytes:
    """Wrap a piece of a body that comes in chunks; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _read_head(text: str) -> _Head:
    first, *lines = text.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        raise UnreadableRequest(400, "not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise UnreadableRequest(400, "a header cannot be read")
        lowered = name.lower()
        if lowered in {"content-length", "idempotency-key"} and lowered in headers:
            raise UnreadableRequest(400, f"two headers {lowered}")
        headers[lowered] = value.strip()
    if "transfer-encoding" in headers:
        raise UnreadableRequest(411, "a body needs a content-length")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise UnreadableRequest(400, "content-length is no number")
    if int(length) > BODY_BYTES_MAX:
        raise UnreadableRequest(413, "the body is too long")
    return _Head(words[0], words[1], words[2], headers, int(length))


def _request_of(head: _Head, body: bytes) -> Request:
    parts = urlsplit(head.target)
    connection = head.headers.get("connection", "").lower()
    keep_alive = connection != "close" and (head.version != "HTTP/1.0" or connection == "keep-alive")
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) if parts.query else {}
    return Request(head.method, head.target, unquote(parts.path), query, head.headers, body, keep_alive)
