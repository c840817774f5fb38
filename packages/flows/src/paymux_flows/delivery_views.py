"""What merchants see of a delivery."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from paymux_core.ids import Kind, delivery_id, event_id, public_id
from paymux_core.webhooks import Delivery, DeliveryStatus


class DeliveryTryView(msgspec.Struct, frozen=True):
    """One try: what was answered, or why nothing was."""

    at: datetime
    http_status: int | None
    duration_ms: int
    error: str | None
    response_excerpt: str | None


class DeliveryView(msgspec.Struct, frozen=True):
    """An event on its way to an endpoint, with its latest tries, oldest first."""

    id: str
    object: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["webhook_delivery"]})]
    event_id: str
    webhook_endpoint_id: str
    status: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(DeliveryStatus)})]
    tries: list[DeliveryTryView]
    next_try_at: datetime | None
    created_at: datetime


class DeliveryList(msgspec.Struct, frozen=True):
    """One page; pass `next_cursor` as `starting_after`."""

    data: list[DeliveryView]
    has_more: bool
    next_cursor: str | None


def render_deliveries(deliveries: Sequence[Delivery], cursor: str | None = None) -> bytes:
    """Render deliveries as a page."""
    page = DeliveryList([_delivery_view(one) for one in deliveries], cursor is not None, cursor)
    return msgspec.json.encode(page)


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery_id(delivery.subject, delivery.position, delivery.endpoint_number),
        object="webhook_delivery",
        event_id=event_id(delivery.subject, delivery.position),
        webhook_endpoint_id=public_id(Kind.WEBHOOK_ENDPOINT, delivery.endpoint_id),
        status=delivery.status,
        tries=[
            DeliveryTryView(one.at, one.http_status, one.duration_ms, one.error, one.response_excerpt)
            for one in delivery.tries
        ],
        next_try_at=delivery.next_try_at,
        created_at=delivery.created_at,
    )
