"""A webhook is stored as it came, and once, however often it comes; refused ones are kept, but not many."""

import asyncio
import hashlib
import json

import pytest

from paymux_core.errors import NotFound, WebhookRefused
from paymux_core.inbound_webhooks import NewWebhook, ReceivedWebhook, Stored, WebhookFacts
from paymux_flows.receive_webhook import receive_webhook
from paymux_postgres.bodies import unpack_body
from paymux_postgres.connections import DatabaseSettings
from paymux_postgres.inbound_store import REFUSED_MAX, InboundStore
from tests.support.chance import TEST_SEALER
from tests.support.inbound import SECRET, Gateway

AT_ONCE = 50


async def test_the_very_bytes_are_kept_with_their_proof(gateway: Gateway) -> None:
    body = b'{ "type":\t"charge.succeeded","id":"evt_1" , "created": 7, "charge": {}, "x": "\xc3\xa9\\u0000" }\n'
    headers = {**gateway.headers(body), "user-agent": "a gateway", "authorization": "Bearer secret", "x-other": "y"}
    reply = await gateway.send(body, headers)
    assert (reply.http_status, reply.body) == (200, b'{"status":"stored"}')
    (row,) = await gateway.rows("select * from inbound_webhooks")
    assert unpack_body(row["body"]) == body
    assert (row["body_bytes"], row["body_sha256"]) == (len(body), hashlib.sha256(body).digest())
    assert json.loads(row["headers"]) == {name: headers[name] for name in ("user-agent", "sandbox-signature")}
    assert (row["event_id"], row["type"], row["refusal"]) == ("evt_1", "charge.succeeded", None)
    assert await gateway.stage.store.inbound.body(gateway.stage.merchant_id, row["id"]) == body


async def test_the_same_event_at_once_is_one_row_and_counted(gateway: Gateway) -> None:
    body = gateway.event(None)
    replies = await asyncio.gather(*(gateway.send(body, gateway.headers(body, age_seconds=n)) for n in range(AT_ONCE)))
    assert [reply.http_status for reply in replies] == [200] * AT_ONCE
    assert sorted(reply.body for reply in replies)[:-1] == [b'{"status":"duplicate"}'] * (AT_ONCE - 1)
    stored = gateway.stage.store.inbound
    (webhook,) = await stored.of_account(gateway.stage.merchant_id, gateway.account_id, limit=100)
    assert webhook.duplicates == AT_ONCE - 1
    assert [len(await gateway.rows(f"select from inbound_webhook_{table}")) for table in ("keys", "work")] == [1, 1]


async def test_two_processes_store_one_event_once(gateway: Gateway) -> None:
    stage = gateway.stage
    other = InboundStore(DatabaseSettings(gateway.dsn), TEST_SEALER, rng=stage.deps.rng)
    await other.open()

    def webhook() -> NewWebhook:
        facts = WebhookFacts("charge.succeeded", "evt_1")
        where = (stage.merchant_id, stage.deps.ids.new(), gateway.account_id, "mock")
        return NewWebhook(*where, b"{}", 2, bytes(32), {}, stage.clock.now(), facts)

    try:
        both = [store.store(webhook()) for _ in range(AT_ONCE) for store in (stage.store.inbound, other)]
        seen = await asyncio.gather(*both)
    finally:
        await other.close()
    assert (seen.count(Stored.STORED), seen.count(Stored.DUPLICATE)) == (1, 2 * AT_ONCE - 1)
    (row,) = await gateway.rows("select duplicates from inbound_webhook_work")
    assert row["duplicates"] == 2 * AT_ONCE - 1
    assert len(await gateway.rows("select from inbound_webhooks")) == 1


async def test_what_is_not_signed_is_told_apart_by_its_bytes(unsigned: Gateway) -> None:
    body, other = unsigned.event(None), unsigned.event(None, "charge.pending")
    first = await unsigned.send(body, unsigned.headers(body, event_id="evt_1"))
    replayed = await unsigned.send(body, unsigned.headers(body, event_id="evt_2"))
    assert (first.body, replayed.body) == (b'{"status":"stored"}', b'{"status":"duplicate"}')
    # The replay did not use up the id it came with: the event that really has it is not lost.
    genuine = await unsigned.send(other, unsigned.headers(other, event_id="evt_2"))
    assert genuine.body == b'{"status":"stored"}'
    again = unsigned.event(None, "charge.declined")
    assert (await unsigned.send(again, unsigned.headers(again, event_id="evt_1"))).body == b'{"status":"duplicate"}'
    rows = await unsigned.stage.store.inbound.of_account(unsigned.stage.merchant_id, unsigned.account_id, limit=9)
    assert {(row.event_id, row.duplicates) for row in rows} == {("evt_2", 0), ("evt_1", 2)}


