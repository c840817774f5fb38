"""A client as our documentation describes it: after any doubt it sends the same request with the same key again."""

import asyncio
import random  # noqa: TID251  drawn from the plan's seed
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paymux_cli.torture.plan import Company, Order, Way
from paymux_cli.torture.watch import FINAL, Seen, Watch
from paymux_testkit.merchant_client import Merchant, NotInTime, Reply

RETRY_AFTER_SECONDS_MAX = 2.0
"""The stack's clocks are shortened, the whole seconds of Retry-After are not."""
PAUSE_SECONDS_MIN = 0.1
"""After a doubt; twice as long after each further one, so that a start is not trampled down."""
AT_ONCE_MAX = 64
"""Clients that are served at the same time: a torture is about kills; what overload does is another test's matter."""
READS_MAX = 5
"""Then the client leaves; what is still processing is the worker's."""
_Outcome = tuple[int, object]
_ALLOWED: Mapping[str, set[_Outcome]] = {
    "create": {(201, None), (202, None), (409, "reference_in_use")},
    "confirm": {(200, None), (202, None), (409, "payment_unexpected_state")},
    "cancel": {(200, None), (202, None), (409, "payment_unexpected_state")},
    "read": {(200, None)},
}
_AGAIN: set[_Outcome] = {(409, "idempotency_key_in_use"), (429, "rate_limited"), (503, "overloaded")}


class GaveUp(Exception):
    """The run is over and the request was never answered."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request with its key; `verb` says which answers are allowed."""

    verb: str
    path: str
    fields: Mapping[str, object]
    key: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and the payment that its key stands for: a later replay has to name the same."""

    merchant: Merchant
    request: Request
    payment_id: str


@dataclass(slots=True)
class Clients:
    """Everybody who pays. `timeout_seconds` is the documented time-out of a client, shortened like all clocks.

    While kills go on nobody gives up, however slow the machine is; afterwards a request has `patience_seconds`.
    """

    merchants: Sequence[Merchant]
    watch: Watch
    timeout_seconds: float
    patience_seconds: float
    seed: int
    quiet_since: float = float("inf")
    counts: Counter[str] = field(default_factory=Counter)
    misanswers: list[tuple[str, str]] = field(default_factory=list)
    answered: list[Answered] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_MAX))

    async def carry_out(self, order: Order) -> None:
        """Pay an order, whatever it takes."""
        rng = random.Random(f"{self.seed}:{order.number}")  # noqa: S311  chance, not secrets
        merchant = self.merchants[order.merchant]
        try:
            async with self._slots:
                await _Visit(self, merchant, order, rng).pay()
        except GaveUp as error:
            self.misanswers.append(("", f"order-{order.number}: {error}"))

    async def insist(self, merchant: Merchant, request: Request, rng: random.Random) -> Reply:
        """Send a request until it is answered. Raises: GaveUp."""
        pause_seconds = PAUSE_SECONDS_MIN
        began_at = time.monotonic()
        while time.monotonic() < max(began_at, self.quiet_since) + self.patience_seconds:
            reply = await self._ask(merchant.post(request.path, request.fields, key=request.key))
            if reply is None:
                await asyncio.sleep(rng.uniform(0.5, 1.0) * pause_seconds)
                pause_seconds = min(2 * pause_seconds, RETRY_AFTER_SECONDS_MAX)
                continue
            outcome = (reply.status, None if reply.status < 400 else reply.code)  # noqa: PLR2004  HTTP's own border
            if outcome in _AGAIN:
                self.counts[f"{reply.status} {reply.code}"] += 1
                await asyncio.sleep(_retry_after(reply))
                continue
            if outcome not in _ALLOWED[request.verb]:
                self.misanswers.append((_payment_in(reply), f"{request.verb} answered {outcome[0]} {outcome[1]}"))
            elif reply.status < 400:  # noqa: PLR2004  the same
                self.answered.append(Answered(merchant, request, reply.payment_id))
            return reply
        message = f"{request.verb} {request.path} with key {request.key} was never answered"
        raise GaveUp(message)

    async def read(self, merchant: Merchant, payment_id: str, *, query: str) -> str | None:
        """Read a payment's status; None if no answer came."""
        reply = await self._ask(merchant.get(f"/payments/{payment_id}{query}"))
        if reply is None or reply.status == 503:  # noqa: PLR2004  the one refusal of a read
            return None
        if reply.status != 200:  # noqa: PLR2004  HTTP's own number
            self.misanswers.append((payment_id, f"read answered {reply.status} {reply.code}"))
            return None
        return str(reply.content["status"])

    async def _ask(self, asking: Awaitable[Reply]) -> Reply | None:
        """Wait for an answer as long as a client does; None is a doubt."""
        asked_at = time.monotonic()
        self.counts["requests"] += 1
        try:
            async with asyncio.timeout(self.timeout_seconds):
                reply = await asking
        except (OSError, TimeoutError, NotInTime, asyncio.IncompleteReadError) as doubt:
            self.counts[f"doubt: {type(doubt).__name__}"] += 1
            return None
        if reply.status < 300:  # noqa: PLR2004  HTTP's own border
            content = reply.content
            self.watch.promised.add(str(content["id"]))
            self.watch.see(Seen(str(content["id"]), str(content["status"]), asked_at, time.monotonic()))
        return reply


