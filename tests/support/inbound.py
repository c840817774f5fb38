"""Webhooks as the sandbox's gateways send them, and the work on them step by step."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from paymux_core.ids import Kind, attempt_id, parse_public_id, public_id
from paymux_core.inbound_webhooks import ReceivedWebhook
from paymux_core.money import Money
from paymux_core.records import Payment, PaymentMethod
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse, Reply
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_flows.receive_webhook import receive_webhook
from paymux_worker.inbound import InboundWorker
from tests.support.one_account import OneAccount, Stage

SECRET = "whsec_of_the_stage"


@dataclass(slots=True)
class Gateway:
    """The gateway of a stage, as far as it sends webhooks, and our two sides of them."""

    stage: Stage
    dsn: str
    signs_time: bool = True
    account_id: UUID = field(init=False)
    """The account its webhooks are for."""

    def __post_init__(self) -> None:
        accounts = self.stage.deps.accounts
        assert isinstance(accounts, OneAccount)
        self.account_id = accounts.candidate.account_id

    async def connect(self, *secrets: str) -> None:
        """Give the account its webhook secrets, the newest last."""
        for secret in secrets or (SECRET,):
            await self.stage.store.inbound.change_secrets(
                self.stage.merchant_id, self.account_id, new=secret, keep=1, at=self.stage.clock.now()
            )
        # What was read within the last second is remembered.
        self.stage.store.inbound._known.clear()

    def event(self, payment: Payment | None, kind: str = "charge.succeeded", **charge: object) -> bytes:
        """Word an event about a payment's last attempt; `charge` replaces what it says."""
        said: dict[str, object] = {"id": "ch_1", "status": kind.partition(".")[2]}
        if payment is not None:
            said["attempt_id"] = attempt_id(payment.id, len(payment.attempts))
        event_id = hashlib.sha256(json.dumps([kind, said | charge]).encode()).hexdigest()[:20]
        return json.dumps({"id": f"evt_{event_id}", "type": kind, "created": 1, "charge": said | charge}).encode()

    def headers(self, body: bytes, *, secret: str = SECRET, age_seconds: int = 0, event_id: str = "") -> dict[str, str]:
        """Sign a body now."""
        if not self.signs_time:
            return {"sandbox-signature": _mac(secret, body), "sandbox-event-id": event_id}
        at = int(self.stage.clock.now().timestamp()) - age_seconds
        return {"sandbox-signature": f"t={at},v1={_mac(secret, b'%d.%b' % (at, body))}"}

    async def send(self, body: bytes, headers: Mapping[str, str] | None = None, *, deps: Deps | None = None) -> Reply:
        """Deliver a webhook to our API's flow. Raises: Refused."""
        signed = self.headers(body) if headers is None else headers
        self.stage.clock.seconds += 0.001  # ids are in the order of their coming
        received = ReceivedWebhook(body, signed, self.stage.clock.now())
        return await receive_webhook(self.account_id, received, deps or self.stage.deps)

    async def work(self, *, deps: Deps | None = None) -> bool:
        """Let a worker apply what is due; False if nothing was."""
        worker = InboundWorker(deps or self.stage.deps, "test", asyncio.Event())
        begun = await worker.begin_due()
        await worker.finish_running()
        return begun

    async def work_for(self, seconds: int) -> None:
        """Let so many seconds pass, and a worker apply whatever comes due in them."""
        over_at = self.stage.clock.seconds + seconds
        while True:
            while await self.work():
                pass
            (due,) = await self.rows("select min(next_try_at) as at from inbound_webhook_work")
            wait = seconds if due["at"] is None else (due["at"] - self.stage.clock.now()).total_seconds()
            if self.stage.clock.seconds + wait >= over_at:
                self.stage.clock.seconds = over_at
                return
            self.stage.clock.seconds += max(wait, 0.001)

    async def rows(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Ask the database, as its administrator."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def violations(self) -> list[str]:
        """List the invariants that do not hold."""
        rows = await self.rows("select invariant, detail from inv.all_violations($1)", self.stage.clock.now())
        return [str(row) for row in rows]


async def confirmed(stage: Stage, token: str, *, key: str = "key", reference: str | None = None) -> Payment:
    """Create a payment and confirm it."""
    caller = Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
    command = CreatePayment(
        caller=caller, money=Money(1999, "eur"), payment_method=PaymentMethod("card", token), reference=reference
    )
    created = json.loads((await create_payment(command, stage.deps)).body)
    payment_id = payment_id_of(created["id"])
    await confirm_payment(ConfirmPayment(caller, payment_id, KeyUse(key, bytes(32))), stage.deps)
    return await loaded(stage, payment_id)


async def loaded(stage: Stage, payment_id: UUID) -> Payment:
    """Read a payment with all that belongs to it."""
    payment = await stage.store.load_payment(stage.merchant_id, payment_id)
    assert payment is not None
    return payment


def payment_id_of(text: str) -> UUID:
    """Read a payment's public id."""
    found = parse_public_id(Kind.PAYMENT, text)
    assert found is not None
    return found


def public(payment: Payment) -> str:
    """Write a payment's id as the API and the gateway's book do."""
    return public_id(Kind.PAYMENT, payment.id)


def results(rows: Sequence[asyncpg.Record]) -> list[tuple[str, str]]:
    """Give status and result of each."""
    return [(row["status"], row["result"]) for row in rows]


def _mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
