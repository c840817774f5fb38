"""Values are structs: frozen, and those that hold a secret show none of it, whoever prints them."""

import pytest

from paymux_core.api_keys import RANDOM_BITS, new_api_key
from paymux_core.connector import GatewayAccount
from paymux_core.money import Money

KEY = new_api_key(7**180 % 2**RANDOM_BITS, mode="test")
ACCOUNT = GatewayAccount("ga_1", "mock", "https://gateway", {"secret_key": "sk_planted"}, livemode=False)


@pytest.mark.parametrize("value", [KEY, ACCOUNT])
def test_what_holds_a_secret_prints_none_of_it(value: object) -> None:
    rich = getattr(value, "__rich_repr__")()  # noqa: B009  what rich prints; object has none
    for printed in (repr(value), str(value), repr(rich)):
        assert "sk_planted" not in printed
        assert KEY.token[-30:] not in printed


def test_a_value_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Money(100, "eur").amount = 1  # type: ignore[misc]
