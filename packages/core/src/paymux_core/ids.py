"""Ids: UUIDv7 inside, a prefix and 26 characters of Crockford base32 outside; the order of both is the order of birth.

Ids of attempts and events are derived from their payment's id and a number, so they are the same after a lost commit.
"""

import re
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TOKEN = re.compile(f"[{_ALPHABET}]{{26}}", re.ASCII)
_TO_DIGITS = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
"""To the digits that int() reads in base 32."""
_NUMBER_MAX = 32767
_NUMBER = re.compile("0|[1-9][0-9]{0,8}", re.ASCII)
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_SHIFTS = range(120, -1, -10)
"""Thirteen pairs of characters, ten bits each."""


class Kind(StrEnum):
    """The prefix of each kind of object."""

    PAYMENT = "pay"
    ATTEMPT = "att"
    EVENT = "evt"
    REVIEW = "rv"
    LATE_CHARGE = "lc"
    GATEWAY_ACCOUNT = "ga"
    MERCHANT = "mer"
    API_KEY = "key"
    INTERACTION = "int"
    WEBHOOK_ENDPOINT = "whe"
    DELIVERY = "whd"
    DELIVERY_TRY = "try"
    WEBHOOK = "whk"


def uuid7(unix_ms: int, random_bits: int) -> UUID:
    """Build a UUIDv7 from a time in milliseconds and 74 random bits (RFC 9562, 5.7)."""
    bits = (unix_ms & ((1 << 48) - 1)) << 80
    bits |= 0x7 << 76 | ((random_bits >> 62) & 0xFFF) << 64
    bits |= 0b10 << 62 | random_bits & ((1 << 62) - 1)
    return UUID(int=bits)


def unix_ms_of(value: UUID) -> int:
    """Give the time inside a UUIDv7, in milliseconds since 1970."""
    return value.int >> 80


@lru_cache(maxsize=8192)
def public_id(kind: Kind, value: UUID) -> str:
    """Write an id as the API shows it: `pay_01j…`; one confirm asks for the same id ten times."""
    number = value.int
    token = "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
    return f"{kind}_{token}"


def parse_public_id(kind: Kind, text: str) -> UUID | None:
    """Read an id that a client sent; None if it is none of this kind."""
    prefix, separator, token = text.partition("_")
    if prefix != kind or not separator or not _TOKEN.fullmatch(token):
        return None
    number = int(token.translate(_TO_DIGITS), 32)
    return UUID(int=number) if number < 1 << 128 else None


def attempt_id(payment: UUID, number: int) -> str:
    """Derive the id of a payment's n-th attempt: `att_<payment>_<n>`."""
    return public_id(Kind.ATTEMPT, payment) + f"_{number}"


def event_id(subject: UUID, position: int) -> str:
    """Derive an event's id: `evt_<payment>_<position>`; one that belongs to no payment is its own id, at position 0."""
    return public_id(Kind.EVENT, subject) + (f"_{position}" if position else "")


def parse_event_id(text: str) -> tuple[UUID, int] | None:
    """Read an event's id back into payment and position, or id and 0; None if it is none."""
    if text.count("_") == 1:
        alone = parse_public_id(Kind.EVENT, text)
        return None if alone is None else (alone, 0)
    found = _numbered(Kind.EVENT, text, count=1)
    return None if found is None or not found[1][0] else (found[0], found[1][0])


def delivery_id(subject: UUID, position: int, endpoint_number: int) -> str:
    """Derive a delivery's id from its event and the number of its endpoint."""
    return f"{public_id(Kind.DELIVERY, subject)}_{position}_{endpoint_number}"


def parse_delivery_id(text: str) -> tuple[UUID, int, int] | None:
    """Read a delivery's id; None if it is none."""
    found = _numbered(Kind.DELIVERY, text, count=2)
    return None if found is None else (found[0], *found[1])  # type: ignore[return-value]  # two numbers


def _numbered(kind: Kind, text: str, *, count: int) -> tuple[UUID, tuple[int, ...]] | None:
    """Read an id that is followed by numbers, each in its one spelling."""
    parts = text.rsplit("_", count)
    subject = parse_public_id(kind, parts[0])
    digits = parts[1:]
    if subject is None or len(digits) != count or not all(_NUMBER.fullmatch(part) for part in digits):
        return None
    return subject, tuple(int(part) for part in digits)


def parse_attempt_id(text: str) -> tuple[UUID, int] | None:
    """Read an attempt's id back into payment and number; None if it is none."""
    head, separator, digits = text.rpartition("_")
    payment = parse_public_id(Kind.ATTEMPT, head)
    if payment is None or not separator or not digits.isascii() or not digits.isdigit():
        return None
    number = int(digits)
    return (payment, number) if 1 <= number <= _NUMBER_MAX and digits == str(number) else None
