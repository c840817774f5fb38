"""Send webhooks: each change of a charge to whoever registered an address, again and signed anew until it is taken."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from .answers import Answer, json_answer, refusal
from .delays import iso_time, wall_seconds
from .ledger import Charge, ChargeStatus
from .webhook_events import Endpoint, Event, Fault, events_of, headers_of, sent_body

ENDPOINTS_FILE = "webhook_endpoints.json"
SEND_SECONDS_MAX = 10.0
RETRY_PAUSES_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
SENDINGS_MAX = 10_000
_TEXT_MAX = 2048
_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class Sending:
    """One try to deliver an event. `status` is None where nobody answered."""

    at: float
    gateway: str
    payment_id: str
    event_id: str
    type: str
    status: int | None

    def row(self) -> dict[str, object]:
        """Show it as the list does."""
        return {**asdict(self), "at": iso_time(self.at)}


class Webhooks:
    """The endpoints, which survive a restart, and what is on its way, which does not: gateways lose webhooks."""

    def __init__(self, home: Path, *, when_durable: Callable[[Callable[[], None]], None], divisor: float) -> None:
        self._file = home / ENDPOINTS_FILE
        self._when_durable = when_durable
        self._divisor = divisor
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._sent: deque[Sending] = deque(maxlen=SENDINGS_MAX)
        if self._file.exists():
            for row in json.loads(self._file.read_text()):
                self._keep(Endpoint(**{**row, "faults": tuple(row["faults"])}))

    def set_endpoint(self, gateway: str, api_key: str, body: Mapping[str, object]) -> Answer:
        """Say where the webhooks of an API key go, and what befalls them."""
        faults = body.get("faults", [])
        known = {fault.value for fault in Fault}
        if not isinstance(faults, list) or not set(faults) <= known:
            return refusal(400, "invalid_request", f"faults are a list of {', '.join(sorted(known))}.")
        texts = {field.name: body.get(field.name) for field in fields(Endpoint) if field.name in _NAMED}
        bad = [name for name, value in texts.items() if not _is_text(value, needed=name in _NEEDED)]
        url = urlsplit(str(texts["url"]))
        if bad or url.scheme != "http" or not url.hostname:
            return refusal(400, "invalid_request", "give url (http) and secret; previous_secret and account are texts.")
        self._keep(Endpoint(gateway, api_key, faults=tuple(faults), **texts))  # type: ignore[arg-type]
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps([asdict(endpoint) for endpoint in self._endpoints.values()]))
        draft.replace(self._file)
        return json_answer(200, {"url": texts["url"], "faults": faults}, did="registered an endpoint")

    def changed(self, charge: Charge) -> None:
        """Tell of a change, once it is on disk."""
        endpoint = self._endpoints.get((charge.gateway, charge.api_key or ""))
        if endpoint is not None and charge.status is not ChargeStatus.IN_TRANSIT:
            events = events_of(charge, endpoint)
            self._when_durable(lambda: self._begin(events, endpoint, charge.payment_id))

    def sendings(self, payment_id: str | None) -> Iterator[dict[str, object]]:
        """Yield the last tries to deliver, oldest first."""
        return (sending.row() for sending in tuple(self._sent) if payment_id in {None, sending.payment_id})

    async def close(self) -> None:
        """Send nothing more."""
        for task in self._sending:
            task.cancel()
        if self._sending:
            await asyncio.wait(self._sending)

    def _keep(self, endpoint: Endpoint) -> None:
        self._endpoints[endpoint.gateway, endpoint.api_key] = endpoint

    def _begin(self, events: list[Event], endpoint: Endpoint, payment_id: str) -> None:
        in_order = endpoint.has(Fault.OUT_OF_ORDER)
        for work in [events] if in_order else [[event] for event in events]:
            task = asyncio.get_running_loop().create_task(self._deliver_all(work, endpoint, payment_id))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _deliver_all(self, events: list[Event], endpoint: Endpoint, payment_id: str) -> None:
        for event in events:
            await self._deliver(event, endpoint, payment_id)

    async def _deliver(self, event: Event, endpoint: Endpoint, payment_id: str) -> None:
        for pause in (*RETRY_PAUSES_SECONDS, None):
            status = await _send(event, endpoint)
            self._sent.append(Sending(wall_seconds(), endpoint.gateway, payment_id, event.id, event.type, status))
            # What is refused because of a fault would be refused for ever.
            if status in _OK or pause is None or (status is not None and endpoint.faults):
                return
            await asyncio.sleep(pause / self._divisor)
            # It may have moved, or rolled its secret: what is sent again is signed with what is true now.
            endpoint = self._endpoints[endpoint.gateway, endpoint.api_key]


_NAMED = frozenset({"url", "secret", "previous_secret", "account"})
_NEEDED = frozenset({"url", "secret"})


def _is_text(value: object, *, needed: bool) -> bool:
    if value is None:
        return not needed
    return isinstance(value, str) and 0 < len(value) <= _TEXT_MAX


async def _send(event: Event, endpoint: Endpoint) -> int | None:
    """Post an event; answers the status, None if nobody answered."""
    writer: asyncio.StreamWriter | None = None
    address = urlsplit(endpoint.url)
    body = sent_body(event, endpoint)
    lines = [f"POST {address.path or '/'} HTTP/1.1", f"Host: {address.netloc}", "Connection: close"]
    lines += ["Content-Type: application/json", "User-Agent: paymux-sandbox", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers_of(event, endpoint).items()]
    try:
        async with asyncio.timeout(SEND_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(address.hostname, address.port or 80)
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            await writer.drain()
            words = (await reader.readline()).split()
            await reader.read()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
