"""One call of an attempt, for tests of connectors and their driver."""

from datetime import UTC, datetime

from paymux_core.connector import ChargeCall
from paymux_core.money import Money

CALL = ChargeCall(
    payment_id="pay_1",
    attempt_id="att_1_1",
    money=Money(1999, "eur"),
    capture="automatic",
    payment_method_type="card",
    token="sandbox_approve",
    return_url=None,
    off_session=False,
    started_at=datetime(2026, 11, 24, tzinfo=UTC),
)
