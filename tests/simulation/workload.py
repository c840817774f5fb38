"""One seed's workload: payments, impatient clients, cancels, killed and stopped processes, then quiet."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from paymux_connectors.stripe import CONNECTOR as STRIPE
from paymux_core.connector import Caching, Connector, GatewayAccount
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_core.money import Money
from paymux_core.records import PaymentMethod
from paymux_core.routing import Candidate
from paymux_flows.cancel import cancel_payment
from paymux_flows.commands import Caller, CancelPayment, ConfirmPayment, CreatePayment, KeyUse, Reply
from paymux_flows.confirm import confirm_payment
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_flows.read import sync_payment
from tests.simulation.dialects import HabitualDialect, SingleCallGateway, StripeGateway
from tests.simulation.driver import simulated_driver
from tests.simulation.gateways import DAY_SECONDS, Habits
from tests.simulation.nodes import Answered, ApiHost, Directory, WorkerHost, resolve
from tests.simulation.oracle import Oracle, Told
from tests.simulation.world import BASE_RATES, Fault, World, WorldLoop

if TYPE_CHECKING:
    from tests.simulation.database import Server

# Past the longest watch (7 days) of what was closed before.
END_SECONDS = 8.5 * DAY_SECONDS
CLIENT_TIMEOUT_SECONDS = 35.0
HARSH_FROM = 1_000
"""Seeds from here on have more orders and more requests that arrive late: some rules are needed rarely."""
MERCHANT_ID = UUID(int=1)
_METHOD = PaymentMethod("card", "tok_simulated")
_RETURN_URL = "https://shop.example/back"

Serve = Callable[[Deps], Coroutine[None, None, Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one seed did."""

    seed: int
    violations: tuple[str, ...]
    steps: int
    statements: int
    trace: tuple[str, ...]
    trace_hash: str
    # The seed's whole option set, for the report of a failure.
    options: str


def run_seed(seed: int, server: Server) -> Run:
    """Simulate one seed from its first payment to the end of the quiet phase, on emptied tables."""
    rng = Random(seed)
    loop = WorldLoop(rng)
    loop.set_exception_handler(lambda _loop, _context: None)  # what is left of killed processes
    server.clean()
    before = server.statements
    # Each seed makes each fault absent, ordinary or frequent: rare combinations need some faults out of the way.
    rates = {fault: rate * (0.0, 1.0, 1.0, 3.0)[int(rng.random() * 4)] for fault, rate in BASE_RATES.items()}
    harsh = seed >= HARSH_FROM
    if harsh:
        rates |= {Fault.ZOMBIE: 0.6, Fault.REQUEST_LOST: 0.15}
    world = World(loop=loop, rng=rng, rates=rates, server=server)
    world.oracle = Oracle(world)
    try:
        with simulated_driver(world):
            loop.run_until_complete(_live(world, orders_min=3 if harsh else 1))
            world.oracle.judge_the_end()
            told = f"{world.trace}{loop.steps}{rng.random()}"
            _end(world)
    finally:
        loop.close()
    options = ", ".join(f"{fault}={rate:g}" for fault, rate in world.rates.items() if rate)
    return Run(
        seed=seed,
        violations=tuple(world.oracle.violations),
        steps=loop.steps,
        statements=server.statements - before,
        trace=tuple(world.trace),
        trace_hash=hashlib.sha256(told.encode()).hexdigest(),
        options=f"{[gateway.habits for gateway in world.gateways.values()]}; {options}",
    )


def _end(world: World) -> None:
    """Let every task unwind: no port answers any more."""
    world.over = True
    for host in world.hosts:
        host.node.alive = False
        for connection in host.node.connections:
            connection.drop()
    world.loop.unwind([host.node for host in world.hosts])


