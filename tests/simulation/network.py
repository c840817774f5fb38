"""In place of the transport's sockets: requests that get lost, arrive late or twice, and answers that do not come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paymux_connectors.transport import Sent
from paymux_core.exchange import HttpReply, NoReply, NotSent, TransportError
from tests.simulation.world import NODE, Fault

if TYPE_CHECKING:
    import asyncio

    from paymux_core.exchange import HttpRequest
    from paymux_core.ports import CallLimits, Clock
    from tests.simulation.world import World


class SimulatedTransport:
    """Keeps the transport's promises: not sent is certain, the latest first byte is checked right before the write."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock

    async def send(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        """Send over a kept-alive connection, which may die under the request."""
        world = self._world
        await world.at_port()
        if world.hit(Fault.RESET):
            return await self._reset(request, limits)
        return Sent(await self._exchange(request, limits))

    async def send_on_new_connection(self, request: HttpRequest, *, limits: CallLimits) -> Sent:
        """Send over a connection made for it."""
        await self._world.at_port()
        return Sent(await self._exchange(request, limits))

    async def _reset(self, request: HttpRequest, limits: CallLimits) -> Sent:
        refused = self._not_sent(request, limits)
        if refused is not None:
            return Sent(refused)
        if self._world.chance(0.3):
            self._write(request, None)
        await self._world.at_port()
        return Sent(NoReply(TransportError.RESET), stale_connection=True)

    async def _exchange(self, request: HttpRequest, limits: CallLimits) -> HttpReply:
        """Write and wait; no await may stand between the check and the write."""
        world = self._world
        refused = self._not_sent(request, limits)
        if refused is not None:
            return refused
        answered: asyncio.Future[HttpReply] = world.loop.create_future()
        seconds_left = limits.ends_at - self._clock.monotonic()
        timeout = world.loop.call_later(seconds_left, _resolve, answered, NoReply(TransportError.TIMEOUT))
        self._write(request, answered)
        reply = await answered
        timeout.cancel()
        await world.at_port()
        return reply

    def _not_sent(self, request: HttpRequest, limits: CallLimits) -> NotSent | None:
        now = self._clock.monotonic()
        if now >= limits.ends_at or (request.verb.moves_money and now >= limits.first_byte_before):
            return NotSent(TransportError.TOO_LATE)
        return NotSent(TransportError.CONNECT) if self._world.hit(Fault.CONNECT_REFUSED) else None

    def _write(self, request: HttpRequest, answered: asyncio.Future[HttpReply] | None) -> None:
        world = self._world
        gateway = world.gateways[request.url.split("/")[2]]
        world.note(NODE.get().name, f"sends {request.method} {request.idempotency_key or request.url}")
        world.oracle.sends(request, gateway)
        sent_at = world.loop.now

        def reply(answer: HttpReply) -> None:
            if answered is not None and not world.hit(Fault.ANSWER_LOST):
                world.outside(world.between(0.01, 0.3), _resolve, answered, answer)

        if not world.hit(Fault.REQUEST_LOST):
            delay = world.between(15.0, 240.0) if world.hit(Fault.ZOMBIE) else world.between(0.01, 0.5)
            world.outside(delay, gateway.receive, request, sent_at, reply)
        if gateway.collapses(request) and world.hit(Fault.REQUEST_TWICE):
            world.outside(world.between(0.05, 90.0), gateway.receive, request, sent_at, _to_nobody)


def _to_nobody(_answer: HttpReply) -> None:
    """A proxy sent the request again; its answer has no reader."""


def _resolve(answered: asyncio.Future[HttpReply], reply: HttpReply) -> None:
    if not answered.done():
        answered.set_result(reply)
