"""Read the events again, in an order that misses none; send them again; look at what became of them."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from paymux_core.errors import NotFound
from paymux_core.ids import delivery_id
from paymux_core.webhooks import Delivery, EndpointStatus, LoggedEvent, LogPlace
from paymux_flows.answering import ACCEPTED, OK
from paymux_flows.commands import Caller, KeyUse, ListDeliveries, ListEvents, Reply, ResendDead
from paymux_flows.delivery_views import render_deliveries
from paymux_flows.deps import Deps
from paymux_flows.event_views import EventView, event_view, render_event
from paymux_flows.keyed import answered_before, lost_the_race, to_store
from paymux_flows.webhook_endpoints import disabled, existing_endpoint

WALK_MAX = 10_000
"""Deliveries one call may walk for the finer filters."""
WALKED_MAX = 40_000
"""Events of all merchants that one call may walk before it gives what it has, and a cursor."""
WINDOWS_MAX = 60
"""With nothing in them they double: even an empty log of 2^48 transactions is walked in one call."""
WINDOW_FIRST = 64
WINDOW_ROWS = 2_000
"""A window with more than this is followed by a smaller one."""
RESENT_MAX = 1_000
_XID_MAX = 1 << 62
_ALL_ABOVE = (UUID(int=(1 << 128) - 1), 0, 0)


class EventPage(msgspec.Struct, frozen=True):
    """One page, oldest first; `next_cursor` goes on from it, also when nothing more is there yet."""

    data: list[EventView]
    has_more: bool
    next_cursor: str | None


async def list_events(command: ListEvents, deps: Deps) -> Reply:
    """Show a page of events: of a payment, or of the whole log."""
    if command.payment_id is not None:
        found, more = await _of_payment(command, command.payment_id, deps)
        place = found[-1][0] if found else command.after
    else:
        found, more, place = await _of_log(command, deps)
    cursor = None if place is None else write_place(place)
    page = EventPage([event_view(event, deps.clocks) for _, event in found], more, cursor)
    return Reply(OK, msgspec.json.encode(page))


async def _of_payment(
    command: ListEvents, payment_id: UUID, deps: Deps
) -> tuple[list[tuple[LogPlace, LoggedEvent]], bool]:
    found = await deps.store.event_log.list_payment_events(
        command.caller.merchant_id,
        payment_id,
        livemode=command.caller.livemode,
        after=0 if command.after is None else command.after.position,
        type_=command.type,
        limit=command.limit + 1,
    )
    return found[: command.limit], len(found) > command.limit


async def _of_log(command: ListEvents, deps: Deps) -> tuple[list[tuple[LogPlace, LoggedEvent]], bool, LogPlace]:
    """Walk the log by windows of transactions, up to the oldest one that still runs: what is below is final."""
    end = await deps.store.event_log.read_log_end()
    place = command.after or LogPlace(1, 0)
    found: list[tuple[LogPlace, LoggedEvent]] = []
    window, walked = WINDOW_FIRST, 0
    for _ in range(WINDOWS_MAX):
        if place.epoch < end.epoch and place.xid >= _XID_MAX:
            place = LogPlace(place.epoch + 1, 0)
        # An earlier epoch was restored as a whole: nothing of it still runs.
        last = end.xid if place.epoch == end.epoch else _XID_MAX
        if place.epoch > end.epoch or place.xid >= last:
            return found, False, place
        to_xid = min(place.xid + window, last)
        wanted = command.limit - len(found) + 1
        part, rows = await deps.store.event_log.walk_log(
            command.caller.merchant_id,
            livemode=command.caller.livemode,
            after=place,
            to_xid=to_xid,
            type_=command.type,
            limit=wanted,
        )
        if len(part) == wanted:
            found += part[:-1]
            return found, True, found[-1][0]
        found += part
        # The window was read to its end: the next one begins at a transaction of which nothing was seen.
        place = LogPlace(place.epoch, to_xid)
        walked += rows
        if walked >= WALKED_MAX:
            break
        window = window * 2 if rows < WINDOW_ROWS else max(1, window // 2)
    return found, True, place


def write_place(place: LogPlace) -> str:
    """Write a cursor."""
    return f"{place.epoch}-{place.xid}-{place.subject.hex}-{place.position}"


def read_place(text: str) -> LogPlace:
    """Read a cursor that has the shape of one."""
    epoch, xid, subject, position = text.split("-")
    return LogPlace(int(epoch), int(xid), UUID(hex=subject), int(position))


async def get_event(caller: Caller, subject: UUID, position: int, deps: Deps) -> Reply:
    """Show an event. Raises: NotFound."""
    return Reply(OK, render_event(await _existing(caller, subject, position, deps), deps.clocks))


async def _existing(caller: Caller, subject: UUID, position: int, deps: Deps) -> LoggedEvent:
    found = await deps.store.event_log.find_event(caller.merchant_id, subject, position)
    if found is None or found.livemode is not caller.livemode:
        raise NotFound("there is no such event; check the id and the key's mode")
    return found


async def event_exists(caller: Caller, subject: UUID, position: int, deps: Deps) -> bool:
    """Say whether this merchant was told this."""
    found = await deps.store.event_log.find_event(caller.merchant_id, subject, position)
    return found is not None and found.livemode is caller.livemode


async def resend_event(caller: Caller, subject: UUID, position: int, key: KeyUse | None, deps: Deps) -> Reply:
    """Send an event anew to all who want it; 202 with its deliveries. Raises: NotFound, IdempotencyKeyReused."""
    if replayed := await answered_before(caller, key, deps):
        return replayed
    event = await _existing(caller, subject, position, deps)
    sent = await deps.store.webhook_endpoints.resend_event(
        event, at=deps.clock.now(), answer=lambda found: to_store(key, _sent(found), deps)
    )
    return await lost_the_race(caller, key, deps) if sent is None else _sent(sent)


async def resend_dead(command: ResendDead, deps: Deps) -> Reply:
    """Send an endpoint's dead letters of a time anew, oldest first; 202 with them.

    Raises: NotFound, WebhookEndpointDisabled, IdempotencyKeyReused.
    """
    caller, key = command.caller, command.key
    if replayed := await answered_before(caller, key, deps):
        return replayed
    endpoint = await existing_endpoint(caller, command.endpoint_id, deps)
    if endpoint.status is not EndpointStatus.ENABLED:
        raise disabled()
    sent = await deps.store.webhook_endpoints.resend_dead(
        endpoint,
        created=(command.created_from, command.created_to),
        limit=RESENT_MAX,
        at=deps.clock.now(),
        answer=lambda found: to_store(key, _sent(found), deps),
    )
    return await lost_the_race(caller, key, deps) if sent is None else _sent(sent)


def _sent(deliveries: Sequence[Delivery]) -> Reply:
    """Answer with what waits now; a thousand at once, and more on the next request."""
    return Reply(ACCEPTED, render_deliveries(deliveries), retry_after_seconds=1)


async def list_deliveries(command: ListDeliveries, deps: Deps) -> Reply:
    """Show a page of deliveries, those of the newest payments first."""
    found, walked, last = await deps.store.webhook_endpoints.list_webhook_deliveries(
        command.caller.merchant_id,
        livemode=command.caller.livemode,
        below=command.starting_after or _ALL_ABOVE,
        event=command.event,
        status=command.status,
        endpoint_id=command.endpoint_id,
        walk=WALK_MAX,
        limit=command.limit + 1,
    )
    page = found[: command.limit]
    place = (page[-1].subject, page[-1].position, page[-1].endpoint_number) if len(found) > command.limit else None
    if place is None and walked == WALK_MAX:
        place = last
    return Reply(OK, render_deliveries(page, None if place is None else delivery_id(*place)))
