"""What the API shows of a payment's history: one entry for each thing that happened, with its cause."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

import msgspec

from paymux_core.ids import Kind, attempt_id, delivery_id, event_id, public_id
from paymux_core.records import HistoryRow
from paymux_flows.review_views import ActionDocument
from paymux_flows.views import PaymentView, one_of

ACTED = "review."
TIMELINE_KINDS = ("attempt", "event", "interaction", "webhook", "delivery")
"""What the timeline shows; a bundle has the other rows too."""


JsonObject = dict[str, Annotated[object, msgspec.Meta(extra_json_schema={"description": "Any JSON value."})]]


class CauseView(msgspec.Struct, frozen=True):
    """Whose doing it was, and the request it came with. `api_key_id` is set where a key's owner caused it."""

    actor: str
    request_id: str | None
    api_key_id: str | None


class EventDetail(msgspec.Struct, frozen=True):
    """A state change or an action. `action` holds a person's own words where one resolved a review."""

    type: str
    sequence: int | None
    from_status: str | None
    to_status: str | None
    attempt_id: str | None
    reason: str
    action: ActionDocument | None


class AttemptDetail(msgspec.Struct, frozen=True):
    """An attempt as it was opened, and why through this account."""

    number: int
    gateway: str
    gateway_account_id: str
    amount: int
    currency: str
    connector_version: str
    routing: JsonObject | None


class InteractionDetail(msgspec.Struct, frozen=True):
    """One request to a gateway and its answer, redacted; the whole answer is known by its SHA-256."""

    attempt_id: str
    verb: str
    method: str
    url: str
    idempotency_key: str | None
    request: JsonObject
    response: JsonObject
    response_sha256: str | None
    http_status: int | None
    bytes_sent: bool
    transport_error: str | None
    gateway_request_id: str | None
    provider_payment_id: str | None
    outcome: str
    sent_at: str
    duration_ms: int


class WebhookDetail(msgspec.Struct, frozen=True):
    """A webhook of the gateway's, where it was applied; `received_at` is when it came in."""

    type: str | None
    event_id: str | None
    gateway_account_id: str
    status: str
    result: str | None
    received_at: str
    body_sha256: str | None


class DeliveryTryDetail(msgspec.Struct, frozen=True):
    """One try to tell the merchant's endpoint of an event."""

    delivery_id: str
    event_id: str
    webhook_endpoint_id: str
    http_status: int | None
    duration_ms: int
    error: str | None


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened. The detail of its kind is set."""

    id: str
    kind: Annotated[str, one_of(TIMELINE_KINDS)]
    recorded_at: datetime
    position: int
    cause: CauseView
    event: EventDetail | None = None
    attempt: AttemptDetail | None = None
    interaction: InteractionDetail | None = None
    webhook: WebhookDetail | None = None
    delivery: DeliveryTryDetail | None = None


class BundleRow(msgspec.Struct, frozen=True):
    """A row as the database has it, and its SHA-256."""

    row: JsonObject
    sha256: str


class BundleView(msgspec.Struct, frozen=True):
    """A payment's history as one document that checks itself: `paymux audit verify FILE`."""

    format: str
    payment: PaymentView
    timeline: list[TimelineEntry]
    rows: list[BundleRow]
    chain: str
    root: str


_decode_action = msgspec.json.Decoder(ActionDocument).decode


def timeline_entry(payment_id: UUID, row: HistoryRow) -> TimelineEntry:
    """Show one row of a payment's history."""
    columns = row.columns
    entry = TimelineEntry(
        id=_entry_id(payment_id, row),
        kind=row.kind,
        recorded_at=row.place.recorded_at,
        position=row.place.position,
        cause=_cause(row),
    )
    match row.kind:
        case "event":
            return msgspec.structs.replace(entry, event=_event(payment_id, row))
        case "attempt":
            return msgspec.structs.replace(entry, attempt=_attempt(columns))
        case "webhook":
            return msgspec.structs.replace(entry, webhook=_webhook(columns))
        case "delivery":
            return msgspec.structs.replace(entry, delivery=_delivery(payment_id, columns))
        case _:
            return msgspec.structs.replace(entry, interaction=_interaction(payment_id, columns))


