"""Stripe: reserve a PaymentIntent, have its id committed, then confirm it.

The id is durable before money can move, so an unknown confirm is settled by one GET and stopped by one cancel.
"""

from collections.abc import Generator, Mapping
from typing import TypeVar

from paymux_connectors import answers
from paymux_connectors.answers import identifier, member, text
from paymux_connectors.redaction import keep_fields
from paymux_connectors.stripe_amounts import NOT_SUPPORTED
from paymux_connectors.stripe_answers import (
    ANSWER_FIELDS,
    INTENT_FIELDS,
    UNEXPECTED_STATE,
    read_charge_refusal,
    read_intent,
    read_refusal,
)
from paymux_connectors.stripe_requests import (
    cancel_request,
    confirm_request,
    create_request,
    list_page_request,
    list_request,
    read_request,
)
from paymux_core.connector import Caching, Capabilities, ChargeCall, Fence, GatewayAccount, ListWindow, Lookup
from paymux_core.currencies import CURRENCY_EXPONENTS
from paymux_core.exchange import Answer, Exchange, HttpReply, HttpRequest, Listed, Listing, Page, Remember
from paymux_core.outcomes import (
    Advice,
    DeclineCode,
    Declined,
    NotExecuted,
    NotFound,
    Outcome,
    Refusal,
    RequiresAction,
    Unknown,
    UnknownReason,
)

_LIST_PAGES_MAX = 5
_OK = 200

_T = TypeVar("_T")
_Step = Generator[HttpRequest | Remember, HttpReply | None, _T]


