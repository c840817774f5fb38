"""Say what each token does to the first request of its key, and draw the faults of `flaky`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto

TOKEN_PREFIX = "sandbox_"  # noqa: S105 - names scripts, opens nothing
ALWAYS_SUFFIX = "_always"


class Booking(StrEnum):
    """What the first request does to the book."""

    CHARGED = auto()
    DECLINED = auto()
    NOTHING = auto()  # a later request of the same key may still charge
    LATER = auto()  # pending, charged when its time has come
    IN_TRANSIT = auto()  # swallowed on its way; arrives when its time has come


class Reply(StrEnum):
    """What the caller gets."""

    ANSWER = auto()  # what was executed
    ERROR = auto()  # 500, stored under the key in place of the answer
    CONFLICT = auto()  # 409 while it is pending
    RATE_LIMITED = auto()  # 429, certified: nothing was executed
    SILENCE = auto()
    RESET = auto()  # half of the answer, then RST
    GARBAGE = auto()  # 200 with JSON that ends in the middle
    DRIP = auto()  # the answer, byte by byte


class Wait(StrEnum):
    """Which delay settles a charge that is not settled at once."""

    CONFLICT = auto()
    PENDING = auto()
    LATE_SUCCESS = auto()
    ZOMBIE = auto()


@dataclass(frozen=True, slots=True)
class Decline:
    """Why an issuer said no. `retryable`: another gateway may help."""

    code: str
    message: str
    retryable: bool


DECLINES = {
    decline.code: decline
    for decline in (
        Decline("issuer_not_available", "The issuer could not be reached.", retryable=True),
        Decline("stolen_card", "The card was reported stolen.", retryable=False),
    )
}


@dataclass(frozen=True, slots=True)
class Script:
    """What happens to the first request of a key, and whether it happens to each of them."""

    booking: Booking
    reply: Reply = Reply.ANSWER
    wait: Wait | None = None
    decline_code: str | None = None
    always: bool = False


_SCRIPTS = {
    "approve": Script(Booking.CHARGED),
    "decline_soft": Script(Booking.DECLINED, decline_code="issuer_not_available"),
    "decline_hard": Script(Booking.DECLINED, decline_code="stolen_card"),
    "timeout_before_charge": Script(Booking.NOTHING, Reply.SILENCE),
    "timeout_after_charge": Script(Booking.CHARGED, Reply.SILENCE),
    "error_before_charge": Script(Booking.NOTHING, Reply.ERROR),
    "error_after_charge": Script(Booking.CHARGED, Reply.ERROR),
    "reset_after_charge": Script(Booking.CHARGED, Reply.RESET),
    "garbage_after_charge": Script(Booking.CHARGED, Reply.GARBAGE),
    "slow_drip": Script(Booking.CHARGED, Reply.DRIP),
    "conflict_in_flight": Script(Booking.LATER, Reply.CONFLICT, Wait.CONFLICT),
    "rate_limited": Script(Booking.NOTHING, Reply.RATE_LIMITED),
    "pending": Script(Booking.LATER, Reply.ANSWER, Wait.PENDING),
    "late_success": Script(Booking.LATER, Reply.ANSWER, Wait.LATE_SUCCESS),
    "zombie_charge": Script(Booking.IN_TRANSIT, Reply.SILENCE, Wait.ZOMBIE),
}

# A script struck on every request of its key.
_SCRIPTS |= {
    name + ALWAYS_SUFFIX: Script(script.booking, script.reply, script.wait, script.decline_code, always=True)
    for name, script in _SCRIPTS.items()
}
# Pending on every look means: for ever.
_SCRIPTS["pending" + ALWAYS_SUFFIX] = Script(Booking.LATER, always=True)

# About one charge in three misbehaves; what is left over is approved.
DEFAULT_FLAKY_RATES: Mapping[str, float] = {
    "timeout_before_charge": 0.03,
    "timeout_after_charge": 0.03,
    "error_before_charge": 0.03,
    "error_after_charge": 0.03,
    "reset_after_charge": 0.03,
    "garbage_after_charge": 0.03,
    "slow_drip": 0.02,
    "conflict_in_flight": 0.03,
    "rate_limited": 0.03,
    "pending": 0.02,
    "zombie_charge": 0.02,
    "decline_soft": 0.05,
    "decline_hard": 0.02,
}


class BadRates(Exception):
    """The rates of `flaky` are not probabilities of known faults."""


def script_of_token(token: str) -> Script | None:
    """Find the script of a token."""
    return _SCRIPTS.get(token.removeprefix(TOKEN_PREFIX)) if token.startswith(TOKEN_PREFIX) else None


def draw_script(rates: Mapping[str, float], *, seed: int, key: str) -> Script:
    """Draw the script of a charge at `flaky`: the same for the same seed and key, in every run."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    drawn = int.from_bytes(digest[:8], "big") / 2**64
    for name, rate in rates.items():
        if drawn < rate:
            return _SCRIPTS[name]
        drawn -= rate
    return _SCRIPTS["approve"]


def read_rates(text: str) -> dict[str, float]:
    """Read rates such as {"timeout_after_charge": 0.1}; all others are 0. Raises: BadRates."""
    try:
        rates = json.loads(text)
    except ValueError as error:
        raise BadRates(str(error)) from None
    if not isinstance(rates, dict):
        raise BadRates("rates must be an object of names and probabilities")
    for name, rate in rates.items():
        if name not in _SCRIPTS or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise BadRates(f"{name!r}: {rate!r} is not the probability of a known fault")
    if sum(rates.values()) > 1:
        raise BadRates("the rates sum to more than 1")
    return rates
