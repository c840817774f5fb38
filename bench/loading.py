"""Send requests by the load generator's process: create payments as a merchant does, and confirm them."""

import asyncio
import json
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.stage import Api, Shop

CREATE_IN_FLIGHT = 32
_PAYMENT = {
    "amount": 1999,
    "currency": "eur",
    "reference": "order-{key}",
    "description": "An order of the shop",
    "metadata": {"order": "{key}"},
}
_CONFIRM = {"payment_method": {"type": "card", "token": "tok_visa_4242"}}


class AnswersWrong(Exception):
    """The API answered something else than expected, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run of the load generator measured. Units: as the names say; CPU per request."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_us: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


async def create_payments(api: Api, shop: Shop, count: int) -> list[str]:
    """Create payments over HTTP; answers their ids. Raises: AnswersWrong."""
    head = _head(shop, "/payments", _PAYMENT)
    answer = await _run(api, head, ["-"] * count, ("HTTP/1.1 201", '"requires_confirmation"'), CREATE_IN_FLIGHT)
    ids = answer["ids"]
    assert isinstance(ids, list)
    return ids


async def confirm_payments(api: Api, shop: Shop, ids: Sequence[str], *, in_flight: int) -> Loaded:
    """Confirm payments, so many at a time. Raises: AnswersWrong."""
    head = _head(shop, "/payments/{id}/confirm", _CONFIRM)
    answer = await _run(api, head, ids, ("HTTP/1.1 200", '"status":"succeeded"'), in_flight)
    names = ("requests", "seconds", "p50_ms", "p99_ms", "cpu_us")
    return Loaded(**{name: answer[name] for name in names})  # type: ignore[arg-type]


async def send_requests(api: Api, requests: Sequence[str], expected: tuple[str, str], *, in_flight: int) -> Loaded:
    """Send requests that are complete as they are. Raises: AnswersWrong."""
    answer = await _run(api, "{id}", requests, expected, in_flight)
    names = ("requests", "seconds", "p50_ms", "p99_ms", "cpu_us")
    return Loaded(**{name: answer[name] for name in names})  # type: ignore[arg-type]


def _head(shop: Shop, path: str, body: object) -> str:
    """Write a request with places for an id and a random key of 32 characters."""
    text = json.dumps(body, separators=(",", ":"))
    length = len(text.replace("{key}", "k" * 32))
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {shop.api_key}\r\nIdempotency-Key: {{key}}\r\nContent-Length: {length}\r\n\r\n{text}"
    )


async def _run(api: Api, head: str, ids: Sequence[str], expected: tuple[str, str], in_flight: int) -> dict[str, object]:
    """Run the load generator over requests with random keys, as clients' keys are."""
    requests = [(name, secrets.token_hex(16)) for name in ids]
    asked = {"port": api.port, "in_flight": in_flight, "head": head, "expected": expected, "requests": requests}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(json.dumps(asked).encode())
    if process.returncode:
        raise AnswersWrong("the load generator failed; what it says is above")
    answer: dict[str, object] = json.loads(output)
    if answer["errors"]:
        raise AnswersWrong(f"{answer['errors']} of {len(ids)} answers were wrong; the first: {answer['first_errors']}")
    return answer
