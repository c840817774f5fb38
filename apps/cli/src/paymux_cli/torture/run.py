"""Carry out a plan on a running stack: load, kills, a quiet phase; then gather the evidence."""

import asyncio
import random  # noqa: TID251  drawn from the plan's seed
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from paymux_cli.composition import Stack, open_stack
from paymux_cli.settings import StackSettings
from paymux_cli.torture.client import Answered, Clients
from paymux_cli.torture.gathering import gather
from paymux_cli.torture.killing import Killing
from paymux_cli.torture.oracle import Evidence
from paymux_cli.torture.plan import Order, Plan, Victim
from paymux_cli.torture.receivers import Receivers
from paymux_cli.torture.stack import DIVISOR, TortureStack
from paymux_cli.torture.telling import hold_against, subscribe
from paymux_cli.torture.watch import FINAL, Watch
from paymux_core.clocks import Clocks
from paymux_core.errors import Refused
from paymux_core.ids import Kind, public_id
from paymux_postgres.inspection import Standing, count_deliveries_due, list_public_events, list_standings
from paymux_postgres.losses import CommitUnknown

CLOCKS = Clocks().shortened(DIVISOR)
CLIENT_SECONDS = 35.0
"""The time-out that our documentation asks of clients; shortened like all clocks."""
GRACE_SECONDS = 30.0
"""From the last deadline to the end of the quiet phase: a check that comes with the deadline, on a busy machine."""
BOOK_SECONDS = 15.0
"""What the sandbox still books by itself comes within this after the last request (120 s, shortened, and a margin)."""
SOON_SECONDS = 5.0
"""The quiet phase waits for a delivery that is due within this; the pauses between later tries outlast a run."""
POLL_SECONDS = 0.5
REPLAYS_MAX = 500


class Progress(Protocol):
    """Who shows how far we are."""

    def phase(self, name: str, *, total: int) -> None:
        """Begin a phase."""

    def done(self, name: str, *, count: int) -> None:
        """Say how much of a phase is done."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a run did, beside the evidence."""

    evidence: Evidence
    counts: Mapping[str, int]
    kills: Mapping[Victim, int]
    paused_seconds: Sequence[float]
    ends: Mapping[Victim, int]
    looks: int
    replays: int
    load_seconds: float
    quiet_seconds: float


@dataclass(slots=True)
class _Run:
    plan: Plan
    stack: TortureStack
    made: Stack
    progress: Progress
    watch: Watch
    clients: Clients
    killing: Killing
    paid: int = 0


async def run_plan(plan: Plan, stack: TortureStack, progress: Progress) -> Story:
    """Torture a stack and tell the story."""
    receivers = Receivers(plan.seed)
    async with (
        open_stack(StackSettings.from_environment(stack.environment), name="torture") as made,
        receivers.listening(),
    ):
        await subscribe(stack.merchants, receivers)
        began_at = time.monotonic()
        watch = Watch()
        clients = Clients(
            merchants=stack.merchants,
            watch=watch,
            timeout_seconds=CLIENT_SECONDS / DIVISOR,
            patience_seconds=CLOCKS.processing_deadline + GRACE_SECONDS,
            seed=plan.seed,
        )
        killing = Killing(plan=plan, stack=stack, pool=made.store.pool, divisor=DIVISOR, began_at=began_at)
        run = _Run(plan, stack, made, progress, watch, clients, killing)
        watching = asyncio.create_task(_keep_watching(run))
        try:
            await _load(run)
            load_seconds = time.monotonic() - began_at
            standings = await _settle(run)
            quiet_seconds = time.monotonic() - began_at - load_seconds
            replays = await _replay(run, standings)
            log = await list_public_events(made.store.pool)
            telling = await hold_against(log, stack.merchants, receivers)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        return Story(
            evidence=await gather(
                made.store.pool,
                stack.sandbox,
                watch,
                misanswers=clients.misanswers,
                telling=telling,
                clocks=CLOCKS,
                now=made.deps.clock.now(),
            ),
            counts=Counter(clients.counts),
            kills=Counter(killing.done),
            paused_seconds=tuple(killing.paused_seconds),
            ends={victim: kept.ends for victim, kept in stack.kept.items()},
            looks=watch.looks,
            replays=replays,
            load_seconds=load_seconds,
            quiet_seconds=quiet_seconds,
        )


