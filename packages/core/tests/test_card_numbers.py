"""Card numbers are found wherever and however they are written; ordinary numbers are not taken for them."""

import random
from collections.abc import Callable
from uuid import UUID

import pytest

from paymux_core.card_numbers import contains_card_number

# Published by the gateways for tests. Sources, 2026-11-25: https://docs.stripe.com/testing,
# https://razorpay.com/docs/payments/payments/test-card-details, https://www.checkout.com/docs/four/testing/test-cards,
# https://developer.paypal.com/tools/sandbox/card-testing
PUBLISHED = """
4242424242424242 4000056655665556 5555555555554444 2223003122003222 5200828282828210 5105105105105100 378282246310005
371449635398431 6011111111111117 6011000990139424 6011981111111113 3056930009020004 36227206271667 6555900000604105
3566002020360505 6200000000000005 6200000000000047 6205500000000000004 4000000000000002 4000002500003155
4000000000009995 4000000000000069 4000000000000127
4100280000001007 5500670000001002 6527658900001005 36082800091007 4111111111111111 5267318187975449 5104060000000008
2305324257848228 4386289407660153 5506900490000436
4734868958733862 4567361325981788 4111111111111129 4024007103573027 4485381577182090 4544249167673670
4724117215951699 4000141680788456 4659465888705671 4151512736305999 4897453568485113 4000144348235050 4556294593757189
4818924250131070 4556253752712245 4095254802642505 4532819413487978 4485040371536584 4543474002249996
5436031030606378 2223000010479399 345678901234564 30123456789019 3530111333300000 6759649826438453
376680816376961 36259600000004 6304000000000000 5063516945005047 2223000048400011 4005519200000004 4012000033330026
4012000077777777 4012888888881881 4217651111111119 4500600000000061 4772129056533503 4915805038587737
""".split()  # noqa: SIM905  rows are read more easily than a list

SEED = 20261125
MILLION = 1_000_000
REFUSED_MAX = 1_000
"""One in a thousand."""


@pytest.mark.parametrize("number", PUBLISHED)
def test_a_published_number_is_found_however_it_is_written(number: str) -> None:
    groups = [number[start : start + 4] for start in range(0, len(number), 4)]
    arabic = number.translate({48 + digit: 0x0660 + digit for digit in range(10)})
    wide = number.translate({48 + digit: 0xFF10 + digit for digit in range(10)})
    for written in (number, " ".join(groups), "-".join(groups), "\u2013".join(groups), "\u00a0".join(groups)):
        assert contains_card_number(written), written
        assert contains_card_number(f"paid with {written}, thanks"), written
    assert contains_card_number("  ".join(number))
    assert contains_card_number(arabic)
    assert contains_card_number(wide)
    assert contains_card_number("\u200b".join(number)), "characters that nobody sees"
    assert contains_card_number(f"{number} 123")
    assert contains_card_number(f"12/29 {number}")


@pytest.mark.parametrize("number", PUBLISHED)
def test_a_number_inside_a_longer_token_is_none(number: str) -> None:
    for token in (f"pm_{number}", f"tok{number}x", f"x{number}", number + "12345678901"):
        assert not contains_card_number(token), token


@pytest.mark.parametrize("number", PUBLISHED)
def test_a_number_with_a_wrong_digit_is_none(number: str) -> None:
    assert not contains_card_number(number[:-1] + str((int(number[-1]) + 1) % 10))


def _milliseconds(chance: random.Random) -> str:
    return str(chance.randrange(1_262_304_000_000, 2_208_988_800_000))


def _microseconds(chance: random.Random) -> str:
    return str(chance.randrange(1_262_304_000_000_000, 2_208_988_800_000_000))


def _nanoseconds(chance: random.Random) -> str:
    return str(chance.randrange(1_262_304_000_000_000_000, 2_208_988_800_000_000_000))


def _written_moment(chance: random.Random) -> str:
    day, clock = chance.randrange(10_000), chance.randrange(86_400)
    return (
        f"{2010 + day // 365}{day % 12 + 1:02}{day % 28 + 1:02}{clock // 3600:02}{clock // 60 % 60:02}{clock % 60:02}"
    )


def _phone(chance: random.Random) -> str:
    country = chance.choice(("+1", "+44 ", "+49-", "+91 ", "0049", "+86", "+372 "))
    return country + str(chance.randrange(10**8, 10**11))


def _order(chance: random.Random) -> str:
    forms = ("1001-{}", "2026-{}", "ORD-{}", "#{}", "{}", "INV {}", "100{}")
    return chance.choice(forms).format(chance.randrange(10 ** chance.randrange(4, 13)))


def _uuid(chance: random.Random) -> str:
    return str(UUID(int=chance.getrandbits(128)))


KINDS: tuple[Callable[[random.Random], str], ...] = (
    _milliseconds,
    _microseconds,
    _nanoseconds,
    _written_moment,
    _phone,
    _order,
    _uuid,
)


@pytest.mark.slow
def test_of_a_million_ordinary_numbers_fewer_than_one_in_a_thousand_is_refused() -> None:
    chance = random.Random(SEED)
    refused = sum(contains_card_number(KINDS[number % len(KINDS)](chance)) for number in range(MILLION))
    assert refused < REFUSED_MAX, f"seed {SEED}"
