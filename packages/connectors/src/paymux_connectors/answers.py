"""What every dialect says alike: a request without a usable answer, a body that is no JSON, a pause asked for."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TypeGuard

import msgspec

from paymux_core.exchange import Answer, Exchange, HttpRequest, NoReply, NotSent, TransportError
from paymux_core.outcomes import Advice, DeclineCode, NotExecuted, Refusal, Unknown, UnknownReason

JsonObject = Mapping[str, object]


def _no_number(constant: str) -> object:
    """Refuse NaN and Infinity, which Python's reader takes and JSON does not have."""
    message = f"{constant} is no JSON"
    raise ValueError(message)


_read = json.JSONDecoder(parse_constant=_no_number).decode
_read_fast = msgspec.json.Decoder().decode
_write = msgspec.json.Encoder().encode

_UNREADABLE = frozenset({TransportError.TOO_LARGE, TransportError.MALFORMED})
_RETRY_AFTER_SECONDS_MAX = 3600
_IDENTIFIER_MAX = 255
_TEXT_MAX = 4096
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def without_answer(reply: NotSent | NoReply | None) -> NotExecuted | Unknown:
    """Say what a request did that got no answer: nothing if it was not sent, else nobody knows."""
    if isinstance(reply, NotSent):
        return NotExecuted(
            Refusal(
                DeclineCode.GATEWAY_UNAVAILABLE,
                "The gateway could not be reached; nothing was sent.",
                Advice.TRY_ANOTHER_GATEWAY,
                reply.error,
            )
        )
    if reply is None:
        return Unknown(UnknownReason.NO_REPLY)
    reason = UnknownReason.UNREADABLE if reply.error in _UNREADABLE else UnknownReason.NO_REPLY
    return Unknown(reason, reply.error)


def credentials_refused(answer: Answer) -> NotExecuted:
    """Say what a 401 or 403 means: this request did nothing, and the account has to be set right."""
    return NotExecuted(
        Refusal(
            DeclineCode.GATEWAY_CONFIGURATION,
            "The gateway refused this account's credentials.",
            Advice.TRY_ANOTHER_GATEWAY,
            f"http_{answer.http_status}",
        )
    )


def rate_limited_certainly(answer: Answer) -> NotExecuted:
    """Say what a 429 means whose limiter provably stands before everything else."""
    return NotExecuted(
        Refusal(
            DeclineCode.GATEWAY_RATE_LIMITED,
            "The gateway takes no more requests of this account now.",
            Advice.TRY_ANOTHER_GATEWAY,
            "http_429",
        ),
        retry_after_seconds(answer),
    )


def server_error(answer: Answer) -> Unknown:
    """Say what a 5xx means: it may have acted before."""
    return Unknown(UnknownReason.SERVER_ERROR, f"http_{answer.http_status}", retry_after_seconds(answer))


def in_flight(answer: Answer) -> Unknown:
    """Say that another request of this key or object is executing."""
    return Unknown(UnknownReason.IN_FLIGHT, f"http_{answer.http_status}", retry_after_seconds(answer))


def unmapped(detail: str) -> Unknown:
    """Say that our tables do not know this answer."""
    return Unknown(UnknownReason.UNMAPPED, detail[:200])


UNREADABLE = Unknown(UnknownReason.UNREADABLE)


def json_object(body: bytes) -> JsonObject | None:
    """Read a body as a JSON object that can be stored; None if it is none.

    A NUL or half a surrogate pair, which no database keeps as text, becomes U+FFFD: an answer is not lost for it.
    """
    document = _read_body(body)
    return document if is_object(document) else None


def _read_body(body: bytes) -> object:
    """Read any JSON; None for what is none. The fast reader refuses what must not be lost: 1e400, half a pair."""
    try:
        if b"\\u" not in body:
            return _read_fast(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _storable(_read(body.decode()))
    except (ValueError, RecursionError):
        return None


def to_json(document: Mapping[str, object]) -> bytes:
    """Write a request's body; the same document always gives the same bytes."""
    return _write(document)


def storable_text(value: str) -> str:
    """Replace what no database keeps as text."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", value)


def _storable(value: object) -> object:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Tell whether a JSON value is an object; its keys are then strings."""
    return isinstance(value, dict)


def member(document: JsonObject, name: str) -> JsonObject:
    """Give the object under `name`, empty if there is none."""
    value = document.get(name)
    return value if is_object(value) else {}


def text(document: JsonObject, name: str) -> str | None:
    """Give the non-empty string under `name`, None if there is none, or one too long for an address or a sentence."""
    value = document.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= _TEXT_MAX else None


def identifier(document: JsonObject, name: str) -> str | None:
    """Give the id under `name`, None if there is none, or one that is no id: it is stored under an index."""
    value = text(document, name)
    return None if value is None or len(value) > _IDENTIFIER_MAX else value


def integer(document: JsonObject, name: str) -> int | None:
    """Give the integer under `name`, None if there is none; true and 1.0 are none."""
    value = document.get(name)
    return value if type(value) is int else None


def retry_after_seconds(answer: Answer) -> float | None:
    """Read `Retry-After` where it is a number of seconds, at most an hour."""
    value = answer.headers.get("retry-after", "")
    if not (value.isascii() and value.isdigit() and len(value) < 6):  # noqa: PLR2004  longer than any sane pause
        return None
    return float(min(int(value), _RETRY_AFTER_SECONDS_MAX))


def first_request_digest(exchange: Exchange) -> bytes:
    """Hash the request an exchange starts with."""
    step = next(exchange, None)
    exchange.close()
    return request_digest(step if isinstance(step, HttpRequest) else None)


def request_digest(request: HttpRequest | None) -> bytes:
    """Hash method, address, headers and body; credentials may rotate, so not they. None hashes as nothing."""
    digest = hashlib.sha256()
    if request is not None:
        headers = sorted((name.lower(), value) for name, value in request.headers.items())
        shown = [[name, value] for name, value in headers if name != "authorization"]
        digest.update(_write([request.method, request.url, shown]))
        digest.update(request.body)
    return digest.digest()
