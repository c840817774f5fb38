"""`/payments/{id}/timeline`: what happened, in one order."""

from uuid import UUID

from msgspec import UnsetType

from paymux_api.operation import Call, Operation
from paymux_api.schemas import TimelineQuery
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind
from paymux_flows.commands import Caller, Reply
from paymux_flows.deps import Deps
from paymux_flows.read import payment_exists
from paymux_flows.timeline import TimelinePage, get_bundle, get_timeline
from paymux_flows.timeline_views import BundleView


async def _read(call: Call) -> Reply:
    query, deps = call.query, call.deps
    assert isinstance(query, TimelineQuery)
    assert isinstance(deps, Deps)
    if query.format == "bundle":
        return await get_bundle(call.authenticated, call.target, deps)
    after = None if isinstance(query.starting_after, UnsetType) else query.starting_after
    return await get_timeline(call.authenticated, call.target, starting_after=after, limit=query.limit, deps=deps)


async def _exists(caller: Caller, payment_id: UUID, deps: object) -> bool:
    assert isinstance(deps, Deps)
    return await payment_exists(caller, payment_id, deps)


TIMELINE_OPERATIONS = (
    Operation(
        method="GET",
        path="/payments/{id}/timeline",
        name="read_timeline",
        summary="Read a payment's timeline",
        description="Everything that happened to the payment, oldest first: state changes, attempts, requests to "
        "gateways with their answers, what people did, each with its cause. `format=bundle` exports it with its "
        "hashes; `paymux audit verify` checks such a file.",
        handler=_read,
        scope=Scope.PAYMENTS_READ,
        query=TimelineQuery,
        response=TimelinePage,
        or_response=BundleView,
        success={200: "One page, or the bundle."},
        object_kind=Kind.PAYMENT,
        exists=_exists,
    ),
)
