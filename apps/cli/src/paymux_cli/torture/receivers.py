"""The merchants' receivers: they check every delivery, and answer as badly as receivers do.

Signatures and numbers are checked by code of this file alone, so that the sender does not vouch for itself.
"""

import asyncio
import base64
import contextlib
import hmac
import json
import random  # noqa: TID251  drawn from the plan's seed
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

_BAD_ANSWERS = ("500", "hang", "reset", "redirect", "late")
_BAD_FIRST = 0.25
_BAD_SECOND = 0.1
"""From the third try on everything is taken: the pauses between later tries are longer than a run."""
_HANG_SECONDS = 3.0
"""Longer than a delivery may take, shortened like all clocks."""
_LATE_SECONDS = 0.3
_HEAD_MAX = 16 * 1024
_SECRET_PREFIX = "whsec_"  # noqa: S105  no secret


@dataclass(slots=True)
class Inbox:
    """What one merchant was told: by payment and `sequence`, the id of the event and the hash of its body."""

    secret: str = ""
    told: dict[str, dict[int, tuple[str, bytes]]] = field(default_factory=lambda: defaultdict(dict))


@dataclass(slots=True)
class Receivers:
    """One server for all merchants; the path tells them apart. `wrong`: payment, and what was wrong with a delivery."""

    seed: int
    inboxes: dict[int, Inbox] = field(default_factory=lambda: defaultdict(Inbox))
    wrong: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _port: int = 0
    _tries: Counter[tuple[int, str]] = field(default_factory=Counter)

    def url(self, merchant: int) -> str:
        """Say where a merchant wants to be told."""
        return f"http://127.0.0.1:{self._port}/{merchant}"

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on a free port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD_MAX)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A worker that was killed leaves half a request.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                path, headers, body = await _request(reader)
                merchant = int(path.strip("/"))
                answer = self._answer(merchant, headers, body)
                await self._reply(answer, writer)
        finally:
            writer.close()

    def _answer(self, merchant: int, headers: Mapping[str, str], body: bytes) -> str:
        """Note a delivery where it is taken, and say how it is answered."""
        event_id = headers.get("webhook-id", "")
        self._tries[merchant, event_id] += 1
        tries = self._tries[merchant, event_id]
        rng = random.Random(f"{self.seed}:{event_id}:{tries}")  # noqa: S311  chance, not secrets
        chance = {1: _BAD_FIRST, 2: _BAD_SECOND}.get(tries, 0.0)
        answer = rng.choice(_BAD_ANSWERS) if rng.random() < chance else "200"
        self.counts["deliveries"] += 1
        self.counts[f"answered {answer}"] += 1
        self._check(merchant, event_id, headers, body)
        return answer

    def _check(self, merchant: int, event_id: str, headers: Mapping[str, str], body: bytes) -> None:
        event = json.loads(body)
        payment_id = str(event.get("payment_id") or "")
        if not _is_signed(self.inboxes[merchant].secret, headers, body):
            self.wrong.append((payment_id, f"{event_id}: the signature is not ours"))
        if event["id"] != event_id:
            self.wrong.append((payment_id, f"{event_id}: the body says {event['id']}"))
        if not payment_id:
            return
        seen = (event_id, sha256(body).digest())
        if self.inboxes[merchant].told[payment_id].setdefault(int(event["sequence"]), seen) != seen:
            self.wrong.append((payment_id, f"sequence {event['sequence']}: told once more, and otherwise"))

    async def _reply(self, answer: str, writer: asyncio.StreamWriter) -> None:
        match answer:
            case "hang":
                await asyncio.sleep(_HANG_SECONDS)
            case "reset":
                writer.transport.abort()
            case "redirect":
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
            case "500":
                writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
            case _:
                await asyncio.sleep(_LATE_SECONDS if answer == "late" else 0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def _request(reader: asyncio.StreamReader) -> tuple[str, Mapping[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return head[0].split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0")))


def _is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """As Standard Webhooks says: HMAC-SHA256 over id, time and body, in one of the signatures."""
    key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX))
    signed = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return any(hmac.compare_digest(expected, given) for given in headers.get("webhook-signature", "").split(" "))