async def test_an_event_without_an_id_is_told_apart_by_its_bytes(unsigned: Gateway) -> None:
    body = unsigned.event(None)
    headers = {"sandbox-signature": unsigned.headers(body)["sandbox-signature"]}
    assert [(await unsigned.send(body, headers)).body for _ in range(2)] == [
        b'{"status":"stored"}',
        b'{"status":"duplicate"}',
    ]


async def test_an_address_of_nobody_is_404_and_stores_nothing(gateway: Gateway) -> None:
    body = gateway.event(None)
    received = ReceivedWebhook(body, gateway.headers(body), gateway.stage.clock.now())
    with pytest.raises(NotFound):
        await receive_webhook(gateway.stage.deps.ids.new(), received, gateway.stage.deps)
    assert await gateway.rows("select from inbound_webhooks") == []


async def test_a_refused_one_is_kept_as_refused_and_never_worked_on(gateway: Gateway) -> None:
    body = gateway.event(None)
    with pytest.raises(WebhookRefused):
        await gateway.send(body, gateway.headers(body, secret="whsec_guessed"))
    (row,) = await gateway.stage.store.inbound.of_account(gateway.stage.merchant_id, gateway.account_id, limit=9)
    assert (row.refusal, row.status, row.event_id, row.type) == ("signature_wrong", None, None, None)
    assert not await gateway.work()
    # It did not use up the event: the genuine one is stored.
    assert (await gateway.send(body)).body == b'{"status":"stored"}'


async def test_forging_fills_no_disk(gateway: Gateway) -> None:
    body = b"f" * 60_000
    for number in range(REFUSED_MAX + 5):
        with pytest.raises(WebhookRefused):
            await gateway.send(body + b"%d" % number, {"sandbox-signature": "t=1,v1=" + "0" * 64})
    rows = await gateway.rows("select body, body_bytes from inbound_webhooks")
    assert len(rows) == REFUSED_MAX
    assert {(len(unpack_body(row["body"])), row["body_bytes"]) for row in rows} <= {(4096, 60_001), (4096, 60_002)}
    gateway.stage.clock.seconds += 61
    with pytest.raises(WebhookRefused):
        await gateway.send(body, {})
    assert len(await gateway.rows("select from inbound_webhooks")) == REFUSED_MAX + 1


async def test_a_card_number_that_a_stranger_sends_is_not_kept(gateway: Gateway) -> None:
    with pytest.raises(WebhookRefused):
        await gateway.send(b'{"card": "4242 4242 4242 4242"}', {"sandbox-signature": "4242424242424242"})
    (row,) = await gateway.rows("select body, headers from inbound_webhooks")
    assert (unpack_body(row["body"]), row["headers"]) == (b"", "{}")


async def test_a_secret_that_was_rolled_is_good_until_the_next_roll(gateway: Gateway) -> None:
    async def is_good(secret: str, kind: str) -> bool:
        body = gateway.event(None, kind)
        try:
            await gateway.send(body, gateway.headers(body, secret=secret))
        except WebhookRefused:
            return False
        return True

    await gateway.connect("whsec_second")
    assert [await is_good(SECRET, "charge.a"), await is_good("whsec_second", "charge.b")] == [True, True]
    await gateway.connect("whsec_third")
    assert [await is_good(SECRET, "charge.c"), await is_good("whsec_second", "charge.d")] == [False, True]
    (row,) = await gateway.rows("select webhook_secrets from gateway_accounts")
    assert b"whsec" not in row["webhook_secrets"]


@pytest.mark.parametrize("age_seconds", [-301, 301])
async def test_an_old_signature_is_refused_and_one_of_the_future(gateway: Gateway, age_seconds: int) -> None:
    body = gateway.event(None)
    with pytest.raises(WebhookRefused):
        await gateway.send(body, gateway.headers(body, age_seconds=age_seconds))


async def test_an_event_for_another_account_is_refused(gateway: Gateway) -> None:
    body = json.dumps({"id": "evt_1", "type": "charge.succeeded", "account": "ga_of_somebody_else"}).encode()
    with pytest.raises(WebhookRefused, match="another account"):
        await gateway.send(body)
    (row,) = await gateway.rows("select refusal from inbound_webhooks")
    assert row["refusal"] == "other_account"
