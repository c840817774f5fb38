"""One API process, one worker process: what the supervisor, or a container, starts."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine, Generator, Mapping
from datetime import timedelta

import asyncpg
import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from paymux_api.app import AppParts, create_admin_app, create_app
from paymux_api.connections import connections_for
from paymux_api.routes.payments import OPERATIONS
from paymux_api.settings import SettingRefused, Settings, docs_url, parse_settings
from paymux_cli.composition import StackSettings, open_stack
from paymux_postgres.server_checks import ServerUnfit
from paymux_worker.loop import Worker

log = structlog.get_logger()
DRAIN = timedelta(seconds=30)


def serve_api(environment: Mapping[str, str]) -> int:
    """Serve the API until SIGTERM or Ctrl-C; answers the exit code."""
    try:
        settings = parse_settings(environment)
        stack_settings = StackSettings.from_environment(environment)
    except (SettingRefused, KeyError, ValueError) as refused:
        log.error("api.refused_to_start", reason=str(refused))  # noqa: TRY400  the reason is the message
        return 2

    async def main() -> None:
        async with open_stack(stack_settings, name="api") as stack:
            parts = AppParts(operations=OPERATIONS, registry=CollectorRegistry())
            config = _server_config(create_app(stack.deps, settings, parts), settings, settings.host, settings.port)
            if settings.admin_port is None:
                await uvicorn.Server(config).serve()
                return
            admin_app = create_admin_app(stack.deps, settings, parts)
            admin = _server_config(admin_app, settings, settings.admin_host, settings.admin_port)
            await _serve_both(uvicorn.Server(config), _PrivateServer(admin))

    return _run(main())


class _PrivateServer(uvicorn.Server):
    """A second server of one process: signals are the first one's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve_both(public: uvicorn.Server, private: uvicorn.Server) -> None:
    """Serve until the public server stops; without it the private one has nothing to tell."""
    async with asyncio.TaskGroup() as servers:
        servers.create_task(private.serve())
        await public.serve()
        private.should_exit = True


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
        backlog=2048,
        forwarded_allow_ips=settings.forwarded_allow_ips,
    )


def serve_worker(environment: Mapping[str, str]) -> int:
    """Work until SIGTERM or Ctrl-C; answers the exit code."""
    try:
        stack_settings = StackSettings.from_environment(environment)
    except (KeyError, ValueError) as refused:
        log.error("worker.refused_to_start", reason=str(refused))  # noqa: TRY400  the reason is the message
        return 2

    async def main() -> None:
        async with open_stack(stack_settings, name="worker") as stack:
            stopping = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stopping.set)
            await Worker(stack.deps, str(os.getpid()), stopping).run()

    return _run(main())


def _run(main: Coroutine[object, object, None]) -> int:
    try:
        with asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(main)
    except KeyboardInterrupt:
        return 0
    except (OSError, asyncpg.PostgresError, ServerUnfit) as error:
        log.error("process.could_not_start", reason=str(error))  # noqa: TRY400  the reason is the message
        return 1
    return 0


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
