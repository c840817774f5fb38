"""Claim what is due as slots get free, check it, go on: the rows are the queue, a lease keeps workers off each other.

The loop ends when it is told to, and for no other reason.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from msgspec.structs import replace

from paymux_core.clocks import DAY_SECONDS, pause_after_check
from paymux_core.errors import Refused
from paymux_core.ids import Kind, public_id
from paymux_core.phases import Claim, DueAttempt, Which
from paymux_flows.attempting import candidate_of_account
from paymux_flows.deps import Deps
from paymux_flows.reconcile import check
from paymux_flows.reviewing import DEADLINE, HANDLER_FAILED, call_a_person, call_a_person_unread
from paymux_worker.lists import Lists

AT_ONCE_MAX = 20
"""Checks under way at once: gateways limit them, and money requests of the API come first."""
CLAIM_MAX = 4
AT_ONCE_PER_ACCOUNT = 8
"""With the claim's limit at most 11 slots are one account's: a silent gateway leaves the others the rest."""
POLL_SECONDS = 0.1
PAUSE_SECONDS_MAX = 5.0
"""Between claims while the database does not answer."""
SUSPECT_PAUSE_SECONDS = 1.0
REFUSED_PAUSE_SECONDS = 5.0
"""After a check that met a database in trouble: it is not the attempt's fault, and nothing was decided."""
LATE_SECONDS = 600.0
"""After its deadline a person is told of a payment at the latest, though its account has no look-up left."""
UNFINISHED_MAX = 5
"""Checks without an end until a person is called; then one a day."""

log = structlog.get_logger()


