"""Find what a request asks for, check it, and have it answered."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from .answers import Answer, charge_view, json_answer, refusal, rows_answer
from .charging import ChargeRequest, Charging
from .delays import wall_seconds
from .ledger import Charge, Ledger
from .operations import OperationRequest, Operations
from .pages import book_page
from .request_log import RequestLog, SeenRequest
from .webhooks import Webhooks
from .wire import Request

GATEWAYS = frozenset({"mock", "flaky"})
BAD_KEY = "sandbox_bad_key"
KEY_CHARACTERS_MAX = 255
PAGE_MAX = 100
_encode_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
AMOUNT_MAX = 2**53  # more cannot be written as a JSON number that everyone reads alike


class Refused(Exception):
    """A request that is answered with an error before anything is executed."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = refusal(status, code, message)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request to a gateway: its path below the version, its JSON, and the key it must have."""

    gateway: str
    steps: tuple[str, ...]
    request: Request
    body: Mapping[str, object]

    @property
    def key(self) -> str:
        key = self.request.headers.get("idempotency-key", "")
        if not 0 < len(key) <= KEY_CHARACTERS_MAX:
            raise Refused(400, "idempotency_key_missing", "A POST needs an Idempotency-Key (1 to 255 characters).")
        return key

    @property
    def api_key(self) -> str:
        return self.request.headers.get("authorization", "").partition(" ")[2].strip()

    @property
    def digest(self) -> str:
        canonical = _encode_sorted(self.body)
        return hashlib.sha256(f"{self.request.path}\n{canonical}".encode()).hexdigest()[:32]

    def text(self, name: str) -> str:
        value = self.body.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= KEY_CHARACTERS_MAX:
            raise Refused(400, "invalid_request", f"{name} must be a text of 1 to 255 characters.")
        return value

    def amount(self) -> int:
        value = self.body.get("amount")
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= AMOUNT_MAX:
            raise Refused(400, "invalid_request", "amount must be a positive integer of minor units.")
        return value

    def amount_or_rest(self) -> int | None:
        return self.amount() if "amount" in self.body else None


