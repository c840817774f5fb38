"""What must hold of the whole book, asked of the database."""

from datetime import datetime
from uuid import UUID

from paymux_core.records import Violation
from paymux_postgres import queries
from paymux_postgres.connections import Pool

SQL = queries.load(__file__)


async def recent_violations(pool: Pool, *, at: datetime, born_since: UUID, limit: int) -> list[Violation]:
    """List what is broken among payments born since an id, and among open ones."""
    rows = await pool.fetch(SQL["recent_violations"], at, born_since, limit)
    return [Violation(row["invariant"], row["merchant_id"], row["payment_id"], row["detail"]) for row in rows]
