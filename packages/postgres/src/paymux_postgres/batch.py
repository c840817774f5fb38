"""Batching without a timer: what arrives while one batch is in flight forms the next one.

With one caller a batch is one item and nothing waits. Nobody is answered before the commit that covers the item.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from paymux_core.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_MAX = 64
"""Larger batches gain nothing more and make one slow item cost more neighbours."""
WAITING_MAX = 5_000
"""At the slowest rate that was measured this is about two seconds of work: more would only time out in the queue."""


class Batcher(Generic[Item, Result]):
    """Collects items and runs them in batches, one batch at a time.

    `run` answers one result, or the exception to raise, per item, in order. `keys_of` names what two items of one batch
    may not share; the second one goes into the next batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        keys_of: Callable[[Item], tuple[Hashable, ...]],
        batch_max: int = BATCH_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        """Keep the function that runs a batch."""
        self._run = run
        self._keys_of = keys_of
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Run one item with whoever else waits. Raises: Overloaded, and what `run` raises.

        The item is not taken back when the caller is cancelled: a commit that was sent is never cancelled.
        """
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded("too many requests are waiting for the database; try again soon", retry_after_seconds=1)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._drain())
        return await future

    async def close(self) -> None:
        """Wait until everything that was submitted has run."""
        if self._runner is not None:
            await self._runner

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            try:
                results = await self._run([item for item, _ in batch])
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                if not isinstance(error, Exception):
                    raise
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        taken: list[tuple[Item, asyncio.Future[Result]]] = []
        put_off: list[tuple[Item, asyncio.Future[Result]]] = []
        seen: set[Hashable] = set()
        while self._waiting and len(taken) < self._batch_max:
            entry = self._waiting.popleft()
            keys = self._keys_of(entry[0])
            if seen.isdisjoint(keys):
                seen.update(keys)
                taken.append(entry)
            else:
                put_off.append(entry)
        self._waiting.extendleft(reversed(put_off))
        return taken