class Stripe:
    """The connector for Stripe."""

    name = "stripe"
    version = "1"
    request_id_header = "request-id"
    credential_names: tuple[str, ...] = ("secret_key",)
    capabilities = Capabilities(
        two_phase=True,
        caching=Caching.ALL,
        key_window_seconds=24 * 3600,
        lookup=Lookup.BY_ID,
        lookup_consistency_seconds=5,
        fence=Fence.BY_ID,
        certified_429=True,
        currencies=frozenset(CURRENCY_EXPONENTS) - NOT_SUPPORTED,
        # Stripe's limit is 25 per second and endpoint, in live mode, for all that a merchant runs.
        lookups_per_second=5,
        lists=True,
    )

    def authorize(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Reserve, unless an id is remembered, then confirm."""
        intent_id = call.provider_payment_id
        if intent_id is None:
            reserved = yield from _reserve(account, call)
            if not isinstance(reserved, str):
                return reserved
            intent_id = reserved
        return (yield from _charge(account, call, intent_id=intent_id))

    def inquire(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Read the intent by its id, or find it by our attempt id in the list of its time window."""
        if call.provider_payment_id is None:
            return (yield from _find(account, call))
        return (yield from _read(account, call, intent_id=call.provider_payment_id))

    def list_page(self, account: GatewayAccount, window: ListWindow) -> Listing:
        """List the intents of a time window, newest first, and take those that carry an attempt id of ours."""
        reply = yield list_page_request(account, window)
        if not isinstance(reply, Answer):
            return answers.without_answer(reply)
        if reply.http_status != _OK:
            return _look_up_refused(reply)
        page = answers.json_object(reply.body) or {}
        intents = page.get("data")
        if not isinstance(intents, list) or not all(answers.is_object(intent) for intent in intents):
            return answers.UNREADABLE
        found = tuple(
            Listed(ours, read_intent(intent, attempt_id=ours), keep_fields(intent, INTENT_FIELDS))
            for intent in intents
            if (ours := identifier(member(intent, "metadata"), "attempt_id")) is not None
        )
        last = identifier(intents[-1], "id") if intents else None
        return Page(found, last if page.get("has_more") is True else None)

    def fence(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Cancel the intent; without an id the create is replayed under its key to learn it."""
        intent_id = call.provider_payment_id
        if intent_id is None:
            reserved = yield from _reserve(account, call)
            if not isinstance(reserved, str):
                return _not_fenced(reserved)
            intent_id = reserved
        return (yield from _cancel(account, call, intent_id=intent_id))

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        """Hash the create's bytes, whether its id is known by now or not."""
        return answers.request_digest(create_request(account, call))

    def answer_safe(self, body: bytes) -> Mapping[str, object]:
        """Keep what the audit trail may keep of an answer."""
        document = answers.json_object(body)
        return {} if document is None else keep_fields(document, ANSWER_FIELDS)


CONNECTOR = Stripe()


def _reserve(account: GatewayAccount, call: ChargeCall) -> _Step[str | Outcome]:
    """Create the intent and have its id committed; give the id, or what stands in the way."""
    request = create_request(account, call)
    if request is None:
        return _amount_not_sayable()
    reply = yield request
    if not isinstance(reply, Answer):
        return answers.without_answer(reply)
    if reply.http_status != _OK:
        error = read_refusal(reply)
        return error if isinstance(error, Outcome) else read_charge_refusal(reply, error, attempt_id=call.attempt_id)
    intent = answers.json_object(reply.body) or {}
    outcome = read_intent(intent, attempt_id=call.attempt_id)
    intent_id = identifier(intent, "id")
    if intent_id is None or not isinstance(outcome, NotFound):
        # A create without confirm gives `requires_confirmation` and nothing else: we do not go on from here.
        return outcome if isinstance(outcome, Unknown) else answers.unmapped(f"created as {intent.get('status')}")
    yield Remember(intent_id)
    return intent_id


def _charge(account: GatewayAccount, call: ChargeCall, *, intent_id: str) -> _Step[Outcome]:
    reply = yield confirm_request(account, call, intent_id=intent_id)
    if not isinstance(reply, Answer):
        return answers.without_answer(reply)
    if reply.http_status == _OK:
        outcome = read_intent(answers.json_object(reply.body) or {}, attempt_id=call.attempt_id)
        return answers.unmapped("confirmed, but requires_confirmation") if isinstance(outcome, NotFound) else outcome
    error = read_refusal(reply)
    if isinstance(error, Outcome):
        return error
    if text(error, "code") == UNEXPECTED_STATE:
        # Confirmed or cancelled before: only the intent itself says what it is now.
        outcome = yield from _read(account, call, intent_id=intent_id)
        if isinstance(outcome, NotExecuted):
            # It speaks of the read; of the intent we know nothing.
            return Unknown(UnknownReason.NO_REPLY, UNEXPECTED_STATE)
        return answers.unmapped(UNEXPECTED_STATE) if isinstance(outcome, NotFound) else outcome
    return read_charge_refusal(reply, error, attempt_id=call.attempt_id)


def _cancel(account: GatewayAccount, call: ChargeCall, *, intent_id: str) -> _Step[Outcome]:
    reply = yield cancel_request(account, call, intent_id=intent_id)
    if not isinstance(reply, Answer):
        return answers.without_answer(reply)
    if reply.http_status == _OK:
        return _not_fenced(read_intent(answers.json_object(reply.body) or {}, attempt_id=call.attempt_id))
    error = read_refusal(reply)
    if isinstance(error, Outcome):
        return error
    if text(error, "code") == UNEXPECTED_STATE:
        return _not_fenced((yield from _read(account, call, intent_id=intent_id)))
    return Unknown(UnknownReason.FENCE_REFUSED, f"http_{reply.http_status} {text(error, 'code')}")


def _not_fenced(outcome: Outcome) -> Outcome:
    """Keep what may follow a fence; an intent that can still be confirmed is not fenced, whatever else it says."""
    if isinstance(outcome, (Declined, RequiresAction, NotFound)):
        return Unknown(UnknownReason.FENCE_REFUSED, type(outcome).__name__)
    return outcome


def _read(account: GatewayAccount, call: ChargeCall, *, intent_id: str) -> _Step[Outcome]:
    reply = yield read_request(account, intent_id=intent_id)
    if not isinstance(reply, Answer):
        return answers.without_answer(reply)
    if reply.http_status == _OK:
        return read_intent(answers.json_object(reply.body) or {}, attempt_id=call.attempt_id)
    return _look_up_refused(reply)


def _find(account: GatewayAccount, call: ChargeCall) -> _Step[Outcome]:
    after: str | None = None
    for _ in range(_LIST_PAGES_MAX):
        reply = yield list_request(account, call, after=after)
        if not isinstance(reply, Answer):
            return answers.without_answer(reply)
        if reply.http_status != _OK:
            return _look_up_refused(reply)
        page = answers.json_object(reply.body) or {}
        intents = page.get("data")
        if not isinstance(intents, list) or not all(answers.is_object(intent) for intent in intents):
            return answers.UNREADABLE
        for intent in intents:
            if text(member(intent, "metadata"), "attempt_id") == call.attempt_id:
                return read_intent(intent, attempt_id=call.attempt_id)
        after = identifier(intents[-1], "id") if intents else None
        if page.get("has_more") is not True or after is None:
            return NotFound()
    return Unknown(UnknownReason.NO_REPLY, "the list was not read to its end")


def _look_up_refused(reply: Answer) -> Outcome:
    error = read_refusal(reply)
    if isinstance(error, Outcome):
        return error
    if reply.http_status == 404:  # noqa: PLR2004  HTTP's own number
        return NotFound()
    return answers.unmapped(f"http_{reply.http_status} {text(error, 'code')}")


def _amount_not_sayable() -> NotExecuted:
    return NotExecuted(
        Refusal(
            DeclineCode.INVALID_AMOUNT,
            "Stripe cannot take this amount in this currency; nothing was sent.",
            Advice.TRY_ANOTHER_GATEWAY,
        )
    )
