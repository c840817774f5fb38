"""Deliver events: a worker takes endpoints, never single deliveries, so that each one is treated as a whole.

An endpoint has few tries under way, fewer once it fails, none while its breaker is open: who hangs delays nobody else.
Rounds follow each other while tries end: what ended during one is written, in one statement, by the next.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from msgspec.structs import replace

from paymux_core.errors import Refused
from paymux_core.ids import delivery_id
from paymux_core.ports import Webhooks
from paymux_core.webhooks import DeliveryTry, DueDelivery, Lease
from paymux_flows.deliver import EVENT_UNREADABLE, deliver, disable, learned, why_disable
from paymux_flows.deps import Deps

OWNED_MAX = 500
IN_FLIGHT_MAX = 1_000
PER_ENDPOINT_MAX = 4
PER_FAILING_ENDPOINT = 1
"""After a failure one at a time, until one is taken: a receiver that hangs holds one connection, and not four."""
POLL_SECONDS = 0.05
LEASE_PAUSE_SECONDS = 0.2
IDLE_SECONDS = 1.0
"""An endpoint with nothing due is given back after this long."""
BURY_PAUSE_SECONDS = 1.0
PAUSE_SECONDS_MAX = 5.0

log = structlog.get_logger()

Numbered = tuple[UUID, int]


@dataclass(slots=True)
class _Owned:
    """An endpoint of ours."""

    lease: Lease
    in_flight: int = 0
    polled_at: float = 0.0
    busy_at: float = 0.0
    """When it last had something due. Monotonic, as the one before."""
    hungry: bool = True
    """It took all it had room for: there is more."""
    disable_for: str | None = None

    @property
    def room(self) -> int:
        failing = self.lease.health.consecutive_failures > 0
        return (PER_FAILING_ENDPOINT if failing else PER_ENDPOINT_MAX) - self.in_flight


@dataclass(slots=True)
class Deliverer:
    """Delivers until it is told to stop; then finishes what is under way, and gives its endpoints back."""

    deps: Deps
    webhooks: Webhooks
    name: str
    stopping: asyncio.Event
    _token: UUID = field(init=False)
    _owned: dict[Numbered, _Owned] = field(default_factory=dict, init=False)
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _ended: list[DeliveryTry] = field(default_factory=list, init=False)
    """Tries that are not written yet."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _renew_at: float = field(default=0.0, init=False)
    _lease_at: float = field(default=0.0, init=False)
    _bury_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._token = self.deps.ids.new()

    async def run(self) -> None:
        """Work until stopped. Trouble with the database is waited out; what was not written comes back."""
        pause_seconds = POLL_SECONDS
        while not self.stopping.is_set():
            try:
                await self._round()
                pause_seconds = POLL_SECONDS
            except Exception as error:
                # Whatever it is, the tries under way go on.
                known = isinstance(error, (Refused, OSError))
                log.warning("deliverer.round_failed", reason=type(error).__name__, exc_info=not known)
                pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
                await self._pause(pause_seconds, until_woken=False)
                continue
            await self._pause(pause_seconds, until_woken=True)
        await self._finish()

    async def _finish(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        try:
            await self._write()
            await self._release(list(self._owned))
        except Exception as error:  # noqa: BLE001  the leases run out, and what was not written comes back
            log.warning("deliverer.not_finished", reason=type(error).__name__)

    async def _pause(self, seconds: float, *, until_woken: bool) -> None:
        """Wait until a try ends, we are stopped, or the time is over."""
        waiting = [asyncio.ensure_future(self.stopping.wait())]
        if until_woken:
            waiting.append(asyncio.ensure_future(self._wake.wait()))
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        self._wake.clear()

    async def _round(self) -> None:
        now = self.deps.clock.monotonic()
        await self._write()
        await self._disable()
        if now >= self._renew_at:
            await self._renew()
            self._renew_at = now + self.deps.clocks.lease / 3
        await self._give_back(now)
        if now >= self._lease_at and len(self._owned) < OWNED_MAX:
            await self._lease(now)
            self._lease_at = now + LEASE_PAUSE_SECONDS
        if now >= self._bury_at:
            self._bury_at = now if await self.deps.store.deliveries.bury_deliveries() else now + BURY_PAUSE_SECONDS
        await self._claim(now)

    # Endpoints ----------------------------------------------------------------------------------------------

    async def _lease(self, now: float) -> None:
        at = self.deps.clock.now()
        taken = await self.deps.store.deliveries.lease_endpoints(
            at=at,
            token=self._token,
            until=at + timedelta(seconds=self.deps.clocks.lease),
            limit=OWNED_MAX - len(self._owned),
        )
        for lease in taken:
            self._owned[lease.merchant_id, lease.number] = _Owned(lease, busy_at=now)

    async def _renew(self) -> None:
        """Hold on to what is ours; what is somebody else's by now is let go, with its tries under way."""
        if not self._owned:
            return
        until = self.deps.clock.now() + timedelta(seconds=self.deps.clocks.lease)
        kept = await self.deps.store.deliveries.renew_endpoints(token=self._token, until=until, owned=list(self._owned))
        for whose in self._owned.keys() - kept:
            log.warning("deliverer.lease_lost", merchant_id=str(whose[0]), endpoint=whose[1])
            del self._owned[whose]

    async def _give_back(self, now: float) -> None:
        """Give back what has nothing to do, and what has to wait until its breaker lets a probe through."""
        at = self.deps.clock.now()
        # What is not written yet can only be written while the endpoint is ours.
        unwritten = {(one.due.merchant_id, one.due.endpoint_number) for one in self._ended}
        idle = [
            whose
            for whose, owned in self._owned.items()
            if not owned.in_flight
            and whose not in unwritten
            and (now - owned.busy_at > IDLE_SECONDS or owned.lease.health.is_open(at))
        ]
        if idle:
            await self._release(idle)

    async def _release(self, whose: list[Numbered]) -> None:
        if not whose:
            return
        await self.deps.store.deliveries.release_endpoints(token=self._token, owned=whose)
        for one in whose:
            self._owned.pop(one, None)

    async def _disable(self) -> None:
        for owned in self._owned.values():
            if owned.disable_for is not None:
                reason, owned.disable_for = owned.disable_for, None
                if await disable(owned.lease, reason, self.deps, actor=f"worker:{self.name}"):
                    log.warning("webhook_endpoint.disabled", endpoint=owned.lease.number, reason=reason)

    # Tries --------------------------------------------------------------------------------------------------

    async def _claim(self, now: float) -> None:
        at = self.deps.clock.now()
        left = IN_FLIGHT_MAX - len(self._running)
        asked: dict[Numbered, int] = {}
        for whose, owned in self._owned.items():
            wanted = owned.hungry or now - owned.polled_at >= POLL_SECONDS
            if left > 0 and wanted and owned.room > 0 and not owned.lease.health.is_open(at):
                asked[whose] = min(owned.room, left)
                left -= asked[whose]
                owned.polled_at = now
                owned.hungry = False
        if not asked:
            return
        due = await self.deps.store.deliveries.claim_deliveries(
            token=self._token,
            at=at,
            hold_until=at + timedelta(seconds=self.deps.clocks.webhook_hold),
            room=[(*whose, room) for whose, room in asked.items()],
        )
        got = dict.fromkeys(asked, 0)
        for one in due:
            got[one.merchant_id, one.endpoint_number] += 1
            self._begin(one, now)
        for whose, count in got.items():
            if whose in self._owned:
                self._owned[whose].hungry = count == asked[whose]

    def _begin(self, due: DueDelivery, now: float) -> None:
        owned = self._owned[due.merchant_id, due.endpoint_number]
        owned.in_flight += 1
        owned.busy_at = now
        task = asyncio.create_task(self._try(due, owned))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _try(self, due: DueDelivery, owned: _Owned) -> None:
        try:
            ended = await deliver(due, self.webhooks, self.deps)
            if ended.answered.error == EVENT_UNREADABLE:
                event = due.event
                log.error(
                    "delivery.event_unreadable",
                    delivery_id=delivery_id(event.subject, event.position, due.endpoint_number),
                )
            health = learned(owned.lease.health, ended, self.deps)
            owned.lease = replace(owned.lease, health=health)
            owned.disable_for = owned.disable_for or why_disable(health, ended, self.deps)
            self._ended.append(ended)
        except Exception:
            # A bug of ours: the try is counted, and comes back when its hold is over.
            log.exception("delivery.failed", endpoint=due.endpoint_number)
        finally:
            owned.in_flight -= 1
            owned.hungry = True
            owned.busy_at = self.deps.clock.monotonic()
            self._wake.set()

    async def _write(self) -> None:
        """Write how tries ended, with what is known of their endpoints; kept for the next round if that fails."""
        ended = list(self._ended)
        if not ended:
            return
        whose = {(one.due.merchant_id, one.due.endpoint_number) for one in ended}
        leases = [self._owned[one].lease for one in whose if one in self._owned]
        await self.deps.store.deliveries.record_tries(self._token, ended, leases)
        del self._ended[: len(ended)]
