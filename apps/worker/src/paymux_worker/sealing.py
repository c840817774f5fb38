"""Seal the log every ten seconds. Every worker tries; one at a time is let in, and the others have nothing to do."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import structlog

from paymux_core.errors import Refused
from paymux_core.ports import Clock
from paymux_core.seals import Seal

SEAL_SECONDS = 10.0
BLOCKS_AT_ONCE_MAX = 20
"""After an outage the chain catches up in steps, and the loop hears in between that it is to stop."""

log = structlog.get_logger()


class Sealing(Protocol):
    """Where the chain of seals is."""

    def seal(self, now: datetime) -> Awaitable[Seal | None]:
        """Append the next block; None if there is nothing to seal or somebody else is at it."""
        ...


async def keep_sealing(sealing: Sealing, clock: Clock, stopping: asyncio.Event) -> None:
    """Seal until stopped. Trouble with the database is waited out; what was not sealed is sealed later."""
    while not stopping.is_set():
        try:
            await seal_all(sealing, clock, is_stopping=stopping.is_set)
        except Exception as error:
            # Whatever it is, the other loops go on, and so does this one.
            log.warning(
                "audit.not_sealed", reason=type(error).__name__, exc_info=not isinstance(error, (Refused, OSError))
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), timeout=SEAL_SECONDS)


async def seal_all(sealing: Sealing, clock: Clock, *, is_stopping: Callable[[], bool]) -> int:
    """Seal what may be sealed now; answers how many blocks that were. The head goes to the log: outside the book."""
    for blocks in range(BLOCKS_AT_ONCE_MAX):
        seal = None if is_stopping() else await sealing.seal(clock.now())
        if seal is None:
            return blocks
        log.info("audit.sealed", block=seal.block, hash=seal.hash.hex(), rows=seal.rows + seal.interactions)
    return BLOCKS_AT_ONCE_MAX
