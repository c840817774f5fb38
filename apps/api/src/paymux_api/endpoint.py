"""The thin layer: every request of one path walks the same checks in the same order, then reaches its handler.

413, 400 malformed_json, 401, 403, 429, 404, 422 validation_failed, 400 raw_card_data_not_allowed, key rules, and only
then the flow with its rules about state.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NoReturn
from uuid import UUID

import structlog
from starlette.types import Receive, Scope, Send

from paymux_api.answers import Answer, Header, send_answer
from paymux_api.auth import Authenticator, require_scope
from paymux_api.bodies import EMPTY_BODY, Body, ClientGone, parse_body, read_body
from paymux_api.decoding import decode_fields, decode_query
from paymux_api.limits import Limiter
from paymux_api.log import where_it_failed
from paymux_api.measures import ApiMeasures
from paymux_api.operation import Call, KeyRule, Operation, Received
from paymux_api.problems import (
    PROBLEM_CONTENT_TYPE,
    AuthenticationRequired,
    BodyTooLarge,
    KeyInvalid,
    KeyRequired,
    RawCardData,
    RequestTimeout,
    render_problem,
)
from paymux_core.api_keys import Scope as ApiKeyScope
from paymux_core.card_numbers import contains_card_number
from paymux_core.errors import NotFound, Overloaded, Refused
from paymux_core.idempotency import fingerprint, normalised_key
from paymux_core.ids import parse_public_id
from paymux_core.records import ApiKeyRow
from paymux_flows.commands import Caller, KeyUse, Reply

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
_NOT_FOUND_DETAIL = "There is no such object."
_log = structlog.get_logger("paymux.api")


@dataclass(frozen=True, slots=True)
class LayerSettings:
    """What the layer can be told. Units: seconds."""

    docs_url: str = "/docs"
    body_deadline_seconds: float = 15.0
    slow_request_seconds: float = 30.0
    requests_in_flight_max: int = 2_500
    """More would only wait for the database: they are told to come back."""
    log_every_request: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """What all paths share. `deps` is handed to the handlers untouched; `running` are requests past the checks."""

    deps: object
    authenticator: Authenticator
    limiter: Limiter
    measures: ApiMeasures
    settings: LayerSettings
    running: set[asyncio.Task[Reply]]


@dataclass(slots=True)
class RequestHeaders:
    """The headers the layer looks at."""

    request_id: str
    authorization: bytes | None
    content_length: bytes | None
    keys: Sequence[bytes]


class PathEndpoint:
    """The ASGI application of one path: all its methods."""

    def __init__(self, operations: Sequence[Operation], layer: Layer) -> None:
        """Take every operation of the path."""
        self._layer = layer
        self._operations: Mapping[str, Operation] = {operation.method: operation for operation in operations}
        assert len(self._operations) == len(operations), "two operations of one path have one method"
        methods = {*self._operations, "OPTIONS"} | ({"HEAD"} if "GET" in self._operations else set())
        self._allow: Header = (b"allow", ", ".join(sorted(methods)).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        started = perf_counter()
        method = scope["method"]
        headers = read_headers(scope)
        operation = self._operations.get("GET" if method == "HEAD" else method)
        measures = self._layer.measures
        measures.in_flight += 1
        try:
            if operation is not None:
                answer = await self._answer(operation, scope, receive, headers)
            else:
                answer = self._without_operation(method, headers)
            await send_answer(send, answer, request_id=headers.request_id, method=method)
        except ClientGone:
            return
        finally:
            measures.in_flight -= 1
        name = operation.name if operation else "none"
        seconds = perf_counter() - started
        measures.finished(name, answer.status, seconds)
        settings = self._layer.settings
        if answer.status >= 500 or seconds >= settings.slow_request_seconds or settings.log_every_request:  # noqa: PLR2004
            _log.info(
                "request.answered",
                operation=name,
                http_status=answer.status,
                duration_ms=round(seconds * 1000, 1),
                request_id=headers.request_id,
            )

    def _without_operation(self, method: str, headers: RequestHeaders) -> Answer:
        if method == "OPTIONS":
            return Answer(204, b"", b"text/plain", (self._allow,))
        detail = f"This path takes {self._allow[1].decode()}."
        return problem_answer(self._layer, "method_not_allowed", detail, headers.request_id, (self._allow,))

    def _refuse_when_crowded(self) -> None:
        if self._layer.measures.in_flight > self._layer.settings.requests_in_flight_max:
            raise Overloaded("Too many requests are under way.", retry_after_seconds=1)

    async def _answer(self, operation: Operation, scope: Scope, receive: Receive, headers: RequestHeaders) -> Answer:
        try:
            self._refuse_when_crowded()
            call = await self._checked(operation, scope, receive, headers)
            reply = await self._run(operation, call)
        except Refused as refusal:
            return refusal_answer(self._layer, refusal, headers.request_id)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001  the border: whatever it was, the client gets a problem
            _log.error(
                "request.failed", operation=operation.name, request_id=headers.request_id, **where_it_failed(error)
            )
            detail = "This is recorded under the request_id."
            return problem_answer(self._layer, "internal_error", detail, headers.request_id)
        headers_of_its_own = (*operation.headers, *_reply_headers(reply))
        return Answer(reply.http_status, reply.body, operation.content_type.encode(), headers_of_its_own)

    async def _checked(self, operation: Operation, scope: Scope, receive: Receive, headers: RequestHeaders) -> Call:
        """Walk all checks, in the order the contract promises. Raises: Refused."""
        request = _Request(scope, headers)
        if operation.reads_body:
            deadline = self._layer.settings.body_deadline_seconds
            received = await read_body(receive, announced_bytes=headers.content_length, deadline_seconds=deadline)
            if operation.raw_body:
                request.received = Received(received, all_headers(scope))
            else:
                request.body = parse_body(received)
        if headers.keys and operation.key_rule is not KeyRule.NONE:
            request.key = normalised_key(headers.keys)
        if operation.scope is not None:
            row = await self._authenticated(request)
            require_scope(row, operation.scope)
            charges = operation.charges_with(request.body.fields)
            if charges:
                require_scope(row, ApiKeyScope.PAYMENTS_CONFIRM)
            self._layer.limiter.check(row, idempotency_key=request.key, charges=charges)
            request.caller = Caller(row.merchant_id, row.livemode, row.key_id, headers.request_id)
        if operation.object_kind is not None:
            request.target, request.number = _named_object(operation, scope["path_params"]["id"])
        try:
            return self._decoded(operation, request)
        except Refused as refusal:
            await self._refuse_what_exists(operation, request, refusal)

    async def _authenticated(self, request: "_Request") -> ApiKeyRow:
        try:
            return await self._layer.authenticator.authenticate(request.headers.authorization)
        except AuthenticationRequired:
            client = request.scope.get("client")
            self._layer.limiter.count_failed_authentication(client[0] if client else "")
            raise

    async def _refuse_what_exists(self, operation: Operation, request: "_Request", refusal: Refused) -> NoReturn:
        """Say 404 rather than what is wrong with a request about nothing."""
        if operation.exists is not None:
            assert request.caller is not None
            assert request.target is not None
            if not await operation.exists(request.caller, request.target, self._layer.deps):
                raise NotFound(_NOT_FOUND_DETAIL) from None
        if operation.numbered_exists is not None:
            assert request.caller is not None
            assert request.target is not None
            if not await operation.numbered_exists(request.caller, request.target, request.number, self._layer.deps):
                raise NotFound(_NOT_FOUND_DETAIL) from None
        raise refusal

    def _decoded(self, operation: Operation, request: "_Request") -> Call:
        query_string = request.scope["query_string"]
        query = decode_query(query_string, operation.query, filter_prefix=operation.filter_prefix)
        body = decode_fields(request.body.fields, operation.request)
        if operation.check is not None:
            operation.check(body, query.parameters, query.filters)
        key = request.key
        if (
            contains_card_number(request.body.text)
            or (query_string and contains_card_number(query.text))
            or (key is not None and contains_card_number(key))
        ):
            raise RawCardData("Send a gateway's token; card numbers are never taken.")
        return Call(
            caller=request.caller,
            object_id=request.target,
            number=request.number,
            body=body,
            query=query.parameters,
            filters=query.filters,
            key=_key_use(operation, request),
            deps=self._layer.deps,
            received=request.received,
        )

    async def _run(self, operation: Operation, call: Call) -> Reply:
        """Run the handler; one that may change something goes on when the client hangs up or the server stops."""
        if not operation.reads_body and operation.method != "DELETE":
            return await operation.handler(call)
        task = asyncio.get_running_loop().create_task(operation.handler(call))
        running = self._layer.running
        running.add(task)
        task.add_done_callback(running.discard)
        return await asyncio.shield(task)


class UnknownPath:
    """The ASGI application of every path that is not declared."""

    def __init__(self, layer: Layer) -> None:
        """Take what all paths share."""
        self._layer = layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Answer 404; a WebSocket is closed."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = read_headers(scope)
        answer = problem_answer(self._layer, "not_found", "There is no such path.", headers.request_id)
        await send_answer(send, answer, request_id=headers.request_id, method=scope["method"])
        self._layer.measures.finished("none", answer.status, 0.0)


@dataclass(slots=True)
class _Request:
    """What is known of a request so far; the checks fill it from top to bottom."""

    scope: Scope
    headers: RequestHeaders
    body: Body = EMPTY_BODY
    received: Received | None = None
    key: str | None = None
    caller: Caller | None = None
    target: UUID | None = None
    number: int = 0


def _named_object(operation: Operation, text: str) -> tuple[UUID, int]:
    """Read the id in the path. Raises: NotFound."""
    if operation.parse_id is not None:
        numbered = operation.parse_id(text)
        if numbered is not None:
            return numbered
    elif operation.object_kind is not None:
        target = parse_public_id(operation.object_kind, text)
        if target is not None:
            return target, 0
    raise NotFound(_NOT_FOUND_DETAIL)


def _key_use(operation: Operation, request: _Request) -> KeyUse | None:
    """Apply the key rules. Raises: KeyRequired, KeyInvalid."""
    if operation.key_rule is KeyRule.NONE:
        return None
    if not request.headers.keys:
        if operation.key_required_with(request.body.fields):
            raise KeyRequired("Send an Idempotency-Key, the same on every retry.")
        return None
    if request.key is None:
        raise KeyInvalid("Send one Idempotency-Key of 1 to 255 printable ASCII characters.")
    scope = request.scope
    return KeyUse(request.key, fingerprint(scope["method"], scope["path"], request.body.fields))


def read_headers(scope: Scope) -> RequestHeaders:
    """Pick the headers the layer looks at; a request without a usable Request-Id gets one."""
    request_id: str | None = None
    authorization: bytes | None = None
    content_length: bytes | None = None
    keys: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"idempotency-key":
            keys.append(value)
        elif name == b"content-length":
            content_length = value
        elif name == b"request-id" and _REQUEST_ID.fullmatch(value) and not contains_card_number(value.decode()):
            request_id = value.decode()
    return RequestHeaders(request_id or f"req_{secrets.token_hex(12)}", authorization, content_length, keys)


def all_headers(scope: Scope) -> dict[str, str]:
    """Give every header by lower-case name; one that came twice is joined by commas, as RFC 9110 reads it."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def refusal_answer(layer: Layer, refusal: Refused, request_id: str) -> Answer:
    """Answer a refusal with its problem and the headers that belong to it."""
    headers: list[Header] = []
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    if isinstance(refusal, AuthenticationRequired):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(refusal, BodyTooLarge | RequestTimeout):
        # The rest of the body is not read.
        headers.append((b"connection", b"close"))
    return problem_answer(layer, refusal.code, refusal.detail, request_id, headers, refusal=refusal)


def problem_answer(
    layer: Layer,
    code: str,
    detail: str,
    request_id: str,
    headers: Sequence[Header] = (),
    *,
    refusal: Refused | None = None,
) -> Answer:
    """Answer with a problem, and count it."""
    layer.measures.refusals[code] += 1
    status, body = render_problem(
        code, detail=detail, request_id=request_id, docs_url=layer.settings.docs_url, refusal=refusal
    )
    return Answer(status, body, PROBLEM_CONTENT_TYPE, headers)


def _reply_headers(reply: Reply) -> Sequence[Header]:
    if not (reply.replayed or reply.retry_after_seconds is not None or reply.location is not None):
        return ()
    headers: list[Header] = []
    if reply.replayed:
        headers.append((b"idempotent-replayed", b"true"))
    if reply.retry_after_seconds is not None:
        headers.append((b"retry-after", str(reply.retry_after_seconds).encode()))
    if reply.location is not None:
        headers.append((b"location", reply.location.encode()))
    return headers