async def _load(run: _Run) -> None:
    """Let everybody pay while processes die."""
    plan = run.plan
    run.progress.phase("payments", total=len(plan.orders) + sum(len(pause.burst) for pause in plan.pauses))
    run.progress.phase("kills", total=len(plan.kills))
    run.killing.on_kill = lambda: run.progress.done("kills", count=run.killing.done.total())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_kill(run))
        for order in plan.orders:
            tasks.create_task(_pay_at_its_moment(order, run))
        for pause, burst in zip(plan.pauses, run.killing.bursts, strict=True):
            for order in pause.burst:
                tasks.create_task(_pay_in_burst(order, burst, run))


async def _kill(run: _Run) -> None:
    await run.killing.carry_out()
    run.clients.quiet_since = time.monotonic()


async def _pay_at_its_moment(order: Order, run: _Run) -> None:
    await asyncio.sleep(max(0.0, run.killing.began_at + order.at_seconds - time.monotonic()))
    await _pay(order, run)


async def _pay_in_burst(order: Order, burst: asyncio.Event, run: _Run) -> None:
    await burst.wait()
    await _pay(order, run)


async def _pay(order: Order, run: _Run) -> None:
    await run.clients.carry_out(order)
    run.paid += 1
    run.progress.done("payments", count=run.paid)


async def _keep_watching(run: _Run) -> None:
    """Poll every payment until cancelled; a database that is down is asked again."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        await _look(run)


async def _look(run: _Run) -> list[Standing] | None:
    asked_at = time.monotonic()
    try:
        standings = await list_standings(run.made.store.pool)
    except (Refused, CommitUnknown):
        return None
    found = ((public_id(Kind.PAYMENT, standing.payment_id), standing.status) for standing in standings)
    run.watch.see_all(found, asked_at=asked_at, told_at=time.monotonic())
    return standings


async def _settle(run: _Run) -> list[Standing]:
    """The quiet phase: nobody is killed, and what is open resolves, or a person is told."""
    began_at = time.monotonic()
    ends_at = began_at + CLOCKS.processing_deadline + GRACE_SECONDS
    standings: list[Standing] = []
    total = 0
    while True:
        looked = await _look(run)
        standings = looked if looked is not None else standings
        waiting = sum(standing.status not in FINAL and standing.open_review is None for standing in standings)
        waiting += await _deliveries_due(run)
        total = max(total, waiting)
        run.progress.phase("quiet", total=total)
        run.progress.done("quiet", count=total - waiting)
        now = time.monotonic()
        if now > ends_at or (looked is not None and not waiting and now > began_at + BOOK_SECONDS):
            return standings
        await asyncio.sleep(POLL_SECONDS)


async def _deliveries_due(run: _Run) -> int:
    """Count the deliveries that are worth waiting for; one that counts as due is a doubt about the database."""
    soon = run.made.deps.clock.now() + timedelta(seconds=SOON_SECONDS)
    try:
        return await count_deliveries_due(run.made.store.pool, by=soon)
    except (Refused, CommitUnknown):
        return 1


async def _replay(run: _Run, standings: Sequence[Standing]) -> int:
    """Send requests of the past once more: each key has to answer for its payment, as that now stands."""
    now_is = {public_id(Kind.PAYMENT, standing.payment_id): standing.status for standing in standings}
    rng = random.Random(run.plan.seed)  # noqa: S311  chance, not secrets
    answered = list({(each.merchant.api_key, each.request.key): each for each in run.clients.answered}.values())
    chosen = rng.sample(answered, min(REPLAYS_MAX, len(answered)))
    for number, past in enumerate(chosen):
        detail = await _replay_one(past, run, rng, status=now_is.get(past.payment_id))
        if detail is not None:
            run.clients.misanswers.append((past.payment_id, f"replay of {past.request.key}: {detail}"))
        run.progress.phase("replays", total=len(chosen))
        run.progress.done("replays", count=number + 1)
    return len(chosen)


async def _replay_one(past: Answered, run: _Run, rng: random.Random, *, status: str | None) -> str | None:
    reply = await run.clients.insist(past.merchant, past.request, rng)
    if reply.status >= 400:  # noqa: PLR2004  HTTP's own border
        return f"answered {reply.status} {reply.code}"
    if reply.payment_id != past.payment_id:
        return f"answered for {reply.payment_id}"
    if status in FINAL and reply.content["status"] != status:
        return f"answered {reply.content['status']}, and the payment is {status}"
    return None if reply.is_replay else "was not answered as a replay"
