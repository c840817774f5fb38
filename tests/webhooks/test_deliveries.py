"""A delivery is tried until it is taken or its tries are used up; nobody's trouble is another's."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from standardwebhooks import Webhook, WebhookVerificationError

from paymux_core.delivering import TRIES_MAX, TRY_PAUSES_SECONDS
from paymux_core.ids import event_id
from paymux_core.webhook_signing import write_secret
from paymux_core.webhooks import EndpointStatus
from tests.support.http import eventually
from tests.webhooks.stage import SECRET, Stage

ENDPOINTS = 20
HANGING = 2


async def test_an_event_is_delivered_once_and_verifies(stage: Stage) -> None:
    _let_it_be_today(stage)
    await stage.endpoint("/200")
    payment_id = await stage.payment()
    async with stage.delivering():
        await stage.until("status = 'succeeded'", 1)
    (came,) = stage.receivers.came
    assert came.headers["webhook-timestamp"] == str(int(stage.clock.now().timestamp()))
    told = _verified(came.body, came.headers, SECRET)
    assert came.id == told["id"] == event_id(payment_id, 1)
    assert (told["type"], told["sequence"], told["payment_id"]) == ("payment.created", 1, told["data"]["object"]["id"])
    assert told["data"]["object"]["status"] == "requires_confirmation"


def _verified(body: bytes, headers: dict[str, str], secret: str) -> dict[str, Any]:
    """Verify as merchants do."""
    verified: dict[str, Any] = Webhook(secret).verify(body, headers)
    return verified


def _let_it_be_today(stage: Stage) -> None:
    """The library reads the machine's clock."""
    stage.clock.seconds = (datetime.now(UTC) - stage.clock.now()) / timedelta(seconds=1)


async def test_both_secrets_verify_until_the_old_one_expires(stage: Stage) -> None:
    _let_it_be_today(stage)
    endpoint = await stage.endpoint("/200")
    new = write_secret(b"n" * 24)
    until = stage.clock.now() + timedelta(minutes=2)
    rolled = replace(endpoint, secret=new, previous_secret=SECRET, previous_secret_until=until)
    rolled = replace(rolled, updated_at=endpoint.updated_at + timedelta(seconds=1))
    assert await stage.deps.store.webhook_endpoints.change_webhook_endpoint(endpoint, rolled)
    await stage.payment()
    async with stage.delivering():
        await stage.until("status = 'succeeded'", 1)
        stage.clock.seconds += 120
        await stage.payment()
        await stage.until("status = 'succeeded'", 2)
    both, one = stage.receivers.came
    assert _verified(both.body, both.headers, SECRET) == _verified(both.body, both.headers, new)
    _verified(one.body, one.headers, new)
    with pytest.raises(WebhookVerificationError):
        _verified(one.body, one.headers, SECRET)


async def test_filters_and_modes_choose(stage: Stage) -> None:
    await stage.endpoint("/200/canceled", types=["payment.canceled"])
    await stage.endpoint("/200/all")
    await stage.endpoint("/200/live", livemode=True)
    payment_id = await stage.payment()
    await stage.cancel(payment_id)
    async with stage.delivering():
        await stage.until("status = 'succeeded'", 3)
    assert [came.event["type"] for came in stage.receivers.at("/200/canceled")] == ["payment.canceled"]
    assert len(stage.receivers.at("/200/all")) == 2
    assert stage.receivers.at("/200/live") == []


async def test_ten_tries_on_schedule_and_then_a_dead_letter(stage: Stage) -> None:
    await stage.endpoint("/500")
    await stage.payment()
    pauses = []
    async with stage.delivering():
        for number in range(1, TRIES_MAX):
            (row,) = await stage.until(f"try_count = {number} and next_try_at <> created_at and next_try_at > timestamptz '{stage.clock.now()}' and exists (select from delivery_tries t having count(*) = {number})", 1)  # fmt: skip  # noqa: E501
            pauses.append((row["next_try_at"] - stage.clock.now()) / timedelta(seconds=1))
            stage.clock.seconds += pauses[-1]
        await stage.until("status = 'dead'", 1)
    assert len(stage.receivers.came) == TRIES_MAX
    assert len({came.id for came in stage.receivers.came}) == 1
    for pause, base in zip(pauses, TRY_PAUSES_SECONDS[1:], strict=True):
        assert 0.8 * base <= pause <= 1.2 * base
    tries = await stage.admin.fetch("select http_status, response_excerpt, error from delivery_tries")
    assert [tuple(one) for one in tries] == [(500, "ok", None)] * TRIES_MAX


async def test_a_redirect_is_a_failure_and_retry_after_is_heard_within_bounds(stage: Stage) -> None:
    await stage.endpoint("/302")
    stage.receivers.headers = b"Retry-After: 3600\r\nLocation: /200\r\n"
    await stage.payment()
    async with stage.delivering():
        (row,) = await stage.until("try_count = 1 and exists (select from delivery_tries)", 1)
    assert row["next_try_at"] - stage.clock.now() == timedelta(seconds=2 * TRY_PAUSES_SECONDS[1])
    assert len(stage.receivers.came) == 1


