"""Two gateways with ledgers of their own: reserve-then-charge by object id, and one call per charge."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.model.oracle import Charge
from tests.model.rules import DAY_SECONDS, Caches, Outcome
from tests.model.world import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.world import World

# Longer than any zombie (240 s), shorter than a stalled process (900 s).
KEY_WINDOW_SECONDS = 600.0
WEBHOOK_TRIES_MAX = 6


class Verb(StrEnum):
    """What a request asks for; `charge` alone moves money."""

    RESERVE = "reserve"
    CHARGE = "charge"
    READ = "read"
    FENCE = "fence"
    REFUND = "refund"


class Record(StrEnum):
    """What a gateway's own record of an object says."""

    RESERVED = "reserved"
    DECLINED_SOFT = "declined_soft"
    DECLINED_HARD = "declined_hard"
    PENDING = "pending"
    CHARGED = "charged"
    FENCED = "fenced"


READ_OUTCOME = {
    Record.RESERVED: Outcome.ABSENT,
    Record.DECLINED_SOFT: Outcome.DECLINED_SOFT,
    Record.DECLINED_HARD: Outcome.DECLINED_HARD,
    Record.PENDING: Outcome.PENDING,
    Record.CHARGED: Outcome.CHARGED,
    Record.FENCED: Outcome.VOIDED,
}
_DECLINED = frozenset({Record.DECLINED_SOFT, Record.DECLINED_HARD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A gateway account and its capabilities, as a connector declares them."""

    name: str
    two_phase: bool
    caches: Caches
    can_fence: bool
    can_look_up: bool
    late_success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request on the wire."""

    verb: Verb
    payment_id: str
    attempt_id: str
    key: str
    object_id: str | None
    sent_at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, with the reserved object's id where there is one."""

    outcome: Outcome
    object_id: str | None = None


UNKNOWN = Answer(Outcome.UNKNOWN)
NOT_EXECUTED = Answer(Outcome.NOT_EXECUTED)


@dataclass(slots=True, kw_only=True)
class _Object:
    id: str
    attempt_id: str
    record: Record = Record.RESERVED
    visible_at: float = 0.0
    executing: int = 0


@dataclass(slots=True)
class Gateway:
    """Execute requests, keep the book, send webhooks."""

    world: World
    account: Account
    # The odds that a charge is approved, softly declined or pending; the rest is a hard decline.
    odds: tuple[float, float, float]
    objects: dict[str, _Object] = field(default_factory=dict)
    _stored: dict[str, tuple[Answer, float]] = field(default_factory=dict)
    _executing: dict[str, int] = field(default_factory=dict)
    _charges: dict[str, list[Charge]] = field(default_factory=dict)
    _webhooks: int = 0

    def receive(self, request: Request, reply: Callable[[Answer], None]) -> None:
        """Handle a request that arrived; the answer may come later or never."""
        match request.verb:
            case Verb.READ:
                reply(self._read(request))
            case Verb.RESERVE:
                reply(self._reserve(request))
            case Verb.FENCE:
                reply(self._fence(request))
            case Verb.REFUND:
                for charge in self._charges.get(request.attempt_id, []):
                    charge.returned = True
                reply(Answer(Outcome.VOIDED))
            case Verb.CHARGE:
                self._charge(request, reply)

    def _read(self, request: Request) -> Answer:
        if not self.account.can_look_up or self.world.hit(Fault.LOOKUP_FAILS):
            return UNKNOWN
        now = self.world.loop.now
        found = self._objects_of(request)
        # A charge is told before a decline: with two objects of one attempt the money is what counts.
        found.sort(key=lambda item: item.record is not Record.CHARGED)
        for item in found:
            if item.visible_at <= now:
                return Answer(READ_OUTCOME[item.record], item.id if self.account.two_phase else None)
        return Answer(Outcome.ABSENT)

    def _objects_of(self, request: Request) -> list[_Object]:
        if request.object_id is not None:
            return [self.objects[request.object_id]]
        return [item for item in self.objects.values() if item.attempt_id == request.attempt_id]

    def _reserve(self, request: Request) -> Answer:
        if request.key in self._stored:
            return self._stored[request.key][0]
        item = self._create(f"{request.attempt_id}.{self.account.name}{len(self.objects) + 1}", request.attempt_id)
        answer = Answer(Outcome.PENDING, item.id)
        if self.account.caches is not Caches.NONE:
            self._stored[request.key] = (answer, self.world.loop.now)
        return answer

    def _create(self, object_id: str, attempt_id: str) -> _Object:
        item = _Object(id=object_id, attempt_id=attempt_id)
        self.objects[object_id] = item
        return item

    def _target(self, request: Request) -> _Object:
        object_id = request.object_id or request.attempt_id
        return self.objects.get(object_id) or self._create(object_id, request.attempt_id)

    def _fence(self, request: Request) -> Answer:
        if not self.account.can_fence:
            return UNKNOWN
        item = self._target(request)
        if item.executing or item.record in (Record.CHARGED, Record.PENDING):
            return UNKNOWN
        if item.record in _DECLINED and not self.account.two_phase:
            return UNKNOWN
        item.record = Record.FENCED
        self.world.note(self.account.name, f"fences {item.id}")
        return Answer(Outcome.VOIDED)

    def _charge(self, request: Request, reply: Callable[[Answer], None]) -> None:
        world, key = self.world, request.key
        if world.hit(Fault.RATE_LIMITED):
            return reply(NOT_EXECUTED)
        stored = self._stored.get(key)
        if stored is not None and world.loop.now < stored[1] + KEY_WINDOW_SECONDS:
            return reply(stored[0])
        item = self._target(request)
        if self._is_in_flight(item, key) or self._is_closed(item):
            return reply(UNKNOWN)
        if world.hit(Fault.ERROR_BEFORE):
            self._store(key, UNKNOWN)
            return reply(UNKNOWN)
        self._executing[key] = self._executing.get(key, 0) + 1
        item.executing += 1
        if world.chance(0.3):
            self._webhook(request.attempt_id, Outcome.PENDING)
        seconds = world.between(5.0, 40.0) if world.hit(Fault.SLOW_GATEWAY) else world.between(0.05, 2.0)
        world.loop.call_later(seconds, self._execute, request, reply)
        return None

    def _is_in_flight(self, item: _Object, key: str) -> bool:
        if self.account.two_phase:
            return item.executing > 0
        return self.account.caches is not Caches.NONE and self._executing.get(key, 0) > 0

    def _is_closed(self, item: _Object) -> bool:
        taken = self.account.two_phase and item.record in (Record.CHARGED, Record.PENDING)
        return taken or item.record is Record.FENCED

    def _execute(self, request: Request, reply: Callable[[Answer], None]) -> None:
        world, item = self.world, self._target(request)
        self._executing[request.key] -= 1
        item.executing -= 1
        record = self._draw()
        world.note(self.account.name, f"executes {request.key}: {record}")
        self._book(item, record, request)
        answer = Answer(READ_OUTCOME[record])
        if world.hit(Fault.ERROR_AFTER):
            self._store(request.key, UNKNOWN)
            return reply(UNKNOWN)
        self._store(request.key, answer)
        if not world.hit(Fault.ANSWER_LOST):
            reply(answer)
        return None

    def _draw(self) -> Record:
        roll = self.world.rng.random()
        for record, odds in zip((Record.CHARGED, Record.DECLINED_SOFT, Record.PENDING), self.odds, strict=True):
            if roll < odds:
                return record
            roll -= odds
        return Record.DECLINED_HARD

    def _store(self, key: str, answer: Answer) -> None:
        is_2xx = answer.outcome in (Outcome.CHARGED, Outcome.PENDING)
        if self.account.caches is Caches.ALL or (self.account.caches is Caches.ONLY_2XX and is_2xx):
            self._stored[key] = (answer, self.world.loop.now)

    def _book(self, item: _Object, record: Record, request: Request) -> None:
        world = self.world
        if item.record is not Record.CHARGED:
            item.record = record
        item.visible_at = world.loop.now + world.between(0.0, 15.0)
        if record is Record.CHARGED:
            charge = Charge(request.payment_id, request.attempt_id, self.account.name, request.sent_at)
            self._write_charge(request, charge)
        self._webhook(request.attempt_id, READ_OUTCOME[record])
        if record is Record.PENDING and world.chance(0.85):
            settled = Record.CHARGED if world.chance(0.7) else Record.DECLINED_HARD
            world.loop.call_later(world.between(10.0, 7_000.0), self._book, item, settled, request)
        if record in _DECLINED and self.account.late_success and world.chance(0.3):
            world.loop.call_later(world.between(60.0, 2 * DAY_SECONDS), self._charge_late, item, request)

    def _charge_late(self, item: _Object, request: Request) -> None:
        if item.record in _DECLINED:
            item.record = Record.CHARGED
            charge = Charge(request.payment_id, item.attempt_id, self.account.name, request.sent_at)
            charge.by_gateway_alone = True
            self._write_charge(request, charge)
            self._webhook(request.attempt_id, Outcome.CHARGED)

    def _write_charge(self, request: Request, charge: Charge) -> None:
        self._charges.setdefault(request.attempt_id, []).append(charge)
        self.world.oracle.charged(charge)

    def _webhook(self, attempt_id: str, told: Outcome) -> None:
        world = self.world
        self._webhooks += 1
        event_id = f"{self.account.name}-{self._webhooks}"
        if world.hit(Fault.WEBHOOK_LOST):
            return
        for _ in range(2 if world.hit(Fault.WEBHOOK_TWICE) else 1):
            late = world.between(20.0, 9_000.0) if world.hit(Fault.WEBHOOK_LATE) else world.between(0.0, 3.0)
            world.loop.call_later(late, self._deliver, event_id, attempt_id, told, 1)

    def _deliver(self, event_id: str, attempt_id: str, told: Outcome, tries: int) -> None:
        world = self.world
        if event_id in world.store.gateway_events and tries > 1:
            return
        node = world.nodes[int(world.rng.random() * len(world.nodes))]
        if node.alive:
            node.receive_webhook(event_id, attempt_id, told)
        if tries < WEBHOOK_TRIES_MAX:
            world.loop.call_later(45.0, self._deliver, event_id, attempt_id, told, tries + 1)
