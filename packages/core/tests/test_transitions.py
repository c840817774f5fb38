"""The tables decide: what they name happens, and nothing else does."""

import pytest

from paymux_core.errors import IllegalTransition
from paymux_core.transitions import (
    ATTEMPT_TRANSITIONS,
    PAYMENT_TRANSITIONS,
    AttemptEvent,
    AttemptStatus,
    PaymentEvent,
    PaymentStatus,
    next_attempt_status,
    next_payment_status,
)


@pytest.mark.parametrize("event", list(PaymentEvent))
@pytest.mark.parametrize("status", [None, *PaymentStatus])
def test_a_payment_moves_by_its_table_or_not_at_all(status: PaymentStatus | None, event: PaymentEvent) -> None:
    if event in PAYMENT_TRANSITIONS[status]:
        assert next_payment_status(status, event) is PAYMENT_TRANSITIONS[status][event]
    else:
        with pytest.raises(IllegalTransition):
            next_payment_status(status, event)


@pytest.mark.parametrize("event", list(AttemptEvent))
@pytest.mark.parametrize("status", [None, *AttemptStatus])
def test_an_attempt_moves_by_its_table_or_not_at_all(status: AttemptStatus | None, event: AttemptEvent) -> None:
    if event in ATTEMPT_TRANSITIONS[status]:
        assert next_attempt_status(status, event) is ATTEMPT_TRANSITIONS[status][event]
    else:
        with pytest.raises(IllegalTransition):
            next_attempt_status(status, event)
