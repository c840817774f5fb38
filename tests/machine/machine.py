"""The state machine: create, confirm, cancel, read, look, let time pass, let the worker run; then compare."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from paymux_connectors.driver import HttpGateways
from paymux_connectors.registry import CONNECTORS, IN_PROCESS
from paymux_core.clocks import Clocks
from paymux_core.connector import GatewayAccount
from paymux_core.errors import Refused
from paymux_core.ids import Kind, parse_attempt_id, public_id
from paymux_core.money import Money
from paymux_core.phases import Claim
from paymux_core.records import PaymentMethod
from paymux_core.routing import Candidate
from paymux_flows.cancel import cancel_payment
from paymux_flows.commands import Caller, CancelPayment, ConfirmPayment, CreatePayment, KeyUse, Reply
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_flows.read import get_payment, sync_payment
from paymux_flows.reconcile import check
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.store import PostgresStore
from tests.crash_points.stage import Crash, CrashPoint, Dies, Directory, Dying
from tests.machine.gateway import FINAL_TOKENS, TOKENS, NotingTransport
from tests.machine.reference import ACCOUNTS, Reference
from tests.model.rules import AttemptStatus
from tests.model.store import Answer
from tests.support.chance import TEST_SEALER, SeededIds, SeededRng
from tests.support.empty import EMPTY
from tests.support.one_account import VirtualClock

MERCHANT_ID = UUID(int=1)
CHECKS_MAX = 20
_CALLER = Caller(MERCHANT_ID, livemode=False, api_key_id="0000000000", request_id="req_machine")
_INSERT_MERCHANT = "insert into merchants (id, name, created_at) values ($1, 'shop', $2)"
_INSERT_ACCOUNT = (
    "insert into gateway_accounts (merchant_id, id, gateway, name, status, livemode, base_url, priority, created_at, "
    "updated_at) values ($1, $3, $4, $4, 'enabled', false, 'http://gateways.example', 1, $2, $2)"
)
_ASK_STATUSES = """
    select p.id, p.status, coalesce((select array_agg(a.status order by a.number) from payment_attempts a
                                     where a.payment_id = p.id), '{}') as attempts
    from payments p
