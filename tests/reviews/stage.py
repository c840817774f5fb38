"""Payments under review, and a gateway in this process that says what a test wants."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count
from uuid import UUID

import asyncpg
import msgspec

from paymux_core.exchange import Answer, HttpReply, HttpRequest, NoReply, TransportError, Verb
from paymux_core.ids import Kind, parse_public_id
from paymux_core.money import Money
from paymux_core.records import Payment, PaymentMethod, Review
from paymux_core.review_rules import ReviewAction
from paymux_flows.commands import Caller, ConfirmPayment, CreatePayment, KeyUse, Reply, ResolveReview
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.resolve_review import resolve_review
from paymux_postgres.bodies import unpack_body
from tests.support.builders import insert
from tests.support.one_account import Stage as OneAccountStage
from tests.support.one_account import set_up
from tests.support.postgres import Database

AMOUNT = 1999
KEY_ID = "0000000000"
_keys = count(1)
Says = Callable[[HttpRequest], HttpReply]


def silence(_request: HttpRequest) -> HttpReply:
    """Nothing is answered in time."""
    return NoReply(TransportError.TIMEOUT)


def _json(status: int, document: object) -> Answer:
    return Answer(status, {"request-id": "gw_1"}, json.dumps(document).encode())


def no_charge(_request: HttpRequest) -> HttpReply:
    """The gateway shows nothing."""
    return _json(200, {"data": []})


def fenced(_request: HttpRequest) -> HttpReply:
    """The cancel is acknowledged."""
    return _json(200, {"status": "fenced", "charge": None})


def _charge(request: HttpRequest, status: str, fields: dict[str, object]) -> dict[str, object]:
    attempt_id = request.url.rpartition("attempt_id=")[2] or json.loads(request.body)["attempt_id"]
    if request.body:
        attempt_id = json.loads(request.body)["attempt_id"]
    return {"id": "ch_1", "status": status, "amount": AMOUNT, "currency": "EUR", "attempt_id": attempt_id} | fields


def shows(status: str, **fields: object) -> Says:
    """The gateway shows one charge."""
    return lambda request: _json(200, {"data": [_charge(request, status, fields)]})


def too_late(**fields: object) -> Says:
    """The cancel comes too late: it was charged."""

    def refuse(request: HttpRequest) -> HttpReply:
        charge = _charge(request, "succeeded", fields)
        return _json(409, {"error": {"code": "already_charged", "message": "no"}, "charge": charge})

    return refuse


@dataclass(slots=True)
class Gateway:
    """What the gateway says to each kind of request, and what it was sent."""

    charge: Says = silence
    look: Says = no_charge
    fence: Says = fenced
    sent: list[HttpRequest] = field(default_factory=list)

    def respond(self, request: HttpRequest) -> HttpReply:
        """Answer one request."""
        self.sent.append(request)
        says = {Verb.CHARGE: self.charge, Verb.INQUIRE: self.look, Verb.FENCE: self.fence}
        return says[request.verb](request)

    def count(self, verb: Verb) -> int:
        """Count the requests of a kind."""
        return sum(request.verb is verb for request in self.sent)


@dataclass(slots=True)
class Stage:
    """What a test works with."""

    of_account: OneAccountStage
    gateway: Gateway
    admin: asyncpg.Connection

    @property
    def caller(self) -> Caller:
        """Who resolves."""
        return Caller(self.of_account.merchant_id, livemode=False, api_key_id=KEY_ID, request_id="req_resolve")

    async def confirmed(self) -> UUID:
        """Confirm a payment; with a silent gateway nobody knows what became of it."""
        deps = self.of_account.deps
        create = CreatePayment(self.caller, Money(AMOUNT, "eur"), payment_method=PaymentMethod("card", "tok_1"))
        payment_id = parse_public_id(Kind.PAYMENT, json.loads((await create_payment(create, deps)).body)["id"])
        assert payment_id is not None
        use = KeyUse(f"key-{next(_keys)}", bytes(32))
        await confirm_payment(ConfirmPayment(self.caller, payment_id, use), deps)
        self.of_account.clock.seconds += 600
        return payment_id

    async def under_review(self, reason: str, payment_id: UUID | None = None) -> tuple[UUID, UUID]:
        """Plant an open review of a payment; answers the payment and the review."""
        payment_id = payment_id or await self.confirmed()
        review_id = self.of_account.deps.ids.new()
        await insert(
            self.admin,
            "reviews",
            merchant_id=self.of_account.merchant_id,
            id=review_id,
            payment_id=payment_id,
            attempt_number=1,
            reason=reason,
            status="open",
            opened_at=self.of_account.clock.now(),
        )
        return payment_id, review_id

    async def resolve(
        self, review_id: UUID, action: ReviewAction | str, *, key: KeyUse | None = None, **more: str
    ) -> Reply:
        """Resolve a review."""
        command = ResolveReview(self.caller, review_id, ReviewAction(action), "what I saw", "Ann", key=key, **more)
        return await resolve_review(command, self.of_account.deps)

    async def payment(self, payment_id: UUID) -> Payment:
        """Read a payment."""
        payment = await self.of_account.store.load_payment(self.of_account.merchant_id, payment_id)
        assert payment is not None
        return payment

    async def review(self, review_id: UUID) -> Review:
        """Read a review."""
        review = await self.of_account.store.reviews.find(self.of_account.merchant_id, review_id, livemode=False)
        assert review is not None
        return review

    async def told(self, payment_id: UUID) -> list[str]:
        """List the types of a payment's events."""
        rows = await self.admin.fetch(
            "select type from payment_events where payment_id = $1 order by position", payment_id
        )
        return [row["type"] for row in rows]

    async def action(self, payment_id: UUID) -> dict[str, object]:
        """Read what the log keeps of the last thing a person did."""
        body = await self.admin.fetchval(
            "select body from payment_events where payment_id = $1 and type like 'review.%' "
            "order by position desc limit 1",
            payment_id,
        )
        return msgspec.json.decode(unpack_body(body), type=dict[str, object])

    async def violations(self) -> list[str]:
        """List what is broken in the whole book."""
        rows = await self.admin.fetch("select * from inv.all_violations($1)", self.of_account.clock.now())
        return [str(row) for row in rows]


@contextlib.asynccontextmanager
async def review_stage(database: Database, *, seed: str = "reviews") -> AsyncIterator[Stage]:
    """Open a stage."""
    gateway = Gateway()
    admin = await asyncpg.connect(database.dsn)
    try:
        async with set_up(database.app_dsn, "test:", seed=seed, in_process={"test": gateway.respond}) as opened:
            yield Stage(opened, gateway, admin)
    finally:
        await admin.close()
