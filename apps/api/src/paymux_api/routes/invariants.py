"""`/health/invariants`: does what must hold of the book hold? For operators, and never a burden to the database."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from paymux_api.operation import Call, Operation
from paymux_api.schemas import InvariantsReport, ViolationView
from paymux_core.api_keys import Scope
from paymux_core.errors import Overloaded
from paymux_core.ids import Kind, public_id, uuid7
from paymux_core.ports import Clock
from paymux_core.records import Violation
from paymux_flows.commands import Reply

LOOKS_BACK = timedelta(hours=24)
SECONDS_MAX = 5.0
REMEMBER_SECONDS = 30.0
VIOLATIONS_MAX = 100
"""One is reason enough to look; a hundred show what they have in common."""


class Book(Protocol):
    """Where violations are found."""

    def recent_violations(
        self, *, at: datetime, born_since: UUID, limit: int
    ) -> Coroutine[object, object, Sequence[Violation]]:
        """List what is broken among payments born since an id, and among open ones."""
        ...


class Inspector:
    """Asks the book, one question at a time, and remembers the answer for a while."""

    def __init__(self, book: Book, *, clock: Clock) -> None:
        """Start with nothing known."""
        self._book = book
        self._clock = clock
        self._asking = asyncio.Lock()
        self._remembered: tuple[float, Reply] | None = None

    async def answer(self) -> Reply:
        """Answer 200, or 503 when something is broken. Raises: Overloaded when the book takes too long."""
        async with self._asking:
            if self._remembered is None or self._remembered[0] <= self._clock.monotonic():
                reply = await self._asked()
                self._remembered = (self._clock.monotonic() + REMEMBER_SECONDS, reply)
            return self._remembered[1]

    async def _asked(self) -> Reply:
        now = self._clock.now()
        born_since = uuid7(int((now - LOOKS_BACK).timestamp() * 1000), 0)
        try:
            async with asyncio.timeout(SECONDS_MAX):
                found = await self._book.recent_violations(at=now, born_since=born_since, limit=VIOLATIONS_MAX)
        except TimeoutError:
            raise Overloaded(
                f"the book could not be checked within {SECONDS_MAX:g} s; check it off the serving database",
                retry_after_seconds=int(REMEMBER_SECONDS),
            ) from None
        report = InvariantsReport("violated" if found else "ok", now, [_view(violation) for violation in found])
        return Reply(503 if found else 200, msgspec.json.encode(report))


Answers = Callable[[], Awaitable[Reply]]


def invariants_operation(answers: Answers, *, scope: Scope | None) -> Operation:
    """Declare the route; without a scope only for the private listener."""

    async def invariants(_call: Call) -> Reply:
        return await answers()

    return Operation(
        method="GET",
        path="/health/invariants",
        name="read_invariants",
        summary="Does the book hold?",
        description="Checks payments that are open or were born in the last 24 hours; the answer is up to 30 s old.",
        tag="service",
        handler=invariants,
        scope=scope,
        response=InvariantsReport,
        success={200: "It does.", 503: "It does not, or `overloaded`: it could not be checked in time."},
    )


def _view(violation: Violation) -> ViolationView:
    return ViolationView(
        invariant=violation.invariant,
        merchant_id=public_id(Kind.MERCHANT, violation.merchant_id),
        payment_id=public_id(Kind.PAYMENT, violation.payment_id),
        detail=violation.detail,
    )
