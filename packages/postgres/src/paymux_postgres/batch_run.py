"""What happens to a batch when the database says no, or says nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from paymux_core.errors import Refused, StorageUnavailable
from paymux_core.ports import Rng
from paymux_postgres.connections import is_conflict, refused_for
from paymux_postgres.losses import CommitUnknown

Item = TypeVar("Item")
Result = TypeVar("Result")

LOSSES_MAX = 3
"""A server that loses the connection three times in one batch is not coming back soon."""
RETRY_PAUSE_SECONDS = 0.02


async def run_batch(
    items: Sequence[Item],
    *,
    together: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    after_loss: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    rng: Rng,
) -> Sequence[Result | Exception]:
    """Run items as one statement; a result or an exception per item, so one bad row never fails its neighbours.

    An error that the *server reports* committed nothing, nor did one before sending: conflicts are tried once more as a
    whole, then every item runs alone. A lost connection may have committed: `after_loss` looks first.
    Raises: StorageUnavailable.
    """
    try:
        return await _survive_losses(items, together=together, after_loss=after_loss)
    except Refused:
        raise
    except Exception as first:  # noqa: BLE001  whatever it is, it may be one item's alone
        error = first
    if is_conflict(error):
        await asyncio.sleep(RETRY_PAUSE_SECONDS * (0.5 + rng.uniform()))
        try:
            return await _survive_losses(items, together=together, after_loss=after_loss)
        except asyncpg.PostgresError as again:
            error = again
    if len(items) == 1:
        return [refused_for(error) or error]
    return await _one_by_one(items, together=together, after_loss=after_loss, rng=rng)


async def _one_by_one(
    items: Sequence[Item],
    *,
    together: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    after_loss: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    rng: Rng,
) -> Sequence[Result | Exception]:
    results: list[Result | Exception] = []
    for item in items:
        try:
            results.extend(await run_batch([item], together=together, after_loss=after_loss, rng=rng))
        except Refused as refused:
            # The server is gone: those before this one have their results, those after it are not tried.
            return [*results, *[refused] * (len(items) - len(results))]
    return results


async def _survive_losses(
    items: Sequence[Item],
    *,
    together: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
    after_loss: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
) -> Sequence[Result]:
    run = together
    for _ in range(LOSSES_MAX):
        try:
            return await run(items)
        except CommitUnknown:
            run = after_loss
    raise StorageUnavailable("the database keeps closing the connection; try again soon", retry_after_seconds=2)
