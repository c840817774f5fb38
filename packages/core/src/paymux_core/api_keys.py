"""API keys: `pmx_{live|test}_{id:10}_{secret:32}{checksum:6}`, all base62; stored only as a keyed hash.

The checksum lets us and secret scanners refuse a mistyped key without asking anybody. A slow hash is not needed: the
secret has 190 bits.
"""

import hmac
import re
from enum import StrEnum
from zlib import crc32

from msgspec import Struct

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 10
_SECRET_LENGTH = 32
_CHECKSUM_LENGTH = 6
_LAST_LENGTH = 4
_TOKEN = re.compile(r"pmx_(live|test)_([0-9A-Za-z]{10})_[0-9A-Za-z]{38}", re.ASCII)

RANDOM_BITS = 512
"""What a new key is made of: twice what it needs, so that the remainders of the divisions by 62 are even."""


class Scope(StrEnum):
    """What a key may do; a key without a scope may not."""

    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    PAYMENTS_CONFIRM = "payments:confirm"
    PAYMENTS_CAPTURE = "payments:capture"
    REFUNDS_WRITE = "refunds:write"
    REVIEWS_READ = "reviews:read"
    REVIEWS_RESOLVE = "reviews:resolve"
    WEBHOOKS_MANAGE = "webhooks:manage"
    EVENTS_READ = "events:read"
    GATEWAYS_MANAGE = "gateways:manage"
    ROUTING_MANAGE = "routing:manage"
    RECONCILIATION_RUN = "reconciliation:run"
    KEYS_MANAGE = "keys:manage"
    OPERATOR = "operator"
    """Metrics and invariants of the whole installation."""


DEFAULT_SCOPES = frozenset({Scope.PAYMENTS_READ, Scope.PAYMENTS_WRITE, Scope.PAYMENTS_CONFIRM})
"""A new key takes money and reads; it gives none back."""


class ApiKeyToken(Struct, frozen=True, gc=False):
    """A well-formed key. `token` is the secret itself: shown once, never logged."""

    token: str
    key_id: str
    livemode: bool

    @property
    def last4(self) -> str:
        """What may be shown of it later."""
        return self.token[-_LAST_LENGTH:]

    def __repr__(self) -> str:
        return f"ApiKeyToken({self.key_id})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # A struct's own shows every field.
        return [("key_id", self.key_id)]


def new_api_key(random_bits: int, *, mode: str) -> ApiKeyToken:
    """Make a key of `RANDOM_BITS` random bits from a cryptographic source; `mode` is `live` or `test`."""
    if mode not in ("live", "test"):
        raise ValueError("mode must be live or test")
    key_id = _base62(random_bits, length=_ID_LENGTH)
    secret = _base62(random_bits // 62**_ID_LENGTH, length=_SECRET_LENGTH)
    body = f"pmx_{mode}_{key_id}_{secret}"
    return ApiKeyToken(token=body + _checksum(body), key_id=key_id, livemode=mode == "live")


def parse_api_key(text: str) -> ApiKeyToken | None:
    """Read a key that a client sent; None if its form or checksum is wrong."""
    match = _TOKEN.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return ApiKeyToken(token=text, key_id=match[2], livemode=match[1] == "live")


def hash_api_key(pepper: bytes, token: str) -> bytes:
    """Give what is stored instead of a key: HMAC-SHA256, 32 bytes."""
    return hmac.digest(pepper, token.encode(), "sha256")


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), length=_CHECKSUM_LENGTH)


def _base62(number: int, *, length: int) -> str:
    """Write the last `length` digits of a number to the base 62."""
    characters = [""] * length
    for place in range(length - 1, -1, -1):
        number, digit = divmod(number, 62)
        characters[place] = _ALPHABET[digit]
    return "".join(characters)
