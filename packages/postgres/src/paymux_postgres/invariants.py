"""What must hold of the book, asked one invariant at a time; a new function of `inv` is asked by itself."""

import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from paymux_core.errors import Overloaded, StorageUnavailable
from paymux_core.records import Violation
from paymux_postgres import queries
from paymux_postgres.bounded import BoundedReads
from paymux_postgres.connections import Pool, Row

SQL = queries.load(__file__)

SECONDS_MAX = 4.5
"""All of them together; whoever asks waits five seconds."""


async def invariant_names(reads: BoundedReads | Pool) -> list[str]:
    """Name what can be asked."""
    if isinstance(reads, Pool):
        rows = await reads.fetch(SQL["invariant_names"])
    else:
        rows = await reads.fetch(SQL["invariant_names"], seconds=SECONDS_MAX)
    return [str(row["name"]) for row in rows]


async def recent_violations(reads: BoundedReads, *, at: datetime, born_since: UUID, limit: int) -> list[Violation]:
    """List what is broken among payments born since an id, and among open ones.

    What was found counts, even if not all was looked at; nothing found in half the book is no verdict.
    Raises: Overloaded, StorageUnavailable.
    """
    ends_at = time.monotonic() + SECONDS_MAX
    found: list[Violation] = []
    unchecked: list[str] = []
    for name in await invariant_names(reads):
        seconds_left = ends_at - time.monotonic()
        try:
            if seconds_left <= 0:
                raise StorageUnavailable("no time is left", retry_after_seconds=1)  # noqa: TRY301  as if it had run
            rows = await reads.fetch(SQL["recent_violations"], name, at, born_since, limit, seconds=seconds_left)
        except StorageUnavailable:
            unchecked.append(name)
        else:
            found += _violations(name, rows)
    if unchecked and not found:
        raise Overloaded(
            f"{', '.join(unchecked)} could not be checked within {SECONDS_MAX:g} s; "
            "`paymux doctor --all` takes its time",
            retry_after_seconds=30,
        )
    return found[:limit]


async def violations(pool: Pool, name: str, *, at: datetime) -> list[Violation]:
    """List what breaks an invariant in the whole book, however long that takes."""
    return _violations(name, await pool.fetch(SQL["violations"], name, at))


def _violations(name: str, rows: Sequence[Row]) -> list[Violation]:
    return [Violation(name, row["merchant_id"], row["payment_id"], row["detail"]) for row in rows]
