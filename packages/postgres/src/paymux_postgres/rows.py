"""Rows of Postgres to records of core, field by field."""

from collections.abc import Sequence

from paymux_core.records import Attempt, LateCharge, OpenReview, Payment, PaymentMethod
from paymux_core.transitions import AttemptStatus, PaymentStatus
from paymux_core.webhooks import LoggedEvent
from paymux_postgres import documents
from paymux_postgres.bodies import unpack_body
from paymux_postgres.connections import Row


def read_payment(
    row: Row,
    *,
    attempts: Sequence[Row] = (),
    late_charges: Sequence[Row] = (),
    reviews: Sequence[Row] = (),
) -> Payment:
    """Build a payment from its row and those that belong to it."""
    return Payment(
        merchant_id=row["merchant_id"],
        id=row["id"],
        amount=row["amount"],
        currency=row["currency"],
        status=PaymentStatus(row["status"]),
        capture_method=row["capture_method"],
        livemode=row["livemode"],
        metadata=documents.read_strings(row["metadata"]),
        version=row["version"],
        event_position=row["event_position"],
        event_sequence=row["event_sequence"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        reference=row["reference"],
        description=row["description"],
        customer_reference=row["customer_reference"],
        payment_method=documents.read_method(row["payment_method"]),
        return_url=row["return_url"],
        off_session=row["off_session"],
        next_action=documents.read_action(row["next_action"]),
        last_error=documents.read_last_error(row["last_error"]),
        amount_capturable=row["amount_capturable"],
        amount_captured=row["amount_captured"],
        amount_refunded=row["amount_refunded"],
        amount_refund_pending=row["amount_refund_pending"],
        gateway=row["gateway"],
        succeeded_attempt=row["succeeded_attempt"],
        processing_deadline_at=row["processing_deadline_at"],
        cancellation_reason=row["cancellation_reason"],
        cancellation_requested_at=row["cancellation_requested_at"],
        finalized_at=row["finalized_at"],
        attempts=tuple(read_attempt(attempt) for attempt in attempts),
        late_charges=tuple(_read_late_charge(charge) for charge in late_charges),
        reviews=tuple(OpenReview(review["id"], review["reason"], review["opened_at"]) for review in reviews),
    )


def read_event(row: Row) -> LoggedEvent:
    """Build an event from its row, and from its payment and first attempt where it has no body."""
    payment = row["payment"]
    born: PaymentMethod | None = None
    if payment is not None:
        born = documents.read_method(_born_method(payment))
    return LoggedEvent(
        merchant_id=row["merchant_id"],
        subject=row["event_id"],
        position=row["position"],
        type=row["type"],
        sequence=row["sequence"],
        livemode=row["livemode"],
        recorded_at=row["recorded_at"],
        body=None if row["body"] is None else unpack_body(row["body"]),
        payment=(
            None
            if payment is None
            else read_payment(payment, attempts=() if row["attempt"] is None else (row["attempt"],))
        ),
        born_method=born,
    )


def _born_method(payment: Row) -> str | None:
    """Give the method a payment was born with: the one it has, unless a confirm brought another."""
    born: str | None = payment["born_payment_method"]
    method: str | None = payment["payment_method"] if born is None else born
    return None if method == "null" else method


def read_attempt(row: Row) -> Attempt:
    """Build an attempt from its row."""
    return Attempt(
        payment_id=row["payment_id"],
        number=row["number"],
        gateway=row["gateway"],
        gateway_account_id=row["gateway_account_id"],
        status=AttemptStatus(row["status"]),
        amount=row["amount"],
        currency=row["currency"],
        payment_method=documents.read_method(row["payment_method"]) or PaymentMethod("unknown"),
        request_digest=row["request_digest"],
        connector_version=row["connector_version"],
        request_id=row["request_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        charge_window_ends_at=row["charge_window_ends_at"],
        next_check_at=row["next_check_at"],
        reason=row["reason"],
        provider_payment_id=row["provider_payment_id"],
        error=documents.read_refusal(row["error"]),
        return_url=row["return_url"],
        off_session=row["off_session"],
        routing=documents.read_routing(row["routing"]),
        money_requested=row["money_requested"],
        was_requires_action=row["was_requires_action"],
        fence_count=row["fence_count"],
        check_count=row["check_count"],
        last_request_at=row["last_request_at"],
        sending_since=row["sending_since"],
        watch_until=row["watch_until"],
        finished_at=row["finished_at"],
    )


def _read_late_charge(row: Row) -> LateCharge:
    return LateCharge(
        id=row["id"],
        attempt_number=row["attempt_number"],
        gateway=row["gateway"],
        provider_payment_id=row["provider_payment_id"],
        amount=row["amount"],
        currency=row["currency"],
        status=row["status"],
        policy=row["policy"],
        created_at=row["created_at"],
    )
