"""Workers are killed while they deliver: every event arrives, and what comes twice says so by its id."""

from collections import Counter
from pathlib import Path

from tests.support.http import Merchant, eventually
from tests.support.stack import Child, Stack
from tests.webhooks.stage import Receivers

EVENTS = 120
KILLS = 3


async def test_killed_workers_leave_no_event_undelivered(
    stack: Stack, shop: Merchant, receivers: Receivers, tmp_path: Path
) -> None:
    for number in range(4):
        made = await shop.post("/webhook_endpoints", {"url": f"{receivers.url}/200/{number}"})
        assert made.status == 201
    workers = [Child("worker", stack.environment, tmp_path / f"worker {number}.log") for number in range(2)]
    for worker in workers:
        worker.start()

    async def came() -> int:
        return len(receivers.came)

    try:
        payments = []
        for number in range(KILLS):
            before = len(receivers.came)
            payments += [(await shop.create()).payment_id for _ in range(EVENTS // KILLS)]
            await eventually(came, lambda count, before=before: count > before)  # type: ignore[misc]
            doomed = workers[number % 2]
            doomed.kill()
            doomed.start()

        async def undelivered() -> int:
            rows = await stack.fetch(
                "select count(*) from webhook_deliveries where merchant_id = $1 and status <> 'succeeded'",
                stack.ids[shop.api_key],
            )
            return int(rows[0]["count"])

        await eventually(undelivered, lambda count: count == 0, seconds=60)
    finally:
        for worker in workers:
            worker.stop()
    by_path = Counter((one.path, one.id) for one in receivers.came)
    assert len(by_path) == 4 * EVENTS
    assert len({one.id for one in receivers.came}) == len(set(payments)) == EVENTS
    for one in receivers.came:
        assert one.event["id"] == one.id
