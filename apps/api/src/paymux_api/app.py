"""The application: every operation behind the layer, on Starlette's router."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Route

from paymux_api.auth import ApiKeyStore, Authenticator
from paymux_api.endpoint import Layer, LayerSettings, PathEndpoint, UnknownPath
from paymux_api.figures import Gather, nothing_to_gather
from paymux_api.limits import Limiter, Limits
from paymux_api.measures import ApiMeasures
from paymux_api.openapi import build_openapi, render_openapi
from paymux_api.operation import Operation
from paymux_api.routes.documents import document_operations
from paymux_api.routes.health import Ready, health_operations, metrics_operation
from paymux_api.routes.invariants import Answers, Book, Inspector, invariants_operation
from paymux_api.settings import Settings, docs_url
from paymux_core.api_keys import Scope as ApiKeyScope
from paymux_core.ports import Clock

DRAIN_SECONDS = 30.0
"""Longer than any request may take (26 s), so that a stop leaves no request half done."""


class ApiStore(ApiKeyStore, Book, Protocol):
    """What the API itself reads, beside the flows."""


class ApiDeps(Protocol):
    """What the layer itself needs of the flows' dependencies."""

    @property
    def store(self) -> ApiStore:
        """Where API keys are kept and violations are found."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppParts:
    """What an application may be given besides its dependencies; the defaults are the product's."""

    operations: Sequence[Operation]
    registry: CollectorRegistry
    limits: Limits = field(default_factory=Limits)
    ready: Ready | None = None
    """None: ready when the store answers."""
    gather: Gather = nothing_to_gather
    """Reads what `/metrics` shows and nobody counts."""


def create_app(deps: ApiDeps, settings: Settings, parts: AppParts) -> Starlette:
    """Build the public application."""
    layer = _layer(deps, settings, parts)
    contract = _contract(parts, ready=_readiness(deps, parts), invariants=_inspector(deps).answer)
    openapi = render_openapi(build_openapi(contract))
    return _starlette((*contract, *document_operations(openapi)), layer)


def render_contract(operations: Sequence[Operation]) -> bytes:
    """Render the document of the application that serves these operations, without anything that could answer."""

    async def nobody() -> NoReturn:
        raise AssertionError("this is a document")

    parts = AppParts(operations=operations, registry=CollectorRegistry())
    return render_openapi(build_openapi(_contract(parts, ready=nobody, invariants=nobody)))


def create_admin_app(deps: ApiDeps, settings: Settings, parts: AppParts) -> Starlette:
    """Build the application of the private listener: metrics and health without a key."""
    layer = _layer(deps, settings, AppParts(operations=(), registry=CollectorRegistry()))
    operations = (
        *health_operations(_readiness(deps, parts)),
        invariants_operation(_inspector(deps).answer, scope=None),
        metrics_operation(parts.registry, parts.gather, scope=None),
    )
    return _starlette(operations, layer)


def _contract(parts: AppParts, *, ready: Ready, invariants: Answers) -> tuple[Operation, ...]:
    """Give everything that is part of the contract."""
    return (
        *parts.operations,
        *health_operations(ready),
        invariants_operation(invariants, scope=ApiKeyScope.OPERATOR),
        metrics_operation(parts.registry, parts.gather, scope=ApiKeyScope.OPERATOR),
    )


def _layer(deps: ApiDeps, settings: Settings, parts: AppParts) -> Layer:
    return Layer(
        deps=deps,
        authenticator=Authenticator(deps.store, clock=deps.clock, peppers=settings.peppers),
        limiter=Limiter(parts.limits, clock=deps.clock),
        measures=ApiMeasures(parts.registry),
        settings=LayerSettings(
            docs_url=docs_url(settings),
            body_deadline_seconds=settings.body_deadline_seconds,
            slow_request_seconds=settings.slow_request_seconds,
            requests_in_flight_max=settings.requests_in_flight_max,
            log_every_request=settings.log_level == "debug",
        ),
        running=set(),
    )


def _inspector(deps: ApiDeps) -> Inspector:
    return Inspector(deps.store, clock=deps.clock)


def _readiness(deps: ApiDeps, parts: AppParts) -> Ready:
    if parts.ready is not None:
        return parts.ready

    async def store_answers() -> bool:
        # A read that finds nothing walks the same way as every request: pool, connection, index.
        await deps.store.find_api_key("0000000000")
        return True

    return store_answers


def _starlette(operations: Sequence[Operation], layer: Layer) -> Starlette:
    by_path: dict[str, list[Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        if layer.running:
            await asyncio.wait(set(layer.running), timeout=DRAIN_SECONDS)

    app = Starlette(
        routes=[Route(path, PathEndpoint(of_path, layer)) for path, of_path in by_path.items()], lifespan=lifespan
    )
    # Every path answers its own failures, so Starlette's two layers around the router would never act.
    app.middleware_stack = app.router
    app.router.redirect_slashes = False
    app.router.default = UnknownPath(layer)
    return app