async def test_gone_disables_the_endpoint_buries_what_waits_and_tells_the_others(stage: Stage) -> None:
    gone = await stage.endpoint("/410")
    await stage.endpoint("/200")
    for _ in range(6):
        await stage.payment()
    async with stage.delivering():
        await stage.until(f"status = 'dead' and endpoint_number = {gone.number}", 6)
        stage.clock.seconds += 1  # what is told of it is later than it was
        await stage.until("status = 'succeeded'", 7)
    (told,) = [came.event for came in stage.receivers.at("/200") if came.event["type"] == "webhook_endpoint.disabled"]
    shown = msgspec.to_builtins(told["data"])["object"]
    assert (shown["status"], shown["disabled_reason"], shown["secret"]) == ("disabled", "gone", None)
    assert told["payment_id"] is None
    read = await stage.deps.store.webhook_endpoints.find_webhook_endpoint(gone.merchant_id, endpoint_id=gone.id)
    assert read is not None
    assert read.status is EndpointStatus.DISABLED
    await stage.payment()
    assert await stage.deliveries(f"status = 'pending' and endpoint_number = {gone.number}") == []


async def test_five_days_of_failures_alone_disable_an_endpoint(stage: Stage) -> None:
    endpoint = await stage.endpoint("/500")
    await stage.payment()
    async with stage.delivering():
        await stage.until("exists (select from delivery_tries)", 1)
        stage.clock.seconds += 4.9 * 86_400
        await stage.until("exists (select from delivery_tries having count(*) = 2)", 1)
        read = await stage.deps.store.webhook_endpoints.find_webhook_endpoint(endpoint.merchant_id, number=1)
        assert read is not None
        assert read.status is EndpointStatus.ENABLED
        stage.clock.seconds += 0.2 * 86_400
        await stage.until("status = 'dead'", 1)
        read = await stage.deps.store.webhook_endpoints.find_webhook_endpoint(endpoint.merchant_id, number=1)
    assert read is not None
    assert (read.status, read.disabled_reason) == (EndpointStatus.DISABLED, "failing")


async def test_an_open_breaker_defers_and_uses_no_try(stage: Stage) -> None:
    await stage.endpoint("/500")
    for _ in range(12):
        await stage.payment()
    async with stage.delivering():
        await stage.until("try_count = 1 and next_try_at > created_at", 10)

        async def breaker() -> object:
            return await stage.admin.fetchval(
                "select breaker_open_until from webhook_endpoint_health where lease_token is null"
            )

        open_until = await eventually(breaker, lambda at: at is not None, seconds=10)
        # All that waits is due, and none is tried.
        stage.clock.seconds += 10
        await asyncio.sleep(0.3)
        assert len(stage.receivers.came) == 10
        stage.receivers.status_of = lambda _path: 200
        stage.clock.seconds += (open_until - stage.clock.now()) / timedelta(seconds=1)  # type: ignore[operator]
        rows = await stage.until("status = 'succeeded'", 12)
    assert {row["try_count"] for row in rows} == {1, 2}
    assert await stage.admin.fetchval("select breaker_open_until from webhook_endpoint_health") is None


async def test_who_hangs_delays_nobody_else_and_loses_nothing(stage: Stage) -> None:
    for number in range(ENDPOINTS):
        await stage.endpoint(f"/{'hang' if number < HANGING else '200'}/{number}")
    for _ in range(10):
        await stage.payment()
    healthy = 10 * (ENDPOINTS - HANGING)
    async with stage.delivering(send_seconds=60):
        # A hanging one would hold everything up for a minute.
        async with asyncio.timeout(30):
            await stage.until("status = 'succeeded'", healthy)
        hung = [came for came in stage.receivers.came if came.path.startswith("/hang")]
        assert 0 < len(hung) <= 4 * HANGING
        stage.receivers.status_of = lambda _path: 200
        for writer in list(stage.receivers._open):
            writer.close()
        failed = f"exists (select from delivery_tries where error is not null having count(*) = {len(hung)})"
        await stage.until(f"endpoint_number = 1 and {failed}", 10)
        stage.clock.seconds += 120
        await stage.until("status = 'succeeded'", 10 * ENDPOINTS)
    assert len({(came.path, came.id) for came in stage.receivers.came}) == 10 * ENDPOINTS


async def test_two_workers_deliver_each_event_once(stage: Stage) -> None:
    for number in range(8):
        await stage.endpoint(f"/200/{number}")
    for _ in range(20):
        await stage.payment()
    async with stage.delivering(), stage.delivering():
        await stage.until("status = 'succeeded'", 160)
    assert len(stage.receivers.came) == len({(came.path, came.id) for came in stage.receivers.came}) == 160


async def test_a_result_under_a_stale_token_changes_nothing(stage: Stage) -> None:
    await stage.endpoint("/hang")
    await stage.payment()
    async with stage.delivering(send_seconds=0.5) as deliverer:
        await stage.until("try_count = 1", 1)
        await stage.admin.execute("update webhook_endpoint_health set lease_token = gen_random_uuid()")
        while deliverer._running:
            await asyncio.wait(set(deliverer._running))
    (row,) = await stage.deliveries()
    assert (row["status"], await stage.admin.fetchval("select count(*) from delivery_tries")) == ("pending", 0)
    assert row["next_try_at"] == stage.clock.now() + timedelta(seconds=stage.deps.clocks.webhook_hold)
