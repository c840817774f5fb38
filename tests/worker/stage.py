"""Payments whose confirm ended unknown, a gateway that says what a test wants, workers on time that a test moves."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import msgspec
from msgspec.structs import replace

from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import CONNECTORS, IN_PROCESS
from paymux_connectors.transport import Sent
from paymux_core.connector import GatewayAccount
from paymux_core.exchange import Answer, HttpRequest, NoReply, TransportError, Verb
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_core.money import Money
from paymux_core.ports import CallLimits
from paymux_core.records import Payment, PaymentMethod
from paymux_core.routing import Candidate
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_postgres.merchants import AccountRow, insert_gateway_account
from paymux_testkit.merchant_client import eventually
from paymux_worker.loop import Worker
from tests.support.one_account import VirtualClock, set_up

AMOUNT = 1999
_keys = count(1)


def nothing_known() -> Sent:
    """The gateway answers nothing in time."""
    return Sent(NoReply(TransportError.TIMEOUT))


def absent() -> Sent:
    """The gateway has never heard of it."""
    return Sent(Answer(200, {}, b'{"data": []}'))


def charged(request: HttpRequest) -> Sent:
    """The gateway shows the charge that is asked for."""
    attempt_id = parse_qs(urlsplit(request.url).query)["attempt_id"][0]
    charge = {
        "id": f"ch_{attempt_id}",
        "status": "succeeded",
        "amount": AMOUNT,
        "currency": "EUR",
        "attempt_id": attempt_id,
    }
    return Sent(Answer(200, {}, msgspec.json.encode({"data": [charge]})))


@dataclass(slots=True)
class SpokenGateway:
    """The wire to a gateway: what it answers to a look, or a fence, is the test's word; else it is silent."""

    look: Callable[[HttpRequest], Awaitable[Sent]]
    sent: list[HttpRequest] = field(default_factory=list)
    on_fence: Callable[[], Awaitable[None]] | None = None
    on_charge: Callable[[], Awaitable[None]] | None = None
    fence: Callable[[HttpRequest], Awaitable[Sent]] | None = None

    async def send(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        """Answer one request."""
        assert limits.ends_at > 0
        self.sent.append(request)
        if request.verb is Verb.FENCE and self.on_fence is not None:
            await self.on_fence()
        if request.verb is Verb.CHARGE and self.on_charge is not None:
            await self.on_charge()
        if request.verb is Verb.FENCE and self.fence is not None:
            return await self.fence(request)
        return await self.look(request) if request.verb is Verb.INQUIRE else nothing_known()

    def count(self, verb: Verb) -> int:
        """Count the requests of a kind."""
        return sum(request.verb is verb for request in self.sent)


@dataclass(slots=True)
class Accounts:
    """The merchant's accounts; without any, no connector of theirs is installed here."""

    found: Sequence[Candidate]
    broken: bool = False

    async def candidates(self, _merchant_id: UUID) -> Sequence[Candidate]:
        """List them. Raises: ValueError where their credentials cannot be opened."""
        if self.broken:
            message = "the credentials were sealed with another key"
            raise ValueError(message)
        return self.found


@dataclass(slots=True)
class Stage:
    """What a test works with."""

    deps: Deps
    clock: VirtualClock
    gateway: SpokenGateway
    accounts: Accounts
    merchant_id: UUID
    admin: asyncpg.Connection

    async def unknown_payment(self, *, gateway: str = "mock") -> UUID:
        """Confirm a payment whose charge is never answered; `both`: the merchant has a token for either account."""
        caller = Caller(self.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
        names = ("mock", "flaky") if gateway == "both" else (gateway,)
        method = PaymentMethod("card", None, dict.fromkeys(names, "sandbox_approve"))
        created = await create_payment(CreatePayment(caller, Money(AMOUNT, "eur"), payment_method=method), self.deps)
        payment_id = parse_public_id(Kind.PAYMENT, msgspec.json.decode(created.body)["id"])
        assert payment_id is not None
        use = KeyUse(f"key-{next(_keys)}", bytes(32))
        reply = await confirm_payment(ConfirmPayment(caller, payment_id, use), self.deps)
        assert reply.http_status == 202
        return payment_id

    def able(self, **capabilities: object) -> None:
        """Let the gateway be one that can do this."""
        self.accounts.found = [
            replace(candidate, capabilities=replace(candidate.capabilities, **capabilities))
            for candidate in self.accounts.found
        ]

    async def payment(self, payment_id: UUID) -> Payment:
        """Read a payment."""
        payment = await self.deps.store.load_payment(self.merchant_id, payment_id)
        assert payment is not None
        return payment

    async def row(self, payment_id: UUID) -> asyncpg.Record:
        """Read the attempt's row."""
        row = await self.admin.fetchrow("select * from payment_attempts where payment_id = $1", payment_id)
        assert row is not None
        return row

    async def reviews(self, payment_id: UUID) -> list[str]:
        """List why a person is called."""
        rows = await self.admin.fetch("select reason from reviews where payment_id = $1 order by id", payment_id)
        return [row["reason"] for row in rows]

    async def let_it_be_due(self, payment_id: UUID) -> None:
        """Move time to the attempt's check."""
        due_at = (await self.row(payment_id))["next_check_at"]
        self.clock.seconds += max(0.0, (due_at - self.clock.now()) / timedelta(seconds=1)) + 1

    async def checked(self, payment_id: UUID) -> asyncpg.Record:
        """Let a worker do the check that is due, and nothing more."""
        before = (await self.row(payment_id))["check_count"]
        async with self.working():
            return await self.until(payment_id, lambda row: row["check_count"] > before and row["lease_token"] is None)

    async def until(self, payment_id: UUID, accepts: Callable[[asyncpg.Record], bool]) -> asyncpg.Record:
        """Wait until the attempt's row is as a test wants it."""

        async def read() -> asyncpg.Record:
            return await self.row(payment_id)

        return await eventually(read, accepts, seconds=30)

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """Have a worker run; it stops at the end."""
        worker = Worker(self.deps, "test", asyncio.Event())
        running = asyncio.create_task(worker.run())
        try:
            yield worker
            assert not running.done(), "the worker ended by itself"
        except BaseException:
            # What the test holds up would never end.
            running.cancel()
            raise
        worker.stopping.set()
        await running

    async def add_account(self, gateway: str) -> None:
        """Give the merchant one more account."""
        account_id = self.deps.ids.new()
        url = "http://127.0.0.1:1"
        row = AccountRow(account_id, gateway, gateway, "enabled", livemode=False, base_url=url, priority=2, credentials=None)  # fmt: skip  # noqa: E501
        await insert_gateway_account(self.deps.store.pool, self.merchant_id, row, at=self.clock.now())  # type: ignore[attr-defined]
        account = GatewayAccount(public_id(Kind.GATEWAY_ACCOUNT, account_id), gateway, url, {"api_key": "k"}, livemode=False)  # fmt: skip  # noqa: E501
        self.accounts.found = [
            *self.accounts.found,
            Candidate(account_id, account, CONNECTORS[gateway].capabilities, "enabled", 2),
        ]


async def _nothing(_request: HttpRequest) -> Sent:
    return nothing_known()


@contextlib.asynccontextmanager
async def worker_stage(dsn: str, *, seed: str) -> AsyncIterator[Stage]:
    """Open a stage with one merchant and one mock account."""
    admin = await asyncpg.connect(dsn)
    try:
        async with set_up(dsn, "http://127.0.0.1:1", seed=seed) as one:
            gateway = SpokenGateway(_nothing)
            gateways = HttpGateways(
                CONNECTORS,
                transport=gateway,  # type: ignore[arg-type]
                clock=one.clock,
                ids=one.deps.ids,
                in_process=IN_PROCESS,
            )
            # Asked about one by one, unless a test is about the list.
            accounts = Accounts(
                [
                    replace(candidate, capabilities=replace(candidate.capabilities, lists=False))
                    for candidate in await one.deps.accounts.candidates(one.merchant_id)
                ]
            )
            deps = replace(one.deps, gateways=gateways, accounts=accounts)
            yield Stage(deps, one.clock, gateway, accounts, one.merchant_id, admin)
    finally:
        await admin.close()


async def work_where_a_look_kills(dsn: str, merchant_id: UUID, poison: str, offset_seconds: float) -> None:
    """Run a worker whose process dies when it asks about one attempt: what a child process of a test does."""
    async with worker_stage(dsn, seed=f"poison {offset_seconds}") as stage:
        stage.clock.seconds = offset_seconds
        stage.merchant_id = merchant_id
        rows = await stage.admin.fetch("select id, base_url from gateway_accounts where merchant_id = $1", merchant_id)
        (first,) = stage.accounts.found
        stage.accounts.found = [replace(first, account_id=rows[0]["id"])]

        async def look(request: HttpRequest) -> Sent:
            if poison in request.url:
                os.kill(os.getpid(), signal.SIGKILL)
            # Its neighbours are under way when it dies.
            await asyncio.sleep(0.3)
            return charged(request)

        stage.gateway.look = look
        await Worker(stage.deps, "doomed", asyncio.Event()).run()
