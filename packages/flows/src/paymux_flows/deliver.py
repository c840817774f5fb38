"""Deliver one event to one endpoint: sign it as it then was, send it once, and decide what becomes of it."""

from datetime import timedelta

from msgspec.structs import replace

from paymux_core.delivering import GONE, TRIES_MAX, Answered, EndpointHealth, health_after, pause_before_try
from paymux_core.ids import Kind, event_id, public_id
from paymux_core.ports import Webhooks
from paymux_core.webhook_signing import signed_headers
from paymux_core.webhooks import DeliveryStatus, DeliveryTry, DueDelivery, EndpointStatus, Lease, WebhookEndpoint
from paymux_flows.deps import Deps
from paymux_flows.event_views import render_endpoint, render_event

GONE_REASON = "gone"
FAILING_REASON = "failing"
EVENT_UNREADABLE = "event_unreadable"
WORKER_LOST = "worker_lost"


async def deliver(due: DueDelivery, webhooks: Webhooks, deps: Deps) -> DeliveryTry:
    """Try a delivery once. Never raises for what the receiver does, nor for an event that cannot be shown."""
    if due.try_count > TRIES_MAX:
        # Its last try was begun by a worker that never came back.
        return _ended(due, Answered(None, WORKER_LOST), deps)
    message_id = event_id(due.event.subject, due.event.position)
    try:
        body = render_event(due.event, deps.clocks)
        headers = signed_headers(body, message_id=message_id, at=deps.clock.now(), secrets=due.secrets)
    except Exception:  # noqa: BLE001  a stored document that nobody can show is a dead letter, and no other's affair
        return _ended(due, Answered(None, EVENT_UNREADABLE), deps)
    return _ended(due, await webhooks.send(due.url, headers, body), deps)


def _ended(due: DueDelivery, answered: Answered, deps: Deps) -> DeliveryTry:
    now = deps.clock.now()
    ended = DeliveryTry(due, deps.ids.new(), answered, DeliveryStatus.SUCCEEDED, None, now)
    if answered.accepted:
        return ended
    if due.try_count >= TRIES_MAX or answered.error == EVENT_UNREADABLE:
        return replace(ended, status=DeliveryStatus.DEAD)
    pause = pause_before_try(
        due.try_count,
        jitter=deps.rng.uniform(),
        retry_after=answered.retry_after,
        divisor_seconds=deps.clocks.divisor,
    )
    return replace(ended, status=DeliveryStatus.PENDING, next_try_at=now + pause)


def learned(health: EndpointHealth, ended: DeliveryTry, deps: Deps) -> EndpointHealth:
    """Say what is known of an endpoint after a try; what never reached it says nothing."""
    if ended.answered.error in {EVENT_UNREADABLE, WORKER_LOST}:
        return health
    return health_after(
        health,
        accepted=ended.answered.accepted,
        at=ended.tried_at,
        jitter=deps.rng.uniform(),
        divisor_seconds=deps.clocks.divisor,
    )


def why_disable(health: EndpointHealth, ended: DeliveryTry, deps: Deps) -> str | None:
    """Say why an endpoint is to be switched off now; None: it is not."""
    if ended.answered.http_status == GONE:
        return GONE_REASON
    if health.failed_for_good(deps.clock.now(), divisor_seconds=deps.clocks.divisor):
        return FAILING_REASON
    return None


async def disable(lease: Lease, reason: str, deps: Deps, *, actor: str) -> bool:
    """Switch an endpoint off and tell its merchant; False if it was changed meanwhile, which is for the next try."""
    endpoint = await deps.store.webhook_endpoints.find_webhook_endpoint(lease.merchant_id, number=lease.number)
    if endpoint is None or endpoint.status is not EndpointStatus.ENABLED:
        return False
    after = _disabled(endpoint, reason, deps)
    public = public_id(Kind.WEBHOOK_ENDPOINT, endpoint.id)
    return await deps.store.deliveries.disable_endpoint(
        endpoint, after, event_id=deps.ids.new(), subject=public, actor=actor, body=render_endpoint(after)
    )


def _disabled(endpoint: WebhookEndpoint, reason: str, deps: Deps) -> WebhookEndpoint:
    # Later than what it was read with, whatever the clock says: it is what a change compares.
    now = max(deps.clock.now(), endpoint.updated_at + timedelta(microseconds=1))
    return replace(endpoint, status=EndpointStatus.DISABLED, disabled_reason=reason, updated_at=now)
