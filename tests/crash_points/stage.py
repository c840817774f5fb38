"""A confirm on real Postgres and a real sandbox, with a process that can die at any call of a port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import CONNECTORS, IN_PROCESS
from paymux_connectors.transport import Transport
from paymux_core.clocks import Clocks
from paymux_core.connector import GatewayAccount
from paymux_core.errors import StorageUnavailable
from paymux_core.ids import Kind, public_id
from paymux_core.routing import Candidate
from paymux_flows.deps import Deps
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.merchants import AccountRow, MerchantRow, insert_gateway_account, insert_merchant
from paymux_postgres.store import PostgresStore
from tests.support.chance import SeededIds, SeededRng

PORT_CALLS = ("read_payment", "open_attempt", "authorize", "record_outcome")
"""What a confirm awaits, in order; a new await changes this on purpose."""


class Dies(StrEnum):
    """When, relative to a call, the process dies."""

    BEFORE = "before"
    AFTER = "after"
    LOST_ACKNOWLEDGEMENT = "lost_acknowledgement"


class Crash(BaseException):
    """The process is gone: nothing of it runs on."""


@dataclass(slots=True)
class CrashPoint:
    """Die at the n-th call of a port (1 is the first)."""

    at: int
    dies: Dies
    seen: list[str] = field(default_factory=list)


class Dying:
    """A port whose calls are counted; the chosen one kills the process, or loses its answer."""

    def __init__(self, port: object, point: CrashPoint, names: Sequence[str]) -> None:
        self._port = port
        self._point = point
        self._names = names

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)
        return self._wrapped(name, method) if name in self._names else method

    def _wrapped(self, name: str, method: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*values: object, **named: object) -> object:
            self._point.seen.append(name)
            chosen = len(self._point.seen) == self._point.at
            if chosen and self._point.dies is Dies.BEFORE:
                raise Crash
            answer = await method(*values, **named)
            if chosen and self._point.dies is Dies.AFTER:
                raise Crash
            if chosen:
                raise StorageUnavailable("the acknowledgement was lost") if name != "authorize" else Crash
            return answer

        return call


class VirtualClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds + asyncio.get_running_loop().time()


@dataclass(slots=True)
class OneAccount:
    """A directory with a single account."""

    candidate: Candidate

    async def candidates(self, _merchant_id: UUID) -> Sequence[Candidate]:
        return [self.candidate]


@dataclass(slots=True)
class Stage:
    """What survives a crash: the database, the gateway, time; and dependencies of a living process."""

    deps: Deps
    store: PostgresStore
    clock: VirtualClock
    merchant_id: UUID

    def dying(self, point: CrashPoint) -> Deps:
        """Dependencies of a process that will die at a point."""
        store = Dying(self.deps.store, point, ("read_payment", "open_attempt", "record_outcome"))
        gateways = Dying(self.deps.gateways, point, ("authorize",))
        return replace(self.deps, store=store, gateways=gateways)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def set_up(
    dsn: str, gateway_url: str, *, seed: str, gateway: str = "mock", call_seconds: float = 0.5
) -> AsyncIterator[Stage]:
    """Open a stage with one merchant and one account. `call_seconds` pass in real time."""
    clock, rng = VirtualClock(), SeededRng(seed)
    ids = SeededIds(clock, rng)
    store = PostgresStore(DatabaseSettings(dsn), rng=rng)
    await store.open()
    try:
        async with Transport(clock) as transport:
            merchant_id, account_id = ids.new(), ids.new()
            await insert_merchant(store.pool, MerchantRow(merchant_id, "shop", {}, clock.now()))
            row = AccountRow(account_id, gateway, gateway, "enabled", livemode=False, base_url=gateway_url, priority=1, credentials=None)  # fmt: skip  # noqa: E501
            await insert_gateway_account(store.pool, merchant_id, row, at=clock.now())
            public = public_id(Kind.GATEWAY_ACCOUNT, account_id)
            credentials = dict.fromkeys(CONNECTORS[gateway].credential_names, "sk_test_stage")
            account = GatewayAccount(public, gateway, gateway_url, credentials, livemode=False)
            candidate = Candidate(account_id, account, CONNECTORS[gateway].capabilities, "enabled", 1)
            gateways = HttpGateways(CONNECTORS, transport=transport, clock=clock, ids=ids, in_process=IN_PROCESS)

            async def sleep(seconds: float) -> None:
                clock.seconds += seconds

            # A silent gateway answers nothing for 25 s; the call gives up long before, in real time.
            clocks = replace(Clocks(), gateway_call=call_seconds)
            deps = Deps(store, gateways, OneAccount(candidate), clock, ids, rng, sleep, clocks)
            yield Stage(deps, store, clock, merchant_id)
    finally:
        await store.close()
