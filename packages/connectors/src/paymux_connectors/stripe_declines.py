"""Why Stripe says a payment was declined, in our words, and what may follow.

Sources: docs.stripe.com/declines/codes (decline codes), docs.stripe.com/error-codes (error codes), and the literals of
`advice_code` and `network_status` in the official client, stripe-python 16.1 (API 2026-10-28).
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from paymux_connectors.answers import JsonObject, member, text
from paymux_core.outcomes import Advice, DeclineCode, Refusal

_C, _OTHER, _ASK, _NEVER = DeclineCode, Advice.TRY_ANOTHER_GATEWAY, Advice.ASK_CUSTOMER, Advice.DO_NOT_RETRY

DECLINES: Mapping[str, tuple[DeclineCode, Advice]] = MappingProxyType(
    {
        # Another gateway may get a yes.
        "approve_with_id": (_C.DO_NOT_HONOR, _OTHER),
        "call_issuer": (_C.DO_NOT_HONOR, _OTHER),
        "card_not_supported": (_C.TRANSACTION_NOT_PERMITTED, _OTHER),
        "currency_not_supported": (_C.CURRENCY_NOT_SUPPORTED, _OTHER),
        "do_not_honor": (_C.DO_NOT_HONOR, _OTHER),
        "generic_decline": (_C.CARD_DECLINED, _OTHER),
        "issuer_not_available": (_C.GATEWAY_UNAVAILABLE, _OTHER),
        "low_probability_of_authorization": (_C.DO_NOT_HONOR, _OTHER),
        "no_action_taken": (_C.DO_NOT_HONOR, _OTHER),
        "not_permitted": (_C.TRANSACTION_NOT_PERMITTED, _OTHER),
        "processing_error": (_C.GATEWAY_UNAVAILABLE, _OTHER),
        "reenter_transaction": (_C.DO_NOT_HONOR, _OTHER),
        "service_not_allowed": (_C.TRANSACTION_NOT_PERMITTED, _OTHER),
        "transaction_not_allowed": (_C.TRANSACTION_NOT_PERMITTED, _OTHER),
        "try_again_later": (_C.GATEWAY_UNAVAILABLE, _OTHER),
        # The customer has to do something else.
        "authentication_not_handled": (_C.AUTHENTICATION_REQUIRED, _ASK),
        "authentication_required": (_C.AUTHENTICATION_REQUIRED, _ASK),
        "card_declined": (_C.CARD_DECLINED, _ASK),  # an error code: where no decline code says more
        "card_velocity_exceeded": (_C.LIMIT_EXCEEDED, _ASK),
        "expired_card": (_C.EXPIRED_CARD, _ASK),
        "incorrect_address": (_C.INCORRECT_NUMBER, _ASK),
        "incorrect_cvc": (_C.INCORRECT_CVC, _ASK),
        "incorrect_number": (_C.INCORRECT_NUMBER, _ASK),
        "incorrect_pin": (_C.AUTHENTICATION_FAILED, _ASK),
        "incorrect_zip": (_C.INCORRECT_NUMBER, _ASK),
        "insufficient_funds": (_C.INSUFFICIENT_FUNDS, _ASK),
        "invalid_account": (_C.INCORRECT_NUMBER, _ASK),
        "invalid_amount": (_C.INVALID_AMOUNT, _ASK),
        "invalid_cvc": (_C.INCORRECT_CVC, _ASK),
        "invalid_expiry_month": (_C.EXPIRED_CARD, _ASK),
        "invalid_expiry_year": (_C.EXPIRED_CARD, _ASK),
        "invalid_number": (_C.INCORRECT_NUMBER, _ASK),
        "invalid_pin": (_C.AUTHENTICATION_FAILED, _ASK),
        "new_account_information_available": (_C.EXPIRED_CARD, _ASK),
        "offline_pin_required": (_C.AUTHENTICATION_REQUIRED, _ASK),
        "online_or_offline_pin_required": (_C.AUTHENTICATION_REQUIRED, _ASK),
        "payment_intent_authentication_failure": (_C.AUTHENTICATION_FAILED, _ASK),
        "pin_try_exceeded": (_C.LIMIT_EXCEEDED, _ASK),
        "testmode_decline": (_C.CARD_DECLINED, _ASK),
        "withdrawal_count_limit_exceeded": (_C.LIMIT_EXCEEDED, _ASK),
        # Nobody should try this again.
        "do_not_try_again": (_C.DO_NOT_HONOR, _NEVER),
        "duplicate_transaction": (_C.DUPLICATE_TRANSACTION, _NEVER),
        "fraudulent": (_C.FRAUD_SUSPECTED, _NEVER),
        "lost_card": (_C.LOST_OR_STOLEN, _NEVER),
        "merchant_blacklist": (_C.FRAUD_SUSPECTED, _NEVER),
        "pickup_card": (_C.LOST_OR_STOLEN, _NEVER),
        "restricted_card": (_C.LOST_OR_STOLEN, _NEVER),
        "revocation_of_all_authorizations": (_C.TRANSACTION_NOT_PERMITTED, _NEVER),
        "revocation_of_authorization": (_C.TRANSACTION_NOT_PERMITTED, _NEVER),
        "security_violation": (_C.FRAUD_SUSPECTED, _NEVER),
        "stolen_card": (_C.LOST_OR_STOLEN, _NEVER),
        "stop_payment_order": (_C.TRANSACTION_NOT_PERMITTED, _NEVER),
    }
)
"""By decline code, or by error code where there is no decline code."""

INVALID_REQUESTS: Mapping[str, tuple[DeclineCode, Advice]] = MappingProxyType(
    {
        "amount_too_large": (_C.INVALID_AMOUNT, _OTHER),
        "amount_too_small": (_C.INVALID_AMOUNT, _OTHER),
        "parameter_invalid_integer": (_C.INVALID_AMOUNT, _NEVER),
        "payment_method_currency_mismatch": (_C.CURRENCY_NOT_SUPPORTED, _OTHER),
        "payment_intent_invalid_currency": (_C.CURRENCY_NOT_SUPPORTED, _OTHER),
        "payment_method_not_available": (_C.GATEWAY_UNAVAILABLE, _OTHER),
        "account_invalid": (_C.GATEWAY_CONFIGURATION, _OTHER),
        "testmode_charges_only": (_C.GATEWAY_CONFIGURATION, _OTHER),
        "livemode_mismatch": (_C.GATEWAY_CONFIGURATION, _NEVER),
    }
)
"""By error code of a 400; others are our own mistake: `unknown`, not to be tried again."""

_NEW_CODE = (_C.UNKNOWN, _ASK)
"""A decline is definite even when its code is new to us; what is not known is never passed to another gateway."""

_STOP_ADVICE = frozenset({"do_not_try_again"})
_STOP_NETWORK_ADVICE = frozenset({"03", "21"})
"""Mastercard's merchant advice codes: do not try again; stop recurring payments."""


def read_decline(error: JsonObject, charge: JsonObject) -> Refusal:
    """Read why a card was declined from an error and, where it is known, the charge. Advice that forbids wins."""
    code = text(error, "decline_code") or text(error, "code")
    outcome = member(charge, "outcome")
    decline, advice = DECLINES.get(code or "", _NEW_CODE)
    if text(outcome, "network_status") == "not_sent_to_network" and advice is _ASK and decline is _C.UNKNOWN:
        advice = _OTHER
    if _forbids(error) or _forbids(outcome):
        advice = _NEVER
    return Refusal(decline, text(error, "message") or "The card was declined.", advice, code)


def read_invalid_request(error: JsonObject) -> Refusal:
    """Read what Stripe finds wrong with a request."""
    code = text(error, "code")
    decline, advice = INVALID_REQUESTS.get(code or "", (_C.UNKNOWN, _NEVER))
    refusal = Refusal(decline, "Stripe refused the request as invalid.", advice, code)
    message = text(error, "message")
    return refusal if message is None else replace(refusal, message=message)


def _forbids(source: JsonObject) -> bool:
    return text(source, "advice_code") in _STOP_ADVICE or text(source, "network_advice_code") in _STOP_NETWORK_ADVICE
