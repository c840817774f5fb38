"""`/events`: what happened, to read again and to send again."""

from uuid import UUID

from paymux_api.operation import Call, KeyRule, Operation
from paymux_api.webhook_schemas import ListEventsQuery
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, parse_event_id, parse_public_id
from paymux_flows.commands import Caller, ListEvents, Reply
from paymux_flows.delivery_views import DeliveryList
from paymux_flows.deps import Deps
from paymux_flows.event_feed import EventPage, event_exists, get_event, list_events, read_place, resend_event
from paymux_flows.event_views import EventView


async def _list(call: Call) -> Reply:
    query = call.query
    assert isinstance(query, ListEventsQuery)
    command = ListEvents(
        caller=call.authenticated,
        limit=query.limit,
        after=read_place(query.after) if query.after else None,
        payment_id=parse_public_id(Kind.PAYMENT, query.payment_id) if query.payment_id else None,
        type=query.type or None,
    )
    return await list_events(command, _deps(call))


async def _read(call: Call) -> Reply:
    return await get_event(call.authenticated, call.target, call.number, _deps(call))


async def _resend(call: Call) -> Reply:
    return await resend_event(call.authenticated, call.target, call.number, call.key, _deps(call))


async def _exists(caller: Caller, subject: UUID, position: int, deps: object) -> bool:
    assert isinstance(deps, Deps)
    return await event_exists(caller, subject, position, deps)


def _deps(call: Call) -> Deps:
    assert isinstance(call.deps, Deps)
    return call.deps


EVENT_OPERATIONS = (
    Operation(
        method="GET",
        path="/events",
        name="list_events",
        tag="events",
        summary="List events",
        description="Oldest first. Pass `next_cursor` as `after`, also when there is nothing more yet: whoever does "
        "that misses no event and gets none twice, whatever the order of commits. A page may be short or empty and "
        "still have `has_more: true`.",
        handler=_list,
        scope=Scope.EVENTS_READ,
        query=ListEventsQuery,
        response=EventPage,
        success={200: "One page."},
    ),
    Operation(
        method="GET",
        path="/events/{id}",
        name="read_event",
        tag="events",
        summary="Read an event",
        handler=_read,
        scope=Scope.EVENTS_READ,
        response=EventView,
        links=("read_event", "resend_event"),
        success={200: "The event, byte for byte as it was sent."},
        object_kind=Kind.EVENT,
        parse_id=parse_event_id,
        numbered_exists=_exists,
    ),
    Operation(
        method="POST",
        path="/events/{id}/resend",
        name="resend_event",
        tag="events",
        summary="Send an event again",
        description="To every enabled endpoint that wants it, whatever became of it there.",
        handler=_resend,
        scope=Scope.WEBHOOKS_MANAGE,
        response=DeliveryList,
        success={202: "Its deliveries."},
        problems=("idempotency_key_reused",),
        key_rule=KeyRule.ACCEPTED,
        object_kind=Kind.EVENT,
        parse_id=parse_event_id,
        numbered_exists=_exists,
    ),
)
