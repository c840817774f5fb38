"""Read the log: one event, those of a payment, or all in the one order in which no reader misses any."""

from uuid import UUID

from paymux_core.webhooks import LoggedEvent, LogPlace
from paymux_postgres import queries
from paymux_postgres.connections import Pool
from paymux_postgres.rows import read_event

SQL = queries.load(__file__)


class EventLog:
    """Reads only; ids commit out of order, transactions below the oldest running one do not."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def read_log_end(self) -> LogPlace:
        """Say up to where the log is final: the first transaction that is not."""
        row = (await self._pool.fetch(SQL["read_log_end"]))[0]
        return LogPlace(row["epoch"], row["xmin"])

    async def walk_log(
        self, merchant_id: UUID, *, livemode: bool, after: LogPlace, to_xid: int, type_: str | None, limit: int
    ) -> tuple[list[tuple[LogPlace, LoggedEvent]], int]:
        """Read what one merchant was told between a place and a transaction; and how many rows were walked."""
        rows = await self._pool.fetch(
            SQL["walk_log"],
            merchant_id,
            after.epoch,
            after.xid,
            livemode,
            after.xid,
            to_xid,
            after.subject,
            after.position,
            type_,
            limit,
        )
        found = [
            (LogPlace(after.epoch, row["xid"], row["event_id"], row["position"]), read_event(row))
            for row in rows
            if row["position"] is not None
        ]
        return found, rows[-1]["walked"]

    async def list_payment_events(
        self, merchant_id: UUID, payment_id: UUID, *, livemode: bool, after: int, type_: str | None, limit: int
    ) -> list[tuple[LogPlace, LoggedEvent]]:
        """Read a payment's public events behind a position."""
        rows = await self._pool.fetch(
            SQL["list_payment_events"], merchant_id, payment_id, livemode, after, type_, limit
        )
        return [(LogPlace(row["epoch"], row["xid"], row["event_id"], row["position"]), read_event(row)) for row in rows]

    async def find_event(self, merchant_id: UUID, subject: UUID, position: int) -> LoggedEvent | None:
        """Read one public event."""
        rows = await self._pool.fetch(SQL["find_event"], merchant_id, subject, position)
        return read_event(rows[0]) if rows else None
