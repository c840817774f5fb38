"""`/health/live`, `/health/ready` and `/metrics`: what a supervisor and a dashboard ask."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from paymux_api.figures import Gather
from paymux_api.operation import Call, Operation
from paymux_api.schemas import Health
from paymux_core.api_keys import Scope
from paymux_flows.commands import Reply

Ready = Callable[[], Awaitable[bool]]
"""Says whether requests can be served: the database answers, and nobody is stopping the process."""

_READY_SECONDS = 2.0
_OK = msgspec.json.encode(Health("ok"))
_UNAVAILABLE = msgspec.json.encode(Health("unavailable"))
_METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def health_operations(ready: Ready) -> tuple[Operation, ...]:
    """Declare both health routes."""

    async def live(_call: Call) -> Reply:
        return Reply(200, _OK)

    async def is_ready(_call: Call) -> Reply:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                serves = await ready()
        except Exception:  # noqa: BLE001  the border: whatever keeps it from answering, it is not ready
            serves = False
        return Reply(200, _OK) if serves else Reply(503, _UNAVAILABLE)

    return (
        Operation(
            method="GET",
            path="/health/live",
            name="read_liveness",
            summary="Is the process up?",
            tag="service",
            handler=live,
            scope=None,
            response=Health,
            success={200: "It is."},
        ),
        Operation(
            method="GET",
            path="/health/ready",
            name="read_readiness",
            summary="Can requests be served?",
            tag="service",
            handler=is_ready,
            scope=None,
            response=Health,
            success={200: "They can.", 503: "Not now: the database does not answer, or the process is stopping."},
        ),
    )


def metrics_operation(registry: CollectorRegistry, gather: Gather, *, scope: Scope | None) -> Operation:
    """Declare `/metrics`; without a scope only for the private listener. `gather` reads what is not counted here."""

    async def metrics(_call: Call) -> Reply:
        await gather()
        return Reply(200, generate_latest(registry))

    return Operation(
        method="GET",
        path="/metrics",
        name="read_metrics",
        summary="Read the metrics, as Prometheus does",
        tag="service",
        handler=metrics,
        scope=scope,
        content_type=_METRICS_CONTENT_TYPE,
        success={200: "The text format of Prometheus."},
    )
