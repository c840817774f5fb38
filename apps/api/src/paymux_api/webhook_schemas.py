"""What merchants send about webhook endpoints, events and deliveries."""

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from paymux_api.schemas import Description, Metadata, Moment
from paymux_core.webhooks import PUBLIC_EVENT_TYPES

_TOKEN = "[0-7][0-9a-hjkmnp-tv-z]{25}"  # noqa: S105  of an id
_NUMBER = "(0|[1-9][0-9]{0,3})"

Url = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=2048,
        pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]+\S*\Z",
        description="https on port 443 or 8443, at an address that the internet can reach.",
    ),
]
EventType = Literal[
    "payment.created",
    "payment.processing",
    "payment.requires_action",
    "payment.requires_capture",
    "payment.succeeded",
    "payment.failed",
    "payment.canceled",
    "payment.needs_review",
    "payment.review_resolved",
    "payment.late_success",
    "payment.late_charge_resolved",
    "attempt.failed",
    "refund.created",
    "refund.succeeded",
    "refund.failed",
    "gateway.degraded",
    "gateway.recovered",
    "webhook_endpoint.disabled",
    "webhook_endpoint.test",
]
assert set(get_args(EventType)) == set(PUBLIC_EVENT_TYPES)
EventTypes = Annotated[list[EventType], Meta(min_length=1, max_length=50)]
PageSize = Annotated[int, Meta(ge=1, le=100)]
EndpointId = Annotated[str, Meta(pattern=rf"^whe_{_TOKEN}\Z")]
EventCursor = Annotated[
    str,
    Meta(
        pattern=r"^[1-9][0-9]{0,3}-(0|[1-9][0-9]{0,17})-[0-9a-f]{32}-(0|[1-9][0-9]{0,8})\Z",
        description="The `next_cursor` of the page before; what is in it may change.",
    ),
]
EventId = Annotated[str, Meta(pattern=rf"^evt_{_TOKEN}(_[1-9][0-9]{{0,8}})?\Z")]
DeliveryCursor = Annotated[str, Meta(pattern=rf"^whd_{_TOKEN}_(0|[1-9][0-9]{{0,8}})_{_NUMBER}\Z")]
PaymentId = Annotated[str, Meta(pattern=rf"^pay_{_TOKEN}\Z")]


class CreateEndpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events go. Without `event_types`: all of them."""

    url: Url
    event_types: EventTypes | None = None
    description: Description | None = None
    metadata: Metadata | None = None


class ChangeEndpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    url: Url | UnsetType = UNSET
    event_types: EventTypes | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    status: Literal["enabled", "disabled"] | UnsetType = UNSET


class ResendDeadBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dead letters of events from one moment to another."""

    created_from: Moment
    created_to: Moment


class ListEndpointsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of endpoints."""

    limit: PageSize = 20
    starting_after: EndpointId | UnsetType = UNSET


class ListEventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of events, oldest first."""

    limit: PageSize = 20
    after: EventCursor | UnsetType = UNSET
    payment_id: PaymentId | UnsetType = UNSET
    type: EventType | UnsetType = UNSET


class ListDeliveriesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of deliveries."""

    limit: PageSize = 20
    starting_after: DeliveryCursor | UnsetType = UNSET
    status: Literal["pending", "succeeded", "dead"] | UnsetType = UNSET
    webhook_endpoint_id: EndpointId | UnsetType = UNSET
    event_id: EventId | UnsetType = UNSET


_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def storable(moment: datetime) -> datetime:
    """Keep a moment within what the database can hold."""
    return min(max(moment, _FIRST), _LAST)
