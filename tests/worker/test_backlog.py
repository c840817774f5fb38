"""Long queues: what goes first, what an account's budget lets through, and what a gateway's list settles."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import msgspec
import pytest

from paymux_connectors.transport import Sent
from paymux_core.exchange import Answer, HttpRequest, Verb
from paymux_core.ids import attempt_id
from paymux_core.phases import Claim
from paymux_core.transitions import PaymentStatus
from paymux_flows.listing import FEW
from paymux_worker.loop import LATE_SECONDS
from tests.support.postgres import Database
from tests.worker.stage import AMOUNT, Stage, worker_stage

CROWD = FEW + 10
LIMITED = b'{"error": {"code": "rate_limited"}}'


@pytest.fixture
async def stage(database: Database, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with worker_stage(database.dsn, seed=request.node.name) as opened:
        yield opened


class Book:
    """A gateway with a book, which it shows by attempt and as a list."""

    def __init__(self, *, hidden_from_list: int = 0) -> None:
        self.charges: list[dict[str, object]] = []
        self.pages: list[HttpRequest] = []
        self.looks: list[str] = []
        self.page_size = 100
        self._hidden = hidden_from_list

    def charge(self, payment_id: UUID, **fields: object) -> None:
        """Book a charge."""
        ours = attempt_id(payment_id, 1)
        born = {"id": f"ch_{ours}", "status": "succeeded", "amount": AMOUNT, "currency": "EUR", "attempt_id": ours}
        self.charges.append(born | fields)

    async def look(self, request: HttpRequest) -> Sent:
        """Answer a look-up or a page."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        if "created_from" in query:
            return self._page(request, query.get("starting_after"))
        self.looks.append(query["attempt_id"])
        found = [charge for charge in self.charges if charge["attempt_id"] == query["attempt_id"]]
        return Sent(Answer(200, {}, msgspec.json.encode({"data": found})))

    def _page(self, request: HttpRequest, after: str | None) -> Sent:
        self.pages.append(request)
        shown = self.charges[self._hidden :]
        begin = next((place for place, charge in enumerate(shown, 1) if charge["id"] == after), 0)
        page = shown[begin : begin + self.page_size]
        more = len(shown) > begin + self.page_size
        return Sent(Answer(200, {}, msgspec.json.encode({"data": page, "has_more": more})))


async def settled(stage: Stage, payments: list[UUID]) -> None:
    """Wait until every payment has succeeded."""
    for payment_id in payments:
        await stage.until(payment_id, lambda row: row["status"] == "succeeded")


async def test_a_deadline_that_was_reached_goes_first_the_oldest_before_the_others(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(4)]
    now = stage.clock.now() + timedelta(hours=2)
    stage.clock.seconds += 7200
    # The longest overdue has time left, and so has the next; of the other two the last one's deadline is the oldest.
    deadlines = [
        now + timedelta(hours=1),
        now + timedelta(hours=2),
        now - timedelta(minutes=1),
        now - timedelta(hours=1),
    ]
    await stage.admin.execute("set session_replication_role = replica")
    for place, (payment_id, deadline) in enumerate(zip(payments, deadlines, strict=True)):
        due_at = now - timedelta(minutes=100 - place)
        await stage.admin.execute("update payments set processing_deadline_at = $2 where id = $1", payment_id, deadline)
        await stage.admin.execute("update payment_attempts set next_check_at = $2 where payment_id = $1", payment_id, due_at)  # fmt: skip  # noqa: E501
    claimed = []
    for _ in payments:
        claim = Claim(now, 0.0, stage.deps.ids.new(), now + timedelta(seconds=60), limit=1)
        claimed += await stage.deps.store.claim_due_attempts(claim)
    assert [due.payment_id for due in claimed] == [payments[3], payments[2], payments[0], payments[1]]
    assert [due.deadline_at for due in claimed] == [deadlines[3], deadlines[2], deadlines[0], deadlines[1]]


async def _held(stage: Stage, *, seconds: float) -> None:
    """Give no look-up of the first account out for a while."""
    now = stage.clock.now()
    await stage.deps.store.lookups.hold(
        merchant_id=stage.merchant_id,
        account_id=stage.accounts.found[0].account_id,
        at=now,
        until=now + timedelta(seconds=seconds),
    )


async def test_without_a_place_a_check_is_put_off_and_was_none_and_other_accounts_go_on(stage: Stage) -> None:
    waiting = [await stage.unknown_payment() for _ in range(5)]
    await stage.add_account("flaky")
    others = [await stage.unknown_payment(gateway="flaky") for _ in range(5)]
    book = Book()
    for payment_id in (*waiting, *others):
        book.charge(payment_id)
    stage.gateway.look = book.look
    stage.clock.seconds += 40
    await _held(stage, seconds=600)
    async with stage.working():
        await settled(stage, others)
        rows = [
            await stage.until(payment_id, lambda row: row["next_check_at"] > stage.clock.now())
            for payment_id in waiting
        ]
    assert set(book.looks) == {attempt_id(payment_id, 1) for payment_id in others}
    assert {(row["check_count"], row["unfinished_checks"], row["lease_token"]) for row in rows} == {(0, 0, None)}
    assert len({row["next_check_at"] for row in rows}) == len(rows), "they come again one after the other"
    stage.clock.seconds += 601
    async with stage.working():
        await settled(stage, waiting)