async def _live(world: World, *, orders_min: int) -> None:
    _build(world)
    for host in world.hosts:
        host.start()
    await asyncio.sleep(1.0)
    payments = [await _created(world, f"order-{n}") for n in range(orders_min + int(world.rng.random() * 2))]
    world.faulty = True
    clients = [_spawn_clients(world, payment_id, number) for number, payment_id in enumerate(payments)]
    if world.chance(0.3):
        clients.append(_spawn_buyers(world, "order-new"))
    horizon_seconds = world.between(70.0, 300.0)
    _plan_outages(world, horizon_seconds)
    await asyncio.sleep(horizon_seconds)
    world.faulty = False
    world.note("world", "quiet phase")
    await asyncio.sleep(END_SECONDS - horizon_seconds)


def _build(world: World) -> None:
    accounts = _gateways(world)
    directory = Directory([])
    connectors: dict[str, Connector] = {"stripe": STRIPE, "mock": HabitualDialect("mock", accounts["mock"])}
    names = ["stripe", "mock"] if world.chance(0.5) else ["mock", "stripe"]
    found = []
    world.server.make_merchant(MERCHANT_ID, names, at=world.now())
    for priority, name in enumerate(names):
        account_id = UUID(int=100 + priority)
        account = GatewayAccount(
            public_id(Kind.GATEWAY_ACCOUNT, account_id), name, f"http://{name}", {"secret_key": "k"}, livemode=False
        )
        found.append(Candidate(account_id, account, connectors[name].capabilities, "enabled", priority))
    directory.found = found
    world.hosts = [
        *(ApiHost(world, f"api{n}", connectors=connectors, directory=directory) for n in (1, 2)),
        *(WorkerHost(world, f"worker{n}", connectors=connectors, directory=directory) for n in (1, 2)),
    ]


def _gateways(world: World) -> dict[str, Habits]:
    odds = (0.5, 0.3, 0.08) if world.chance(0.7) else (0.3, 0.3, 0.25)
    caches = (Caching.ALL, Caching.ALL, Caching.ALL, Caching.SUCCESS, Caching.SUCCESS, Caching.NONE)
    late_success, can_look_up = world.chance(0.2), world.chance(0.8)
    habits = {
        "stripe": Habits(
            caching=Caching.ALL,
            can_fence=True,
            can_look_up=True,
            late_success=late_success,
            lag_seconds=4.0,
            odds=(*odds, 0.1 if world.chance(0.5) else 0.0),
        ),
        "mock": Habits(
            caching=caches[int(world.rng.random() * 6)],
            can_fence=world.chance(0.75),
            can_look_up=can_look_up,
            late_success=late_success and can_look_up,
            lag_seconds=15.0,
            odds=(*odds, 0.0),
        ),
    }
    world.gateways = {
        "stripe": StripeGateway(world, "stripe", habits["stripe"]),
        "mock": SingleCallGateway(world, "mock", habits["mock"]),
    }
    return habits


def _plan_outages(world: World, horizon_seconds: float) -> None:
    for host in world.hosts:
        if world.chance(0.15):
            world.outside(world.between(0.0, horizon_seconds), host.crash)
        if world.chance(0.2):
            world.outside(world.between(0.0, horizon_seconds), host.pause, 60.0)
    if world.chance(0.2):
        # No worker at all for a while: what was left to them comes late.
        outage_at, seconds = world.between(5.0, 60.0), world.between(60.0, 300.0)
        for host in world.hosts[2:]:
            world.outside(outage_at, host.pause, seconds)


def _caller(request_id: str) -> Caller:
    return Caller(MERCHANT_ID, livemode=False, api_key_id="0000000000", request_id=request_id)


def _use(key: str, meant: str) -> KeyUse:
    return KeyUse(key, hashlib.sha256(meant.encode()).digest())


async def _created(world: World, reference: str) -> str:
    command = CreatePayment(
        caller=_caller(f"req_{reference}"),
        money=Money(1999, "eur"),
        reference=reference,
        payment_method=_METHOD,
        return_url=_RETURN_URL if world.chance(0.5) else None,
    )
    answered = await _ask(world, partial(create_payment, command))
    assert answered is not None
    assert answered.payment_id is not None
    return answered.payment_id


