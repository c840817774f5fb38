"""One API process, one worker process: what the supervisor, or a container, starts."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Generator, Mapping
from datetime import timedelta

import uvicorn
from prometheus_client import CollectorRegistry, start_http_server
from starlette.applications import Starlette

from paymux_api.app import AppParts, create_admin_app, create_app
from paymux_api.connections import connections_for
from paymux_api.figures import BookMeasures
from paymux_api.log import configure_log
from paymux_api.routes.contract import contract
from paymux_api.settings import Reader, Settings, docs_url, parse_count, parse_log_level, parse_port, parse_settings
from paymux_cli.composition import open_stack, worker_loops
from paymux_cli.processes import BACKLOG, listen_on
from paymux_cli.refusals import NotPossible
from paymux_cli.settings import StackSettings
from paymux_cli.watchdog import LoopWatchdog, watched

DRAIN = timedelta(seconds=30)


def serve_api(environment: Mapping[str, str]) -> None:
    """Serve the API until SIGTERM or Ctrl-C. Raises: SettingRefused, and what open_stack raises."""
    settings = parse_settings(environment)
    stack_settings = StackSettings.from_environment(environment)
    listening = Reader(environment).optional("PAYMUX_LISTEN_FD", parse_count, None)
    configure_log(settings.log_level)

    async def main() -> None:
        registry = CollectorRegistry()
        async with open_stack(stack_settings, name="api") as stack, watched(registry, LoopWatchdog()):
            operations = contract(webhooks_allow_insecure=stack_settings.webhooks_allow_insecure)
            measures = BookMeasures(registry, stack.deps.store.operating, clock=stack.deps.clock)
            parts = AppParts(operations=operations, registry=registry, gather=measures.gather)
            config = _server_config(create_app(stack.deps, settings, parts), settings, settings.host, settings.port)
            # Whoever started us may have taken the port already. Ours are taken here: uvicorn would exit by itself.
            public = socket.socket(fileno=listening) if listening else listen_on(settings.host, settings.port)
            _collect_seldom()
            if settings.admin_port is None:
                await _serve(_Server(config), public)
                return
            admin_app = create_admin_app(stack.deps, settings, parts)
            admin = _server_config(admin_app, settings, settings.admin_host, settings.admin_port)
            private = listen_on(settings.admin_host, settings.admin_port, setting="PAYMUX_ADMIN")
            async with asyncio.TaskGroup() as servers:
                # Without the public server the private one has nothing to tell.
                server = _Server(admin)
                servers.create_task(server.serve([private]))
                await _serve(_Server(config), public)
                server.should_exit = True

    _run(main())


class _Server(uvicorn.Server):
    """A server that leaves signals alone: uvicorn raises them again, and what we opened would not be closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(server: uvicorn.Server, listening: socket.socket) -> None:
    """Serve until a signal comes, then finish what is under way."""

    def stop() -> None:
        server.should_exit = True

    _on_stop_signals(stop)
    await server.serve([listening])


def _on_stop_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)


def _server_config(app: Starlette, settings: Settings, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connections_for(docs_url(settings)),
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=True,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(DRAIN.total_seconds()),
        backlog=BACKLOG,
        forwarded_allow_ips=settings.forwarded_allow_ips,
    )


def serve_worker(environment: Mapping[str, str]) -> None:
    """Work until SIGTERM or Ctrl-C. Raises: SettingRefused, and what open_stack raises."""
    stack_settings = StackSettings.from_environment(environment)
    read = Reader(environment)
    configure_log(read.optional("PAYMUX_LOG_LEVEL", parse_log_level, "info"))
    host = read.optional("PAYMUX_ADMIN_HOST", str, "127.0.0.1")
    port = read.optional("PAYMUX_WORKER_ADMIN_PORT", parse_port, None)

    async def main() -> None:
        registry = CollectorRegistry()
        async with open_stack(stack_settings, name="worker") as stack, watched(registry, LoopWatchdog()):
            if port is not None:
                _serve_metrics(registry, host, port)
            stopping = asyncio.Event()
            _on_stop_signals(stopping.set)
            _collect_seldom()
            async with asyncio.TaskGroup() as working:
                for work in worker_loops(stack, str(os.getpid()), stopping):
                    working.create_task(work)

    _run(main())


def _serve_metrics(registry: CollectorRegistry, host: str, port: int) -> None:
    """Answer `/metrics` from a thread of its own, also while the loop stands still. Raises: NotPossible."""
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise NotPossible(
            f"PAYMUX_ADMIN_HOST, PAYMUX_WORKER_ADMIN_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from error


def _collect_seldom() -> None:
    """Keep the pauses of the garbage collector short: it walked all modules and caches, 0.1 s each time.

    What start-up made stays for good and is not looked at again; what requests make dies by its count of references.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _run(main: Coroutine[object, object, None]) -> None:
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main)


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
