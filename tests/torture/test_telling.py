"""The receivers of the torture find what is wrong with a delivery, and what never came."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook

from paymux_cli.torture.receivers import Receivers
from paymux_cli.torture.telling import hold_against
from paymux_core.ids import Kind, public_id
from paymux_postgres.inspection import PublicEvent

SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
PAYMENT = UUID(int=7)
PAYMENT_ID = public_id(Kind.PAYMENT, PAYMENT)


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    """One merchant's receiver."""
    made = Receivers(seed=1)
    made.inboxes[0].secret = SECRET
    async with made.listening():
        yield made


async def deliver(
    receivers: Receivers, sequence: int, *, text: str = "", event_id: str = "", secret: str = SECRET
) -> None:
    """Deliver an event as a sender does, and wait for the end of the connection."""
    named = event_id or f"evt_{sequence}"
    body = json.dumps({"id": f"evt_{sequence}", "payment_id": PAYMENT_ID, "sequence": sequence, "text": text})
    now = datetime.now(UTC)
    head = {
        "webhook-id": named,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(named, now, body),
        "content-length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    host, port = receivers.url(0).removeprefix("http://").removesuffix("/0").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /0 HTTP/1.1\r\n{lines}\r\n{body}".encode())
    try:
        await reader.read()
    except ConnectionResetError:
        pass
    finally:
        writer.close()


async def test_a_delivery_that_is_right_is_taken_again_and_again(receivers: Receivers) -> None:
    for _ in range(3):
        await deliver(receivers, 1)
    assert receivers.wrong == []
    assert list(receivers.inboxes[0].told[PAYMENT_ID]) == [1]


@pytest.mark.parametrize(
    ("again", "words"),
    [
        ({"secret": "whsec_" + base64.b64encode(bytes(24)).decode()}, "signature"),
        ({"event_id": "evt_other"}, "the body says"),
        ({"text": "otherwise"}, "told once more"),
    ],
)
async def test_a_delivery_that_is_wrong_is_noted(receivers: Receivers, again: dict[str, str], words: str) -> None:
    await deliver(receivers, 1)
    await deliver(receivers, 1, **again)
    assert any(payment_id == PAYMENT_ID and words in detail for payment_id, detail in receivers.wrong)


async def test_what_never_came_or_is_not_in_the_log_is_found(receivers: Receivers) -> None:
    await deliver(receivers, 1)
    await deliver(receivers, 4)
    log = [PublicEvent(PAYMENT, sequence, waits=sequence == 2) for sequence in (1, 2, 3)]
    telling = await hold_against(log, [], receivers)
    assert [detail for _, detail in telling.untold if "never came" in detail] == [
        "event 3 never came, and nothing is left to be tried"
    ]
    # Without a merchant to read it, nothing stands in the feed.
    assert sum("0 times in the feed" in detail for _, detail in telling.untold) == len(log)
    assert telling.mistold == [(PAYMENT_ID, "event 4 was told and is not in the log")]
    assert telling.waiting == 1
