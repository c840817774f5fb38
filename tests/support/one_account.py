"""The flows on real Postgres with one merchant and one account, on time that a test moves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from paymux_connectors.driver import HttpGateways, InProcess
from paymux_connectors.registry import CONNECTORS, IN_PROCESS, WEBHOOKS
from paymux_connectors.transport import Transport
from paymux_core.clocks import Clocks
from paymux_core.connector import GatewayAccount
from paymux_core.ids import Kind, public_id
from paymux_core.inbound_webhooks import WebhookDialect
from paymux_core.routing import Candidate
from paymux_flows.deps import Deps
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.merchants import AccountRow, MerchantRow, insert_gateway_account, insert_merchant
from paymux_postgres.store import PostgresStore
from tests.support.chance import TEST_SEALER, SeededIds, SeededRng


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
    """The database, time, and the dependencies of a process."""

    deps: Deps
    store: PostgresStore
    clock: VirtualClock
    merchant_id: UUID


@contextlib.asynccontextmanager
async def set_up(
    dsn: str,
    gateway_url: str,
    *,
    seed: str,
    gateway: str = "mock",
    call_seconds: float = 0.5,
    in_process: InProcess = IN_PROCESS,
    webhooks: Mapping[str, WebhookDialect] = WEBHOOKS,
) -> AsyncIterator[Stage]:
    """Open a stage with one merchant and one account. `call_seconds` pass in real time."""
    clock, rng = VirtualClock(), SeededRng(seed)
    ids = SeededIds(clock, rng)
    store = PostgresStore(DatabaseSettings(dsn), rng=rng, sealer=TEST_SEALER)
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
            gateways = HttpGateways(
                CONNECTORS, transport=transport, clock=clock, ids=ids, in_process=in_process, webhooks=webhooks
            )

            async def sleep(seconds: float) -> None:
                clock.seconds += seconds

            # A silent gateway answers nothing for 25 s; the call gives up long before, in real time.
            clocks = replace(Clocks(), gateway_call=call_seconds)
            deps = Deps(store, gateways, OneAccount(candidate), clock, ids, rng, sleep, clocks)
            yield Stage(deps, store, clock, merchant_id)
    finally:
        await store.close()