async def _ask(world: World, serve: Serve) -> Answered | None:
    """Send one request to some API node; None if no answer came."""
    node = world.hosts[int(world.rng.random() * 2)]
    assert isinstance(node, ApiHost)
    answered: asyncio.Future[Answered | None] = world.loop.create_future()
    node.receive(serve, answered)
    hang_up = world.loop.call_later(CLIENT_TIMEOUT_SECONDS, resolve, answered, None)
    answer = await answered
    hang_up.cancel()
    return answer


def _spawn_clients(world: World, payment_id: str, number: int) -> list[asyncio.Task[None]]:
    """A client that asks twice with one key, or two tabs with two keys; and perhaps a merchant who cancels."""
    begins_at = world.between(0.0, 10.0)
    made = []
    for client in range(1 + int(world.rng.random() * 3)):
        key = f"key-{number}-{client if world.chance(0.5) else 0}"
        starts_at = begins_at + (0.0 if world.chance(0.6) else world.between(0.0, 40.0))
        made.append(_client(world, f"client{number}{client}", payment_id, key, starts_at))
    if world.chance(0.35):
        # At the same moment as the confirm, or while the charge runs.
        later = world.between(0.0, 0.02) if world.chance(0.4) else world.between(0.0, 150.0)
        made.append(_cancel(world, payment_id, begins_at + later))
    return [world.loop.create_task(work) for work in made]


def _spawn_buyers(world: World, reference: str) -> list[asyncio.Task[None]]:
    confirms = world.chance(0.6)
    return [
        world.loop.create_task(
            _buyer(world, f"buyer{n}", reference, f"key-buy-{n if world.chance(0.4) else 0}", confirm=confirms)
        )
        for n in range(1 + int(world.rng.random() * 2))
    ]


async def _client(world: World, name: str, payment_id: str, key: str, starts_at: float) -> None:
    """Confirm, and send the same request with the same key until an answer says what became of it."""
    await asyncio.sleep(starts_at)
    found = parse_public_id(Kind.PAYMENT, payment_id)
    assert found is not None
    for number in range(1 + int(world.rng.random() * 4)):
        request_id = f"req_{name}_{number}"
        command = ConfirmPayment(_caller(request_id), found, _use(key, payment_id))
        if number and world.chance(0.3):
            await _told(world, request_id, "get", "", partial(sync_payment, _caller(request_id), found))
            continue
        if await _told(world, request_id, "confirm", key, partial(confirm_payment, command)):
            return
        await asyncio.sleep(world.between(0.2, 40.0))


async def _buyer(world: World, name: str, reference: str, key: str, *, confirm: bool) -> None:
    """Create a payment, and perhaps confirm it in the same request; two may do so at the same moment."""
    await asyncio.sleep(world.between(0.0, 20.0) if world.chance(0.4) else 3.0)
    for number in range(1 + int(world.rng.random() * 4)):
        request_id = f"req_{name}_{number}"
        command = CreatePayment(
            caller=_caller(request_id),
            money=Money(500, "eur"),
            reference=reference,
            payment_method=_METHOD,
            confirm=confirm,
            key=_use(key, reference),
        )
        if await _told(world, request_id, "create", key, partial(create_payment, command)):
            return
        await asyncio.sleep(world.between(0.2, 40.0))


async def _cancel(world: World, payment_id: str, starts_at: float) -> None:
    await asyncio.sleep(starts_at)
    found = parse_public_id(Kind.PAYMENT, payment_id)
    assert found is not None
    for number in range(2):
        request_id = f"req_cancel_{number}"
        command = CancelPayment(_caller(request_id), found, _use(f"key-cancel-{payment_id}", "cancel"))
        if await _told(world, request_id, "cancel", command.key.idempotency_key, partial(cancel_payment, command)):
            return
        await asyncio.sleep(world.between(0.2, 5.0))


async def _told(world: World, request_id: str, verb: str, key: str, serve: Serve) -> bool:
    """Ask, have the answer judged, and say whether the client is content."""
    world.note("client", f"{verb} {request_id} {key}")
    answered = await _ask(world, serve)
    world.note("client", f"{request_id}: {'no answer' if answered is None else answered}")
    if answered is None:
        return False
    world.oracle.told(Told(request_id, verb, key, answered))
    return answered.http_status in {200, 201}
