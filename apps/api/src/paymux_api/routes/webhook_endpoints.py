"""`/webhook_endpoints`: where a merchant wants events; `/webhook_deliveries`: what became of them."""

from collections.abc import Mapping
from functools import partial
from uuid import UUID

import msgspec
from msgspec import UNSET
from msgspec.structs import fields

from paymux_api.operation import Call, KeyRule, Operation
from paymux_api.webhook_schemas import (
    ChangeEndpointBody,
    CreateEndpointBody,
    ListDeliveriesQuery,
    ListEndpointsQuery,
    ResendDeadBody,
    storable,
)
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind, parse_delivery_id, parse_event_id, parse_public_id
from paymux_core.webhook_urls import check_webhook_url
from paymux_flows.commands import Caller, ChangeEndpoint, CreateEndpoint, ListDeliveries, Reply, ResendDead
from paymux_flows.delivery_views import DeliveryList
from paymux_flows.deps import Deps
from paymux_flows.event_feed import list_deliveries, resend_dead
from paymux_flows.event_views import WebhookEndpointView
from paymux_flows.webhook_endpoints import (
    EndpointPage,
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    endpoint_exists,
    get_endpoint,
    list_endpoints,
    names_of,
    roll_secret,
    send_test,
)


async def _create(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, CreateEndpointBody)
    command = CreateEndpoint(
        caller=call.authenticated,
        url=body.url,
        event_types=names_of(body.event_types),
        description=body.description,
        metadata=body.metadata,
        key=call.key,
    )
    return await create_endpoint(command, _deps(call))


async def _change(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, ChangeEndpointBody)
    changes = {field.name: getattr(body, field.name) for field in fields(body)}
    changes = {name: value for name, value in changes.items() if value is not UNSET}
    if "event_types" in changes:
        changes["event_types"] = names_of(changes["event_types"])
    return await change_endpoint(ChangeEndpoint(call.authenticated, call.target, changes), _deps(call))


async def _read(call: Call) -> Reply:
    return await get_endpoint(call.authenticated, call.target, _deps(call))


async def _list(call: Call) -> Reply:
    query = call.query
    assert isinstance(query, ListEndpointsQuery)
    after = parse_public_id(Kind.WEBHOOK_ENDPOINT, query.starting_after) if query.starting_after else None
    return await list_endpoints(call.authenticated, starting_after=after, limit=query.limit, deps=_deps(call))


async def _delete(call: Call) -> Reply:
    return await delete_endpoint(call.authenticated, call.target, _deps(call))


async def _roll(call: Call) -> Reply:
    return await roll_secret(call.authenticated, call.target, call.key, _deps(call))


async def _test(call: Call) -> Reply:
    return await send_test(call.authenticated, call.target, call.key, _deps(call))


async def _resend_dead(call: Call) -> Reply:
    body = call.body
    assert isinstance(body, ResendDeadBody)
    command = ResendDead(
        caller=call.authenticated,
        endpoint_id=call.target,
        created_from=storable(body.created_from),
        created_to=storable(body.created_to),
        key=call.key,
    )
    return await resend_dead(command, _deps(call))


async def _list_deliveries(call: Call) -> Reply:
    query = call.query
    assert isinstance(query, ListDeliveriesQuery)
    endpoint = query.webhook_endpoint_id
    command = ListDeliveries(
        caller=call.authenticated,
        limit=query.limit,
        starting_after=parse_delivery_id(query.starting_after) if query.starting_after else None,
        event=parse_event_id(query.event_id) if query.event_id else None,
        status=query.status or None,
        endpoint_id=parse_public_id(Kind.WEBHOOK_ENDPOINT, endpoint) if endpoint else None,
    )
    return await list_deliveries(command, _deps(call))


def _check_url(
    body: msgspec.Struct, _query: msgspec.Struct, _filters: Mapping[str, str], *, allow_insecure: bool
) -> None:
    assert isinstance(body, CreateEndpointBody | ChangeEndpointBody)
    if body.url is not UNSET:
        check_webhook_url(body.url, allow_insecure=allow_insecure)


async def _exists(caller: Caller, endpoint_id: UUID, deps: object) -> bool:
    assert isinstance(deps, Deps)
    return await endpoint_exists(caller, endpoint_id, deps)


def _deps(call: Call) -> Deps:
    assert isinstance(call.deps, Deps)
    return call.deps


_LINKS = ("read_webhook_endpoint", "change_webhook_endpoint", "delete_webhook_endpoint", "roll_webhook_secret")
_TAG = "webhooks"


def webhook_endpoint_operations(*, allow_insecure: bool = False) -> tuple[Operation, ...]:
    """Give the operations; `allow_insecure`: also http, any port and private addresses, for a trial."""
    check = partial(_check_url, allow_insecure=allow_insecure)
    return (*_making(check), *_OF_ONE_ENDPOINT, _DELIVERIES)


