"""`paymux doctor`: look at everything that can be wrong with an installation, and say what to do about it.

Exit codes are for scripts: 0 nothing found, 1 something found, 2 it could not look.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from paymux_api.settings import SettingRefused
from paymux_cli.embedded_postgres import CLUSTER_NAME
from paymux_cli.fitness import Finding, unfitness
from paymux_cli.processes import answers
from paymux_cli.refusals import DatabaseNotReached, NotPossible, reaching_database
from paymux_cli.settings import StackSettings, command_settings
from paymux_core.errors import Refused
from paymux_core.ids import Kind, public_id, uuid7
from paymux_core.records import Violation
from paymux_postgres.api_keys import live_keys_exist
from paymux_postgres.bounded import BoundedReads
from paymux_postgres.clock import DRIFT_SECONDS_MAX, DatabaseClock, machine_drift_seconds
from paymux_postgres.connections import DatabaseSettings, Pool
from paymux_postgres.invariants import invariant_names, recent_violations, violations
from paymux_postgres.losses import CommitUnknown
from paymux_postgres.operating import OperatingStore
from paymux_postgres.server_checks import read_server
from paymux_worker.tasks import TASKS

NOTHING_FOUND, FOUND, COULD_NOT_LOOK = 0, 1, 2
LOOKS_BACK = timedelta(hours=24)
SHOWN_MAX = 20
"""Violations that are told one by one."""
MONTHS_AHEAD_DAYS_MIN = 14
"""Two weeks are enough to mend a worker that makes no months."""
SCHEDULE_GRACE = timedelta(minutes=10)
"""After twice its period: a worker that was just restarted is no finding."""

Samples = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Examination:
    """What is looked at: the database, the figures as of `now`, and the settings."""

    pool: Pool
    reads: BoundedReads
    settings: StackSettings
    figures: Mapping[str, Samples]
    now: datetime


async def doctor(environment: Mapping[str, str], *, everything: bool, as_json: bool) -> int:
    """Look, print what was found, and answer the exit code."""
    try:
        found = await examine(environment, everything=everything)
    except (NotPossible, SettingRefused, Refused, CommitUnknown, asyncpg.PostgresError, OSError) as error:
        reason = str(error) or type(error).__name__
        print(msgspec.json.encode({"could_not_look": reason}).decode() if as_json else f"could not look: {reason}")
        return COULD_NOT_LOOK
    if as_json:
        print(msgspec.json.encode({"findings": found}).decode())
    else:
        print("\n".join(f"{finding.check:<12} {finding.what}" for finding in found) or "nothing found")
    return FOUND if found else NOTHING_FOUND


async def examine(
    environment: Mapping[str, str],
    *,
    everything: bool,
    machine: Callable[[], float] = time.time,  # noqa: TID251  this machine's own clock is what is looked at
) -> list[Finding]:
    """Look at everything; without `everything` what takes long is bounded. Raises: what keeps it from looking."""
    known = command_settings(environment)
    settings = StackSettings.from_environment(known)
    found = await _api(known)
    try:
        async with _connected(settings) as (pool, reads):
            unfit = await unfitness(pool, settings)
            found += unfit
            if any(finding.check == "migrations" for finding in unfit):
                return found
            clock = DatabaseClock(offset_seconds=settings.clock_offset_seconds)
            await clock.measure(pool)
            figures = await OperatingStore(reads).figures(at=clock.now())
            found += [_slow(name) for name in figures.missing]
            samples = {figure.name: figure.samples for figure in figures.read}
            at = Examination(pool, reads, settings, samples, clock.now())
            found += await _drift(at, machine)
            for check in CHECKS:
                found += await check(at)
            found += await (_whole_book(at) if everything else _recent_book(at))
    except DatabaseNotReached as error:
        found.append(Finding("database", str(error)))
    return found


@contextlib.asynccontextmanager
async def _connected(settings: StackSettings) -> AsyncIterator[tuple[Pool, BoundedReads]]:
    database = DatabaseSettings(
        settings.dsn, application_name="paymux-doctor", statement_cache=settings.statement_cache
    )
    pool, reads = Pool(database), BoundedReads(database)
    with reaching_database():
        await pool.open()
    try:
        yield pool, reads
    finally:
        await reads.close()
        await pool.close()


async def _api(known: Mapping[str, str]) -> list[Finding]:
    """Ask the API whether it serves, where it is known."""
    url = known.get("PAYMUX_URL") or known.get("PAYMUX_PUBLIC_URL")
    if url is None or await asyncio.to_thread(answers, f"{url}/health/ready"):
        return []
    return [Finding("api", f"{url}/health/ready does not answer 200; is the API running, and its database?")]


def _slow(name: str) -> Finding:
    return Finding("slow", f"{name} could not be read in its time: the database is overloaded, or a table has grown.")


async def _drift(at: Examination, machine: Callable[[], float]) -> list[Finding]:
    drift = await machine_drift_seconds(at.pool, machine=machine)
    if abs(drift) <= DRIFT_SECONDS_MAX:
        return []
    where = "ahead of" if drift > 0 else "behind"
    return [
        Finding(
            "clock", f"this machine is {abs(drift):.1f} s {where} the database; let both synchronise (chrony, ntpd)."
        )
    ]


async def _embedded(at: Examination) -> list[Finding]:
    async with at.pool.connection() as connection:
        server = await read_server(connection)
    if server["cluster"] != CLUSTER_NAME or not await live_keys_exist(at.pool):
        return []
    return [
        Finding(
            "embedded",
            "live keys are in use on the embedded server, which is for trial and tests; move to a server of your own "
            "(README, In production).",
        )
    ]


async def _overdue(at: Examination) -> list[Finding]:
    overdue = at.figures.get("paymux_checks", {}).get("overdue", 0)
    if not overdue:
        return []
    return [
        Finding("checks", f"{overdue:.0f} checks are overdue by more than five minutes; is a `paymux worker` running?")
    ]


async def _schedules(at: Examination) -> list[Finding]:
    """Find the tasks that did not run, and the slots that were given up."""
    since = at.figures.get("paymux_schedule_last_success_seconds")
    if since is None:
        return []
    found: list[Finding] = []
    for task in TASKS:
        seconds_max = (2 * task.period + SCHEDULE_GRACE) / at.settings.clock_divisor / timedelta(seconds=1)
        seconds = since.get(task.kind)
        if seconds is None:
            found.append(Finding("schedules", f"{task.kind} never ran; start a `paymux worker`."))
        elif seconds > seconds_max:
            sentence = f"{task.kind} last succeeded {timedelta(seconds=round(seconds))} ago; see the worker's log."
            found.append(Finding("schedules", sentence))
    for kind, left in at.figures.get("paymux_schedule_slots_left", {}).items():
        sentence = f"{kind} was given up {left:.0f} times in a day; the worker's log says why (schedules.failed)."
        found.append(Finding("schedules", sentence))
    return found


async def _partitions(at: Examination) -> list[Finding]:
    found = [
        Finding("partitions", f"{table}: months are made for {days:.0f} more days only; is a `paymux worker` running?")
        for table, days in at.figures.get("paymux_months_ahead_days", {}).items()
        if days < MONTHS_AHEAD_DAYS_MIN
    ]
    found += [
        Finding("partitions", f"{table} has rows that no month was made for; they are kept, and are never dropped.")
        for table, strays in at.figures.get("paymux_stray_rows", {}).items()
        if strays
    ]
    return found


async def _webhooks(at: Examination) -> list[Finding]:
    """Find gateways that went silent, endpoints that fail, and events that nobody delivers."""
    found = [
        Finding(
            "webhooks",
            f"{public_id(Kind.GATEWAY_ACCOUNT, UUID(account))} was charged through {charges:.0f} times in a day, and "
            "no webhook of its gateway came; is its webhook address set there, and the secret right here?",
        )
        for account, charges in at.figures.get("paymux_silent_webhooks", {}).items()
    ]
    if count := at.figures.get("paymux_webhook_breakers_open", {}).get("", 0):
        found.append(
            Finding("breakers", f"{count:.0f} webhook endpoints failed so often that they are left alone for a while.")
        )
    if count := at.figures.get("paymux_webhook_deliveries", {}).get("overdue", 0):
        sentence = f"{count:.0f} events wait for their delivery for more than a minute; is a `paymux worker` running?"
        found.append(Finding("deliveries", sentence))
    return found


async def _recent_book(at: Examination) -> list[Finding]:
    born_since = uuid7(int((at.now - LOOKS_BACK).timestamp() * 1000), 0)
    return _told(await recent_violations(at.reads, at=at.now, born_since=born_since, limit=SHOWN_MAX + 1))


async def _whole_book(at: Examination) -> list[Finding]:
    found: list[Violation] = []
    for name in await invariant_names(at.pool):
        found += await violations(at.pool, name, at=at.now)
    return _told(found)


def _told(found: Sequence[Violation]) -> list[Finding]:
    told = [
        Finding("invariants", f"{v.invariant}: {public_id(Kind.PAYMENT, v.payment_id)}: {v.detail}")
        for v in found[:SHOWN_MAX]
    ]
    if len(found) > SHOWN_MAX:
        told.append(Finding("invariants", "there are more; mend these first and look again."))
    return told


Check = Callable[[Examination], Awaitable[list[Finding]]]
CHECKS: Sequence[Check] = (_embedded, _overdue, _schedules, _partitions, _webhooks)
"""A further trouble is a function here, and a test that makes it."""
