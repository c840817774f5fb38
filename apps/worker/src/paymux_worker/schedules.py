"""Run each task once per slot, on any number of workers.

The insert of a slot's row is the claim, a lease ends with its runner, and what was left is finished by whoever comes
next.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from paymux_core.errors import Refused
from paymux_core.upkeep import Slot, SlotClaim
from paymux_flows.deps import Deps
from paymux_worker.tasks import Stopped, Task, Turn

POLL_SECONDS = 1.0
"""The shortest period is ten seconds."""
TRIES_MAX = 5
"""A slot that failed so often is left for a person to see; the next one is tried all the same."""
RETRY_PAUSE_SECONDS = 30.0
"""After the first failure; twice as long after each further one."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


@dataclass(slots=True)
class Scheduler:
    """Runs tasks until it is told to stop; then finishes, or gives back, what is under way."""

    deps: Deps
    name: str
    stopping: asyncio.Event
    tasks: Sequence[Task]
    retention_months: int
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    """By kind: a task that takes long holds up its own next slot and no other task."""

    async def run(self) -> None:
        """Work until stopped. Trouble with the database is waited out."""
        while not self.stopping.is_set():
            try:
                await self.begin_due()
            except Exception as error:
                known = isinstance(error, (Refused, OSError))
                log.warning("schedules.cannot_claim", reason=type(error).__name__, exc_info=not known)
            await self._wait(POLL_SECONDS)
        await self.finish()

    async def _wait(self, seconds: float) -> None:
        stopped = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait([stopped], timeout=seconds)
        finally:
            stopped.cancel()

    async def begin_due(self) -> int:
        """Begin whatever is due and nobody else does; answers how many tasks were begun. Raises: Refused."""
        begun = 0
        while True:
            free = {task.kind: task for task in self.tasks if task.kind not in self._running}
            slot = await self._claim(free) if free else None
            if slot is None:
                return begun
            begun += 1
            running = asyncio.create_task(self._hold(free[slot.kind], slot))
            self._running[slot.kind] = running
            running.add_done_callback(partial(self._forget, slot.kind))

    def _forget(self, kind: str, _ended: asyncio.Task[None]) -> None:
        del self._running[kind]

    async def finish(self) -> None:
        """Wait until what was begun is over."""
        if self._running:
            await asyncio.wait(list(self._running.values()))

    async def _claim(self, free: Mapping[str, Task]) -> Slot | None:
        now = self.deps.clock.now()
        claim = SlotClaim(
            wanted={kind: self.slot_at(task, now) for kind, task in free.items()},
            at=now,
            lease_token=self.deps.ids.new(),
            lease_expires_at=self._lease_end(now),
            tries_max=TRIES_MAX,
        )
        return await self.deps.store.schedules.claim_slot(claim)

    def slot_at(self, task: Task, now: datetime) -> datetime:
        """Give the slot that is on."""
        period = task.period / self.deps.clocks.divisor
        return _EPOCH + (now - _EPOCH) // period * period

    def _lease_end(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.deps.clocks.lease)

    async def _hold(self, task: Task, slot: Slot) -> None:
        """Run a task, and hold its slot until it is over."""
        work = asyncio.ensure_future(self._work(task, slot))
        while not work.done():
            await asyncio.wait([work], timeout=self.deps.clocks.lease / 3)
            if not work.done():
                await self._renew(slot)

    async def _renew(self, slot: Slot) -> None:
        try:
            until = self._lease_end(self.deps.clock.now())
            if not await self.deps.store.schedules.hold_slot(slot, until=until):
                log.warning("schedules.lease_lost", **_words(slot))
        except Exception as error:  # noqa: BLE001  a task goes on without its lease; it may run twice
            log.warning("schedules.lease_not_renewed", reason=type(error).__name__, **_words(slot))

    async def _work(self, task: Task, slot: Slot) -> None:
        turn = Turn(self.deps, f"schedule:{task.kind}:{self.name}", self.stopping.is_set, self.retention_months)
        try:
            outcome = await task.run(turn)
            await self.deps.store.schedules.finish_slot(slot, at=self.deps.clock.now(), outcome=outcome)
            log.info("schedules.done", outcome=outcome, **_words(slot))
        except Stopped:
            await self._put_off(slot, seconds=0.0, tries=max(1, slot.tries - 1))
        except Exception as error:
            known = isinstance(error, (Refused, OSError))
            log.warning(
                "schedules.failed", reason=type(error).__name__, exc_info=None if known else error, **_words(slot)
            )
            await self._put_off(slot, seconds=RETRY_PAUSE_SECONDS * 2 ** (slot.tries - 1), tries=slot.tries)

    async def _put_off(self, slot: Slot, *, seconds: float, tries: int) -> None:
        until = self.deps.clock.now() + timedelta(seconds=seconds / self.deps.clocks.divisor)
        try:
            await self.deps.store.schedules.put_slot_off(slot, until=until, tries=tries)
        except Exception as error:  # noqa: BLE001  the lease runs out, and somebody takes the slot
            log.warning("schedules.lease_kept", reason=type(error).__name__, **_words(slot))


def _words(slot: Slot) -> dict[str, object]:
    return {"kind": slot.kind, "slot": slot.begins_at.isoformat(), "tries": slot.tries}
