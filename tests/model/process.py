"""A process of ours and its ports: every await may crash it, pause it, or lose what it sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tests.model import gateways, rules
from tests.model.gateways import Answer, Request, Verb
from tests.model.mutants import Mutant
from tests.model.rules import Outcome
from tests.model.world import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.model.store import Intent
    from tests.model.world import World

T = TypeVar("T")


class CrashError(BaseException):
    """The process died here."""


class CommitUnknownError(Exception):
    """The connection was lost at the commit: it happened, or not, or will happen in a moment."""


class Process:
    """Run tasks that die together."""

    def __init__(self, world: World, name: str) -> None:
        """Start with true clocks, except that the machine's wall clock may be ten minutes off."""
        self.world = world
        self.name = name
        self.alive = True
        self.paused_until = 0.0
        self._database_offset_seconds = world.between(-1.0, 1.0)
        self._wall_offset_seconds = world.between(-600.0, 600.0)
        # A list, not a set: sets of tasks iterate by address, and a seed must repeat.
        self._tasks: list[asyncio.Task[None]] = []

    def clock(self) -> float:
        """Tell database time as this process estimates it."""
        wrong = self.world.mutant is Mutant.WALL_CLOCK
        return self.world.loop.now + (self._wall_offset_seconds if wrong else self._database_offset_seconds)

    def monotonic(self) -> float:
        """Tell the seconds that really passed."""
        return self.world.loop.now

    def spawn(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run work as a task of this process."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(self.world.loop.create_task(self._guarded(work)))

    async def _guarded(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await work()
        except CrashError:
            pass
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of the model must end the run, not one task of it
            self.world.errors.append(error)

    def crash(self) -> None:
        """Kill every task and come back later with empty memory."""
        if not self.alive:
            return
        self.world.note(self.name, "crashes")
        self.alive = False
        self.paused_until = 0.0
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        self.forget()
        self.world.loop.call_later(self.world.between(0.5, 40.0), self.start)

    def forget(self) -> None:
        """Drop what was only in memory."""

    def start(self) -> None:
        """Come back after a crash."""
        self.alive = True

    def pause(self, seconds: float) -> None:
        """Stop like SIGSTOP: nothing of this process runs, all clocks go on."""
        self.world.note(self.name, f"is paused for {seconds:.0f} s")
        self.paused_until = self.world.loop.now + seconds

    async def hop(self) -> None:
        """Give others a turn; any fault of a process may strike here."""
        world = self.world
        if world.hit(Fault.CRASH):
            self.crash()
            raise CrashError
        if world.hit(Fault.PAUSE):
            self.pause(60.0)
        elif world.hit(Fault.STALL):
            self.pause(900.0)
        if world.hit(Fault.SLOW):
            await asyncio.sleep(world.between(0.0, 2.0))
        elif world.faulty or world.chance(0.3):
            await asyncio.sleep(0)
        if self.paused_until > world.loop.now:
            await self._resumed()

    async def wait(self, future: asyncio.Future[T]) -> T:
        """Wait for something from outside; a paused process sees it later."""
        value = await future
        if self.paused_until > self.world.loop.now:
            await self._resumed()
        return value

    async def _resumed(self) -> None:
        # A second pause may prolong the first.
        while self.paused_until > self.world.loop.now:  # noqa: ASYNC110 - waits for a time, which no event tells
            await asyncio.sleep(self.paused_until - self.world.loop.now)

    async def commit(self, change: Callable[[], T]) -> T:
        """Run one atomic commit. Raises: CommitUnknownError."""
        world = self.world
        await self.hop()
        if world.hit(Fault.LOST_BEFORE):
            raise CommitUnknownError
        if world.hit(Fault.LATE_COMMIT):
            world.note(self.name, "commit comes late")
            world.loop.call_later(world.between(0.01, 5.0), change)
            raise CommitUnknownError
        value = change()
        world.wake_workers()
        await self.hop()
        if world.hit(Fault.LOST_AFTER):
            world.note(self.name, "commit unknown")
            raise CommitUnknownError
        return value

    async def commit_until_known(self, change: Callable[[], T]) -> T | None:
        """Run a commit that changes nothing when run again; None when the database stays away."""
        for _ in range(4):
            try:
                return await self.commit(change)
            except CommitUnknownError:
                await asyncio.sleep(0.2)
        return None

    async def ask(self, verb: Verb, intent: Intent, *, key: str = "", object_id: str | None = None) -> Answer:
        """Send a read or a fence: no money moves."""
        return await self._send(verb, intent, key=key, object_id=object_id, seconds=10.0)

    async def charge(self, intent: Intent, *, key: str, action_started_at: float, call_ends_at: float) -> Answer:
        """Send what may move money, reserve first where the gateway has two phases."""
        object_id, mutant = intent.object_id, self.world.mutant
        two_phase = self.world.gateways[intent.account].account.two_phase
        remembers_late = mutant in (Mutant.CHARGE_BEFORE_REMEMBER, Mutant.GATEWAY_BEFORE_ATTEMPT)
        if two_phase and object_id is None:
            reserved = await self.reserve(intent)
            object_id = reserved.object_id
            if object_id is None:
                return reserved
            if not remembers_late and not await self.remember(intent, object_id):
                return gateways.UNKNOWN
        await self.hop()
        seconds = min(rules.CALL_SECONDS, call_ends_at - self.monotonic())
        too_late = self.monotonic() > action_started_at + rules.FIRST_BYTE_SECONDS
        if mutant is Mutant.LATE_FIRST_BYTE:
            too_late, seconds = False, rules.CALL_SECONDS
        if too_late or seconds <= 0.0:
            return gateways.NOT_EXECUTED
        answer = await self._send(Verb.CHARGE, intent, key=key, object_id=object_id, seconds=seconds)
        answered = answer.outcome is not Outcome.UNKNOWN
        if mutant is Mutant.CHARGE_BEFORE_REMEMBER and answered and object_id is not None:
            await self.remember(intent, object_id)
        return answer

    async def reserve(self, intent: Intent) -> Answer:
        """Reserve an object at a two-phase gateway; a repeat with the same key is harmless."""
        return await self._send(Verb.RESERVE, intent, key=f"{intent.attempt_id}-create-1", object_id=None, seconds=5.0)

    async def remember(self, intent: Intent, object_id: str) -> bool:
        """Commit a reserved id before it is used; false unless that is certain."""
        store = self.world.store
        return bool(await self.commit_until_known(lambda: store.remember(intent.attempt_id, object_id)))

    async def _send(self, verb: Verb, intent: Intent, *, key: str, object_id: str | None, seconds: float) -> Answer:
        """Write a request and wait for its answer; no await may stand before the write."""
        world, loop = self.world, self.world.loop
        if world.hit(Fault.CONNECT_REFUSED):
            return gateways.NOT_EXECUTED
        world.note(self.name, f"sends {verb} {intent.attempt_id} to {intent.account} {key}")
        request = Request(
            verb=verb,
            payment_id=intent.payment_id,
            attempt_id=intent.attempt_id,
            key=key,
            object_id=object_id,
            sent_at=loop.now,
        )
        answered: asyncio.Future[Answer] = loop.create_future()
        timeout = loop.call_later(seconds, _resolve, answered, gateways.UNKNOWN)
        if not world.hit(Fault.REQUEST_LOST):
            delay = world.between(15.0, 240.0) if world.hit(Fault.ZOMBIE) else world.between(0.01, 0.5)
            gateway = world.gateways[intent.account]
            loop.call_later(delay, gateway.receive, request, lambda answer: _resolve(answered, answer))
        answer = await self.wait(answered)
        timeout.cancel()
        return answer


def _resolve(answered: asyncio.Future[Answer], answer: Answer) -> None:
    if not answered.done():
        answered.set_result(answer)
