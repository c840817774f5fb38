"""Statements that hold the whole book against what is known elsewhere; they read every row, and change none."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from paymux_postgres import queries
from paymux_postgres.connections import Pool

SQL = queries.load(__file__)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one payment stands. `open_review` is the reason of one, if a person was told."""

    payment_id: UUID
    status: str
    version: int
    amount: int
    currency: str
    customer_reference: str | None
    open_review: str | None


@dataclass(frozen=True, slots=True)
class PublicEvent:
    """An event of a payment; `waits`: a delivery of it did not succeed yet."""

    payment_id: UUID
    sequence: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A payment that breaks a rule, and how."""

    payment_id: UUID
    detail: str


async def list_standings(pool: Pool) -> list[Standing]:
    """List where every payment stands."""
    rows = await pool.fetch(SQL["list_standings"])
    return [Standing(*row.values()) for row in rows]


async def list_public_events(pool: Pool) -> list[PublicEvent]:
    """List every event that merchants are told of."""
    rows = await pool.fetch(SQL["list_public_events"])
    return [PublicEvent(*row.values()) for row in rows]


async def count_deliveries_due(pool: Pool, *, by: datetime) -> int:
    """Count the deliveries that are due by a moment."""
    rows = await pool.fetch(SQL["count_deliveries_due"], by)
    return int(rows[0]["due"])


async def list_ends_left(pool: Pool, *, final: Collection[str]) -> list[Suspicion]:
    """List the payments whose log goes on to another status after a final one."""
    rows = await pool.fetch(SQL["list_ends_left"], sorted(final))
    return [
        Suspicion(row["payment_id"], f"event {row['position']}: {row['ended_as']} became {row['to_status']}")
        for row in rows
    ]


async def list_late_first_bytes(pool: Pool, *, after: timedelta) -> list[Suspicion]:
    """List the charges whose first byte left too late."""
    rows = await pool.fetch(SQL["list_late_first_bytes"], after)
    return [
        Suspicion(
            row["payment_id"],
            f"attempt {row['attempt_number']} was sent {row['after_commit'].total_seconds():.2f} s after its commit",
        )
        for row in rows
    ]


async def list_charge_windows(pool: Pool) -> dict[tuple[UUID, int], datetime]:
    """Tell until when each attempt could be charged."""
    rows = await pool.fetch(SQL["list_charge_windows"])
    return {(row["payment_id"], row["number"]): row["charge_window_ends_at"] for row in rows}


async def count_attempts(pool: Pool) -> int:
    """Count all attempts."""
    rows = await pool.fetch(SQL["count_attempts"])
    return int(rows[0]["attempts"])


async def list_violations(pool: Pool, *, at: datetime) -> list[Suspicion]:
    """List what breaks an invariant."""
    rows = await pool.fetch(SQL["list_violations"], at)
    return [Suspicion(row["payment_id"], f"{row['invariant']}: {row['detail']}") for row in rows]
