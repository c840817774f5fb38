"""From bytes on a socket to the fields a client sent: capped, timed, and parsed more strictly than JSON asks for."""

import asyncio
import json

import msgspec
from msgspec import Struct
from starlette.types import Receive

from paymux_api.problems import BodyTooLarge, MalformedJson, RequestTimeout

BODY_BYTES_MAX = 64 * 1024
"""A payment needs 1 KiB, one with full metadata 27 KiB."""
DEPTH_MAX = 16

_decode = msgspec.json.Decoder().decode


class ClientGone(Exception):
    """The client hung up before the body was complete; there is nobody to answer."""


class Body(Struct, frozen=True, gc=False):
    """What the client sent: the fields (any JSON value), and all of its text, to look for card numbers."""

    fields: object
    text: str


EMPTY_BODY = Body(fields={}, text="")


async def read_body(receive: Receive, *, announced_bytes: bytes | None, deadline_seconds: float) -> bytes:
    """Receive a body. Raises: BodyTooLarge as soon as that is clear, RequestTimeout, ClientGone."""
    # A figure that is no number was refused by the server; nine digits are too large without looking closer.
    if announced_bytes is not None and (len(announced_bytes) > 9 or int(announced_bytes) > BODY_BYTES_MAX):  # noqa: PLR2004
        raise BodyTooLarge(f"A body has at most {BODY_BYTES_MAX} bytes.")
    try:
        async with asyncio.timeout(deadline_seconds):
            body = bytearray()
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += bytes(message.get("body", b""))
                if len(body) > BODY_BYTES_MAX:
                    raise BodyTooLarge(f"A body has at most {BODY_BYTES_MAX} bytes.")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise RequestTimeout(f"The body has to arrive within {deadline_seconds:g} s.") from None


def parse_body(body: bytes) -> Body:
    """Parse a body; nothing at all counts as `{}`. Raises: MalformedJson."""
    if not body:
        return EMPTY_BODY
    try:
        fields = _decode(body)
        text = body.decode()
    except RecursionError:
        raise MalformedJson(f"JSON may be nested {DEPTH_MAX} levels deep.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedJson("The body is not valid JSON in UTF-8.") from None
    colons = _colons(fields, DEPTH_MAX)
    if "\\" not in text and text.count(":") == colons:
        # Every colon of the text is accounted for by a name that survived or by a string, so no name was sent twice.
        return Body(fields=fields, text=text)
    return _checked_closely(fields, text)


def _colons(value: object, levels_left: int) -> int:
    """Count the colons that a value has in JSON: one per name, and those inside its strings."""
    if type(value) is str:
        return value.count(":")
    if type(value) is dict:
        if not levels_left:
            raise MalformedJson(f"JSON may be nested {DEPTH_MAX} levels deep.")
        colons = len(value)
        for name, item in value.items():
            colons += name.count(":") + (item.count(":") if type(item) is str else _colons(item, levels_left - 1))
        return colons
    if type(value) is list:
        if not levels_left:
            raise MalformedJson(f"JSON may be nested {DEPTH_MAX} levels deep.")
        return sum(_colons(item, levels_left - 1) for item in value)
    return 0


def _checked_closely(fields: object, text: str) -> Body:
    """Check what escapes can hide: NUL, lone surrogates, and names that are equal once unescaped."""
    try:
        json.loads(text, object_pairs_hook=_refuse_duplicates)
    except ValueError:
        raise MalformedJson("The body is not valid JSON.") from None
    words: list[str] = []
    _collect_words(fields, words)
    unescaped = "|".join(words)
    if "\0" in unescaped:
        raise MalformedJson("NUL is not allowed in a string.")
    try:
        unescaped.encode()
    except UnicodeEncodeError:
        raise MalformedJson("A surrogate needs its pair.") from None
    return Body(fields=fields, text=unescaped)


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise MalformedJson("A name appears twice in one object.")


def _collect_words(value: object, words: list[str]) -> None:
    """Collect all names, strings and numbers."""
    if isinstance(value, dict):
        for name, item in value.items():
            words.append(name)
            _collect_words(item, words)
    elif isinstance(value, list):
        for item in value:
            _collect_words(item, words)
    else:
        words.append(str(value))
