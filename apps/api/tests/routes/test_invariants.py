"""The book is asked one question at a time, the answer is remembered, and what is broken is told."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from paymux_api.routes import invariants
from paymux_api.routes.invariants import LOOKS_BACK, REMEMBER_SECONDS, VIOLATIONS_MAX, Inspector
from paymux_core.errors import Overloaded
from paymux_core.ids import Kind, public_id, uuid7
from paymux_core.records import Violation


@dataclass(slots=True)
class Book:
    """The port where violations are found, and what it was asked."""

    broken: list[Violation] = field(default_factory=list)
    asked: list[tuple[datetime, UUID, int]] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def recent_violations(self, *, at: datetime, born_since: UUID, limit: int) -> Sequence[Violation]:
        """Give what is broken, once it may."""
        self.asked.append((at, born_since, limit))
        self.reached.set()
        await self.answers.wait()
        return self.broken


@pytest.fixture
def book() -> Book:
    """A book that answers at once."""
    made = Book()
    made.answers.set()
    return made


async def test_a_sound_book_is_ok_and_the_last_day_is_looked_at(book: Book, clock: Any) -> None:
    reply = await Inspector(book, clock=clock).answer()
    assert (reply.http_status, json.loads(reply.body)["status"]) == (200, "ok")
    (at, born_since, limit), yesterday = book.asked[0], clock.now() - LOOKS_BACK
    assert (at, limit) == (clock.now(), VIOLATIONS_MAX)
    assert born_since == uuid7(int(yesterday.timestamp() * 1000), 0)


async def test_what_is_broken_is_told_with_503(book: Book, clock: Any) -> None:
    payment, merchant = uuid7(1, 1), uuid7(1, 2)
    book.broken.append(Violation("status_unproven", merchant, payment, "succeeded with attempts failed"))
    reply = await Inspector(book, clock=clock).answer()
    report = json.loads(reply.body)
    assert (reply.http_status, report["status"]) == (503, "violated")
    assert report["violations"] == [
        {
            "invariant": "status_unproven",
            "merchant_id": public_id(Kind.MERCHANT, merchant),
            "payment_id": public_id(Kind.PAYMENT, payment),
            "detail": "succeeded with attempts failed",
        }
    ]


async def test_an_answer_is_remembered_and_then_asked_for_again(book: Book, clock: Any) -> None:
    inspector = Inspector(book, clock=clock)
    first = await inspector.answer()
    clock.seconds += REMEMBER_SECONDS - 0.1
    assert await inspector.answer() is first
    clock.seconds += 0.1
    assert await inspector.answer() is not first
    assert len(book.asked) == 2


async def test_a_crowd_is_one_question(clock: Any) -> None:
    book = Book()
    inspector = Inspector(book, clock=clock)
    crowd = [asyncio.ensure_future(inspector.answer()) for _ in range(20)]
    await book.reached.wait()
    book.answers.set()
    replies = await asyncio.gather(*crowd)
    assert (len(book.asked), len({id(reply) for reply in replies})) == (1, 1)


async def test_a_book_that_takes_too_long_is_no_verdict(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "SECONDS_MAX", 0.01)
    book = Book()
    inspector = Inspector(book, clock=clock)
    with pytest.raises(Overloaded) as refused:
        await inspector.answer()
    assert refused.value.retry_after_seconds == REMEMBER_SECONDS
    book.answers.set()
    assert (await inspector.answer()).http_status == 200