@dataclass(slots=True)
class _Visit:
    """One client with one order."""

    clients: Clients
    merchant: Merchant
    order: Order
    rng: random.Random

    async def pay(self) -> None:
        if self.order.way is Way.AT_ONCE:
            replies = await self._together(self._create_at_once)
        else:
            created = await self._send(self._create("create", confirm=False))
            if created.status != 201:  # noqa: PLR2004  it was noted
                return
            replies = await self._go_on(created.payment_id)
        for payment_id in sorted({reply.payment_id for reply in replies if reply.status < 300}):  # noqa: PLR2004
            await self._wait_for_the_end(payment_id)
        if self.order.company is Company.SAME_KEY and self.order.way is Way.AT_ONCE:
            named = {_payment_in(reply) for reply in replies}
            if len(named) > 1:
                self.clients.misanswers.append((min(named), f"one key, several payments: {', '.join(sorted(named))}"))

    async def _go_on(self, payment_id: str) -> list[Reply]:
        order = self.order
        if order.way is Way.IN_TWO_STEPS:
            return await self._together(lambda suffix: self._confirm(suffix, payment_id))
        cancel = self._verb("cancel", payment_id, {"cancellation_reason": "requested_by_customer"}, suffix="c")
        if order.way is Way.CANCELED_BEFORE:
            return [await self._send(cancel)]
        return list(await asyncio.gather(self._send(self._confirm("a", payment_id)), self._soon(cancel)))

    async def _together(self, request: Callable[[str], Request]) -> list[Reply]:
        """Send a request, and at the same time what the order's company sends."""
        requests = [request("a")]
        if self.order.company is Company.SAME_KEY:
            requests.append(requests[0])
        elif self.order.company is Company.OTHER_KEY:
            requests.append(request("b"))
        return list(await asyncio.gather(*(self._send(each) for each in requests)))

    async def _soon(self, request: Request) -> Reply:
        await asyncio.sleep(self.rng.uniform(0, 1.0))
        return await self._send(request)

    async def _send(self, request: Request) -> Reply:
        return await self.clients.insist(self.merchant, request, self.rng)

    async def _wait_for_the_end(self, payment_id: str) -> None:
        query = "?sync=true" if self.order.reads_with_sync else ""
        for _ in range(READS_MAX):
            if await self.clients.read(self.merchant, payment_id, query=query) in FINAL:
                return
            await asyncio.sleep(self.rng.uniform(0.3, 1.2))

    def _create_at_once(self, suffix: str) -> Request:
        return self._create(suffix, confirm=True)

    def _create(self, suffix: str, *, confirm: bool) -> Request:
        order = self.order
        fields: dict[str, object] = {
            "amount": order.amount,
            "currency": "eur",
            "customer_reference": f"order-{order.number}",
            "payment_method": {"type": "card", "token": order.token},
            "confirm": confirm,
        }
        if order.has_reference:
            fields["reference"] = f"order-{order.number}"
        return Request("create", "/payments", fields, f"order-{order.number}-{suffix}")

    def _confirm(self, suffix: str, payment_id: str) -> Request:
        return self._verb("confirm", payment_id, {}, suffix=f"confirm-{suffix}")

    def _verb(self, verb: str, payment_id: str, fields: Mapping[str, object], *, suffix: str) -> Request:
        return Request(verb, f"/payments/{payment_id}/{verb}", fields, f"order-{self.order.number}-{suffix}")


def _retry_after(reply: Reply) -> float:
    return min(RETRY_AFTER_SECONDS_MAX, float(reply.headers.get("retry-after", "1")))


def _payment_in(reply: Reply) -> str:
    content = reply.content
    return str(content.get("payment_id") or content.get("id") or "")