def _entry_id(payment_id: UUID, row: HistoryRow) -> str:
    match row.kind:
        case "event":
            return event_id(payment_id, row.place.position)
        case "attempt":
            return attempt_id(payment_id, cast("int", row.columns["number"]))
        case "webhook":
            return public_id(Kind.WEBHOOK, UUID(str(row.columns["webhook_id"])))
        case "delivery":
            return public_id(Kind.DELIVERY_TRY, UUID(str(row.columns["id"])))
        case _:
            return public_id(Kind.INTERACTION, UUID(str(row.columns["id"])))


def _cause(row: HistoryRow) -> CauseView:
    actor = row.actor or "unknown"
    kind, _, key = actor.partition(":")
    return CauseView(actor, row.request_id, key if kind == "api_key" else None)


def _event(payment_id: UUID, row: HistoryRow) -> EventDetail:
    columns = row.columns
    kind = str(columns["type"])
    acted = row.body is not None and kind.startswith(ACTED)
    return EventDetail(
        type=kind,
        sequence=cast("int | None", columns["sequence"]),
        from_status=cast("str | None", columns["from_status"]),
        to_status=cast("str | None", columns["to_status"]),
        attempt_id=_attempt_of(payment_id, columns),
        reason=str(columns["reason"]),
        action=_decode_action(row.body) if acted and row.body is not None else None,
    )


def _attempt_of(payment_id: UUID, columns: Mapping[str, object]) -> str | None:
    number = cast("int | None", columns["attempt_number"])
    return None if number is None else attempt_id(payment_id, number)


def _attempt(columns: Mapping[str, object]) -> AttemptDetail:
    return AttemptDetail(
        number=cast("int", columns["number"]),
        gateway=str(columns["gateway"]),
        gateway_account_id=public_id(Kind.GATEWAY_ACCOUNT, UUID(str(columns["gateway_account_id"]))),
        amount=cast("int", columns["amount"]),
        currency=str(columns["currency"]),
        connector_version=str(columns["connector_version"]),
        routing=cast("dict[str, object] | None", columns["routing"]),
    )


def _interaction(payment_id: UUID, columns: Mapping[str, object]) -> InteractionDetail:
    digest = cast("str | None", columns["response_sha256"])
    return InteractionDetail(
        attempt_id=attempt_id(payment_id, cast("int", columns["attempt_number"])),
        verb=str(columns["verb"]),
        method=str(columns["method"]),
        url=str(columns["url"]),
        idempotency_key=cast("str | None", columns["idempotency_key"]),
        request=cast("dict[str, object]", columns["request"]),
        response=cast("dict[str, object]", columns["response"]),
        response_sha256=None if digest is None else digest.removeprefix("\\x"),
        http_status=cast("int | None", columns["http_status"]),
        bytes_sent=cast("bool", columns["bytes_sent"]),
        transport_error=cast("str | None", columns["transport_error"]),
        gateway_request_id=cast("str | None", columns["gateway_request_id"]),
        provider_payment_id=cast("str | None", columns["provider_payment_id"]),
        outcome=str(columns["outcome"]),
        sent_at=str(columns["sent_at"]),
        duration_ms=cast("int", columns["duration_ms"]),
    )


def _webhook(columns: Mapping[str, object]) -> WebhookDetail:
    return WebhookDetail(
        type=cast("str | None", columns.get("type")),
        event_id=cast("str | None", columns.get("event_id")),
        gateway_account_id=public_id(Kind.GATEWAY_ACCOUNT, UUID(str(columns["gateway_account_id"]))),
        status=str(columns["status"]),
        result=cast("str | None", columns["result"]),
        received_at=str(columns["received_at"]),
        body_sha256=cast("str | None", columns.get("body_sha256")),
    )


def _delivery(payment_id: UUID, columns: Mapping[str, object]) -> DeliveryTryDetail:
    position = cast("int", columns["position"])
    return DeliveryTryDetail(
        delivery_id=delivery_id(payment_id, position, cast("int", columns["endpoint_number"])),
        event_id=event_id(payment_id, position),
        webhook_endpoint_id=public_id(Kind.WEBHOOK_ENDPOINT, UUID(str(columns["webhook_endpoint_id"]))),
        http_status=cast("int | None", columns["http_status"]),
        duration_ms=cast("int", columns["duration_ms"]),
        error=cast("str | None", columns["error"]),
    )
