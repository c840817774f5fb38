"""Shape what the sandbox says: answers, and the charge as a caller sees it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType

from .delays import iso_time
from .ledger import Charge
from .scripts import DECLINES, Reply

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ROWS_PER_PIECE = 500
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, how it goes, and a word for the list of requests. With `pieces`, the body is streamed."""

    status: int
    body: bytes
    did: str
    reply: Reply = Reply.ANSWER
    headers: Mapping[str, str] = field(default_factory=lambda: _NO_HEADERS)
    content_type: str = "application/json"
    pieces: Iterator[bytes] | None = None
    takes_latency: bool = False


def json_answer(status: int, content: Mapping[str, object], *, did: str) -> Answer:
    """Answer with JSON."""
    return Answer(status, to_json(content), did)


def refusal(status: int, code: str, message: str) -> Answer:
    """Say no, in the form all errors have."""
    return Answer(status, to_json({"error": {"code": code, "message": message}}), f"refused: {code}")


def rows_answer(rows: Iterable[Mapping[str, object]]) -> Answer:
    """Answer with {"data": [...]}, made piece by piece: a hundred thousand rows must not stall the charges."""
    return Answer(200, b"", "listed", pieces=_row_pieces(iter(rows)))


def to_json(content: Mapping[str, object]) -> bytes:
    """Write JSON in its one form here."""
    return _encode(content).encode()


def charge_view(charge: Charge) -> dict[str, object]:
    """Show a charge to a caller."""
    decline = DECLINES.get(charge.decline_code) if charge.decline_code is not None else None
    return {
        "id": charge.id,
        "status": charge.status.value,
        "amount": charge.amount,
        "currency": charge.currency,
        "payment_id": charge.payment_id,
        "attempt_id": charge.attempt_id,
        "captured": charge.captured,
        "refunded": charge.refunded,
        "decline": decline and {"code": decline.code, "message": decline.message, "retryable": decline.retryable},
        "created_at": iso_time(charge.created_at),
    }


def _row_pieces(rows: Iterator[Mapping[str, object]]) -> Iterator[bytes]:
    yield b'{"data":['
    separator = b""
    while batch := list(islice(rows, _ROWS_PER_PIECE)):
        yield separator + b",".join(map(to_json, batch))
        separator = b","
    yield b"]}"