@dataclass(slots=True)
class Worker:
    """Runs checks until it is told to stop; then finishes what is under way."""

    deps: Deps
    name: str
    stopping: asyncio.Event
    _running: dict[asyncio.Task[None], UUID] = field(default_factory=dict, init=False)
    """Checks under way, with the gateway account each asks."""
    _next_suspect_at: float = field(default=0.0, init=False)
    _lists: Lists = field(default_factory=Lists, init=False)

    async def run(self) -> None:
        """Work until stopped. Trouble with the database is waited out; nothing is lost by it."""
        pause_seconds = POLL_SECONDS
        while not self.stopping.is_set():
            begun = False
            try:
                begun = await self._begin_due()
                pause_seconds = POLL_SECONDS
            except Exception as error:
                # Whatever it is, the checks under way go on, and so does the queue.
                known = isinstance(error, (Refused, OSError))
                log.warning("worker.cannot_claim", reason=type(error).__name__, exc_info=not known)
                pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
            if not begun:
                await self._wait(pause_seconds)
        for under_way in (self._running, self._lists.under_way):
            if under_way:
                await asyncio.wait(under_way)

    async def _wait(self, seconds: float) -> None:
        """Wait until a check ends, we are stopped, or the time is over."""
        stopped = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait([stopped, *self._running], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _begin_due(self) -> bool:
        """Begin checks that are due; False if there is nothing to begin now."""
        if self.deps.clock.monotonic() >= self._next_suspect_at:
            suspects = await self._claim(Which.SUSPECT, limit=1)
            self._next_suspect_at = self.deps.clock.monotonic() + SUSPECT_PAUSE_SECONDS
            for suspect in suspects:
                # Its own process is what it may take down: nothing runs beside it.
                await self._hold(suspect, after=list(self._running))
                return True
        free = AT_ONCE_MAX - len(self._running)
        if free <= 0:
            return False
        per_account = Counter(self._running.values())
        busy = {account_id for account_id, running in per_account.items() if running >= AT_ONCE_PER_ACCOUNT}
        items = await self._claim(Which.ORDINARY, limit=min(free, CLAIM_MAX), busy=busy | self._lists.accounts)
        for item in items:
            task = asyncio.create_task(self._hold(item, after=()))
            self._running[task] = item.gateway_account_id
            task.add_done_callback(self._running.pop)
        if len(items) == CLAIM_MAX:
            await self._lists.begin(self.deps, actor=self._actor, stopping=self.stopping)
        return bool(items)

    async def _claim(self, which: Which, *, limit: int, busy: Collection[UUID] = ()) -> list[DueAttempt]:
        now = self.deps.clock.now()
        claim = Claim(
            at=now,
            sent_at_seconds=self.deps.clock.monotonic(),
            lease_token=self.deps.ids.new(),
            lease_expires_at=now + timedelta(seconds=self.deps.clocks.lease),
            limit=limit,
            which=which,
            busy_accounts=busy,
        )
        return await self.deps.store.claim_due_attempts(claim)

    async def _hold(self, due: DueAttempt, *, after: Collection[asyncio.Task[None]]) -> None:
        """Check an attempt, after others, and hold its lease until that is done."""
        work = asyncio.ensure_future(self._work(due, after))
        while not work.done():
            await asyncio.wait([work], timeout=self.deps.clocks.lease / 3)
            if not work.done():
                await self._renew(due)

    async def _renew(self, due: DueAttempt) -> None:
        until = self.deps.clock.now() + timedelta(seconds=self.deps.clocks.lease)
        try:
            if not await self.deps.store.renew_lease(due=due, lease_expires_at=until, next_check_at=None):
                log.warning("worker.lease_lost", **_ids(due))
        except Exception as error:  # noqa: BLE001 - a check goes on without its lease
            # The next try is in time, or another worker checks it too: what both write is compared and set.
            log.warning("worker.lease_not_renewed", reason=type(error).__name__, **_ids(due))

    async def _work(self, due: DueAttempt, after: Collection[asyncio.Task[None]]) -> None:
        """Check an attempt; whatever goes wrong with it is its own affair."""
        if after:
            await asyncio.wait(after)
        try:
            if self.stopping.is_set():
                await self._give_back(due)
                return
            if due.unfinished_checks > UNFINISHED_MAX:
                due = await self._call(due)
            if not await self._its_turn(due):
                return
            checked = await check(due, self.deps, actor=self._actor)
            log.info("worker.checked", status=checked.status, reason=checked.reason, **_ids(due))
        except Exception as error:  # noqa: BLE001 - it is logged there
            await self._put_off(due, error)

    @property
    def _actor(self) -> str:
        return f"worker:{self.name}"

    async def _give_back(self, due: DueAttempt) -> None:
        """Release what was not begun: it stays due, for another worker."""
        await self.deps.store.release_attempt(
            due=due, next_check_at=None, unfinished_checks=due.unfinished_checks - 1, counted=False
        )

    async def _its_turn(self, due: DueAttempt) -> bool:
        """Wait for a place among the look-ups of its account; without one soon it is put off, and was no check."""
        if due.number > 1 and due.check_count == 1:
            # It may have been left to us to call, which is no look-up, and is known by its moment.
            return True
        candidate = await candidate_of_account(due.merchant_id, due.gateway_account_id, self.deps)
        if candidate is None:
            return True
        per_second, now = candidate.capabilities.lookups_per_second, self.deps.clock.now()
        lookups, account_id = self.deps.store.lookups, due.gateway_account_id
        wait_seconds = await lookups.place(
            merchant_id=due.merchant_id, account_id=account_id, per_second=per_second, at=now
        )
        if wait_seconds is not None:
            if wait_seconds > 0:
                await self.deps.sleep(wait_seconds)
            return True
        until, deadline = lookups.put_off_until(account_id=account_id, per_second=per_second, at=now), due.deadline_at
        if deadline is not None and now < deadline < until:
            until = deadline
        if deadline is not None and deadline + timedelta(seconds=LATE_SECONDS / self.deps.clocks.divisor) <= now:
            # So many wait that a person learns of this one before its gateway is asked.
            await self._call_a_person(due, DEADLINE)
        await self.deps.store.release_attempt(
            due=due, next_check_at=until, unfinished_checks=due.unfinished_checks - 1, counted=False
        )
        return False

    async def _put_off(self, due: DueAttempt, error: Exception) -> None:
        """A check that cannot be done must not spin, and somebody has to learn of it in time."""
        ids = _ids(due)
        refused = isinstance(error, Refused)
        if refused:
            log.warning("worker.check_put_off", reason=type(error).__name__, **ids)
        else:
            log.error("worker.check_failed", exc_info=error, unfinished=due.unfinished_checks, **ids)
        failed_for_good = not refused and due.unfinished_checks >= UNFINISHED_MAX
        try:
            await self._call_a_person(due, HANDLER_FAILED if failed_for_good else DEADLINE)
            await self.deps.store.release_attempt(
                due=due,
                next_check_at=self.deps.clock.now() + self._pause(due, refused=refused, for_good=failed_for_good),
                unfinished_checks=due.unfinished_checks - refused,
            )
        except Exception as again:
            # The lease runs out, and it is due again.
            log.warning(
                "worker.lease_kept", reason=type(again).__name__, exc_info=not isinstance(again, Refused), **ids
            )

    def _pause(self, due: DueAttempt, *, refused: bool, for_good: bool) -> timedelta:
        clocks = self.deps.clocks
        if refused:
            return timedelta(seconds=REFUSED_PAUSE_SECONDS / clocks.divisor)
        if for_good:
            return timedelta(seconds=DAY_SECONDS / clocks.divisor)
        return pause_after_check(
            checks=max(1, due.check_count), age=timedelta(), jitter=self.deps.rng.uniform(), clocks=clocks
        )

    async def _call(self, due: DueAttempt) -> DueAttempt:
        """Call a person about an attempt whose checks ended their process, before the next one may do so too."""
        await self._call_a_person(due, HANDLER_FAILED)
        now, clocks = self.deps.clock.now(), self.deps.clocks
        tomorrow = now + timedelta(seconds=DAY_SECONDS / clocks.divisor)
        until = now + timedelta(seconds=clocks.lease)
        await self.deps.store.renew_lease(due=due, lease_expires_at=until, next_check_at=tomorrow)
        return replace(due, due_at=tomorrow)

    async def _call_a_person(self, due: DueAttempt, reason: str) -> None:
        where = (due.merchant_id, due.payment_id, due.number)
        try:
            await call_a_person(*where, reason=reason, actor=self._actor, deps=self.deps)
        except Refused:
            raise
        except Exception:
            log.exception("worker.payment_unreadable", **_ids(due))
            await call_a_person_unread(*where, reason=reason, actor=self._actor, deps=self.deps)


def _ids(due: DueAttempt) -> dict[str, object]:
    """Name an attempt as the API does."""
    return {"payment_id": public_id(Kind.PAYMENT, due.payment_id), "attempt": due.number}