async def test_what_is_put_off_is_looked_at_by_its_deadline_and_a_person_learns_of_it_in_time(stage: Stage) -> None:
    payment_id = await stage.unknown_payment()
    deadline = (await stage.payment(payment_id)).processing_deadline_at
    assert deadline is not None
    stage.clock.seconds += (deadline - stage.clock.now()) / timedelta(seconds=1) - 0.5
    await _held(stage, seconds=3600)
    async with stage.working():
        row = await stage.until(payment_id, lambda row: row["next_check_at"] > stage.clock.now())
    assert row["next_check_at"] == deadline
    for seconds, reviews in ((1.0, []), (LATE_SECONDS, ["deadline"])):
        stage.clock.seconds += seconds
        before = (await stage.row(payment_id))["next_check_at"]
        async with stage.working():
            await stage.until(payment_id, partial(_is_put_off, before))
        assert await stage.reviews(payment_id) == reviews
    assert stage.gateway.count(Verb.INQUIRE) == 0


def _is_put_off(before: datetime, row: asyncpg.Record) -> bool:
    due_at: datetime = row["next_check_at"]
    return due_at > before


async def test_a_gateway_that_limits_us_is_left_alone_for_as_long_as_it_says(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(12)]
    asked: list[str] = []

    async def limited(request: HttpRequest) -> Sent:
        asked.append(request.url)
        return Sent(Answer(429, {"retry-after": "50", "sandbox-certified": "not-executed"}, LIMITED))

    stage.gateway.look = limited
    stage.clock.seconds += 40
    async with stage.working():
        for payment_id in payments:
            await stage.until(payment_id, lambda row: row["next_check_at"] > stage.clock.now())
    # Those that were under way when the first answer came.
    assert 1 <= len(asked) <= 8
    checked = [row for payment_id in payments if (row := await stage.row(payment_id))["check_count"]]
    assert len(checked) == len(asked)
    for row in checked:
        assert row["next_check_at"] - stage.clock.now() > timedelta(seconds=45), "the gateway's pause is the longer one"


async def test_after_an_outage_the_list_settles_what_it_shows_and_the_rest_is_asked_about(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(CROWD)]
    book = Book(hidden_from_list=2)
    book.page_size = 7
    for payment_id in payments:
        book.charge(payment_id)
    stage.able(lists=True)
    stage.gateway.look = book.look
    stage.clock.seconds += 40
    async with stage.working():
        await settled(stage, payments)
    listed = len(payments) - len(set(book.looks))
    assert len(book.looks) == len(set(book.looks)), "nobody is asked about twice"
    assert {attempt_id(payment_id, 1) for payment_id in payments[:2]} <= set(book.looks)
    # The first few were claimed before the crowd was seen.
    assert listed >= CROWD - 8
    assert 1 <= len(book.pages) <= CROWD // 7 + 1
    rows = await stage.admin.fetch(
        "select outcome, response->>'attempt_id' as shown, url from gateway_interactions "
        "where verb = 'inquire' and url like '%created_from%'"
    )
    assert len(rows) == listed, "each attempt that a page settles has the page in its timeline"
    assert {row["outcome"] for row in rows} == {"captured"}
    assert len({row["shown"] for row in rows}) == listed
    assert await stage.admin.fetch("select * from inv.all_violations($1)", stage.clock.now()) == []


async def test_what_a_list_does_not_show_is_closed_by_nobody(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(CROWD)]
    book = Book(hidden_from_list=CROWD)
    for payment_id in payments:
        book.charge(payment_id)
    stage.able(lists=True)
    stage.gateway.look = book.look
    stage.clock.seconds += 40
    async with stage.working():
        for payment_id in payments:
            await stage.until(payment_id, lambda row: row["finished_at"] is not None)
    assert {(await stage.row(payment_id))["status"] for payment_id in payments} == {"succeeded"}
    assert len(book.pages) == 1
    assert len(book.looks) == CROWD
    assert stage.gateway.count(Verb.FENCE) == 0
    assert stage.gateway.count(Verb.CHARGE) == CROWD, "nothing was sent again"


async def test_an_object_that_is_not_the_attempts_own_is_left_to_its_look_up(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(CROWD)]
    book = Book()
    for payment_id in payments:
        book.charge(payment_id)
    twice, other = payments[-1], payments[-2]
    book.charge(twice, id="ch_second")
    book.charges[-3]["amount"] = AMOUNT + 1
    stage.able(lists=True)
    stage.gateway.look = book.look
    stage.clock.seconds += 40
    async with stage.working():
        await settled(stage, payments[:-2])
        for payment_id in (twice, other):
            await stage.until(payment_id, lambda row: row["check_count"] > 0 and row["lease_token"] is None)
    assert await stage.reviews(twice) == ["unmapped_answer"]
    assert await stage.reviews(other) == ["integrity_mismatch"]
    assert {(await stage.payment(payment_id)).status for payment_id in (twice, other)} == {PaymentStatus.PROCESSING}


async def test_a_list_that_cannot_be_read_keeps_nobody_waiting(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(CROWD)]
    book = Book()
    for payment_id in payments:
        book.charge(payment_id)

    async def look(request: HttpRequest) -> Sent:
        broken = "created_from" in request.url
        return Sent(Answer(500, {}, b"{}")) if broken else await book.look(request)

    stage.able(lists=True)
    stage.gateway.look = look
    stage.clock.seconds += 40
    async with stage.working():
        await settled(stage, payments)
    assert len(book.looks) == CROWD


async def test_few_are_asked_about_without_any_list(stage: Stage) -> None:
    payments = [await stage.unknown_payment() for _ in range(FEW)]
    book = Book()
    for payment_id in payments:
        book.charge(payment_id)
    stage.able(lists=True)
    stage.gateway.look = book.look
    stage.clock.seconds += 40
    async with stage.working():
        await settled(stage, payments)
    assert book.pages == []
