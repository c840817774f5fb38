"""A gateway that does what a payment's token says, and notes what it told, in the model's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from paymux_connectors.transport import Sent
from paymux_core.connector import Caching
from paymux_core.exchange import Answer, HttpReply, HttpRequest, NoReply, NotSent, TransportError, Verb
from paymux_core.ports import CallLimits
from tests.crash_points.calm import CalmWorld
from tests.model.rules import Outcome, Source
from tests.simulation.dialects import SingleCallGateway
from tests.simulation.gateways import Habits, Item, Record, Respond, error
from tests.support.one_account import VirtualClock

TOKENS = ("approve", "decline_soft", "decline_hard", "pending", "silent_before", "silent_after", "limited")
FINAL_TOKENS = ("approve", "decline_hard", "silent_after", "pending")
"""What the second account does: the model tries a third time where the product has no third account."""
PENDING_SECONDS = 60.0
_READS = {
    Record.CHARGED: Outcome.CHARGED,
    Record.DECLINED_SOFT: Outcome.DECLINED_SOFT,
    Record.DECLINED_HARD: Outcome.DECLINED_HARD,
    Record.PENDING: Outcome.PENDING,
    Record.FENCED: Outcome.VOIDED,
    Record.RESERVED: Outcome.ABSENT,
}
_DOES = {
    "approve": Record.CHARGED,
    "silent_after": Record.CHARGED,
    "silent_before": Record.CHARGED,
    "limited": Record.CHARGED,
    "decline_soft": Record.DECLINED_SOFT,
    "decline_hard": Record.DECLINED_HARD,
    "pending": Record.PENDING,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the model knows it: whose, what for, and what was told."""

    attempt_id: str
    source: Source
    outcome: Outcome


@dataclass(slots=True)
class TokenGateway(SingleCallGateway):
    """Obeys the token; a fault strikes the first charge of an attempt."""

    charges: dict[str, int] = field(default_factory=dict)
    token: str = ""

    def _charge(self, request: HttpRequest, sent_at: float, respond: Respond) -> None:
        asked = json.loads(request.body)
        self.token = asked["token"]
        first = asked["attempt_id"] not in self.charges
        self.charges[asked["attempt_id"]] = self.charges.get(asked["attempt_id"], 0) + 1
        if first and self.token == "silent_before":
            return
        if first and self.token == "limited":
            respond(error(429, "rate_limited", headers={"sandbox-certified": "not-executed"}))
            return
        hears = not (first and self.token == "silent_after")
        super(TokenGateway, self)._charge(request, sent_at, respond if hears else _to_nobody)

    def _draw(self) -> Record:
        return _DOES[self.token]

    def _book(self, item: Item, record: Record, sent_at: float) -> None:
        super(TokenGateway, self)._book(item, record, sent_at)
        item.visible_at = 0.0


def _to_nobody(_answer: HttpReply) -> None:
    return


class NotingTransport:
    """Hands requests to the gateways and notes what each of them told."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        world: Any = _World(clock)
        self._world = world
        habits = Habits(
            caching=Caching.ALL,
            can_fence=True,
            can_look_up=True,
            late_success=False,
            lag_seconds=0.0,
            odds=(1.0, 0.0, 0.0, 0.0),
        )
        self.gateways = {name: TokenGateway(world, name, habits) for name in ("mock", "flaky")}
        self.seen: list[Seen] = []

    async def send(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        now = self._clock.monotonic()
        if now >= limits.ends_at or (request.verb.moves_money and now >= limits.first_byte_before):
            return Sent(NotSent(TransportError.TOO_LATE))
        self._world.catch_up()
        gateway = self.gateways[request.url.split("/")[3]]
        attempt_id = request.url.partition("attempt_id=")[2] or json.loads(request.body)["attempt_id"]
        first = attempt_id not in gateway.charges
        replies: list[HttpReply] = []
        gateway.receive(request, self._clock.seconds, replies.append)
        reply = replies[0] if replies else NoReply(TransportError.TIMEOUT)
        self.seen.append(_told(gateway, request, attempt_id, reply, first=first))
        return Sent(reply)


class _World(CalmWorld):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock, "")

    def between(self, low: float, _high: float) -> float:
        """A pending charge settles after a minute; everything else at once."""
        return PENDING_SECONDS if low > 1.0 else low


def _told(gateway: TokenGateway, request: HttpRequest, attempt_id: str, reply: HttpReply, *, first: bool) -> Seen:
    item = gateway.items.get(attempt_id)
    record = Outcome.ABSENT if item is None else _READS[item.record]
    if request.verb is Verb.INQUIRE:
        return Seen(attempt_id, Source.RECORD, record)
    if request.verb is Verb.FENCE:
        definite = record in {Outcome.CHARGED, Outcome.VOIDED}
        return Seen(attempt_id, Source.FENCE, record if definite else Outcome.UNKNOWN)
    source = Source.FIRST if first else Source.RESEND
    if not isinstance(reply, Answer):
        return Seen(attempt_id, source, Outcome.UNKNOWN)
    limited = reply.http_status == 429
    return Seen(attempt_id, source, Outcome.NOT_EXECUTED if limited else record)
