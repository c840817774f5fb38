"""A gateway over HTTP that takes so many milliseconds and always charges: as little CPU as a server can cost.

It speaks the sandbox's dialect (one call) and Stripe's (reserve, then confirm). A process of its own.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import cast
from urllib.parse import parse_qs

import uvloop


class Gateway(asyncio.Protocol):
    """One connection: its requests come one after the other."""

    intents: dict[str, dict[str, object]] = {}  # noqa: RUF012  one book for all connections
    delay_seconds = 0.0

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own, of the same shape

    def data_received(self, data: bytes) -> None:
        """Answer later, once the request is whole."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        self._received = b""
        path = head.split(b" ", 2)[1].decode()
        asyncio.get_running_loop().call_later(self.delay_seconds, self._answer, path, body)

    def _answer(self, path: str, body: bytes) -> None:
        document = json.dumps(_charged(json.loads(body)) if path.endswith("/charges") else self._intent(path, body))
        assert self._transport is not None
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(document)}\r\n\r\n"
        self._transport.write(f"{head}{document}".encode())

    def _intent(self, path: str, body: bytes) -> Mapping[str, object]:
        if path.endswith("/confirm"):
            intent = self.intents.pop(path.split("/")[-2])
            return intent | {"status": "succeeded", "amount_received": intent["amount"]}
        sent = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        intent = {
            "id": f"pi_{sent['metadata[attempt_id]']}",
            "object": "payment_intent",
            "status": "requires_confirmation",
            "amount": int(sent["amount"]),
            "currency": sent["currency"],
            "metadata": {name: sent[f"metadata[{name}]"] for name in ("payment_id", "attempt_id")},
        }
        self.intents[str(intent["id"])] = intent
        return intent


def _length(head: bytes) -> int:
    lines = (line.lower() for line in head.split(b"\r\n"))
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


def _charged(charge: Mapping[str, object]) -> Mapping[str, object]:
    shown = {name: charge[name] for name in ("payment_id", "attempt_id", "amount", "currency")}
    return {"id": f"ch_{charge['attempt_id']}", "status": "succeeded", "captured": charge["amount"], **shown}


async def _serve(delay_seconds: float) -> None:
    Gateway.delay_seconds = delay_seconds
    server = await asyncio.get_running_loop().create_server(Gateway, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, required=True)
    uvloop.run(_serve(parser.parse_args().delay_ms / 1000))
