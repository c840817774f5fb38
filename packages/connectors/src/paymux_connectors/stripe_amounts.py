"""Amounts as Stripe counts them: where its decimals differ from ISO 4217's.

Source: docs.stripe.com/currencies ("Zero-decimal currencies", "Three-decimal currencies", "Special cases"), as of
September 2026. HUF and TWD are whole-number currencies for payouts only; charges take their two decimals.
"""

from collections.abc import Mapping
from types import MappingProxyType

from paymux_core.money import Money

_DECIMALS: Mapping[str, int] = MappingProxyType({"isk": 2, "mga": 0})
"""Stripe wants ISK with two decimals that are always 00, and counts whole MGA."""

_CONTRADICTED = frozenset({"ugx"})
"""On Stripe's zero-decimal list and, as a special case, in hundredths: a wrong guess is a factor of 100."""

_TENS_ONLY = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
"""Stripe takes three-decimal amounts only in steps of ten."""

NOT_SUPPORTED = _CONTRADICTED | frozenset({"clf", "iqd", "lyd", "uyw"})
"""Currencies that are never sent: contradicted, or with decimals Stripe does not document."""


def to_stripe_amount(money: Money) -> int | None:
    """Give the integer that Stripe wants; None if it cannot say this amount."""
    if money.currency in NOT_SUPPORTED or (money.currency in _TENS_ONLY and money.amount % 10):
        return None
    amount, left_over = _shift(money.amount, _DECIMALS.get(money.currency, money.exponent) - money.exponent)
    return None if left_over else amount


def from_stripe_amount(amount: int, currency: str) -> Money | None:
    """Read what Stripe says; None if it is no amount of this currency."""
    try:
        probe = Money(0, currency)
        decimals = _DECIMALS.get(currency, probe.exponent)
        ours, left_over = _shift(amount, probe.exponent - decimals)
        return None if left_over or currency in NOT_SUPPORTED else Money(ours, currency)
    except ValueError:
        return None


def _shift(amount: int, places: int) -> tuple[int, int]:
    factor = int("1" + "0" * abs(places))
    return (amount * factor, 0) if places >= 0 else divmod(amount, factor)
