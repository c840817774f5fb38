"""Whatever inserts an event that merchants are told inserts its deliveries too, in the same statement."""

import re
from pathlib import Path

import pytest

import paymux_postgres
from paymux_postgres import queries

_COLUMNS = re.compile(r"insert into (payment_events|merchant_events)\s*\(([^)]*)\)", re.IGNORECASE)
_DELIVERIES = "insert into webhook_deliveries"
STATEMENTS = {
    name: sql
    for path in sorted(Path(paymux_postgres.__file__).parent.glob("*.sql"))
    for name, sql in queries.load(str(path)).items()
}


def tells_merchants(sql: str) -> bool:
    """Whether a statement inserts events that may be public: those of a payment have a sequence, others say `true`."""
    of_payments = any("sequence" in columns for table, columns in _COLUMNS.findall(sql) if table == "payment_events")
    return of_payments or bool(re.search(r"insert into merchant_events\s*\([^)]*\)\s*select [^)]*?\btrue\b", sql))


TELLING = [name for name, sql in STATEMENTS.items() if tells_merchants(sql)]


def test_the_statements_that_tell_are_found() -> None:
    known = {"create_payments", "cancel_unconfirmed", "open_attempts", "open_review", "record_outcomes"}
    assert known | {"disable_endpoint", "send_test_event"} <= set(TELLING)
    assert "request_cancellation" not in TELLING, "its event is not public"


@pytest.mark.parametrize("name", TELLING)
def test_who_inserts_a_public_event_inserts_its_deliveries(name: str) -> None:
    assert _DELIVERIES in STATEMENTS[name], f"{name} tells merchants of something, and delivers it to nobody"


@pytest.mark.parametrize("name", TELLING)
def test_endpoints_are_found_by_merchant_and_mode(name: str) -> None:
    """And never the other way round: from the endpoints of all merchants to the events."""
    joined = re.findall(r"from webhook_endpoints w\s+where (.*?)(?:offset 0\)|\n\))", STATEMENTS[name], re.DOTALL)
    assert joined, name
    for condition in joined:
        assert "w.merchant_id = " in condition
        assert "status = 'enabled'" in condition
        assert "w.livemode = " in condition or name == "send_test_event"
