"""The judge: it reads the gateways' own books and the database's rows, and never the product's opinion."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from paymux_core.clocks import Clocks
from paymux_core.exchange import Verb
from paymux_core.ids import Kind, parse_attempt_id, public_id
from paymux_core.transitions import ATTEMPT_CLOSED, PAYMENT_TERMINAL
from tests.simulation.world import NODE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from paymux_core.exchange import HttpRequest
    from tests.simulation.gateways import Charge, Gateway
    from tests.simulation.nodes import Answered
    from tests.simulation.world import World

CLOCK_TOLERANCE_SECONDS = 3.0
"""A slow round trip to the database is measured as an error of the clock by half of it."""
_CLOCKS = Clocks()
_FINAL = frozenset(str(status) for status in PAYMENT_TERMINAL)
HTTP_CONFLICT = 409
_EXPECTED = frozenset({200, 201, 202, 409, 503})
"""What a client who knows its payment may be told: done, accepted, somebody was faster, not now."""

_ASK_SENT = """
    select provider_payment_id, created_at from payment_attempts where payment_id = $1 and number = $2
"""
_ASK_ACCEPTED = "select created_at from payment_attempts where payment_id = $1 and number = 1"
_ASK_END = """
    select p.id, p.status, p.cancellation_requested_at,
           exists (select from reviews r where r.payment_id = p.id and r.status = 'open') as reviewed,
           exists (select from late_charges l where l.payment_id = p.id) as late,
           coalesce((select array_agg(a.request_id) from payment_attempts a where a.payment_id = p.id), '{}')
               as opened_by,
           coalesce((select array_agg(a.status) from payment_attempts a
                     where a.payment_id = p.id and a.next_check_at is null), '{}') as unasked,
           (select max(a.created_at) from payment_attempts a where a.payment_id = p.id and a.number > 1) as further_at
    from payments p order by p.id
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer of an API node to a client."""

    request_id: str
    verb: str
    key: str
    answered: Answered


@dataclass(slots=True)
class Oracle:
    """Collect what must never happen."""

    world: World
    replies: list[Told] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _claimed_at: dict[tuple[str, UUID, int], datetime] = field(default_factory=dict)

    def sends(self, request: HttpRequest, gateway: Gateway) -> None:
        """Judge a request at its first byte: what allows a charge is committed, and it is in time."""
        if request.verb is not Verb.CHARGE:
            return
        object_id = urlsplit(request.url).path.split("/")[3] if gateway.name == "stripe" else None
        attempt_id = gateway.items[object_id].attempt_id if object_id else json.loads(request.body)["attempt_id"]
        parsed = parse_attempt_id(attempt_id)
        assert parsed is not None
        rows = self.world.server.read(_ASK_SENT, *parsed)
        if not rows:
            self.violated("a charge was sent before its attempt was committed", attempt_id)
            return
        if object_id is not None and rows[0]["provider_payment_id"] != object_id:
            self.violated("a charge was sent before its reserved id was committed", attempt_id)
        allowed = timedelta(seconds=_CLOCKS.first_byte + CLOCK_TOLERANCE_SECONDS)
        since = self._claimed_at.get((NODE.get().name, *parsed), rows[0]["created_at"])
        if self.world.now() > max(since, rows[0]["created_at"]) + allowed:
            self.violated("the first byte of a charge left too late", attempt_id)

    def claimed(self, worker: str, rows: Sequence[asyncpg.Record]) -> None:
        """Note whose check began when: a re-send counts from there."""
        for row in rows:
            self._claimed_at[worker, row["payment_id"], row["number"]] = self.world.now()

    def charged(self, charge: Charge) -> None:
        """Judge a charge as it is booked."""
        self.world.note(charge.gateway, f"CHARGES {charge.attempt_id}")
        if charge.by_gateway_alone:
            return
        if len(self._kept(charge.payment_id)) > 1:
            self.violated("double charge", charge.payment_id)
        parsed = parse_attempt_id(charge.attempt_id)
        assert parsed is not None
        accepted = self.world.server.read(_ASK_ACCEPTED, parsed[0])
        window = timedelta(seconds=_CLOCKS.charge_window + _CLOCKS.first_byte + CLOCK_TOLERANCE_SECONDS)
        sent_at = self.world.now() - timedelta(seconds=self.world.loop.now - charge.sent_at)
        if accepted and sent_at > accepted[0]["created_at"] + window:
            self.violated("charged after leaving the checkout", charge.payment_id)

    def raised(self, name: str, error: Exception) -> None:
        """Note what the product raised past its borders."""
        self.world.note(name, "".join(traceback.format_exception(error)))
        self.violated(f"{name} raised {type(error).__name__}: {error}", "-")

    def told(self, told: Told) -> None:
        """Judge an answer on its own."""
        self.replies.append(told)
        if told.answered.http_status not in _EXPECTED:
            self.violated(f"answered {told.answered.http_status} {told.answered.code}", told.request_id)

    def judge_the_end(self) -> None:
        """Judge what the quiet phase has left."""
        payments = {public_id(Kind.PAYMENT, row["id"]): row for row in self.world.server.read(_ASK_END)}
        for payment_id, row in payments.items():
            self._judge_payment(payment_id, row)
        for charge in self._book():
            if charge.payment_id not in payments:
                self.violated("charged for a payment that does not exist", charge.payment_id)
        self._judge_replies(payments)
        for row in self.world.server.read("select * from inv.all_violations($1)", self.world.now()):
            self.violated(f"{row['invariant']}: {row['detail']}", str(row["payment_id"]))

    def _judge_payment(self, payment_id: str, row: asyncpg.Record) -> None:
        ours = len(self._kept(payment_id))
        kept = ours + sum(c.by_gateway_alone for c in self._book() if c.payment_id == payment_id)
        status, explained = row["status"], row["late"] and row["reviewed"]
        match status:
            case "requires_confirmation" if kept:
                self.violated("orphan charge", payment_id)
            case "processing" | "requires_action" | "requires_capture" if not row["reviewed"]:
                self.violated(f"{status} without a review", payment_id)
            case "succeeded" if not kept:
                self.violated("succeeded but not charged", payment_id)
            case "failed" | "canceled" if ours:
                self.violated(f"{status} but charged", payment_id)
            case "failed" | "canceled" if kept and not explained:
                self.violated(f"{status} but charged, unexplained", payment_id)
            case _:
                pass
        if kept > 1 and not explained:
            self.violated("charged twice, unexplained", payment_id)
        if any(status not in ATTEMPT_CLOSED for status in row["unasked"]):
            self.violated("an open attempt without a next check", payment_id)
        asked_at, further_at = row["cancellation_requested_at"], row["further_at"]
        tolerance = timedelta(seconds=CLOCK_TOLERANCE_SECONDS)
        if asked_at is not None and further_at is not None and further_at > asked_at + tolerance:
            self.violated("further attempt after a cancel", payment_id)

    def _judge_replies(self, payments: dict[str, asyncpg.Record]) -> None:
        opened_by = {request_id for row in payments.values() for request_id in row["opened_by"]}
        final = {payment_id: row["status"] for payment_id, row in payments.items()}
        answers: dict[str, str] = {}
        for told in self.replies:
            reply = told.answered
            if reply.http_status == HTTP_CONFLICT and told.request_id in opened_by:
                self.violated(f"409 {reply.code} for a request that was accepted", told.request_id)
            if reply.payment_id is None:
                continue
            if reply.payment_id not in payments:
                self.violated("an answer about a payment that is not there", reply.payment_id)
            elif told.verb == "confirm" and final[reply.payment_id] == "requires_confirmation":
                self.violated("an accepted request was lost", reply.payment_id)
            elif reply.payment_status in _FINAL and final[reply.payment_id] != reply.payment_status:
                self.violated("a final status changed", reply.payment_id)
            is_final = reply.payment_status in _FINAL and told.key
            if is_final and answers.setdefault(told.key, reply.digest) != reply.digest:
                self.violated("two final answers under one key", told.key)

    def _book(self) -> list[Charge]:
        return [charge for gateway in self.world.gateways.values() for charge in gateway.book]

    def _kept(self, payment_id: str) -> list[Charge]:
        return [c for c in self._book() if c.payment_id == payment_id and not c.by_gateway_alone]

    def violated(self, what: str, whom: str) -> None:
        """Note what must never happen."""
        self.world.note("ORACLE", f"{what}: {whom}")
        self.violations.append(f"{what} ({whom} at {self.world.loop.now:.1f} s)")
