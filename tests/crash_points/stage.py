"""Money requests on real Postgres, with a process that can die at any call of a port."""

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import CONNECTORS, IN_PROCESS, WEBHOOKS
from paymux_connectors.transport import Transport
from paymux_core.clocks import Clocks
from paymux_core.connector import GatewayAccount
from paymux_core.errors import StorageUnavailable
from paymux_core.ids import Kind, public_id
from paymux_core.money import Money
from paymux_core.records import Payment, PaymentMethod
from paymux_core.routing import Candidate
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse, Reply
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.merchants import AccountRow, MerchantRow, insert_gateway_account, insert_merchant
from paymux_postgres.store import PostgresStore
from paymux_testkit.sandbox_process import SandboxProcess
from tests.crash_points.calm import DirectTransport, calm_stripe
from tests.support.chance import TEST_SEALER, SeededIds, SeededRng
from tests.support.empty import EMPTY
from tests.support.one_account import VirtualClock

REFERENCE = "order-1"
_TEST_MODE = False


class Scenario(StrEnum):
    """Which money request is killed."""

    CONFIRM = "confirm"
    TWO_PHASE = "two_phase"
    CREATE = "create"
    FAILOVER = "failover"


PORT_CALLS: dict[Scenario, tuple[str, ...]] = {
    Scenario.CONFIRM: (
        *("read_payment", "candidates", "open_attempt"),
        *("authorize", "record_outcome"),
    ),
    # The gateway's id is committed inside the call, between reserve and charge.
    Scenario.TWO_PHASE: (
        *("read_payment", "candidates", "open_attempt"),
        *("authorize", "remember_provider_payment", "record_outcome"),
    ),
    Scenario.CREATE: (
        *("find_key", "candidates", "create_and_open"),
        *("authorize", "record_outcome"),
    ),
    # The first account declines; phase 2 opens an attempt at the second one.
    Scenario.FAILOVER: (
        *("read_payment", "candidates", "open_attempt"),
        *("authorize", "candidates", "record_outcome"),
        *("authorize", "record_outcome"),
    ),
}
"""What each request awaits, in order; a new await changes this on purpose."""
_ACCOUNTS = {
    Scenario.CONFIRM: ("mock",),
    Scenario.TWO_PHASE: ("stripe",),
    Scenario.CREATE: ("mock",),
    Scenario.FAILOVER: ("mock", "flaky"),
}


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

    def __init__(self, port: object, point: CrashPoint) -> None:
        self._port = port
        self._point = point

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)
        return self._wrapped(name, method) if inspect.iscoroutinefunction(method) else method

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
                # Gateways never raise; what is lost of their answer is lost with the process.
                is_gateway = name in {"authorize", "inquire", "fence"}
                raise Crash if is_gateway else StorageUnavailable("the acknowledgement was lost")
            return answer

        return call


@dataclass(slots=True)
class Directory:
    """The merchant's accounts."""

    found: Sequence[Candidate]

    async def candidates(self, _merchant_id: UUID) -> Sequence[Candidate]:
        return self.found


class SharedRng:
    """The randomness of the stage that is up."""

    now: SeededRng = SeededRng("nobody's")

    def uniform(self) -> float:
        return self.now.uniform()

    def bits(self, count: int) -> int:
        return self.now.bits(count)


@dataclass(slots=True)
class Ground:
    """What stages of one file stand on, one after the other."""

    store: PostgresStore
    rng: SharedRng
    administrator: asyncpg.Connection