"""
_Result = TypeVar("_Result")


class Bench:
    """What outlives one run of the machine: a loop, the database, the store's connections."""

    def __init__(self, dsn: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.rng = SeededRng("machine")
        self.store = PostgresStore(DatabaseSettings(dsn), rng=self.rng, sealer=TEST_SEALER)
        self.admin: asyncpg.Connection = self.run(asyncpg.connect(dsn))
        self.run(self.store.open())

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run to the end."""
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        """Disconnect."""
        self.run(self.store.close())
        self.run(self.admin.close())
        self.loop.close()


class Machine(RuleBasedStateMachine):
    """One client at a time; what waits, waits for the worker."""

    bench: ClassVar[Bench]
    payments: Bundle[str] = Bundle("payments")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.reference = Reference.new()
        self.transport = NotingTransport(self.clock)
        self.ids: dict[str, UUID] = {}
        self.keys = 0
        self.taken = 0
        bench, ids = self.bench, SeededIds(self.clock, self.bench.rng)
        bench.run(bench.admin.execute(EMPTY))
        bench.run(bench.admin.execute(_INSERT_MERCHANT, MERCHANT_ID, self.clock.now()))
        found = []
        for number, name in enumerate(ACCOUNTS):
            account_id = UUID(int=100 + number)
            bench.run(bench.admin.execute(_INSERT_ACCOUNT, MERCHANT_ID, self.clock.now(), account_id, name))
            public = public_id(Kind.GATEWAY_ACCOUNT, account_id)
            account = GatewayAccount(public, name, "http://gateways.example", {"api_key": "k"}, livemode=False)
            found.append(Candidate(account_id, account, CONNECTORS[name].capabilities, "enabled", number))
        gateways = HttpGateways(
            CONNECTORS,
            transport=self.transport,  # type: ignore[arg-type]
            clock=self.clock,
            ids=ids,
            in_process=IN_PROCESS,
        )
        self.deps = Deps(bench.store, gateways, Directory(found), self.clock, ids, bench.rng, self._sleep, Clocks())

    async def _sleep(self, seconds: float) -> None:
        self.clock.seconds += seconds

    # What a merchant does -----------------------------------------------------------------------------------

    @rule(target=payments, first=st.sampled_from(TOKENS), second=st.sampled_from(FINAL_TOKENS))
    def create(self, first: str, second: str) -> str:
        name = f"order-{len(self.ids)}"
        reply = self.ask(create_payment(self.creation(name, first, second), self.deps))
        assert reply == 201
        self.know(name)
        return name

    @rule(target=payments, first=st.sampled_from(TOKENS), second=st.sampled_from(FINAL_TOKENS))
    def create_and_confirm(self, first: str, second: str) -> str:
        name = f"order-{len(self.ids)}"
        command = replace(self.creation(name, first, second), confirm=True, key=self.use(f"create {name}"))
        reply = self.ask(create_payment(command, self.deps))
        self.know(name)
        assert self.reference.confirm(name, f"create {name}", self.clock.seconds) is Answer.ACCEPTED
        self.hear()
        assert reply == (201 if self.reference.is_final(name) else 202)
        return name

    @rule(name=payments, tab=st.integers(1, 2))
    def confirm(self, name: str, tab: int) -> None:
        key = f"confirm {name} {tab}"
        reply = self.ask(confirm_payment(ConfirmPayment(_CALLER, self.ids[name], self.use(key)), self.deps))
        answer = self.reference.confirm(name, key, self.clock.seconds)
        is_started = self.reference.attempts(name)[-1:] == [AttemptStatus.STARTED]
        self.hear()
        settled = 200 if self.reference.is_final(name) else 202
        expected = {
            Answer.ACCEPTED: settled,
            Answer.LIVE: settled,
            # What phase 2 has recorded is told at once; what is still under way is the owner's.
            Answer.IN_USE: 409 if is_started else 202,
            Answer.UNEXPECTED_STATE: 409,
        }
        assert reply == expected[answer]

    @rule(name=payments)
    def confirm_and_die(self, name: str) -> None:
        """The process dies once phase 1 is committed."""
        point = CrashPoint(3, Dies.AFTER)
        dying = replace(
            self.deps,
            store=Dying(self.deps.store, point),
            accounts=Dying(self.deps.accounts, point),
        )
        self.keys += 1
        key = f"confirm {name} dying {self.keys}"
        with contextlib.suppress(Crash, Refused):
            self.bench.run(confirm_payment(ConfirmPayment(_CALLER, self.ids[name], self.use(key)), dying))
        self.reference.confirm(name, key, self.clock.seconds)
        self.hear()

    @rule(name=payments)
    def cancel(self, name: str) -> None:
        self.keys += 1
        was_final = self.reference.is_final(name)
        command = CancelPayment(_CALLER, self.ids[name], self.use(f"cancel {name} {self.keys}"))
        reply = self.ask(cancel_payment(command, self.deps))
        self.reference.cancel(name, self.clock.seconds)
        self.hear()
        settled = 200 if self.reference.is_final(name) else 202
        assert reply == (409 if was_final else settled)

    @rule(name=payments)
    def get(self, name: str) -> None:
        assert self.ask(get_payment(_CALLER, self.ids[name], self.deps)) == 200

    @rule(name=payments)
    def sync(self, name: str) -> None:
        assert self.ask(sync_payment(_CALLER, self.ids[name], self.deps)) == 200
        self.hear()

    # What passes by itself ----------------------------------------------------------------------------------

    @rule(seconds=st.floats(0.1, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @rule(seconds=st.floats(30.0, 60.0))
    def worker_runs_in_the_window(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.bench.run(self._check_all())

    @rule(seconds=st.one_of(st.floats(60.0, 200.0), st.floats(3_600.0, 8_000.0)))
    def worker_runs_later(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.bench.run(self._check_all())

    async def _check_all(self) -> None:
        deps, names = self.deps, {payment_id: name for name, payment_id in self.ids.items()}
        for _ in range(CHECKS_MAX):
            now, claimed_at = self.clock.now(), self.clock.monotonic()
            claim = Claim(now, claimed_at, deps.ids.new(), now + timedelta(seconds=60), limit=1)
            due = await deps.store.claim_due_attempts(claim)
            for item in due:
                self.reference.lose(names[item.payment_id], item.number, self.clock.seconds)
                await check(item, deps, actor="worker:machine")
                self.hear()
            if not due:
                return

    # What must be true --------------------------------------------------------------------------------------

    @invariant()
    def the_product_is_where_the_model_is(self) -> None:
        rows = self.bench.run(self.bench.admin.fetch(_ASK_STATUSES))
        found = {row["id"]: (row["status"], row["attempts"]) for row in rows}
        for name, payment_id in self.ids.items():
            modelled = (str(self.reference.status(name)), self.reference.attempts(name))
            assert found[payment_id] == modelled, name

    @invariant()
    def the_book_is_what_the_payments_say(self) -> None:
        for name, payment_id in self.ids.items():
            public = public_id(Kind.PAYMENT, payment_id)
            charged = [c for g in self.transport.gateways.values() for c in g.book if c.payment_id == public]
            assert len(charged) <= 1, name
            status = str(self.reference.status(name))
            assert status not in {"failed", "canceled", "requires_confirmation"} or not charged, name
            assert status != "succeeded" or charged, name

    def teardown(self) -> None:
        rows = self.bench.run(self.bench.admin.fetch("select * from inv.all_violations($1)", self.clock.now()))
        # Here the worker may sleep for hours: what it did not come to is its own.
        waits = {"left_alone", "attempt_silent", "key_unfinished", "lease_stale"}
        assert [row for row in rows if row["invariant"] not in waits] == []

    # How ----------------------------------------------------------------------------------------------------

    def creation(self, name: str, first: str, second: str) -> CreatePayment:
        method = PaymentMethod("card", None, {"mock": first, "flaky": second})
        return CreatePayment(caller=_CALLER, money=Money(1999, "eur"), payment_method=method, reference=name)

    def use(self, key: str) -> KeyUse:
        return KeyUse(key, bytes(32))

    def ask(self, work: Coroutine[Any, Any, Reply]) -> int:
        """Answer the HTTP status."""
        try:
            return self.bench.run(work).http_status
        except Refused as refused:
            return 409 if refused.code in {"idempotency_key_in_use", "payment_unexpected_state"} else 500

    def know(self, name: str) -> None:
        """Learn the id of a payment just created: the newest one."""
        query = "select id from payments where merchant_id = $1 and reference = $2"
        rows = self.bench.run(self.bench.admin.fetch(query, MERCHANT_ID, name))
        self.ids[name] = rows[-1]["id"]
        self.reference.create(name)

    def hear(self) -> None:
        """Tell the model what the gateways told since the last time."""
        names = {payment_id: name for name, payment_id in self.ids.items()}
        for seen in self.transport.seen[self.taken :]:
            parsed = parse_attempt_id(seen.attempt_id)
            assert parsed is not None
            self.reference.heard(names[parsed[0]], parsed[1], seen, self.clock.seconds)
        self.taken = len(self.transport.seen)
