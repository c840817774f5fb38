"""Gather what is known once everything is quiet: the book of the gateways, our tables, and what was told meanwhile."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from paymux_cli.torture.oracle import Evidence
from paymux_cli.torture.telling import Telling
from paymux_cli.torture.watch import FINAL, Watch
from paymux_core.clocks import Clocks
from paymux_core.ids import attempt_id
from paymux_postgres.connections import Pool
from paymux_postgres.inspection import (
    list_charge_windows,
    list_ends_left,
    list_late_first_bytes,
    list_standings,
    list_violations,
)
from paymux_testkit.sandbox_process import SandboxProcess

SENDING_SECONDS = 1.0
"""From the decision to send to the gateway's note of it, beside the latest first byte: a busy machine's delay."""
LATER = timedelta(hours=1)
"""Invariants of liveness are asked for this much later: what nobody would have come back for is found now."""
_LIVENESS = ("left_alone", "attempt_silent", "key_unfinished", "lease_stale")

Misanswer = tuple[str, str]


async def gather(
    pool: Pool,
    sandbox: SandboxProcess,
    watch: Watch,
    *,
    misanswers: Sequence[Misanswer],
    telling: Telling,
    clocks: Clocks,
    now: datetime,
) -> Evidence:
    """Read everything. Raises: StorageUnavailable, OSError."""
    standings = await list_standings(pool)
    reviewed = {standing.payment_id for standing in standings if standing.open_review is not None}
    violations = await list_violations(pool, at=now + LATER)
    windows = await list_charge_windows(pool)
    return Evidence(
        charges=await asyncio.to_thread(sandbox.charges),
        requests=await asyncio.to_thread(sandbox.requests),
        standings=standings,
        promised=frozenset(watch.promised),
        regressions=dict(watch.regressions),
        ends_left=await list_ends_left(pool, final=FINAL),
        late_first_bytes=await list_late_first_bytes(pool, after=timedelta(seconds=clocks.first_byte)),
        # A person was told of these; until one acts they are asked about, and stay open.
        violations=[v for v in violations if v.payment_id not in reviewed or not v.detail.startswith(_LIVENESS)],
        misanswers=tuple(misanswers),
        telling=telling,
        webhooks=len(await asyncio.to_thread(sandbox.sendings)),
        charge_windows={attempt_id(payment, number): at for (payment, number), at in windows.items()},
        sending_seconds_max=clocks.first_byte + SENDING_SECONDS,
    )
