"""What an operator watches: one statement for each figure, each bounded by itself, so that none hides the others."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from paymux_core.errors import Refused
from paymux_core.ids import uuid7
from paymux_core.operating import Figure, Figures
from paymux_postgres import queries
from paymux_postgres.bounded import BoundedReads

SQL = queries.load(__file__)

SECONDS_MAX = 2.0
"""For each figure. One that takes longer is left out, and named."""

SILENT_AFTER = timedelta(days=1)

Samples = Mapping[str, float]


async def oldest_unknown(reads: BoundedReads, at: datetime) -> Samples:
    """Give the age of the oldest unknown attempt; 0 if there is none."""
    return {"": 0.0, **await _samples(reads, SQL["oldest_unknown"], at)}


async def checks(reads: BoundedReads, at: datetime) -> Samples:
    """Count the checks that are due and overdue."""
    return await _samples(reads, SQL["checks"], at)


async def open_reviews(reads: BoundedReads, at: datetime) -> Samples:
    """Count the open reviews by reason."""
    return await _samples(reads, SQL["open_reviews"], at)


async def schedules_since_success(reads: BoundedReads, at: datetime) -> Samples:
    """Tell how long ago each kind of task succeeded."""
    return await _samples(reads, SQL["schedules_since_success"], at)


async def slots_left(reads: BoundedReads, at: datetime) -> Samples:
    """Count the slots that nobody will finish, by kind."""
    return await _samples(reads, SQL["slots_left"], at)


async def months_ahead(reads: BoundedReads, at: datetime) -> Samples:
    """Tell for how many days months are made ahead, by table."""
    return await _samples(reads, SQL["months_ahead"], at)


async def stray_rows(reads: BoundedReads, at: datetime) -> Samples:
    """Tell which tables have rows that no month was made for."""
    return await _samples(reads, SQL["stray_rows"], at)


async def deliveries(reads: BoundedReads, at: datetime) -> Samples:
    """Count the deliveries that are due, overdue and given up."""
    return await _samples(reads, SQL["deliveries"], at)


async def breakers_open(reads: BoundedReads, at: datetime) -> Samples:
    """Count the endpoints that are left alone for a while."""
    return await _samples(reads, SQL["breakers_open"], at)


async def webhook_lag(reads: BoundedReads, at: datetime) -> Samples:
    """Give the age of the oldest webhook that nobody has applied; 0 if there is none."""
    return {"": 0.0, **await _samples(reads, SQL["webhook_lag"], at)}


async def silent_webhooks(reads: BoundedReads, at: datetime) -> Samples:
    """Count the charges of a day through accounts whose gateway sent no webhook for as long, by account."""
    born_since = uuid7(int((at - SILENT_AFTER).timestamp() * 1000), 0)
    rows = await reads.fetch(SQL["silent_webhooks"], at, born_since, seconds=SECONDS_MAX)
    return {row["sample"]: float(row["value"]) for row in rows}


async def _samples(reads: BoundedReads, statement: str, at: datetime) -> Samples:
    rows = await reads.fetch(statement, at, seconds=SECONDS_MAX)
    return {row["sample"]: float(row["value"]) for row in rows if row["value"] is not None}


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure's name and meaning, its label, and where it comes from."""

    name: str
    about: str
    label: str | None
    read: Callable[[BoundedReads, datetime], Awaitable[Samples]]


GAUGES: Sequence[Gauge] = (
    Gauge("paymux_oldest_unknown_seconds", "Age of the oldest attempt nobody can tell of", None, oldest_unknown),
    Gauge("paymux_checks", "Checks that are due; overdue: for five minutes", "state", checks),
    Gauge("paymux_open_reviews", "Questions that wait for a person", "reason", open_reviews),
    Gauge("paymux_schedule_last_success_seconds", "Since a task last succeeded", "kind", schedules_since_success),
    Gauge("paymux_schedule_slots_left", "Slots of the last day that nobody will finish", "kind", slots_left),
    Gauge("paymux_months_ahead_days", "Days for which partitions are made ahead", "table", months_ahead),
    Gauge("paymux_webhook_deliveries", "Events on their way; overdue: for a minute", "state", deliveries),
    Gauge("paymux_webhook_breakers_open", "Endpoints that are left alone for a while", None, breakers_open),
    Gauge("paymux_inbound_webhook_lag_seconds", "Age of the oldest webhook nobody has applied", None, webhook_lag),
    Gauge("paymux_silent_webhooks", "Charges of a day without any webhook", "gateway_account_id", silent_webhooks),
    Gauge("paymux_stray_rows", "Whether a table has rows that no month was made for", "table", stray_rows),
)
"""A further figure is a statement, its function, and a line here."""


class OperatingStore:
    """Reads the figures."""

    def __init__(self, reads: BoundedReads) -> None:
        """Take the connections."""
        self._reads = reads

    async def figures(self, *, at: datetime) -> Figures:
        """Read every figure, each within its time."""
        read: list[Figure] = []
        missing: list[str] = []
        for gauge in GAUGES:
            try:
                samples = await gauge.read(self._reads, at)
            except (Refused, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                missing.append(gauge.name)
            else:
                read.append(Figure(gauge.name, gauge.about, gauge.label, samples))
        return Figures(read, missing)