def _making(check: "partial[None]") -> tuple[Operation, ...]:
    return (
        Operation(
            method="POST",
            path="/webhook_endpoints",
            name="create_webhook_endpoint",
            tag=_TAG,
            summary="Create a webhook endpoint",
            description="Events are signed as Standard Webhooks says. `secret` is shown in this answer only; a replay "
            "has `secret: null`.",
            handler=_create,
            scope=Scope.WEBHOOKS_MANAGE,
            request=CreateEndpointBody,
            example={"url": "https://shop.example/webhooks", "event_types": ["payment.succeeded", "payment.failed"]},
            check=check,
            response=WebhookEndpointView,
            links=_LINKS,
            success={201: "Created."},
            problems=("idempotency_key_reused",),
            key_rule=KeyRule.ACCEPTED,
        ),
        Operation(
            method="PATCH",
            path="/webhook_endpoints/{id}",
            name="change_webhook_endpoint",
            tag=_TAG,
            summary="Change a webhook endpoint",
            description="Disabled, it is told nothing, and what waits for it becomes dead letters.",
            handler=_change,
            scope=Scope.WEBHOOKS_MANAGE,
            request=ChangeEndpointBody,
            example={"status": "enabled"},
            check=check,
            response=WebhookEndpointView,
            links=_LINKS,
            success={200: "As it is now."},
            object_kind=Kind.WEBHOOK_ENDPOINT,
            exists=_exists,
        ),
    )


_OF_ONE_ENDPOINT = (
    Operation(
        method="GET",
        path="/webhook_endpoints",
        name="list_webhook_endpoints",
        tag=_TAG,
        summary="List webhook endpoints",
        description="Newest first.",
        handler=_list,
        scope=Scope.WEBHOOKS_MANAGE,
        query=ListEndpointsQuery,
        response=EndpointPage,
        success={200: "One page."},
    ),
    Operation(
        method="GET",
        path="/webhook_endpoints/{id}",
        name="read_webhook_endpoint",
        tag=_TAG,
        summary="Read a webhook endpoint",
        handler=_read,
        scope=Scope.WEBHOOKS_MANAGE,
        response=WebhookEndpointView,
        links=_LINKS,
        success={200: "Without its secret."},
        object_kind=Kind.WEBHOOK_ENDPOINT,
        exists=_exists,
    ),
    Operation(
        method="DELETE",
        path="/webhook_endpoints/{id}",
        name="delete_webhook_endpoint",
        tag=_TAG,
        summary="Delete a webhook endpoint",
        handler=_delete,
        scope=Scope.WEBHOOKS_MANAGE,
        success={204: "Deleted; what waited for it is not delivered."},
        object_kind=Kind.WEBHOOK_ENDPOINT,
        exists=_exists,
    ),
    Operation(
        method="POST",
        path="/webhook_endpoints/{id}/roll_secret",
        name="roll_webhook_secret",
        tag=_TAG,
        summary="Give an endpoint a new secret",
        description="Until `previous_secret_until` every event carries two signatures, one by each secret.",
        handler=_roll,
        scope=Scope.WEBHOOKS_MANAGE,
        response=WebhookEndpointView,
        success={200: "The new secret, shown in this answer only."},
        problems=("idempotency_key_reused",),
        key_rule=KeyRule.ACCEPTED,
        object_kind=Kind.WEBHOOK_ENDPOINT,
        exists=_exists,
    ),
    Operation(
        method="POST",
        path="/webhook_endpoints/{id}/test",
        name="test_webhook_endpoint",
        tag=_TAG,
        summary="Send a test event",
        handler=_test,
        scope=Scope.WEBHOOKS_MANAGE,
        response=DeliveryList,
        success={202: "Its delivery."},
        problems=("idempotency_key_reused", "webhook_endpoint_disabled"),
        key_rule=KeyRule.ACCEPTED,
        object_kind=Kind.WEBHOOK_ENDPOINT,
        exists=_exists,
    ),
    Operation(
        method="POST",
        path="/webhook_endpoints/{id}/resend",
        name="resend_dead_letters",
        tag=_TAG,
        summary="Send dead letters again",
        description="Those of events from one moment to another, oldest first, at most 1,000 with one request.",
        handler=_resend_dead,
        scope=Scope.WEBHOOKS_MANAGE,
        request=ResendDeadBody,
        example={"created_from": "2026-11-01T00:00:00Z", "created_to": "2026-12-01T00:00:00Z"},
        response=DeliveryList,
        success={202: "The deliveries that wait again."},
        problems=("idempotency_key_reused", "webhook_endpoint_disabled"),
        key_rule=KeyRule.ACCEPTED,
        object_kind=Kind.WEBHOOK_ENDPOINT,
        exists=_exists,
    ),
)
_DELIVERIES = Operation(
    method="GET",
    path="/webhook_deliveries",
    name="list_webhook_deliveries",
    tag=_TAG,
    summary="List deliveries",
    description="Those of the newest payments first, with their latest tries. A page that filters may be short or "
    "empty and still have `has_more: true`.",
    handler=_list_deliveries,
    scope=Scope.WEBHOOKS_MANAGE,
    query=ListDeliveriesQuery,
    response=DeliveryList,
    success={200: "One page."},
)