class Routes:
    """The paths of the sandbox."""

    def __init__(self, ledger: Ledger, charging: Charging, webhooks: Webhooks, *, lookup_lag_seconds: float) -> None:
        self._ledger = ledger
        self._webhooks = webhooks
        self._lookup_lag_seconds = lookup_lag_seconds
        self._charging = charging
        self._operations = Operations(ledger)
        self._seen = RequestLog()

    def answer(self, request: Request) -> Answer:
        """Execute a request. What it changed is true from now on, and durable before the answer leaves."""
        gateway, *steps = request.path.strip("/").split("/")
        if gateway not in GATEWAYS:
            return self._book_answer(request)
        body: Mapping[str, object] = {}
        try:
            body = _json_of(request)
            answer = self._gateway_answer(_Call(gateway, tuple(steps), request, body))
        except Refused as refused:
            answer = refused.answer
        self._remember(request, body, answer)
        return answer

    def _gateway_answer(self, call: _Call) -> Answer:
        scheme, _, _ = call.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or call.api_key in {"", BAD_KEY}:
            raise Refused(401, "unauthorized", "The API key is missing or wrong.")
        match call.request.method, call.steps:
            case "POST", ("v1", "charges"):
                return replace(self._charge(call), takes_latency=True)
            case "GET", ("v1", "charges"):
                return self._page(call) if "created_from" in call.request.query else self._charges_of_attempt(call)
            case "GET", ("v1", "charges", charge_id):
                return self._shown(self._found(call, charge_id))
            case "POST", ("v1", "webhook_endpoints"):
                return self._webhooks.set_endpoint(call.gateway, call.api_key, call.body)
            case "POST", ("v1", "fences"):
                attempt_id, charge_key = call.text("attempt_id"), call.text("idempotency_key")
                return self._operations.fence(_operation(call), attempt_id=attempt_id, charge_key=charge_key)
            case "POST", ("v1", "charges", charge_id, verb):
                return self._operation_answer(call, self._found(call, charge_id), verb)
            case _:
                raise Refused(404, "not_found", "There is no such path.")

    def _operation_answer(self, call: _Call, charge: Charge, verb: str) -> Answer:
        match verb:
            case "capture":
                return self._operations.capture(_operation(call), charge, amount=call.amount_or_rest())
            case "void":
                return self._operations.void(_operation(call), charge)
            case "refunds":
                return self._operations.refund(_operation(call), charge, amount=call.amount_or_rest())
            case _:
                raise Refused(404, "not_found", "There is no such path.")

    def _charge(self, call: _Call) -> Answer:
        currency, capture, token = call.text("currency"), call.body.get("capture"), call.text("token")
        if len(currency) != len("USD") or not (currency.isascii() and currency.isalpha() and currency.isupper()):
            raise Refused(400, "invalid_request", "currency must be three capital letters.")
        if not isinstance(capture, bool):
            raise Refused(400, "invalid_request", "capture must be true or false.")
        if not isinstance(call.body.get("metadata", {}), dict):
            raise Refused(400, "invalid_request", "metadata must be an object.")
        charge_request = ChargeRequest(
            gateway=call.gateway,
            key=call.key,
            digest=call.digest,
            payment_id=call.text("payment_id"),
            attempt_id=call.text("attempt_id"),
            amount=call.amount(),
            currency=currency,
            capture=capture,
            token=token,
            api_key=call.api_key,
        )
        script = self._charging.script_for(gateway=call.gateway, key=call.key, token=token)
        if script is None:
            raise Refused(400, "unknown_token", "There is no such payment method.")
        return self._charging.charge(charge_request, script)

    def _charges_of_attempt(self, call: _Call) -> Answer:
        attempt_id = call.request.query.get("attempt_id")
        if not attempt_id:
            raise Refused(400, "invalid_request", "attempt_id is missing.")
        found = self._ledger.charges_of_attempt(call.gateway, attempt_id)
        views = [charge_view(charge) for charge in found if self._visible(charge)]
        return json_answer(200, {"data": views}, did=f"found {len(views)}")

    def _page(self, call: _Call) -> Answer:
        """List the charges of a time window, newest first, from after one of them."""
        query = call.request.query
        try:
            born_from = datetime.fromisoformat(query["created_from"]).timestamp()
            born_to = datetime.fromisoformat(query["created_to"]).timestamp()
            limit = min(max(int(query.get("limit", "10")), 1), PAGE_MAX)
        except (KeyError, ValueError):
            raise Refused(400, "invalid_request", "created_from, created_to are times, limit is a number.") from None
        newest_first = self._ledger.newest_charges(call.gateway, after=query.get("starting_after"))
        fitting = (c for c in newest_first if born_from <= c.created_at <= born_to and self._visible(c))
        found = list(islice(fitting, limit + 1))
        content = {"data": [charge_view(charge) for charge in found[:limit]], "has_more": len(found) > limit}
        return json_answer(200, content, did=f"listed {len(found[:limit])}")

    def _shown(self, charge: Charge) -> Answer:
        if not self._visible(charge):
            raise Refused(404, "not_found", "There is no such charge.")
        return json_answer(200, charge_view(charge), did="showed the charge")

    def _visible(self, charge: Charge) -> bool:
        return charge.created_at + self._lookup_lag_seconds <= wall_seconds()

    def _found(self, call: _Call, charge_id: str) -> Charge:
        charge = self._ledger.find_charge(call.gateway, charge_id)
        if charge is None:
            raise Refused(404, "not_found", "There is no such charge.")
        return charge

    def _book_answer(self, request: Request) -> Answer:
        query = request.query
        if request.method != "GET":
            return refusal(405, "method_not_allowed", "The book is only read.")
        match request.path.rstrip("/"):
            case "/health":
                return json_answer(200, {"status": "ok"}, did="healthy")
            case "/book/charges":
                booked = self._ledger.booked(query.get("payment_id"))
                gateway = query.get("gateway")
                return rows_answer(row.book_row() for row in booked if gateway in {None, row.gateway})
            case "/book/requests":
                key = query.get("idempotency_key")
                return rows_answer(self._seen.rows(payment_id=query.get("payment_id"), idempotency_key=key))
            case "/book/webhooks":
                return rows_answer(self._webhooks.sendings(query.get("payment_id")))
            case "/book" | "":
                return Answer(200, book_page(self._ledger, self._seen), "page", content_type="text/html; charset=utf-8")
            case _:
                return refusal(404, "not_found", "There is no such path.")

    def _remember(self, request: Request, body: Mapping[str, object], answer: Answer) -> None:
        payment_id, attempt_id = body.get("payment_id"), body.get("attempt_id", request.query.get("attempt_id"))
        self._seen.add(
            SeenRequest(
                at=wall_seconds(),
                method=request.method,
                path=request.target,
                idempotency_key=request.headers.get("idempotency-key"),
                payment_id=payment_id if isinstance(payment_id, str) else None,
                attempt_id=attempt_id if isinstance(attempt_id, str) else None,
                status=answer.status or None,
                did=answer.did,
            )
        )


def _operation(call: _Call) -> OperationRequest:
    return OperationRequest(call.gateway, call.key, call.digest)


def _json_of(request: Request) -> Mapping[str, object]:
    if not request.body:
        return {}
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_request", "The body is not JSON.") from None
    if not isinstance(body, dict):
        raise Refused(400, "invalid_request", "The body must be an object.")
    return body
