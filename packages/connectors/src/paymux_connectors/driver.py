"""Run a connector's exchange over the wire: send, remember, record, and give the outcome.

Every request becomes one interaction, redacted. A connector that raises leaves an unknown outcome, never an exception.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from msgspec.structs import replace

from paymux_connectors.answers import storable_text
from paymux_connectors.redaction import secrets_in, without_card_number, without_secrets
from paymux_connectors.transport import Sent, Transport
from paymux_core.connector import Capabilities, ChargeCall, Connector, GatewayAccount, ListWindow
from paymux_core.exchange import (
    Answer,
    Exchange,
    HttpReply,
    HttpRequest,
    Interaction,
    Listed,
    Listing,
    NotSent,
    Page,
    Remember,
)
from paymux_core.inbound_webhooks import WebhookDialect
from paymux_core.outcomes import (
    Declined,
    NotExecuted,
    Outcome,
    Refusal,
    Unknown,
    UnknownReason,
    outcome_name,
)
from paymux_core.ports import CallLimits, CallResult, Clock, Ids, PageResult, RememberProviderPayment

_log = logging.getLogger(__name__)
REQUESTS_MAX = 16
"""More than any exchange needs; a connector that asks on and on is broken."""
_REQUEST_ID_MAX = 200
CONTINUED = "continued"
"""The outcome of a request that the exchange went on after."""

InProcess = Mapping[str, Callable[[HttpRequest], HttpReply]]
"""Gateways that answer in the process, by the scheme of their address."""


_NO_WEBHOOKS: Mapping[str, WebhookDialect] = MappingProxyType({})


class _Send(Protocol):
    async def __call__(self, request: HttpRequest, /, *, limits: CallLimits) -> Sent: ...


@dataclass(slots=True)
class _Course:
    """One exchange under way."""

    connector: Connector
    account: GatewayAccount
    call: ChargeCall | None
    limits: CallLimits
    remember: RememberProviderPayment
    interactions: list[Interaction] = field(default_factory=list)
    echoed: set[str] = field(default_factory=set)
    charge_repeated: bool = False
    remembered: str | None = None


class HttpGateways:
    """The gateways port over HTTP."""

    def __init__(
        self,
        connectors: Mapping[str, Connector],
        *,
        transport: Transport,
        clock: Clock,
        ids: Ids,
        in_process: InProcess,
        webhooks: Mapping[str, WebhookDialect] = _NO_WEBHOOKS,
    ) -> None:
        self._connectors = connectors
        self._transport = transport
        self._clock = clock
        self._ids = ids
        self._in_process = in_process
        self._webhooks = webhooks

    def capabilities(self, gateway: str) -> Capabilities:
        """Say what a gateway can do. Raises: KeyError for an unknown gateway."""
        return self._connectors[gateway].capabilities

    def webhook_dialect(self, gateway: str) -> WebhookDialect | None:
        """Give how a gateway signs and words its webhooks; None if it sends none."""
        return self._webhooks.get(gateway)

    def connector_version(self, gateway: str) -> str:
        """Say which version of the connector builds the bytes. Raises: KeyError."""
        return self._connectors[gateway].version

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        """SHA-256 of the bytes a charge would start with. Raises: KeyError."""
        return self._connectors[account.gateway].request_digest(account, call)

    async def authorize(
        self, account: GatewayAccount, call: ChargeCall, *, limits: CallLimits, remember: RememberProviderPayment
    ) -> CallResult:
        """Charge or hold the money. Raises: KeyError for an unknown gateway, and whatever `remember` raises."""
        connector = self._connectors[account.gateway]
        return await self._run(connector.authorize, _Course(connector, account, call, limits, remember))

    async def inquire(self, account: GatewayAccount, call: ChargeCall, *, limits: CallLimits) -> CallResult:
        """Ask what became of the attempt. Raises: KeyError for an unknown gateway."""
        connector = self._connectors[account.gateway]
        return await self._run(connector.inquire, _Course(connector, account, call, limits, _remember_nothing))

    async def fence(
        self, account: GatewayAccount, call: ChargeCall, *, limits: CallLimits, remember: RememberProviderPayment
    ) -> CallResult:
        """Cancel the attempt's object. Raises: KeyError for an unknown gateway, and whatever `remember` raises."""
        connector = self._connectors[account.gateway]
        return await self._run(connector.fence, _Course(connector, account, call, limits, remember))

    async def list_page(self, account: GatewayAccount, window: ListWindow, *, limits: CallLimits) -> PageResult:
        """Read one page of a gateway's list. Raises: KeyError for an unknown gateway."""
        connector = self._connectors[account.gateway]
        course = _Course(connector, account, None, limits, _remember_nothing)
        page: Page | Outcome
        try:
            listing = connector.list_page(account, window)
            reply = await self._send(next(listing), course)
            page = _page_of(listing, reply, course)
        except Exception as error:  # noqa: BLE001  a connector's mistake is a page that cannot be read
            page = _raised(connector, error)
        return PageResult(page, course.interactions[-1] if course.interactions else None)

    async def _run(self, start: Callable[[GatewayAccount, ChargeCall], Exchange], course: _Course) -> CallResult:
        assert course.call is not None
        try:
            exchange = start(course.account, course.call)
        except Exception as error:  # noqa: BLE001  a connector's mistake is an unknown outcome
            return CallResult(_raised(course.connector, error), ())
        step = _advance(exchange, None, course.connector)
        try:
            while isinstance(step, (HttpRequest, Remember)):
                if isinstance(step, Remember):
                    if not await course.remember(step.provider_payment_id):
                        step = Unknown(UnknownReason.SUPERSEDED)
                        break
                    course.remembered = step.provider_payment_id
                    reply = None
                elif len(course.interactions) >= REQUESTS_MAX:
                    step = Unknown(UnknownReason.UNCLASSIFIED, "too many requests")
                    break
                else:
                    reply = await self._send(step, course)
                step = _advance(exchange, reply, course.connector)
        finally:
            exchange.close()
        return _finish(step, course)

    async def _send(self, request: HttpRequest, course: _Course) -> HttpReply:
        """Send, and once more where a kept-alive connection died under the request."""
        responder = self._in_process.get(request.url.partition(":")[0])
        if responder is not None:
            return (await self._record(request, course, _answered(responder))).reply
        first = await self._record(request, course, self._transport.send)
        if not first.stale_connection or not (request.idempotent_replay or request.method == "GET"):
            return first.reply
        if request.verb.moves_money:
            course.charge_repeated = True
        second = await self._record(request, course, self._transport.send_on_new_connection)
        # The first may have arrived all the same: that the second was not sent proves nothing.
        return first.reply if isinstance(second.reply, NotSent) else second.reply

    async def _record(self, request: HttpRequest, course: _Course, send: _Send) -> Sent:
        sent_at, began = self._clock.now(), self._clock.monotonic()
        sent = await send(request, limits=course.limits)
        duration_ms = round((self._clock.monotonic() - began) * 1000)
        reply = sent.reply
        answer = reply if isinstance(reply, Answer) else None
        course.interactions.append(
            Interaction(
                id=self._ids.new().bytes,
                verb=request.verb,
                method=request.method,
                url=request.url,
                sent_at=sent_at,
                duration_ms=duration_ms,
                bytes_sent=not isinstance(reply, NotSent),
                http_status=None if answer is None else answer.http_status,
                transport_error=None if isinstance(reply, Answer) else reply.error,
                idempotency_key=request.idempotency_key,
                gateway_request_id=None if answer is None else _request_id(answer, course.connector),
                request=request.body_safe,
                response={} if answer is None else _answer_kept(answer, course),
                response_sha256=None if answer is None else hashlib.sha256(answer.body).digest(),
                outcome=CONTINUED,
            )
        )
        return sent


