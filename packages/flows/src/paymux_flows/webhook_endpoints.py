"""Where a merchant wants events: make, read, change and delete endpoints, roll their secrets, test them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import msgspec
from msgspec.structs import replace

from paymux_core.errors import NotFound, Overloaded, ValidationFailed, WebhookEndpointDisabled
from paymux_core.ids import Kind, public_id
from paymux_core.webhook_signing import SECRET_BYTES, write_secret
from paymux_core.webhooks import Delivery, DeliveryStatus, EndpointStatus, LoggedEvent, WebhookEndpoint
from paymux_flows.answering import ACCEPTED, CREATED, OK
from paymux_flows.commands import Caller, ChangeEndpoint, CreateEndpoint, KeyUse, Reply
from paymux_flows.delivery_views import render_deliveries
from paymux_flows.deps import Deps
from paymux_flows.event_views import WebhookEndpointView, endpoint_view, render_endpoint
from paymux_flows.keyed import answered_before, lost_the_race, to_store

ENDPOINTS_MAX = 100
"""Each event of a merchant is compared with all of them."""
PREVIOUS_SECRET_HOURS = 24
NO_CONTENT = 204
_CHANGES_MAX = 3
DISABLED_BY_MERCHANT = "merchant"


class EndpointPage(msgspec.Struct, frozen=True):
    """One page, newest first."""

    data: list[WebhookEndpointView]
    has_more: bool
    next_cursor: str | None


async def create_endpoint(command: CreateEndpoint, deps: Deps) -> Reply:
    """Make an endpoint; its secret is shown this once. Raises: ValidationFailed, IdempotencyKeyReused."""
    if replayed := await answered_before(command.caller, command.key, deps):
        return replayed
    now = deps.clock.now()
    endpoint = WebhookEndpoint(
        merchant_id=command.caller.merchant_id,
        id=deps.ids.new(),
        number=0,
        url=command.url,
        event_types=command.event_types,
        description=command.description,
        metadata=command.metadata or {},
        status=EndpointStatus.ENABLED,
        disabled_reason=None,
        secret=_new_secret(deps),
        previous_secret=None,
        previous_secret_until=None,
        livemode=command.caller.livemode,
        filters_changed_at=now,
        created_at=now,
        updated_at=now,
    )
    location = f"/webhook_endpoints/{public_id(Kind.WEBHOOK_ENDPOINT, endpoint.id)}"
    reply = Reply(CREATED, render_endpoint(endpoint, secret=endpoint.secret), location=location)
    stored = to_store(command.key, reply, deps, body=render_endpoint(endpoint))
    made = await deps.store.webhook_endpoints.insert_webhook_endpoint(
        endpoint, endpoints_max=ENDPOINTS_MAX, answer=stored
    )
    if made is None:
        return await lost_the_race(command.caller, command.key, deps)
    if not made:
        raise ValidationFailed(f"A merchant has at most {ENDPOINTS_MAX} endpoints; delete one that is not used.")
    return reply


async def get_endpoint(caller: Caller, endpoint_id: UUID, deps: Deps) -> Reply:
    """Show an endpoint. Raises: NotFound."""
    return Reply(OK, render_endpoint(await existing_endpoint(caller, endpoint_id, deps)))


async def list_endpoints(caller: Caller, *, starting_after: UUID | None, limit: int, deps: Deps) -> Reply:
    """Show a page of endpoints."""
    below = UUID(int=(1 << 128) - 1) if starting_after is None else starting_after
    found = await deps.store.webhook_endpoints.list_webhook_endpoints(
        caller.merchant_id, livemode=caller.livemode, below=below, limit=limit + 1
    )
    cursor = public_id(Kind.WEBHOOK_ENDPOINT, found[limit - 1].id) if len(found) > limit else None
    page = EndpointPage([endpoint_view(one) for one in found[:limit]], cursor is not None, cursor)
    return Reply(OK, msgspec.json.encode(page))


async def change_endpoint(command: ChangeEndpoint, deps: Deps) -> Reply:
    """Change what is given, and leave the rest. Raises: NotFound, Overloaded."""
    for _ in range(_CHANGES_MAX):
        before = await existing_endpoint(command.caller, command.endpoint_id, deps)
        changes = dict(command.changes)
        if "status" in changes:
            enabled = changes["status"] == EndpointStatus.ENABLED
            changes["disabled_reason"] = None if enabled else before.disabled_reason or DISABLED_BY_MERCHANT
            changes["status"] = EndpointStatus.ENABLED if enabled else EndpointStatus.DISABLED
        after = _changed(before, changes, deps)
        if await deps.store.webhook_endpoints.change_webhook_endpoint(before, after):
            return Reply(OK, render_endpoint(after))
    raise Overloaded("others are changing this endpoint; send the same request again", retry_after_seconds=1)


def _changed(before: WebhookEndpoint, changes: dict[str, object], deps: Deps) -> WebhookEndpoint:
    # Later than what it was read with, whatever the clock says: it is what a change compares.
    now = max(deps.clock.now(), before.updated_at + timedelta(microseconds=1))
    after: WebhookEndpoint = replace(before, updated_at=now, **changes)
    if (after.event_types, after.status) != (before.event_types, before.status):
        after = replace(after, filters_changed_at=now)
    return after


async def delete_endpoint(caller: Caller, endpoint_id: UUID, deps: Deps) -> Reply:
    """Delete an endpoint; what waits for it is buried. Raises: NotFound, Overloaded."""
    for _ in range(_CHANGES_MAX):
        before = await existing_endpoint(caller, endpoint_id, deps)
        gone: dict[str, object] = dict.fromkeys(
            ("secret", "previous_secret", "previous_secret_until", "disabled_reason"), None
        )
        after = _changed(before, {"status": EndpointStatus.DELETED, **gone}, deps)
        if await deps.store.webhook_endpoints.change_webhook_endpoint(before, after):
            return Reply(NO_CONTENT, b"")
    raise Overloaded("others are changing this endpoint; send the same request again", retry_after_seconds=1)


async def roll_secret(caller: Caller, endpoint_id: UUID, key: KeyUse | None, deps: Deps) -> Reply:
    """Give an endpoint a new secret; the one before it signs too for a day. Raises: NotFound, IdempotencyKeyReused."""
    for _ in range(_CHANGES_MAX):
        if replayed := await answered_before(caller, key, deps):
            return replayed
        before = await existing_endpoint(caller, endpoint_id, deps)
        secret = _new_secret(deps)
        until = deps.clock.now() + timedelta(hours=PREVIOUS_SECRET_HOURS / deps.clocks.divisor)
        changes: dict[str, object] = {
            "secret": secret,
            "previous_secret": before.secret,
            "previous_secret_until": until,
        }
        after = _changed(before, changes, deps)
        reply = Reply(OK, render_endpoint(after, secret=secret))
        stored = to_store(key, reply, deps, body=render_endpoint(after))
        if await deps.store.webhook_endpoints.change_webhook_endpoint(before, after, answer=stored):
            return reply
    raise Overloaded("others are changing this endpoint; send the same request again", retry_after_seconds=1)


async def send_test(caller: Caller, endpoint_id: UUID, key: KeyUse | None, deps: Deps) -> Reply:
    """Send an endpoint an event about itself. Raises: NotFound, WebhookEndpointDisabled, IdempotencyKeyReused."""
    if replayed := await answered_before(caller, key, deps):
        return replayed
    endpoint = await existing_endpoint(caller, endpoint_id, deps)
    now = deps.clock.now()
    event = LoggedEvent(
        merchant_id=caller.merchant_id,
        subject=deps.ids.new(),
        position=0,
        type="webhook_endpoint.test",
        sequence=None,
        livemode=endpoint.livemode,
        recorded_at=now,
        body=render_endpoint(endpoint),
    )
    delivery = Delivery(event.subject, 0, endpoint.number, endpoint.id, DeliveryStatus.PENDING, now, now)
    reply = Reply(ACCEPTED, render_deliveries([delivery]), retry_after_seconds=1)
    sent = await deps.store.webhook_endpoints.send_test_event(
        event,
        endpoint,
        subject=public_id(Kind.WEBHOOK_ENDPOINT, endpoint.id),
        actor=f"api_key:{caller.api_key_id}",
        request_id=caller.request_id,
        answer=to_store(key, reply, deps),
    )
    if sent is None:
        return await lost_the_race(caller, key, deps)
    if not sent:
        raise disabled()
    return reply


def disabled() -> WebhookEndpointDisabled:
    """Say that nothing is sent to an endpoint that is off."""
    return WebhookEndpointDisabled("nothing is sent to an endpoint that is disabled; enable it first")


async def existing_endpoint(caller: Caller, endpoint_id: UUID, deps: Deps) -> WebhookEndpoint:
    """Read an endpoint of this merchant and mode. Raises: NotFound."""
    found = await deps.store.webhook_endpoints.find_webhook_endpoint(caller.merchant_id, endpoint_id=endpoint_id)
    if found is None or found.livemode is not caller.livemode:
        raise NotFound("there is no such webhook endpoint; check the id and the key's mode")
    return found


async def endpoint_exists(caller: Caller, endpoint_id: UUID, deps: Deps) -> bool:
    """Say whether this merchant has this endpoint."""
    found = await deps.store.webhook_endpoints.find_webhook_endpoint(caller.merchant_id, endpoint_id=endpoint_id)
    return found is not None and found.livemode is caller.livemode


def _new_secret(deps: Deps) -> str:
    return write_secret(deps.rng.bits(8 * SECRET_BYTES).to_bytes(SECRET_BYTES))


def names_of(types: Sequence[str] | None) -> Sequence[str] | None:
    """Give event types once each, in a stable order."""
    return None if types is None else sorted(set(types))
