"""An answer that says two things about the money is no answer: a person looks."""

import json

import pytest

from paymux_connectors.mock import CONNECTOR
from paymux_core.connector import ChargeCall, GatewayAccount
from paymux_core.exchange import Answer
from paymux_core.outcomes import Outcome, Unknown, UnknownReason
from tests.support.charge_call import CALL

ACCOUNT = GatewayAccount("ga_1", "mock", "http://gateway", {"api_key": "sandbox"}, livemode=False)
_CHARGE = {
    "id": "ch_1",
    "attempt_id": CALL.attempt_id,
    "amount": CALL.money.amount,
    "currency": CALL.money.currency.upper(),
}


def _answered(call: ChargeCall, **said: object) -> Outcome:
    exchange = CONNECTOR.authorize(ACCOUNT, call)
    next(exchange)
    with pytest.raises(StopIteration) as ended:
        exchange.send(Answer(200, {}, json.dumps(_CHARGE | said).encode()))
    outcome: Outcome = ended.value.value
    return outcome


@pytest.mark.parametrize("status", ["declined", "canceled"])
def test_money_of_a_charge_that_was_refused_is_unmapped(status: str) -> None:
    outcome = _answered(CALL, status=status, captured=CALL.money.amount)
    assert isinstance(outcome, Unknown)
    assert outcome.reason is UnknownReason.UNMAPPED


@pytest.mark.parametrize("captured", [0, CALL.money.amount - 1, 2**63, "1999"])
def test_a_success_that_captured_something_else_is_a_mismatch(captured: object) -> None:
    outcome = _answered(CALL, status="succeeded", captured=captured)
    assert outcome == Unknown(UnknownReason.INTEGRITY_MISMATCH, "captured")
