"""From an answer to bytes on the wire: the headers every answer carries, and the two messages of ASGI."""

from collections.abc import Sequence

from msgspec import Struct
from starlette.types import Send

from paymux_api import API_VERSION

Header = tuple[bytes, bytes]
NO_CONTENT = 204

ALWAYS: tuple[Header, ...] = (
    (b"paymux-version", API_VERSION.encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Answer(Struct, frozen=True, gc=False):
    """Status, body, and the headers that are this answer's own."""

    status: int
    body: bytes
    content_type: bytes
    headers: Sequence[Header] = ()


async def send_answer(send: Send, answer: Answer, *, request_id: str, method: str) -> None:
    """Send an answer; to HEAD only its headers."""
    headers = [(b"request-id", request_id.encode()), *ALWAYS, *answer.headers]
    if answer.status != NO_CONTENT:
        headers += [(b"content-type", answer.content_type), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
