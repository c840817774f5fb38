"""A gateway that answers in the process, behind the ordinary connector interface: for benches and demonstrations.

It has no book: what became of an attempt follows from its token alone, so every process gives the same answer. Tokens:
`instant_decline_soft` and `instant_decline_hard` are declined, every other one is approved.
"""

from collections.abc import Mapping
from types import MappingProxyType

from paymux_connectors import answers
from paymux_connectors.answers import JsonObject
from paymux_connectors.redaction import keep_fields
from paymux_core.connector import (
    Caching,
    Capabilities,
    ChargeCall,
    Fence,
    GatewayAccount,
    ListWindow,
    Lookup,
    provider_key,
)
from paymux_core.exchange import Answer, Exchange, HttpRequest, Listing, Page, Verb
from paymux_core.money import Money
from paymux_core.outcomes import Advice, Authorized, Captured, DeclineCode, Declined, Outcome, Refusal

SCHEME = "instant"
_FIELDS = MappingProxyType({"id": None, "status": None, "amount": None, "currency": None, "code": None})
_DECLINES: Mapping[str, tuple[DeclineCode, Advice]] = MappingProxyType(
    {
        "instant_decline_soft": (DeclineCode.DO_NOT_HONOR, Advice.TRY_ANOTHER_GATEWAY),
        "instant_decline_hard": (DeclineCode.LOST_OR_STOLEN, Advice.DO_NOT_RETRY),
    }
)
_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})


class Instant:
    """A connector without a network."""

    name = "instant"
    version = "1"
    request_id_header = "request-id"
    credential_names: tuple[str, ...] = ()
    capabilities = Capabilities(
        two_phase=False,
        caching=Caching.ALL,
        key_window_seconds=24 * 3600,
        lookup=Lookup.BY_REFERENCE,
        lookup_consistency_seconds=0,
        fence=Fence.NONE,
        certified_429=False,
        test_only=True,
        lookups_per_second=1000,
    )

    def authorize(self, _account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Charge or hold the money with one request."""
        reply = yield _request(call, verb=Verb.CHARGE)
        return _read(reply.body) if isinstance(reply, Answer) else answers.without_answer(reply)

    def inquire(self, _account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Say the same again: the token decides."""
        reply = yield _request(call, verb=Verb.INQUIRE)
        return _read(reply.body) if isinstance(reply, Answer) else answers.without_answer(reply)

    def list_page(self, _account: GatewayAccount, _window: ListWindow) -> Listing:
        """Show nothing: there is no book."""
        yield from ()
        return Page(())

    def fence(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Give what became of the attempt: nothing here can be stopped."""
        return self.inquire(account, call)

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        """Hash the charge's bytes."""
        return answers.first_request_digest(self.authorize(account, call))

    def answer_safe(self, body: bytes) -> Mapping[str, object]:
        """Keep what the audit trail may keep of an answer."""
        document = answers.json_object(body)
        return {} if document is None else keep_fields(document, _FIELDS)


CONNECTOR = Instant()


def respond(request: HttpRequest) -> Answer:
    """Answer a request, in the place of a gateway."""
    asked = answers.json_object(request.body) or {}
    decline = answers.text(asked, "token")
    status = "declined" if decline in _DECLINES else "succeeded" if asked.get("capture") else "authorized"
    answer = {
        "id": f"instant_{asked.get('attempt_id')}",
        "status": status,
        "amount": asked.get("amount"),
        "currency": asked.get("currency"),
        "code": decline if status == "declined" else None,
    }
    return Answer(200, {"content-type": "application/json"}, answers.to_json(answer))


def _request(call: ChargeCall, *, verb: Verb) -> HttpRequest:
    shown: dict[str, object] = {
        "attempt_id": call.attempt_id,
        "amount": call.money.amount,
        "currency": call.money.currency,
        "capture": call.capture == "automatic",
    }
    return HttpRequest(
        verb=verb,
        method="POST",
        url=f"{SCHEME}://gateway/charges",
        headers=_HEADERS,
        body=answers.to_json({**shown, "token": call.token}),
        body_safe=shown,
        idempotency_key=provider_key(call.attempt_id, verb="create"),
    )


def _read(body: bytes) -> Outcome:
    document = answers.json_object(body) or {}
    charge_id, status = answers.identifier(document, "id"), answers.text(document, "status")
    if charge_id is None:
        return answers.UNREADABLE
    match status:
        case "succeeded":
            return Captured(charge_id, _money(document))
        case "authorized":
            return Authorized(charge_id, _money(document))
        case "declined":
            token = answers.text(document, "code") or ""
            code, advice = _DECLINES[token]
            return Declined(Refusal(code, "The payment was declined.", advice, token), charge_id)
        case _:
            return answers.unmapped(f"status {status}")


def _money(document: JsonObject) -> Money:
    return Money(answers.integer(document, "amount") or 0, answers.text(document, "currency") or "")
