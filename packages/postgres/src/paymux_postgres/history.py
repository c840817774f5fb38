"""All that happened to one payment, as one list."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from paymux_core.records import HistoryPlace, HistoryRow
from paymux_postgres import queries
from paymux_postgres.bodies import unpack_body
from paymux_postgres.connections import Pool, Row

SQL = queries.load(__file__)

_decode = msgspec.json.Decoder(dict[str, object]).decode


class HistoryStore:
    """The histories of all payments."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def walk(
        self, merchant_id: UUID, payment_id: UUID, *, kinds: Sequence[str], behind: HistoryPlace | None, limit: int
    ) -> list[HistoryRow]:
        """Walk a payment's history, oldest first, behind a place in it."""
        return await list_history(self._pool, merchant_id, payment_id, kinds=kinds, behind=behind, limit=limit)


async def list_history(
    pool: Pool, merchant_id: UUID, payment_id: UUID, *, kinds: Sequence[str], behind: HistoryPlace | None, limit: int
) -> list[HistoryRow]:
    """List rows of some kinds in the order of the timeline."""
    rows = await pool.fetch(
        SQL["list_history"],
        merchant_id,
        payment_id,
        kinds,
        None if behind is None else behind.recorded_at,
        None if behind is None else behind.position,
        None if behind is None else behind.key,
        limit,
    )
    return [_read_row(row) for row in rows]


def _read_row(row: Row) -> HistoryRow:
    return HistoryRow(
        kind=row["kind"],
        place=HistoryPlace(row["recorded_at"], row["position"], row["key"]),
        actor=row["actor"],
        request_id=row["request_id"],
        columns=_decode(row["row"]),
        body=None if row["body"] is None else unpack_body(row["body"]),
    )
