"""Claim what is due, check it, go on: the rows are the queue, a lease keeps two workers off one attempt."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from paymux_core.clocks import pause_after_check
from paymux_core.errors import Refused
from paymux_core.phases import DueAttempt
from paymux_flows.deps import Deps
from paymux_flows.reconcile import check

CLAIM_MAX = 50
"""Claims are cheap in bulk; a lease must outlast the work on all of them."""
AT_ONCE_MAX = 20
"""Look-ups under way at once: gateways limit them, and money requests of the API come first."""
POLL_SECONDS = 0.1

log = structlog.get_logger()


@dataclass(slots=True)
class Worker:
    """Runs checks until it is told to stop; then finishes what is under way."""

    deps: Deps
    name: str
    stopping: asyncio.Event

    async def run(self) -> None:
        """Work until stopped. Trouble with the database is waited out; nothing is lost by it."""
        pause_seconds = POLL_SECONDS
        slots = asyncio.Semaphore(AT_ONCE_MAX)
        while not self.stopping.is_set():
            # Before the claim is sent: a process that stops after it must not take its time from the answer.
            claimed_at = self.deps.clock.monotonic()
            try:
                due = await self._claim()
                pause_seconds = POLL_SECONDS
            except (Refused, OSError) as error:
                log.warning("worker.store_unavailable", reason=type(error).__name__)
                due = []
                pause_seconds = min(pause_seconds * 2, 5.0)
            if due:
                await asyncio.gather(*(self._check(item, slots, claimed_at) for item in due))
                continue
            await self._wait(pause_seconds)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return

    async def _claim(self) -> list[DueAttempt]:
        now = self.deps.clock.now()
        return await self.deps.store.claim_due_attempts(
            at=now,
            lease_token=self.deps.ids.new(),
            lease_expires_at=now + timedelta(seconds=self.deps.clocks.lease),
            limit=CLAIM_MAX,
        )

    async def _check(self, due: DueAttempt, slots: asyncio.Semaphore, claimed_at: float) -> None:
        async with slots:
            try:
                await check(due, self.deps, actor=f"worker:{self.name}", claimed_at=claimed_at)
            except Refused as error:
                # The lease runs out, or is given back below: the attempt stays due.
                log.warning("worker.check_put_off", payment_id=str(due.payment_id), reason=error.code)
            except Exception:
                log.exception("worker.check_crashed", payment_id=str(due.payment_id), attempt=due.number)
                await self._put_off(due)

    async def _put_off(self, due: DueAttempt) -> None:
        """A handler that crashes must not spin: the next look follows the ordinary pauses."""
        pause = pause_after_check(
            checks=max(1, due.check_count), age=timedelta(), jitter=self.deps.rng.uniform(), clocks=self.deps.clocks
        )
        try:
            await self.deps.store.release_attempt(due=due, next_check_at=self.deps.clock.now() + pause)
        except Refused as error:
            log.warning("worker.lease_kept", payment_id=str(due.payment_id), reason=error.code)
