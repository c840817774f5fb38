"""The layer answers whatever a handler does, refuses a crowd, and finishes what it began."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from structlog.testing import capture_logs

from paymux_api.app import AppParts, create_app
from paymux_api.operation import Call, Operation
from paymux_api.settings import Settings
from paymux_core.api_keys import Scope
from paymux_core.errors import Overloaded
from paymux_flows.commands import Reply

PEPPER = bytes(range(32))
SECRET = "what a client sent"


@dataclass(slots=True)
class Deps:
    """What the layer itself needs."""

    store: Any
    clock: Any


@dataclass(slots=True)
class Gate:
    """A handler that waits until it is let through."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    passed: int = 0

    async def __call__(self, _call: Call) -> Reply:
        """Wait, then answer."""
        self.reached.set()
        await self.opened.wait()
        self.passed += 1
        return Reply(200, b"{}")


async def _breaks(_call: Call) -> Reply:
    raise KeyError(SECRET)


async def _refuses(_call: Call) -> Reply:
    raise Overloaded("come back", retry_after_seconds=3)


def _operation(name: str, handler: Any, **changes: Any) -> Operation:
    plain: dict[str, Any] = {"method": "POST", "path": f"/{name}", "scope": Scope.PAYMENTS_READ}
    return Operation(**(plain | changes), name=name, summary=name, handler=handler, success={200: "Done."})


def _app(keys: Any, clock: Any, operations: Sequence[Operation], **settings: Any) -> Starlette:
    parts = AppParts(operations=operations, registry=CollectorRegistry())
    return create_app(Deps(keys, clock), Settings(peppers={1: PEPPER}, **settings), parts)


async def _ask(
    app: Starlette, path: str, *, method: str = "POST", token: str = "", gone: asyncio.Event | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as a server does; `gone` is set when the client hangs up."""
    sent: list[dict[str, Any]] = []
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        assert gone is not None
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": headers, "client": ("192.0.2.1", 1), "root_path": "", "http_version": "1.1"}  # fmt: skip
    await app(scope, receive, send)
    start, body = sent
    return start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, body["body"]


async def test_a_bug_is_a_problem_that_tells_nothing(keys: Any, clock: Any) -> None:
    app = _app(keys, clock, [_operation("breaks", _breaks)])
    with capture_logs() as logged:
        status, headers, body = await _ask(app, "/breaks", token=keys.add().token)
    problem = json.loads(body)
    assert (status, problem["code"], problem["request_id"]) == (500, "internal_error", headers["request-id"])
    assert SECRET not in body.decode()
    shown = json.dumps(logged, default=str)
    assert SECRET not in shown
    assert headers["request-id"] in shown


async def test_a_refusal_tells_when_to_come_back(keys: Any, clock: Any) -> None:
    app = _app(keys, clock, [_operation("refuses", _refuses)])
    status, headers, body = await _ask(app, "/refuses", token=keys.add().token)
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (503, "overloaded", "3")


async def test_a_crowd_is_told_to_come_back_and_the_rest_is_served(keys: Any, clock: Any) -> None:
    gate = Gate()
    app = _app(keys, clock, [_operation("gate", gate)], requests_in_flight_max=1)
    token = keys.add().token
    first = asyncio.ensure_future(_ask(app, "/gate", token=token))
    await gate.reached.wait()
    status, headers, body = await _ask(app, "/gate", token=token)
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (503, "overloaded", "1")
    gate.opened.set()
    assert (await first)[0] == 200
    assert (await _ask(app, "/gate", token=token))[0] == 200


async def test_a_request_whose_client_is_gone_is_finished(keys: Any, clock: Any) -> None:
    gate = Gate()
    app = _app(keys, clock, [_operation("gate", gate)])
    asking = asyncio.ensure_future(_ask(app, "/gate", token=keys.add().token))
    await gate.reached.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert gate.passed == 0
    async with app.router.lifespan_context(app):
        gate.opened.set()
    assert gate.passed == 1, "a stop waits for it"


async def test_too_many_failed_authentications_are_429_and_a_good_key_goes_on(keys: Any, clock: Any) -> None:
    app = _app(keys, clock, [_operation("refuses", _refuses)])
    statuses = [(await _ask(app, "/refuses", token="none"))[0] for _ in range(30)]
    assert statuses == [401] * 20 + [429] * 10
    assert (await _ask(app, "/refuses", token=keys.add().token))[0] == 503


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/refuses", 405, "OPTIONS, POST"),
        ("OPTIONS", "/refuses", 204, "OPTIONS, POST"),
        ("DELETE", "/health/live", 405, "GET, HEAD, OPTIONS"),
        ("TRACE", "/refuses", 405, "OPTIONS, POST"),
        ("GET", "/refuses/", 404, None),
        ("POST", "//refuses", 404, None),
    ],
)
async def test_paths_and_methods(method: str, path: str, status: int, allow: str | None, keys: Any, clock: Any) -> None:
    app = _app(keys, clock, [_operation("refuses", _refuses)])
    answered, headers, _ = await _ask(app, path, method=method, token=keys.add().token)
    assert (answered, headers.get("allow")) == (status, allow)


async def test_two_operations_of_one_path_and_method_are_refused_at_start(keys: Any, clock: Any) -> None:
    with pytest.raises(AssertionError):
        _app(keys, clock, [_operation("one", _refuses), _operation("two", _refuses, path="/one")])


async def test_a_websocket_is_closed(keys: Any, clock: Any) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/nowhere", "headers": [], "query_string": b"", "root_path": ""}
    await _app(keys, clock, [])(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
