"""One API process, one worker process: what the supervisor, or a container, starts."""

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping
from datetime import timedelta

import asyncpg
import structlog
import uvicorn
from prometheus_client import CollectorRegistry

from paymux_api.app import AppParts, create_app
from paymux_api.routes.payments import OPERATIONS
from paymux_api.settings import SettingRefused, parse_settings
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
            config = uvicorn.Config(
                create_app(stack.deps, settings, parts),
                host=settings.host,
                port=settings.port,
                access_log=False,
                log_level="warning",
                server_header=False,
                date_header=True,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(DRAIN.total_seconds()),
                backlog=2048,
                forwarded_allow_ips=settings.forwarded_allow_ips,
            )
            await uvicorn.Server(config).serve()

    return _run(main())


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
