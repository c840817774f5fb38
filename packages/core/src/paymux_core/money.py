"""An amount in minor units with its currency; never a float, never a bare integer across a function border."""

from msgspec import Struct

from paymux_core.currencies import CURRENCY_EXPONENTS

AMOUNT_MAX = 2**53 - 1
"""Every JSON client reads integers up to here exactly; far above any real payment and far below int64."""


class Money(Struct, frozen=True, gc=False):
    """`amount` in minor units (1999 = 19.99 EUR = 1999 JPY), `currency` lower-case ISO 4217."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        """Refuse what is no amount of money. Raises: ValueError."""
        if type(self.amount) is not int or not 0 <= self.amount <= AMOUNT_MAX:
            message = f"amount must be an integer from 0 to {AMOUNT_MAX}"
            raise ValueError(message)
        if self.currency not in CURRENCY_EXPONENTS:
            message = f"{self.currency!r} is not a lower-case ISO 4217 currency"
            raise ValueError(message)

    @property
    def exponent(self) -> int:
        """How many digits of `amount` are behind the decimal point."""
        return CURRENCY_EXPONENTS[self.currency]
