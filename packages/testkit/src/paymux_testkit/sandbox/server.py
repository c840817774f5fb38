"""Run the sandbox: open the book, listen, say so, and stop when told."""

import asyncio
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from .charging import ChargeSettings, Charging
from .connection import Connection, Service
from .delays import wall_seconds
from .journal import Journal
from .ledger import Charge, Ledger
from .routes import Routes
from .webhooks import Webhooks

BOOK_FILE = "book.jsonl"
READY_FILE = "sandbox.json"
# A thousand callers at once connect within a millisecond.
CONNECTIONS_WAITING_MAX = 4096


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the sandbox lives and listens."""

    home: Path
    host: str
    port: int
    clock_divisor: float
    latency_seconds: float
    stop_on_stdin_eof: bool
    charges: ChargeSettings


async def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises: JournalInUse, JournalDamaged, OSError."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    settings.home.mkdir(parents=True, exist_ok=True)
    journal = Journal(settings.home / BOOK_FILE)
    (settings.home / READY_FILE).unlink(missing_ok=True)
    _allow_many_connections()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if settings.stop_on_stdin_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_at_eof, stopped)

    ledger = Ledger(journal)
    webhooks = Webhooks(settings.home, when_durable=journal.when_durable, divisor=settings.clock_divisor)
    ledger.watch(webhooks.changed)
    service = _service(ledger, journal, webhooks, settings)
    server = await loop.create_server(
        lambda: Connection(service), settings.host, settings.port, backlog=CONNECTIONS_WAITING_MAX
    )
    port: int = server.sockets[0].getsockname()[1]
    _announce(settings, port)
    await stopped.wait()

    server.close()
    for connection in tuple(service.open_connections):
        connection.abort()
    await webhooks.close()
    (settings.home / READY_FILE).unlink(missing_ok=True)
    journal.close()


def _service(ledger: Ledger, journal: Journal, webhooks: Webhooks, settings: ServerSettings) -> Service:
    loop = asyncio.get_running_loop()

    def schedule(charge: Charge) -> None:
        assert charge.due_at is not None
        loop.call_later(max(0.0, charge.due_at - wall_seconds()), charging.settle, charge.id)

    lag = settings.charges.delays.lookup_lag_seconds
    charging = Charging(ledger, settings=settings.charges, schedule=schedule)
    for charge in ledger.charges_with_due_time():
        schedule(charge)
    return Service(
        Routes(ledger, charging, webhooks, lookup_lag_seconds=lag).answer,
        journal,
        settings.charges.delays,
        settings.latency_seconds,
    )


def _announce(settings: ServerSettings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    ready = {
        "url": f"http://{host}:{port}",
        "host": settings.host,
        "port": port,
        "pid": os.getpid(),
        "clock_divisor": settings.clock_divisor,
        "seed": settings.charges.seed,
    }
    unfinished = settings.home / f"{READY_FILE}.{os.getpid()}"
    unfinished.write_text(json.dumps(ready) + "\n")
    unfinished.replace(settings.home / READY_FILE)
    sys.stdout.write(f"sandbox ready {ready['url']}\n")
    sys.stdout.flush()


def _stop_at_eof(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopped.set()


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
