"""Carry out a plan's kills and its pauses, each at its moment or as soon as its victim is up again."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from paymux_cli.torture.plan import Kill, Pause, Plan, Victim
from paymux_cli.torture.stack import TortureStack
from paymux_core.errors import Refused
from paymux_postgres.connections import Pool
from paymux_postgres.inspection import count_attempts
from paymux_postgres.losses import CommitUnknown

HEADSTART_SECONDS_MAX = 2.0
"""Then the pause comes anyway: the database may just have been killed."""
_LOOK_SECONDS = 0.002


@dataclass(slots=True)
class Killing:
    """What was done so far. `bursts` holds, for each pause, an event that is set in the moment before it."""

    plan: Plan
    stack: TortureStack
    pool: Pool
    divisor: float
    began_at: float
    done: Counter[Victim] = field(default_factory=Counter)
    paused_seconds: list[float] = field(default_factory=list)
    bursts: list[asyncio.Event] = field(init=False)
    on_kill: Callable[[], None] = lambda: None
    _locks: dict[Victim, asyncio.Lock] = field(default_factory=lambda: {victim: asyncio.Lock() for victim in Victim})

    def __post_init__(self) -> None:
        self.bursts = [asyncio.Event() for _ in self.plan.pauses]

    async def carry_out(self) -> None:
        """Do all of it."""
        async with asyncio.TaskGroup() as tasks:
            for pause, burst in zip(self.plan.pauses, self.bursts, strict=True):
                tasks.create_task(self._pause(pause, burst))
            for kill in self.plan.kills:
                tasks.create_task(self._kill(kill))

    async def _kill(self, kill: Kill) -> None:
        await self._until(kill.at_seconds)
        async with self._locks[kill.victim]:
            await self.stack.kill(kill.victim)
            self.done[kill.victim] += 1
            self.on_kill()

    async def _pause(self, pause: Pause, burst: asyncio.Event) -> None:
        await self._until(pause.at_seconds)
        async with self._locks[Victim.API]:
            await self.stack.until_up(Victim.API)
            before = await self._attempts()
            burst.set()
            await self._until_committed(before + len(pause.burst) // 4)
            await self.stack.pause_api(seconds=pause.seconds / self.divisor)
            self.paused_seconds.append(pause.seconds / self.divisor)

    async def _until_committed(self, attempts: int) -> None:
        """Wait until a burst is in the middle of it: some attempts are committed, and their calls not yet sent."""
        ends_at = time.monotonic() + HEADSTART_SECONDS_MAX
        # Nothing wakes us when another process commits.
        while time.monotonic() < ends_at and await self._attempts() < attempts:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)

    async def _attempts(self) -> int:
        try:
            return await count_attempts(self.pool)
        except (Refused, CommitUnknown):
            return 0

    async def _until(self, at_seconds: float) -> None:
        await asyncio.sleep(max(0.0, self.began_at + at_seconds - time.monotonic()))
