"""Card numbers in text: paymux never takes them, so wherever one appears the request is refused.

A card number is a run of 14 to 19 digits (spaces and dashes between them do not count, digits of every script do), not
inside a longer alphanumeric token, that starts with an issuer range of that length and passes the Luhn check. Luhn
alone would refuse every tenth number.
"""

import re
import unicodedata
from collections.abc import Iterator

_SHORTEST = 14
_LONGEST = 19

_LONG = (16, 17, 18, 19)
_ISSUERS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    # First and last prefix of a range, and the lengths its numbers have.
    # Source: https://en.wikipedia.org/wiki/Payment_card_number#Issuer_identification_number_(IIN), 2026-11-24;
    # 16 digits for Diners Club 300-305 and all of 60: https://docs.stripe.com/testing and
    # https://razorpay.com/docs/payments/payments/test-card-details, 2026-11-24.
    ("4", "4", (16, 18, 19)),  # Visa
    ("2221", "2720", (16,)),  # Mastercard
    ("51", "55", (16,)),  # Mastercard
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),  # American Express
    ("300", "305", (14, 16, 17, 18, 19)),  # Diners Club
    ("3095", "3095", (14, 16, 17, 18, 19)),  # Diners Club
    ("36", "36", (14, 15, 16, 17, 18, 19)),  # Diners Club
    ("38", "39", (14, 16, 17, 18, 19)),  # Diners Club
    ("6011", "6011", _LONG),  # Discover
    ("644", "659", _LONG),  # Discover, Troy, RuPay
    ("62", "62", _LONG),  # UnionPay
    ("81", "82", _LONG),  # UnionPay, RuPay
    ("3528", "3589", _LONG),  # JCB, RuPay
    ("2131", "2131", (15,)),  # JCB
    ("1800", "1800", (15,)),  # JCB
    ("60", "60", (16,)),  # RuPay, Hipercard
    ("50", "50", (14, 15, 16, 17, 18, 19)),  # Maestro, RuPay, Verve, Elo
    ("56", "59", (14, 15, 16, 17, 18, 19)),  # Maestro
    ("63", "63", (14, 15, 16, 17, 18, 19)),  # Maestro, InstaPayment, InterPayment
    ("67", "67", (14, 15, 16, 17, 18, 19)),  # Maestro
    ("2200", "2204", _LONG),  # Mir
    ("9792", "9792", (16,)),  # Troy
    ("8600", "8600", (16,)),  # Uzcard
    ("9860", "9860", (16,)),  # Humo
)

# ASCII hyphen, the dashes of general punctuation, the minus sign; up to three separators stand between two digits.
_SEPARATORS = r"[\s\-\u2010-\u2015\u2212]"
_CANDIDATE = re.compile(rf"(?<!\w)\d(?:{_SEPARATORS}{{0,3}}\d){{{_SHORTEST - 1},}}(?!\w)")
_GROUP = re.compile(r"\d+")
# One in 50,000 random UUIDs has digit groups that look like a card number, and UUIDs are what people use as keys.
_UUID = re.compile(r"(?<!\w)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?!\w)", re.IGNORECASE)


def contains_card_number(text: str) -> bool:
    """Say whether a card number stands anywhere in a text."""
    if not text.isascii():
        text = _folded(text)
    if _CANDIDATE.search(text) is None:
        return False
    without_uuids = _UUID.sub("x", text)
    return any(_is_card_number(digits) for run in _CANDIDATE.findall(without_uuids) for digits in _readings(run))


def _folded(text: str) -> str:
    """Write digits of all scripts as ASCII and drop characters that nobody sees."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    return "".join(c if c.isascii() else str(unicodedata.decimal(c, c)) for c in visible)


def _readings(run: str) -> Iterator[str]:
    """Give every way to read neighbouring groups as one number: `4242 4242 4242 4242 123` is a number and its CVC."""
    groups: list[str] = _GROUP.findall(run)
    for start in range(len(groups)):
        digits = ""
        for group in groups[start:]:
            digits += group
            if len(digits) > _LONGEST:
                break
            if len(digits) >= _SHORTEST:
                yield digits


def _is_card_number(digits: str) -> bool:
    return _has_issuer(digits) and _passes_luhn(digits)


def _has_issuer(digits: str) -> bool:
    length = len(digits)
    return any(length in lengths and low <= digits[: len(low)] <= high for low, high, lengths in _ISSUERS)


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, character in enumerate(reversed(digits)):
        value = int(character)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2  # noqa: PLR2004  a doubled digit above 9 counts its digits
        total += value
    return total % 10 == 0
