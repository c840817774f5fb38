"""What happened to a payment: as pages, or as one file that checks itself."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from paymux_core.bundles import ROWS_MAX, write_bundle
from paymux_core.errors import ValidationFailed
from paymux_core.records import HistoryPlace
from paymux_flows.answering import OK, existing
from paymux_flows.commands import Caller, Reply
from paymux_flows.deps import Deps
from paymux_flows.timeline_views import TIMELINE_KINDS, TimelineEntry, timeline_entry
from paymux_flows.views import payment_view

BUNDLE_KINDS = (*TIMELINE_KINDS, "review", "late_charge")
_TABLES = {
    "attempt": "payment_attempts",
    "event": "payment_events",
    "interaction": "gateway_interactions",
    "review": "reviews",
    "late_charge": "late_charges",
    "webhook": "inbound_webhook_work",
    "delivery": "delivery_tries",
}
_PLACE = re.compile(r"([0-9]{1,17})\.([0-9]{1,9})\.([a-z]{2,3}_[0-9a-f-]{36}(?:_[0-9]{10})?)", re.ASCII)
_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class TimelinePage(msgspec.Struct, frozen=True):
    """One page, oldest first; pass `next_cursor` as `starting_after`."""

    data: list[TimelineEntry]
    has_more: bool
    next_cursor: str | None


async def get_timeline(
    caller: Caller, payment_id: UUID, *, starting_after: str | None, limit: int, deps: Deps
) -> Reply:
    """Show a page of a payment's timeline. Raises: NotFound, ValidationFailed."""
    await existing(caller, payment_id, deps)
    behind = None if starting_after is None else _parse_place(starting_after)
    rows = await deps.store.history.walk(
        caller.merchant_id, payment_id, kinds=TIMELINE_KINDS, behind=behind, limit=limit + 1
    )
    page = rows[:limit]
    more = len(rows) > limit
    document = TimelinePage(
        data=[timeline_entry(payment_id, row) for row in page],
        has_more=more,
        next_cursor=_place_text(page[-1].place) if more else None,
    )
    return Reply(OK, msgspec.json.encode(document))


async def get_bundle(caller: Caller, payment_id: UUID, deps: Deps) -> Reply:
    """Give a payment's whole history with its hashes. Raises: NotFound, ValidationFailed for one that is too long."""
    payment = await existing(caller, payment_id, deps)
    rows = await deps.store.history.walk(
        caller.merchant_id, payment_id, kinds=BUNDLE_KINDS, behind=None, limit=ROWS_MAX + 1
    )
    if len(rows) > ROWS_MAX:
        raise ValidationFailed(
            f"this history has more than {ROWS_MAX} rows; read it as pages, without format", param="format"
        )
    entries = [timeline_entry(payment_id, row) for row in rows if row.kind in TIMELINE_KINDS]
    content = write_bundle(
        msgspec.to_builtins(payment_view(payment)),
        [msgspec.to_builtins(entry) for entry in entries],
        [{"table": _TABLES[row.kind], "columns": row.columns} for row in rows],
    )
    return Reply(OK, content)


def _place_text(place: HistoryPlace) -> str:
    return f"{(place.recorded_at - _SINCE) // _MICROSECOND}.{place.position}.{place.key}"


def _parse_place(text: str) -> HistoryPlace:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ValidationFailed("This is no next_cursor of a timeline.", param="starting_after")
    try:
        recorded_at = _SINCE + int(match[1]) * _MICROSECOND
    except OverflowError:
        raise ValidationFailed("This is no next_cursor of a timeline.", param="starting_after") from None
    return HistoryPlace(recorded_at, int(match[2]), match[3])
