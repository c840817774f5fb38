"""The composition root: settings to dependencies, the one place where the layers meet."""

import asyncio
import contextlib
import os
import random  # noqa: TID251  this is the Rng port
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from cryptography.exceptions import InvalidTag

from paymux_cli.fitness import unfitness
from paymux_cli.refusals import reaching_database
from paymux_cli.settings import StackSettings
from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import CONNECTORS, IN_PROCESS, WEBHOOKS
from paymux_connectors.transport import Transport
from paymux_connectors.webhook_sender import WebhookSender
from paymux_core.clocks import Clocks
from paymux_core.connector import GatewayAccount
from paymux_core.ids import Kind, public_id, uuid7
from paymux_core.ports import Clock
from paymux_core.routing import Candidate
from paymux_flows.deps import Deps
from paymux_postgres.clock import DatabaseClock
from paymux_postgres.connections import DatabaseSettings, Pool
from paymux_postgres.merchants import AccountRow, list_gateway_accounts
from paymux_postgres.sealing import Sealer
from paymux_postgres.server_checks import ServerUnfit
from paymux_postgres.store import PostgresStore
from paymux_worker.deliveries import Deliverer
from paymux_worker.inbound import InboundWorker
from paymux_worker.loop import Worker
from paymux_worker.schedules import Scheduler
from paymux_worker.sealing import keep_sealing
from paymux_worker.tasks import TASKS

log = structlog.get_logger()

ACCOUNTS_SECONDS = 1.0
"""A change of an account is seen everywhere after this long."""


class SystemRng:
    """Randomness of the operating system."""

    def __init__(self) -> None:
        """Seed from the system."""
        self._random = random.Random(os.urandom(32))  # noqa: S311  jitter; ids take their bits from urandom

    def uniform(self) -> float:
        """Give a float in [0, 1)."""
        return self._random.random()

    def bits(self, count: int) -> int:
        """Give random bits."""
        return int.from_bytes(os.urandom((count + 7) // 8)) >> (-count % 8)


class TimeOrderedIds:
    """UUIDv7 of the given clock."""

    def __init__(self, clock: Clock, rng: SystemRng) -> None:
        """Take the clock and the randomness."""
        self._clock = clock
        self._rng = rng

    def new(self) -> UUID:
        """Make an id."""
        return uuid7(int(self._clock.now().timestamp() * 1000), self._rng.bits(74))


class AccountDirectory:
    """Merchants' gateway accounts with their credentials open, read at most once a second per merchant."""

    def __init__(self, pool: Pool, sealer: Sealer, clock: Clock) -> None:
        """Take where accounts are kept and what opens their credentials."""
        self._pool = pool
        self._sealer = sealer
        self._clock = clock
        self._known: dict[UUID, tuple[float, Sequence[Candidate]]] = {}
        self._reading: dict[UUID, asyncio.Task[Sequence[Candidate]]] = {}

    async def candidates(self, merchant_id: UUID) -> Sequence[Candidate]:
        """List the accounts whose connector is installed, in order of priority. Raises: StorageUnavailable, Overloaded.

        Those who ask while they are being read share the answer: otherwise all requests under way would ask the pool
        for a connection at once, each second, and some be refused.
        """
        known = self._known.get(merchant_id)
        if known is not None and self._clock.monotonic() - known[0] < ACCOUNTS_SECONDS:
            return known[1]
        reading = self._reading.get(merchant_id)
        if reading is None:
            reading = self._reading[merchant_id] = asyncio.create_task(self._read(merchant_id))
            reading.add_done_callback(lambda _: self._reading.pop(merchant_id, None))
        return await asyncio.shield(reading)

    async def _read(self, merchant_id: UUID) -> Sequence[Candidate]:
        asked_at = self._clock.monotonic()
        rows = await list_gateway_accounts(self._pool, merchant_id)
        opened = [self._candidate(merchant_id, row) for row in rows if row.gateway in CONNECTORS]
        found = [candidate for candidate in opened if candidate is not None]
        self._known[merchant_id] = (asked_at, found)
        return found

    def _candidate(self, merchant_id: UUID, row: AccountRow) -> Candidate | None:
        """Open one account. One that was sealed under another master key must not stop the merchant's others."""
        account_id = public_id(Kind.GATEWAY_ACCOUNT, row.id)
        try:
            credentials = self._sealer.open(row.credentials, merchant_id=merchant_id, object_id=row.id)
        except InvalidTag:
            log.error("account.sealed_under_another_master_key", account_id=account_id)  # noqa: TRY400  no bug of ours
            return None
        return Candidate(
            account_id=row.id,
            account=GatewayAccount(
                id=account_id,
                gateway=row.gateway,
                base_url=row.base_url,
                credentials=credentials,
                livemode=row.livemode,
            ),
            capabilities=CONNECTORS[row.gateway].capabilities,
            status=row.status,
            priority=row.priority,
        )


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Stack:
    """What a process runs on."""

    deps: Deps
    store: PostgresStore
    sealer: Sealer
    webhooks: WebhookSender
    retention_months: int


def worker_loops(stack: Stack, name: str, stopping: asyncio.Event) -> list[Coroutine[object, object, None]]:
    """Give everything a worker does side by side; each ends by itself once it is told to stop."""
    return [
        Worker(stack.deps, name, stopping).run(),
        Deliverer(stack.deps, stack.webhooks, name, stopping).run(),
        InboundWorker(stack.deps, name, stopping).run(),
        Scheduler(stack.deps, name, stopping, TASKS, stack.retention_months).run(),
        keep_sealing(stack.store.audit, stack.deps.clock, stopping),
    ]


async def _refuse_unfit(store: PostgresStore, settings: StackSettings) -> None:
    if found := await unfitness(store.pool, settings):
        raise ServerUnfit("\n".join(finding.what for finding in found))


@contextlib.asynccontextmanager
async def open_stack(settings: StackSettings, *, name: str) -> AsyncIterator[Stack]:
    """Connect everything a process needs, and disconnect it at the end. Raises: ServerUnfit, DatabaseNotReached."""
    rng = SystemRng()
    clock = DatabaseClock(offset_seconds=settings.clock_offset_seconds)
    database = DatabaseSettings(
        settings.dsn, application_name=f"paymux-{name}", statement_cache=settings.statement_cache
    )
    sealer = Sealer(settings.master_key)
    async with contextlib.AsyncExitStack() as ending:
        store = PostgresStore(database, rng=rng, sealer=sealer, batch_max=settings.batch_max)
        ending.push_async_callback(store.close)
        with reaching_database():
            await store.open()
        await _refuse_unfit(store, settings)
        await clock.measure(store.pool)
        measuring = asyncio.create_task(clock.keep_measuring(store.pool))
        ending.callback(measuring.cancel)
        transport = await ending.enter_async_context(Transport(clock))
        ids = TimeOrderedIds(clock, rng)
        deps = Deps(
            store=store,
            gateways=HttpGateways(
                CONNECTORS, transport=transport, clock=clock, ids=ids, in_process=IN_PROCESS, webhooks=WEBHOOKS
            ),
            accounts=AccountDirectory(store.pool, sealer, clock),
            clock=clock,
            ids=ids,
            rng=rng,
            sleep=_sleep,
            clocks=Clocks().shortened(settings.clock_divisor),
        )
        webhooks = await ending.enter_async_context(
            WebhookSender(clock, allow_insecure=settings.webhooks_allow_insecure, seconds_max=deps.clocks.webhook_send)
        )
        yield Stack(deps, store, sealer, webhooks, settings.retention_months)
