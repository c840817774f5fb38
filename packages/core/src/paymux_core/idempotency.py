"""What makes two requests the same: the normalised `Idempotency-Key` and the fingerprint of what was sent."""

import json
from collections.abc import Sequence
from hashlib import sha256

import msgspec

KEY_CHARACTERS_MAX = 255

_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_encode_in_order = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def fingerprint(method: str, path: str, fields: object) -> bytes:
    """Hash method, path and the fields the client sent (JSON values; numbers are integers). Gives 32 bytes."""
    return sha256(f"{method}\n{path}\n{canonical_json(fields)}".encode()).digest()


def canonical_json(fields: object) -> str:
    """Write JSON values (numbers are integers) in the one form of RFC 8785."""
    text = _encode_sorted(fields)
    # Of ASCII both encoders write the same; beyond it, code points and UTF-16 code units may sort differently.
    return text.decode() if text.isascii() else _encode_in_order(_sorted(fields))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: _sorted(value[name]) for name in names}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def normalised_key(headers: Sequence[bytes]) -> str | None:
    """Read the values of all `Idempotency-Key` headers as one key; None if that is not possible.

    One header, 1 to 255 printable ASCII characters, bare or as a quoted string of RFC 8941; both name the same key.
    """
    if len(headers) != 1:
        return None
    try:
        text = headers[0].decode("ascii").strip(" \t")
    except UnicodeDecodeError:
        return None
    key = _unquoted(text) if text.startswith('"') else text
    if key is None or not 1 <= len(key) <= KEY_CHARACTERS_MAX or not key.isprintable():
        return None
    return key


def _unquoted(text: str) -> str | None:
    """Read a quoted string; None if it is none. Only quotes and backslashes are escaped."""
    if len(text) < 2 or not text.endswith('"'):  # noqa: PLR2004  two quotes
        return None
    inner = text[1:-1]
    if "\\" not in inner:
        return None if '"' in inner else inner
    characters: list[str] = []
    rest = iter(inner)
    for character in rest:
        if character == '"':
            return None
        if character == "\\":
            escaped = next(rest, "")
            if escaped not in ('"', "\\"):
                return None
            characters.append(escaped)
        else:
            characters.append(character)
    return "".join(characters)