@dataclass(slots=True)
class Stage:
    """What survives a crash: the database, the gateway, time; and dependencies of a living process."""

    scenario: Scenario
    truth: str
    deps: Deps
    store: PostgresStore
    clock: VirtualClock
    merchant_id: UUID
    book: Callable[[str], int]

    def dying(self, point: CrashPoint) -> Deps:
        """Dependencies of a process that will die at a point."""
        return replace(
            self.deps,
            store=Dying(self.deps.store, point),
            gateways=Dying(self.deps.gateways, point),
            accounts=Dying(self.deps.accounts, point),
        )

    async def create(self) -> None:
        """Create the payment, unless creating it is the scenario."""
        if self.scenario is not Scenario.CREATE:
            await create_payment(self._creation(), self.deps)

    async def request(self, deps: Deps) -> Reply:
        """Send the client's request; always the same one."""
        use = KeyUse("key-1", bytes(32))
        if self.scenario is Scenario.CREATE:
            return await create_payment(replace(self._creation(), confirm=True, key=use), deps)
        payment = await self.payment()
        assert payment is not None
        return await confirm_payment(ConfirmPayment(self._caller(), payment.id, use), deps)

    async def payment(self) -> Payment | None:
        """Read the payment; None before it is created."""
        found = await self.store.payment_holding_reference(self.merchant_id, REFERENCE)
        if found is None:
            # A payment that came to nothing gives its reference back.
            walked, _, _ = await self.store.walk_payments(
                self.merchant_id, _TEST_MODE, UUID(int=2**128 - 1), UUID(int=0), None, None, None, 10, None, None, 10
            )
            found = walked[0] if walked else None
        return None if found is None else await self.store.load_payment(self.merchant_id, found)

    def charges(self, payment: Payment) -> int:
        """Count the real charges of the payment in the gateway's own book."""
        return self.book(public_id(Kind.PAYMENT, payment.id))

    def _creation(self) -> CreatePayment:
        method = PaymentMethod("card", self.truth)
        if self.scenario is Scenario.FAILOVER:
            method = PaymentMethod("card", None, {"mock": "sandbox_decline_soft", "flaky": self.truth})
        return CreatePayment(
            caller=self._caller(), money=Money(1999, "eur"), payment_method=method, reference=REFERENCE
        )

    def _caller(self) -> Caller:
        return Caller(self.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")


@contextlib.asynccontextmanager
async def open_ground(dsn: str) -> AsyncIterator[Ground]:
    """Connect to a database for many stages: what is planned and remembered in a connection is theirs together."""
    rng = SharedRng()
    store = PostgresStore(DatabaseSettings(dsn), rng=rng, sealer=TEST_SEALER)
    await store.open()
    administrator = await asyncpg.connect(dsn)
    try:
        yield Ground(store, rng, administrator)
    finally:
        await administrator.close()
        await store.close()


@contextlib.asynccontextmanager
async def set_up(
    ground: Ground, sandbox: SandboxProcess, scenario: Scenario, truth: str, *, seed: str
) -> AsyncIterator[Stage]:
    """Open a stage with one merchant and its accounts, on emptied tables."""
    await ground.administrator.execute(EMPTY)
    clock, rng, store = VirtualClock(), SeededRng(seed), ground.store
    ground.rng.now = rng
    # What the stage before it was remembered by.
    store._born.clear()
    store.inbound._known.clear()
    ids = SeededIds(clock, rng)
    stripe = calm_stripe(clock, truth)
    async with Transport(clock) as sockets:
        two_phase = scenario is Scenario.TWO_PHASE
        gateways = HttpGateways(
            CONNECTORS,
            transport=DirectTransport(stripe, clock) if two_phase else sockets,  # type: ignore[arg-type]
            clock=clock,
            ids=ids,
            in_process=IN_PROCESS,
            webhooks=WEBHOOKS,
        )

        async def sleep(seconds: float) -> None:
            clock.seconds += seconds

        def book(payment_id: str) -> int:
            if two_phase:
                return sum(charge.payment_id == payment_id for charge in stripe.book)
            return len(sandbox.charges(payment_id))

        merchant_id, candidates = ids.new(), []
        await insert_merchant(store.pool, MerchantRow(merchant_id, "shop", {}, clock.now()))
        for priority, name in enumerate(_ACCOUNTS[scenario]):
            candidates.append(await _account(store, merchant_id, name, sandbox.url, priority, ids))
        deps = Deps(store, gateways, Directory(candidates), clock, ids, rng, sleep, Clocks())
        yield Stage(scenario, truth, deps, store, clock, merchant_id, book)


async def _account(
    store: PostgresStore, merchant_id: UUID, name: str, url: str, priority: int, ids: SeededIds
) -> Candidate:
    account_id = ids.new()
    row = AccountRow(account_id, name, name, "enabled", livemode=False, base_url=url, priority=priority, credentials=None)  # fmt: skip  # noqa: E501
    await insert_gateway_account(store.pool, merchant_id, row, at=ids.clock.now())
    credentials = dict.fromkeys(CONNECTORS[name].credential_names, "sk_test_stage")
    account = GatewayAccount(public_id(Kind.GATEWAY_ACCOUNT, account_id), name, url, credentials, livemode=False)
    return Candidate(account_id, account, CONNECTORS[name].capabilities, "enabled", priority)
