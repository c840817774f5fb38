"""One seed's workload: payments, impatient clients, cancels, killed and stopped processes, then quiet."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tests.model.gateways import Account, Gateway
from tests.model.loop import SimulationLoop
from tests.model.protocol import ApiNode, Worker
from tests.model.rules import DAY_SECONDS, Caches
from tests.model.store import Confirm, Payment
from tests.model.world import BASE_RATES, World

if TYPE_CHECKING:
    from tests.model.mutants import Mutant

# Past the longest watch (7 days) of what was closed before.
END_SECONDS = 8.5 * DAY_SECONDS
CLIENT_TIMEOUT_SECONDS = 35.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one seed did."""

    seed: int
    violations: tuple[str, ...]
    steps: int
    virtual_days: float
    trace: tuple[tuple[float, str, str], ...]
    trace_hash: str
    # The seed's whole option set, for the report of a failure.
    options: str


def run_seed(seed: int, *, mutant: Mutant | None = None) -> Run:
    """Simulate one seed from its first confirm to the end of the quiet phase."""
    rng = Random(seed)
    loop = SimulationLoop(rng)
    errors: list[Exception] = []
    loop.set_exception_handler(lambda _loop, context: _keep_error(errors, context))
    try:
        world = _build(loop, rng, mutant)
        loop.run_until_complete(_live(world))
    finally:
        loop.close()
    for error in (*errors, *world.errors):
        raise error
    world.oracle.judge_the_end()
    told = f"{world.trace}{loop.steps}{rng.random()}"
    return Run(
        seed=seed,
        violations=tuple(world.oracle.violations),
        steps=loop.steps,
        virtual_days=loop.now / DAY_SECONDS,
        trace=tuple(world.trace),
        trace_hash=hashlib.sha256(told.encode()).hexdigest(),
        options=_options(world),
    )


def _keep_error(errors: list[Exception], context: dict[str, object]) -> None:
    # Workers never end by themselves: a context without an exception only says that they were still there.
    error = context.get("exception")
    if isinstance(error, Exception):
        errors.append(error)


def _build(loop: SimulationLoop, rng: Random, mutant: Mutant | None) -> World:
    # Each seed makes each fault absent, ordinary or frequent: rare combinations need some faults out of the way.
    rates = {fault: rate * (0.0, 1.0, 1.0, 3.0)[int(rng.random() * 4)] for fault, rate in BASE_RATES.items()}
    world = World(loop=loop, rng=rng, mutant=mutant, rates=rates)
    for account in _accounts(world):
        odds = (0.55, 0.3, 0.05) if world.chance(0.8) else (0.35, 0.3, 0.25)
        world.gateways[account.name] = Gateway(world, account, odds)
    for number in range(1 + int(rng.random() * 2)):
        route = ("A", "B") if world.chance(0.4) else ("B", "A")
        world.store.payments[f"p{number}"] = Payment(id=f"p{number}", route=route)
    world.nodes = [ApiNode(world, "api1"), ApiNode(world, "api2")]
    world.workers = [Worker(world, "worker1"), Worker(world, "worker2")]
    return world


def _options(world: World) -> str:
    rates = ", ".join(f"{fault}={rate:g}" for fault, rate in world.rates.items() if rate)
    return f"{[gateway.account for gateway in world.gateways.values()]}; {rates}"


def _accounts(world: World) -> tuple[Account, Account]:
    caches = (Caches.ALL, Caches.ALL, Caches.ALL, Caches.ONLY_2XX, Caches.ONLY_2XX, Caches.NONE)
    two_phase = Account(
        name="A",
        two_phase=True,
        caches=(*Caches,)[int(world.rng.random() * 3)],
        can_fence=True,
        can_look_up=True,
        late_success=world.chance(0.1),
    )
    can_look_up = world.chance(0.8)
    single_call = Account(
        name="B",
        two_phase=False,
        caches=caches[int(world.rng.random() * 6)],
        can_fence=world.chance(0.8),
        can_look_up=can_look_up,
        late_success=can_look_up and world.chance(0.1),
    )
    return two_phase, single_call


async def _live(world: World) -> None:
    loop = world.loop
    for worker in world.workers:
        worker.start()
    for payment in world.store.payments.values():
        # A client that asks twice with one key, or two tabs with two keys.
        begins_at = world.between(0.0, 10.0)
        for client in range(1 + int(world.rng.random() * 3)):
            key = f"{payment.id}-key{client if world.chance(0.5) else 0}"
            starts_at = begins_at + (0.0 if world.chance(0.6) else world.between(0.0, 40.0))
            loop.call_at(starts_at, _start_client, world, f"{payment.id}-client{client}", payment.id, key)
        if world.chance(0.25):
            loop.call_at(begins_at + world.between(0.0, 150.0), _cancel, world, payment.id)
    horizon_seconds = world.between(70.0, 300.0)
    for process in (*world.nodes, *world.workers):
        if world.chance(0.15):
            loop.call_at(world.between(0.0, horizon_seconds), process.crash)
        if world.chance(0.15):
            loop.call_at(world.between(0.0, horizon_seconds), process.pause, 60.0)
    if world.chance(0.2):
        # No worker at all for a while: what was left to them comes late.
        outage_at, seconds = world.between(5.0, 60.0), world.between(60.0, 300.0)
        for worker in world.workers:
            loop.call_at(outage_at, worker.pause, seconds)
    await asyncio.sleep(horizon_seconds)
    world.faulty = False
    world.note("world", "quiet phase")
    await asyncio.sleep(END_SECONDS - horizon_seconds)


def _start_client(world: World, name: str, payment_id: str, key: str) -> None:
    world.clients.append(world.loop.create_task(_client(world, name, payment_id, key)))


async def _client(world: World, name: str, payment_id: str, key: str) -> None:
    """Confirm, and send the same request with the same key until an answer says what became of it."""
    for number in range(1 + int(world.rng.random() * 4)):
        node = world.nodes[int(world.rng.random() * len(world.nodes))]
        http_status = None
        if node.alive:
            answered: asyncio.Future[int | None] = world.loop.create_future()
            command = Confirm(request_id=f"{name}.{number}", payment_id=payment_id, key=key)
            world.note(name, f"confirms with {key} at {node.name}")
            node.receive_confirm(command, answered)
            hang_up = world.loop.call_later(CLIENT_TIMEOUT_SECONDS, _hang_up, answered)
            http_status = await answered
            hang_up.cancel()
        if http_status == 200:
            return
        await asyncio.sleep(world.between(0.2, 40.0))


def _hang_up(answered: asyncio.Future[int | None]) -> None:
    if not answered.done():
        answered.set_result(None)


def _cancel(world: World, payment_id: str) -> None:
    node = world.nodes[int(world.rng.random() * len(world.nodes))]
    if node.alive:
        world.note("merchant", f"cancels {payment_id}")
        node.receive_cancel(payment_id)
