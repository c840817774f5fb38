"""A merchant whose events go to receivers of the test: they take, refuse, hang or vanish, and note what came."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from uuid import UUID

import asyncpg
import msgspec

from paymux_connectors.webhook_sender import WebhookSender
from paymux_core.ids import Kind, parse_public_id
from paymux_core.money import Money
from paymux_core.webhook_signing import write_secret
from paymux_core.webhooks import EndpointStatus, WebhookEndpoint
from paymux_flows.cancel import cancel_payment
from paymux_flows.commands import Caller, CancelPayment, CreatePayment, KeyUse
from paymux_flows.create import create_payment
from paymux_flows.deps import Deps
from paymux_testkit.merchant_client import eventually
from paymux_worker.deliveries import Deliverer
from tests.support.one_account import VirtualClock, set_up

SECRET = write_secret(bytes(range(32)))
_numbers = count(1)


@dataclass(slots=True)
class Came:
    """One request at a receiver."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, object]:
        """The event."""
        decoded: dict[str, object] = msgspec.json.decode(self.body)
        return decoded


@dataclass(slots=True)
class Receivers:
    """A server; the first part of a path says what a receiver does: a status, or `hang`."""

    url: str = ""
    came: list[Came] = field(default_factory=list)
    headers: bytes = b""
    status_of: Callable[[str], int | None] | None = None
    """What a path is answered, instead of what it says; None: nothing, ever."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self._open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            path = first.split()[1]
            self.came.append(Came(path, headers, body))
            word = path.split("/")[1]
            status = self.status_of(path) if self.status_of is not None else None if word == "hang" else int(word)
            if status is None:
                await reader.read()  # until the other end gives up
                return
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n%s\r\nok" % (status, self.headers))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    def at(self, path: str) -> list[Came]:
        """List what came to a path."""
        return [one for one in self.came if one.path == path]


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """Run receivers."""
    receivers = Receivers()
    async with await asyncio.start_server(receivers.serve, "127.0.0.1", 0, backlog=1_000) as server:
        receivers.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield receivers
        while receivers._open:
            for writer in list(receivers._open):
                writer.close()
            await asyncio.sleep(0)


@dataclass(slots=True)
class Stage:
    """What a test works with."""

    deps: Deps
    clock: VirtualClock
    caller: Caller
    receivers: Receivers
    admin: asyncpg.Connection
    admin_dsn: str

    async def endpoint(
        self, path: str, *, types: list[str] | None = None, url: str | None = None, livemode: bool = False
    ) -> WebhookEndpoint:
        """Make an endpoint at a path of the receivers."""
        now = self.deps.clock.now()
        made = WebhookEndpoint(
            merchant_id=self.caller.merchant_id,
            id=self.deps.ids.new(),
            number=0,
            url=url or self.receivers.url + path,
            event_types=types,
            description=None,
            metadata={},
            status=EndpointStatus.ENABLED,
            disabled_reason=None,
            secret=SECRET,
            previous_secret=None,
            previous_secret_until=None,
            livemode=livemode,
            filters_changed_at=now,
            created_at=now,
            updated_at=now,
        )
        assert await self.deps.store.webhook_endpoints.insert_webhook_endpoint(made, endpoints_max=1000, answer=None)
        found = await self.deps.store.webhook_endpoints.find_webhook_endpoint(made.merchant_id, endpoint_id=made.id)
        assert found is not None
        return found

    async def payment(self) -> UUID:
        """Create a payment: one event."""
        created = await create_payment(CreatePayment(self.caller, Money(1999, "eur")), self.deps)
        payment_id = parse_public_id(Kind.PAYMENT, msgspec.json.decode(created.body)["id"])
        assert payment_id is not None
        return payment_id

    async def cancel(self, payment_id: UUID) -> None:
        """Cancel it: another event."""
        key = KeyUse(f"key-{next(_numbers)}", bytes(32))
        await cancel_payment(CancelPayment(self.caller, payment_id, key), self.deps)

    async def deliveries(self, where: str = "true") -> list[asyncpg.Record]:
        """Read deliveries."""
        return list(await self.admin.fetch(f"select * from webhook_deliveries where {where} order by event_id"))

    async def until(self, where: str, number: int, *, seconds: float = 30) -> list[asyncpg.Record]:
        """Wait until so many deliveries are as `where` says."""

        async def read() -> dict[str, int]:
            rows = await self.admin.fetch(
                f"select case when {where} then 'fitting' else status end as how, count(*) as number "
                "from webhook_deliveries group by 1"
            )
            return {row["how"]: row["number"] for row in rows}

        await eventually(read, lambda found: found.get("fitting", 0) == number, seconds=seconds)
        return await self.deliveries(where)

    async def let_it_be_due(self) -> None:
        """Move time to the next try that is planned."""
        at = await self.admin.fetchval("select min(next_try_at) from webhook_deliveries")
        self.clock.seconds += max(0.0, (at - self.clock.now()) / timedelta(seconds=1))

    @contextlib.asynccontextmanager
    async def delivering(self, *, send_seconds: float = 15.0) -> AsyncIterator[Deliverer]:
        """Have a deliverer run; it stops at the end."""
        async with WebhookSender(self.deps.clock, allow_insecure=True, seconds_max=send_seconds) as sender:
            deliverer = Deliverer(self.deps, sender, "test", asyncio.Event())
            running = asyncio.create_task(deliverer.run())
            try:
                yield deliverer
                assert not running.done(), "the deliverer ended by itself"
            except BaseException:
                running.cancel()
                raise
            deliverer.stopping.set()
            await running


@contextlib.asynccontextmanager
async def webhook_stage(dsn: str, *, seed: str) -> AsyncIterator[Stage]:
    """Open a stage with one merchant."""
    admin = await asyncpg.connect(dsn)
    try:
        async with set_up(dsn, "http://127.0.0.1:1", seed=seed) as one, receiving() as receivers:
            caller = Caller(one.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
            yield Stage(one.deps, one.clock, caller, receivers, admin, dsn)
    finally:
        await admin.close()
