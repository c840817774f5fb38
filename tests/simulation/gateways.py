"""What both gateways have in common: they execute, keep their own book, remember keys, fail, and settle later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from paymux_core.connector import Caching
from paymux_core.exchange import Answer, HttpReply, HttpRequest, Verb
from tests.simulation.world import Fault

if TYPE_CHECKING:
    from tests.simulation.world import World

DAY_SECONDS = 86_400.0
KEY_WINDOW_SECONDS = 600.0
"""How long a gateway that is not Stripe remembers a key: longer than any zombie, shorter than a stalled process."""

Respond = Callable[[HttpReply], None]


class Record(StrEnum):
    """What a gateway's own record of an object says."""

    RESERVED = "reserved"
    DECLINED_SOFT = "declined_soft"
    DECLINED_HARD = "declined_hard"
    PENDING = "pending"
    ACTION = "action"
    CHARGED = "charged"
    FENCED = "fenced"


DECLINED = frozenset({Record.DECLINED_SOFT, Record.DECLINED_HARD})


@dataclass(slots=True, kw_only=True, eq=False)
class Charge:
    """One real charge in a gateway's book."""

    payment_id: str
    attempt_id: str
    gateway: str
    sent_at: float
    by_gateway_alone: bool = False
    """The gateway declined for good and charged later by itself: no request of ours did it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Item:
    """The gateway's object of one attempt."""

    id: str
    payment_id: str
    attempt_id: str
    amount: int
    currency: str
    record: Record = Record.RESERVED
    visible_at: float = 0.0
    executing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How one gateway behaves. `odds` of charged, softly declined, pending, action; the rest is declined for good."""

    caching: Caching
    can_fence: bool
    can_look_up: bool
    late_success: bool
    lag_seconds: float
    odds: tuple[float, float, float, float]


@dataclass(slots=True)
class Gateway:
    """Executes requests and keeps the book; a dialect says how it is spoken to."""

    world: World
    name: str
    habits: Habits
    items: dict[str, Item] = field(default_factory=dict)
    book: list[Charge] = field(default_factory=list)
    _stored: dict[str, tuple[Answer, float]] = field(default_factory=dict)
    _executing: dict[str, int] = field(default_factory=dict)
    _limited: set[tuple[str, float]] = field(default_factory=set)

    # What a dialect says ------------------------------------------------------------------------------------

    def look_up(self, request: HttpRequest) -> Answer:
        """Answer a question."""
        raise NotImplementedError

    def fence(self, request: HttpRequest) -> Answer:
        """Answer a cancel."""
        raise NotImplementedError

    def reserve(self, request: HttpRequest) -> Answer:
        """Make an object that nobody has charged yet."""
        raise NotImplementedError

    def item_of(self, request: HttpRequest) -> Item:
        """Find or make the object a charge is about."""
        raise NotImplementedError

    def refusal(self, item: Item) -> Answer | None:
        """Refuse a charge of an object that can take none."""
        raise NotImplementedError

    def tell(self, item: Item) -> Answer:
        """Answer a charge that was executed."""
        raise NotImplementedError

    # What all do --------------------------------------------------------------------------------------------

    def collapses(self, request: HttpRequest) -> bool:
        """Whether a request that arrives twice does no more than one that arrives once."""
        return request.verb is not Verb.CHARGE or self.habits.caching is Caching.ALL

    def receive(self, request: HttpRequest, sent_at: float, respond: Respond) -> None:
        """Handle a request that arrived; the answer may come later or never."""
        match request.verb:
            case Verb.INQUIRE:
                failing = not self.habits.can_look_up or self.world.hit(Fault.LOOKUP_FAILS)
                respond(error(500, "internal_error") if failing else self.look_up(request))
            case Verb.FENCE:
                respond(self.fence(request) if self.habits.can_fence else error(400, "no_such_thing"))
            case Verb.RESERVE:
                respond(self._once(request, self.reserve))
            case Verb.CHARGE:
                self._charge(request, sent_at, respond)

    def _once(self, request: HttpRequest, act: Callable[[HttpRequest], Answer]) -> Answer:
        key = str(request.idempotency_key)
        if key not in self._stored:
            self._stored[key] = (act(request), float("inf"))
        return self._stored[key][0]

    def _charge(self, request: HttpRequest, sent_at: float, respond: Respond) -> None:
        world, key = self.world, str(request.idempotency_key)
        if world.hit(Fault.RATE_LIMITED):
            # One message that arrives twice is refused twice: the certificate speaks of the message.
            self._limited.add((key, sent_at))
        if (key, sent_at) in self._limited:
            return respond(error(429, "rate_limited", headers={"sandbox-certified": "not-executed"}))
        stored = self._stored.get(key)
        if stored is not None and world.loop.now < stored[1]:
            return respond(stored[0])
        item = self.item_of(request)
        in_flight = self.habits.caching is not Caching.NONE and self._executing.get(key, 0) > 0
        if in_flight:
            return respond(error(409, "idempotency_key_in_use"))
        refused = self.refusal(item)
        if refused is not None:
            return respond(refused)
        if world.hit(Fault.ERROR_BEFORE):
            self._store(key, error(500, "internal_error"))
            return respond(error(500, "internal_error"))
        self._executing[key] = self._executing.get(key, 0) + 1
        item.executing += 1
        seconds = world.between(5.0, 40.0) if world.hit(Fault.SLOW_GATEWAY) else world.between(0.05, 2.0)
        world.outside(seconds, self._execute, key, item, sent_at, respond)
        return None

    def _execute(self, key: str, item: Item, sent_at: float, respond: Respond) -> None:
        self._executing[key] -= 1
        item.executing -= 1
        record = self._draw()
        self.world.note(self.name, f"executes {key}: {record}")
        self._book(item, record, sent_at)
        answer = self.tell(item)
        if self.world.hit(Fault.ERROR_AFTER):
            answer = error(500, "internal_error")
        self._store(key, answer)
        respond(answer)

    def _draw(self) -> Record:
        roll = self.world.rng.random()
        outcomes = (Record.CHARGED, Record.DECLINED_SOFT, Record.PENDING, Record.ACTION)
        for record, odds in zip(outcomes, self.habits.odds, strict=True):
            if roll < odds:
                return record
            roll -= odds
        return Record.DECLINED_HARD

    def _store(self, key: str, answer: Answer) -> None:
        lasting = self.habits.caching is Caching.ALL
        if lasting or (self.habits.caching is Caching.SUCCESS and self.is_success(answer)):
            window = float("inf") if lasting and self.name == "stripe" else KEY_WINDOW_SECONDS
            self._stored[key] = (answer, self.world.loop.now + window)

    def is_success(self, answer: Answer) -> bool:
        """Tell whether a gateway that stores only successes stores this."""
        return answer.http_status == 200 and b'"declined"' not in answer.body

    def _book(self, item: Item, record: Record, sent_at: float) -> None:
        world = self.world
        if item.record is Record.FENCED:
            return
        if item.record is not Record.CHARGED:
            item.record = record
        item.visible_at = world.loop.now + world.between(0.0, self.habits.lag_seconds)
        if record is Record.CHARGED:
            self._write(item, sent_at)
        if record is Record.PENDING and world.chance(0.85):
            settled = Record.CHARGED if world.chance(0.7) else Record.DECLINED_HARD
            world.outside(world.between(10.0, 7_000.0), self._settle, item, settled, sent_at)
        if record is Record.ACTION and world.chance(0.6):
            # The customer comes back, perhaps after the deadline.
            world.outside(world.between(10.0, 2_400.0), self._settle, item, Record.CHARGED, sent_at)
        if record in DECLINED and self.habits.late_success and world.chance(0.4):
            world.outside(world.between(60.0, 2 * DAY_SECONDS), self._charge_late, item, sent_at)

    def _settle(self, item: Item, record: Record, sent_at: float) -> None:
        if item.record in (Record.PENDING, Record.ACTION):
            self.world.note(self.name, f"settles {item.attempt_id}: {record}")
            self._book(item, record, sent_at)

    def _charge_late(self, item: Item, sent_at: float) -> None:
        if item.record in DECLINED:
            item.record = Record.CHARGED
            self._write(item, sent_at, by_gateway_alone=True)

    def _write(self, item: Item, sent_at: float, *, by_gateway_alone: bool = False) -> None:
        charge = Charge(
            payment_id=item.payment_id,
            attempt_id=item.attempt_id,
            gateway=self.name,
            sent_at=sent_at,
            by_gateway_alone=by_gateway_alone,
        )
        self.book.append(charge)
        self.world.oracle.charged(charge)


def answer(status: int, content: object) -> Answer:
    """Write JSON."""
    return Answer(status, {"content-type": "application/json"}, json.dumps(content).encode())


def error(status: int, code: str, *, headers: dict[str, str] | None = None, **more: object) -> Answer:
    """Say no, in the form both dialects read."""
    said = answer(status, {"error": {"type": "invalid_request_error", "code": code, "message": code}, **more})
    return Answer(said.http_status, {**said.headers, **(headers or {})}, said.body)
