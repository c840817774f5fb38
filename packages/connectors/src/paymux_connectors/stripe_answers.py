"""What Stripe's answers mean: statuses of a PaymentIntent, HTTP statuses, error types.

Sources: docs.stripe.com/payments/paymentintents/lifecycle, docs.stripe.com/api/errors, and
docs.stripe.com/api/idempotent_requests; the limiter stands before the idempotency layer (stripe.com/blog/idempotency).
"""

from types import MappingProxyType

from paymux_connectors import answers
from paymux_connectors.answers import JsonObject, identifier, integer, member, text
from paymux_connectors.redaction import FieldTree
from paymux_connectors.stripe_amounts import from_stripe_amount
from paymux_connectors.stripe_declines import read_decline, read_invalid_request
from paymux_core.exchange import Answer
from paymux_core.money import Money
from paymux_core.outcomes import (
    Authorized,
    Captured,
    Declined,
    NextAction,
    NotFound,
    Outcome,
    Pending,
    RequiresAction,
    Unknown,
    UnknownReason,
    Voided,
)

UNEXPECTED_STATE = "payment_intent_unexpected_state"

_ERROR: FieldTree = {
    "type": None,
    "code": None,
    "decline_code": None,
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "param": None,
    "message": None,
    "charge": None,
}
_CHARGE: FieldTree = {
    "id": None,
    "status": None,
    "failure_code": None,
    "outcome": {
        "network_status": None,
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "reason": None,
        "type": None,
    },
}
INTENT_FIELDS: FieldTree = {
    "id": None,
    "object": None,
    "status": None,
    "amount": None,
    "amount_capturable": None,
    "amount_received": None,
    "currency": None,
    "capture_method": None,
    "cancellation_reason": None,
    "canceled_at": None,
    "created": None,
    "livemode": None,
    "metadata": {"payment_id": None, "attempt_id": None},
    "next_action": {"type": None},
    "last_payment_error": _ERROR,
    "latest_charge": _CHARGE,
}
ANSWER_FIELDS: FieldTree = MappingProxyType(
    {**INTENT_FIELDS, "data": INTENT_FIELDS, "has_more": None, "error": {**_ERROR, "payment_intent": INTENT_FIELDS}}
)
"""What the audit trail may keep: no client_secret, no redirect address, nothing of the customer or the card."""


def read_refusal(answer: Answer) -> Outcome | JsonObject:
    """Read an answer that is no success; give the error object where the step has to decide."""
    document = answers.json_object(answer.body)
    error = member(document, "error") if document is not None else {}
    status, code = answer.http_status, text(error, "code")
    if status in {401, 403}:
        return answers.credentials_refused(answer)
    if code in {"lock_timeout", "idempotency_key_in_use"} or status == 409:  # noqa: PLR2004  HTTP's own numbers
        return answers.in_flight(answer)
    if status == 429:  # noqa: PLR2004
        return answers.rate_limited_certainly(answer)
    if status >= 500 or status == 424:  # noqa: PLR2004
        return answers.server_error(answer)
    if text(error, "type") == "idempotency_error":
        return Unknown(UnknownReason.REQUEST_MISMATCH, "idempotency_error")
    if not error:
        return answers.unmapped(f"http_{status} without an error object")
    return error


def read_charge_refusal(answer: Answer, error: JsonObject, *, attempt_id: str) -> Outcome:
    """Read an error of a create or confirm: a refusal of the card, or of the request."""
    intent = member(error, "payment_intent")
    if intent and text(member(intent, "metadata"), "attempt_id") != attempt_id:
        return Unknown(UnknownReason.INTEGRITY_MISMATCH, "metadata.attempt_id")
    match answer.http_status, text(error, "type"):
        case 402, "card_error":
            return Declined(read_decline(error, member(intent, "latest_charge")), identifier(intent, "id"))
        case 400, "card_error" | "invalid_request_error":
            return Declined(read_invalid_request(error), identifier(intent, "id"), stored=False)
        case status, kind:
            return answers.unmapped(f"http_{status} {kind} {text(error, 'code')}")


def read_intent(intent: JsonObject, *, attempt_id: str) -> Outcome:
    """Read a PaymentIntent's status. `requires_confirmation`: reserved, no charge arrived so far."""
    intent_id, status = identifier(intent, "id"), text(intent, "status")
    if intent_id is None or status is None:
        return answers.UNREADABLE
    if text(member(intent, "metadata"), "attempt_id") != attempt_id:
        return Unknown(UnknownReason.INTEGRITY_MISMATCH, "metadata.attempt_id")
    match status:
        case "requires_confirmation":
            return NotFound()
        case "requires_action":
            return RequiresAction(intent_id, _next_action(member(intent, "next_action")))
        case "processing":
            return Pending(intent_id)
        case "requires_capture":
            money = _money(intent, "amount_capturable")
            return answers.UNREADABLE if money is None else Authorized(intent_id, money)
        case "succeeded":
            money = _money(intent, "amount_received")
            return answers.UNREADABLE if money is None else Captured(intent_id, money)
        case "canceled":
            return Voided(intent_id)
        case "requires_payment_method" if member(intent, "last_payment_error"):
            error = member(intent, "last_payment_error")
            return Declined(read_decline(error, member(intent, "latest_charge")), intent_id)
        case _:
            return answers.unmapped(f"status {status}")


def _next_action(action: JsonObject) -> NextAction:
    kind = text(action, "type") or "unknown"
    url = text(member(action, "redirect_to_url"), "url")
    return NextAction(kind) if url is None else NextAction("redirect", url)


def _money(intent: JsonObject, name: str) -> Money | None:
    amount, currency = integer(intent, name), text(intent, "currency")
    return None if amount is None or currency is None else from_stripe_amount(amount, currency)
