"""Amounts as Stripe counts them."""

import pytest
from msgspec.structs import replace

from paymux_connectors.stripe import CONNECTOR
from paymux_connectors.stripe_amounts import NOT_SUPPORTED, from_stripe_amount, to_stripe_amount
from paymux_core.currencies import CURRENCY_EXPONENTS
from paymux_core.money import AMOUNT_MAX, Money
from paymux_core.outcomes import (
    NotExecuted,
)
from paymux_testkit.connector_kit import play
from tests.support.stripe_exchanges import (
    ACCOUNT,
    CALL,
)


def test_the_decimals_are_stripes() -> None:
    assert to_stripe_amount(Money(500, "jpy")) == 500
    assert to_stripe_amount(Money(1999, "usd")) == 1999
    assert to_stripe_amount(Money(12340, "kwd")) == 12340
    assert to_stripe_amount(Money(12345, "kwd")) is None
    assert to_stripe_amount(Money(5, "isk")) == 500
    assert to_stripe_amount(Money(500, "mga")) == 5
    assert to_stripe_amount(Money(550, "mga")) is None
    assert to_stripe_amount(Money(500, "ugx")) is None
    assert to_stripe_amount(Money(1045, "huf")) == 1045
    assert from_stripe_amount(550, "isk") is None
    assert from_stripe_amount(AMOUNT_MAX + 1, "eur") is None
    assert from_stripe_amount(5, "EUR") is None


@pytest.mark.parametrize("currency", sorted(CONNECTOR.capabilities.currencies))
def test_every_supported_currency_comes_back_as_it_went(currency: str) -> None:
    for amount in (0, 1000, 123_400):
        stripes = to_stripe_amount(Money(amount, currency))
        assert stripes is not None
        assert from_stripe_amount(stripes, currency) == Money(amount, currency)


def test_an_amount_that_stripe_cannot_say_is_not_sent() -> None:
    assert NOT_SUPPORTED.isdisjoint(CONNECTOR.capabilities.currencies)
    assert set(CURRENCY_EXPONENTS) >= NOT_SUPPORTED
    for verb in (CONNECTOR.authorize, CONNECTOR.fence):
        played = play(verb(ACCOUNT, replace(CALL, money=Money(12345, "kwd"))), [])
        assert isinstance(played.outcome, NotExecuted)
        assert played.requests == []