def _request_id(answer: Answer, connector: Connector) -> str | None:
    value = answer.headers.get(connector.request_id_header)
    return None if value is None else without_card_number(storable_text(value[:_REQUEST_ID_MAX]))


def _advance(exchange: Exchange, reply: HttpReply | None, connector: Connector) -> HttpRequest | Remember | Outcome:
    """Resume a connector; what it raises, or returns besides an outcome, is an unknown outcome."""
    try:
        return exchange.send(reply)
    except StopIteration as stop:
        outcome: object = stop.value
        return outcome if isinstance(outcome, Outcome) else _raised(connector, TypeError("no outcome"))
    except Exception as error:  # noqa: BLE001  a connector's mistake is an unknown outcome
        return _raised(connector, error)


def _raised(connector: Connector, error: Exception) -> Unknown:
    # The name only: the message may quote an answer.
    _log.error("connector %s raised %s", connector.name, type(error).__name__)
    return Unknown(UnknownReason.UNCLASSIFIED, type(error).__name__)


def _finish(outcome: Outcome, course: _Course) -> CallResult:
    """Name the last request's outcome and give the result."""
    if course.charge_repeated and isinstance(outcome, NotExecuted):
        # It speaks of the repeat; the first request may have charged.
        outcome = Unknown(UnknownReason.NO_REPLY, "the first of two equal requests was lost")
    if isinstance(outcome, (Declined, NotExecuted)):
        outcome = replace(outcome, refusal=_refusal_without(outcome.refusal, tuple(course.echoed)))
    if course.interactions:
        course.interactions[-1] = replace(
            course.interactions[-1],
            outcome=outcome_name(outcome),
            provider_payment_id=getattr(outcome, "provider_payment_id", None),
        )
    return CallResult(outcome, tuple(course.interactions), course.remembered)


