"""The dialect of the sandbox gateway, spoken to it under two names: `mock` and `flaky`.

One request charges; every answer is stored under the key; a charge is found by our attempt id; a fence is a tombstone
for the key, so that a charge which arrives later is refused. Currencies are written in capitals.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import urlencode

from paymux_connectors import answers
from paymux_connectors.answers import JsonObject
from paymux_connectors.redaction import FieldTree, keep_fields
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
from paymux_core.exchange import Answer, Exchange, HttpRequest, Listed, Listing, Page, Verb
from paymux_core.money import Money
from paymux_core.outcomes import (
    Advice,
    Authorized,
    Captured,
    DeclineCode,
    Declined,
    NotFound,
    Outcome,
    Pending,
    Refusal,
    Unknown,
    UnknownReason,
    Voided,
)

CERTIFIED_HEADER = "sandbox-certified"
"""`not-executed` says of a 429 that nothing was done; without it nobody knows."""

_CHARGE_FIELDS: FieldTree = MappingProxyType(
    {
        "id": None,
        "status": None,
        "amount": None,
        "currency": None,
        "payment_id": None,
        "attempt_id": None,
        "captured": None,
        "refunded": None,
        "decline": MappingProxyType({"code": None, "message": None, "retryable": None}),
        "created_at": None,
    }
)
_ANSWER_FIELDS: FieldTree = MappingProxyType(
    {
        **_CHARGE_FIELDS,
        "data": _CHARGE_FIELDS,
        "charge": _CHARGE_FIELDS,
        "error": MappingProxyType({"code": None, "message": None}),
    }
)
_DECLINE_CODES: Mapping[str | None, DeclineCode] = MappingProxyType(
    {
        "issuer_not_available": DeclineCode.DO_NOT_HONOR,
        "stolen_card": DeclineCode.LOST_OR_STOLEN,
        "insufficient_funds": DeclineCode.INSUFFICIENT_FUNDS,
    }
)
_Reader = Callable[[Answer, ChargeCall], Outcome]


class SandboxDialect:
    """A connector for one of the sandbox's gateways."""

    version = "1"
    request_id_header = "request-id"
    credential_names: tuple[str, ...] = ("api_key",)
    capabilities = Capabilities(
        two_phase=False,
        caching=Caching.ALL,
        key_window_seconds=24 * 3600,
        lookup=Lookup.BY_REFERENCE,
        lookup_consistency_seconds=0,
        fence=Fence.BY_KEY,
        certified_429=True,
        test_only=True,
        lookups_per_second=200,
        lists=True,
    )

    def __init__(self, name: str) -> None:
        self.name = name

    def authorize(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Charge or hold the money with one request."""
        return _single(self._charge_request(account, call), call, read=_read_charge_answer)

    def inquire(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Look the charge up by our attempt id."""
        query = urlencode({"attempt_id": call.attempt_id})
        request = HttpRequest(
            verb=Verb.INQUIRE,
            method="GET",
            url=f"{account.base_url}/{self.name}/v1/charges?{query}",
            headers=_headers(account),
        )
        return _single(request, call, read=_read_list)

    def list_page(self, account: GatewayAccount, window: ListWindow) -> Listing:
        """List the charges of a time window, newest first."""
        query = {"created_from": window.born_from.isoformat(), "created_to": window.born_to.isoformat()}
        after = {} if window.after is None else {"starting_after": window.after}
        request = HttpRequest(
            verb=Verb.INQUIRE,
            method="GET",
            url=f"{account.base_url}/{self.name}/v1/charges?{urlencode({**query, 'limit': '100', **after})}",
            headers=_headers(account),
        )
        return _page(request)

    def fence(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Put a tombstone on the charge's key."""
        document = {"attempt_id": call.attempt_id, "idempotency_key": _charge_key(call)}
        key = provider_key(call.attempt_id, verb="void", number=call.fence_number)
        request = HttpRequest(
            verb=Verb.FENCE,
            method="POST",
            url=f"{account.base_url}/{self.name}/v1/fences",
            headers=_headers(account, idempotency_key=key),
            body=answers.to_json(document),
            body_safe=document,
            idempotency_key=key,
            idempotent_replay=True,
        )
        return _single(request, call, read=_read_fence)

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        """Hash the charge's bytes."""
        return answers.first_request_digest(self.authorize(account, call))

    def answer_safe(self, body: bytes) -> Mapping[str, object]:
        """Keep what the audit trail may keep of an answer."""
        document = answers.json_object(body)
        return {} if document is None else keep_fields(document, _ANSWER_FIELDS)

    def _charge_request(self, account: GatewayAccount, call: ChargeCall) -> HttpRequest:
        document: dict[str, object] = {
            "payment_id": call.payment_id,
            "attempt_id": call.attempt_id,
            "amount": call.money.amount,
            "currency": call.money.currency.upper(),
            "capture": call.capture == "automatic",
        }
        key = _charge_key(call)
        return HttpRequest(
            verb=Verb.CHARGE,
            method="POST",
            url=f"{account.base_url}/{self.name}/v1/charges",
            headers=_headers(account, idempotency_key=key),
            body=answers.to_json({**document, "token": call.token, "metadata": {"attempt_id": call.attempt_id}}),
            body_safe=document,
            idempotency_key=key,
            idempotent_replay=True,
        )


def _single(request: HttpRequest, call: ChargeCall, *, read: _Reader) -> Exchange:
    reply = yield request
    if not isinstance(reply, Answer):
        return answers.without_answer(reply)
    return _read_common(reply) or read(reply, call)


def _page(request: HttpRequest) -> Listing:
    reply = yield request
    if not isinstance(reply, Answer):
        return answers.without_answer(reply)
    refused = _read_common(reply)
    if refused is not None:
        return refused
    charges = _listed(reply)
    if isinstance(charges, Unknown):
        return charges
    found = tuple(
        Listed(ours, _read_charge(charge, ours), keep_fields(charge, _CHARGE_FIELDS))
        for charge in charges
        if (ours := answers.identifier(charge, "attempt_id")) is not None
    )
    document = answers.json_object(reply.body) or {}
    last = answers.identifier(charges[-1], "id") if charges else None
    return Page(found, last if document.get("has_more") is True else None)


def _charge_key(call: ChargeCall) -> str:
    return provider_key(call.attempt_id, verb="create")


def _headers(account: GatewayAccount, *, idempotency_key: str | None = None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {account.credentials.get('api_key', '')}"}
    if idempotency_key is not None:
        headers["Content-Type"] = "application/json"
        headers["Idempotency-Key"] = idempotency_key
    return headers


def _read_common(answer: Answer) -> Outcome | None:
    """Read what means the same at every path; None if the path decides."""
    status = answer.http_status
    if status in {401, 403}:
        return answers.credentials_refused(answer)
    if status == 429:  # noqa: PLR2004  HTTP's own number
        if answer.headers.get(CERTIFIED_HEADER) == "not-executed":
            return answers.rate_limited_certainly(answer)
        return Unknown(UnknownReason.RATE_LIMITED, "http_429", answers.retry_after_seconds(answer))
    if status >= 500:  # noqa: PLR2004  the same
        return answers.server_error(answer)
    return None


def _read_charge_answer(answer: Answer, call: ChargeCall) -> Outcome:
    document = answers.json_object(answer.body)
    if document is None:
        return answers.UNREADABLE
    code = answers.text(answers.member(document, "error"), "code")
    match answer.http_status, code:
        case 200, _:
            return _read_charge(document, call.attempt_id)
        case 409, "idempotency_key_in_use":
            return answers.in_flight(answer)
        case 409, "fenced":
            return Voided(None)
        case 400, "idempotency_key_reused":
            return Unknown(UnknownReason.REQUEST_MISMATCH, "idempotency_key_reused")
        case 400 | 422, str():
            return Declined(_invalid_request(document), stored=False)
        case status, _:
            return answers.unmapped(f"http_{status} {code}")


def _invalid_request(document: JsonObject) -> Refusal:
    error = answers.member(document, "error")
    return Refusal(
        DeclineCode.UNKNOWN,
        answers.text(error, "message") or "The gateway refused the request as invalid.",
        Advice.DO_NOT_RETRY,
        answers.text(error, "code"),
    )


def _listed(answer: Answer) -> Sequence[JsonObject] | Unknown:
    document = answers.json_object(answer.body)
    if answer.http_status != 200:  # noqa: PLR2004  HTTP's own number
        return answers.unmapped(f"http_{answer.http_status}")
    charges = document.get("data") if document is not None else None
    if not isinstance(charges, list) or not all(answers.is_object(charge) for charge in charges):
        return answers.UNREADABLE
    return charges


def _read_list(answer: Answer, call: ChargeCall) -> Outcome:
    charges = _listed(answer)
    if isinstance(charges, Unknown):
        return charges
    if not charges:
        return NotFound()
    if len(charges) > 1:
        # One attempt has one key, and a key has one charge.
        return answers.unmapped("several charges of one attempt")
    return _read_charge(charges[0], call.attempt_id)


def _read_fence(answer: Answer, call: ChargeCall) -> Outcome:
    document = answers.json_object(answer.body)
    if document is None:
        return answers.UNREADABLE
    charge = answers.member(document, "charge")
    code = answers.text(answers.member(document, "error"), "code")
    match answer.http_status, code:
        case 200, _ if document.get("status") == "fenced":
            return Voided(answers.identifier(charge, "id"))
        case 200, _:
            return answers.unmapped("fence answer without status fenced")
        case 409, "already_charged" if charge:
            return _read_charge(charge, call.attempt_id)
        case 409, "idempotency_key_in_use":
            return answers.in_flight(answer)
        case status, _:
            return Unknown(UnknownReason.FENCE_REFUSED, f"http_{status} {code}")


def _read_charge(charge: JsonObject, attempt_id: str) -> Outcome:
    charge_id, status = answers.identifier(charge, "id"), answers.text(charge, "status")
    if charge_id is None or status is None:
        return answers.UNREADABLE
    if charge.get("attempt_id") != attempt_id:
        return Unknown(UnknownReason.INTEGRITY_MISMATCH, "attempt_id")
    match status:
        case "succeeded" if charge.get("captured", charge.get("amount")) != charge.get("amount"):
            return Unknown(UnknownReason.INTEGRITY_MISMATCH, "captured")
        case "succeeded":
            money = _read_money(charge)
            return answers.UNREADABLE if money is None else Captured(charge_id, money)
        case "authorized":
            money = _read_money(charge)
            return answers.UNREADABLE if money is None else Authorized(charge_id, money)
        case "pending":
            return Pending(charge_id)
        case "declined" | "canceled" if answers.integer(charge, "captured"):
            return answers.unmapped(f"status {status}, and money captured")
        case "declined":
            return Declined(_read_decline(answers.member(charge, "decline")), charge_id)
        case "canceled":
            return Voided(charge_id)
        case _:
            return answers.unmapped(f"status {status}")


def _read_decline(decline: JsonObject) -> Refusal:
    code = answers.text(decline, "code")
    retryable = decline.get("retryable") is True
    return Refusal(
        _DECLINE_CODES.get(code, DeclineCode.CARD_DECLINED),
        answers.text(decline, "message") or "The payment was declined.",
        Advice.TRY_ANOTHER_GATEWAY if retryable else Advice.DO_NOT_RETRY,
        code,
    )


def _read_money(charge: JsonObject) -> Money | None:
    amount, currency = answers.integer(charge, "amount"), answers.text(charge, "currency")
    if amount is None or currency is None:
        return None
    try:
        return Money(amount, currency.lower())
    except ValueError:
        return None