def _answer_kept(answer: Answer, course: _Course) -> Mapping[str, object]:
    """Keep the connector's allow-list of an answer, without any secret of ours that the gateway repeats."""
    try:
        kept = course.connector.answer_safe(answer.body)
    except Exception as error:  # noqa: BLE001  a connector's mistake must not lose the answer
        _log.error("connector %s raised %s", course.connector.name, type(error).__name__)
        return {}
    token = () if course.call is None else (course.call.token,)
    found = secrets_in(answer.body, (*course.account.credentials.values(), *token))
    if not found:
        return kept
    course.echoed.update(found)
    return {name: without_secrets(value, found) for name, value in kept.items()}


def _page_of(listing: Listing, reply: HttpReply, course: _Course) -> Page | Outcome:
    """Give the page that an answer is, without any secret of ours that the gateway repeats."""
    try:
        listing.send(reply)
    except StopIteration as stop:
        page: Page | Outcome = stop.value
        if not isinstance(page, Page):
            return page
        return replace(page, found=tuple(_listed_without(listed, tuple(course.echoed)) for listed in page.found))
    raise TypeError("a page is one request")


def _listed_without(listed: Listed, secrets: Sequence[str]) -> Listed:
    outcome = listed.outcome
    if isinstance(outcome, (Declined, NotExecuted)):
        outcome = replace(outcome, refusal=_refusal_without(outcome.refusal, secrets))
    shown = {name: without_secrets(value, secrets) for name, value in listed.shown.items()} if secrets else listed.shown
    return replace(listed, outcome=outcome, shown=shown)


def _refusal_without(refusal: Refusal, secrets: Sequence[str]) -> Refusal:
    message = without_card_number(str(without_secrets(refusal.message, secrets)))
    code = refusal.gateway_code
    return replace(refusal, message=message, gateway_code=None if code is None else without_card_number(code))


def _answered(responder: Callable[[HttpRequest], HttpReply]) -> _Send:
    async def send(request: HttpRequest, /, *, limits: CallLimits) -> Sent:  # noqa: ARG001  nothing to wait for
        return Sent(responder(request))

    return send


async def _remember_nothing(provider_payment_id: str) -> bool:
    """Look-ups reserve nothing, so a connector that remembers in one is broken. Raises: AssertionError."""
    message = f"a look-up wants to remember {provider_payment_id}"
    raise AssertionError(message)
