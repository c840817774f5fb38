"""The driver over real sockets: one interaction per request, nothing secret in it, never an exception."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from paymux_connectors.driver import REQUESTS_MAX, HttpGateways
from paymux_connectors.mock import CONNECTOR as MOCK
from paymux_connectors.transport import Transport
from paymux_core.connector import Capabilities, ChargeCall, Connector, GatewayAccount
from paymux_core.exchange import Exchange, HttpReply, HttpRequest, Remember, TransportError, Verb
from paymux_core.money import Money
from paymux_core.outcomes import Authorized, Captured, Declined, NotExecuted, NotFound, Unknown, UnknownReason
from paymux_core.ports import CallLimits
from tests.support.charge_call import CALL

GatewayOf = Callable[..., Awaitable[Any]]
SECRET = "sandbox_secret_key_9"


def account(url: str, gateway: str = "mock") -> GatewayAccount:
    return GatewayAccount("ga_1", gateway, url, {"api_key": SECRET}, livemode=False)


def charge_body(**fields: object) -> bytes:
    document = {"id": "ch_1", "status": "succeeded", "amount": 1999, "currency": "EUR", "attempt_id": "att_1_1"}
    return json.dumps(document | fields).encode()


async def remember_nothing(provider_payment_id: str) -> bool:
    pytest.fail(f"nothing is reserved here, but {provider_payment_id} was")


class Scripted:
    """A connector whose exchange is the test's."""

    name = "scripted"
    version = "7"
    request_id_header = "request-id"
    credential_names: tuple[str, ...] = ()
    capabilities: Capabilities = MOCK.capabilities

    def __init__(self, exchange: Callable[[GatewayAccount, ChargeCall], Exchange]) -> None:
        self.authorize = exchange
        self.inquire = exchange
        self.list_page = MOCK.list_page
        self.fence = exchange

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        return b""

    def answer_safe(self, body: bytes) -> Mapping[str, object]:
        message = "this connector cannot read"
        raise ValueError(message)


@pytest.fixture
def scripted(transport: Transport, clock: Any, ids: Any) -> Callable[..., HttpGateways]:
    def build(exchange: Callable[[GatewayAccount, ChargeCall], Exchange]) -> HttpGateways:
        connector: Connector = Scripted(exchange)
        return HttpGateways({"scripted": connector}, transport=transport, clock=clock, ids=ids, in_process={})

    return build


async def test_a_charge_gives_its_outcome_and_one_redacted_interaction(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits
) -> None:
    body = charge_body(customer_email="a@b.example", decline={"message": f"token {SECRET}"})

    async def charges(seen: Any) -> None:
        await seen.request()
        await seen.answer(body, head=b"HTTP/1.1 200 OK\r\nRequest-Id: req_9")

    gateway = await gateway_of(charges)
    result = await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    assert result.outcome == Captured("ch_1", Money(1999, "eur"))
    (interaction,) = result.interactions
    assert interaction.verb is Verb.CHARGE
    assert interaction.http_status == 200
    assert interaction.bytes_sent
    assert interaction.gateway_request_id == "req_9"
    assert interaction.idempotency_key == "att_1_1-create-1"
    assert interaction.response_sha256 == hashlib.sha256(body).digest()
    assert interaction.response["decline"] == {"message": "token [redacted]"}
    assert interaction.outcome == "captured"
    assert "customer_email" not in interaction.response
    assert SECRET not in repr(interaction)
    assert CALL.token not in repr(interaction)
    assert SECRET.encode() in gateway.requests[0]


async def test_a_secret_that_the_gateway_repeats_is_not_in_the_refusal(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits
) -> None:
    async def refuses(seen: Any) -> None:
        await seen.request()
        await seen.answer(charge_body(status="declined", decline={"code": "x", "message": f"no {SECRET}"}))

    gateway = await gateway_of(refuses)
    result = await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    assert isinstance(result.outcome, Declined)
    assert result.outcome.refusal.message == "no [redacted]"


async def test_what_was_not_sent_is_recorded_as_such(
    gateways: HttpGateways, limits: CallLimits, refused_url: str
) -> None:
    result = await gateways.authorize(account(refused_url), CALL, limits=limits, remember=remember_nothing)
    assert isinstance(result.outcome, NotExecuted)
    (interaction,) = result.interactions
    assert not interaction.bytes_sent
    assert interaction.transport_error is TransportError.CONNECT
    assert interaction.http_status is None
    assert interaction.outcome == "not_executed:gateway_unavailable"


def dying_at_the_second(*, look_ups: bool = False) -> Callable[[Any], Awaitable[None]]:
    async def script(seen: Any) -> None:
        await seen.request()
        await seen.answer(b'{"data":[]}' if look_ups else charge_body())
        await seen.request()
        seen.reset()

    return script


async def test_a_charge_that_met_a_closing_connection_goes_out_again_with_the_same_bytes(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits
) -> None:
    async def charges(seen: Any) -> None:
        await seen.request()
        await seen.answer(charge_body(id="ch_2"))

    gateway = await gateway_of(dying_at_the_second(), charges)
    target = account(gateway.url)
    await gateways.authorize(target, CALL, limits=limits, remember=remember_nothing)
    result = await gateways.authorize(target, CALL, limits=limits, remember=remember_nothing)
    assert result.outcome == Captured("ch_2", Money(1999, "eur"))
    assert [item.transport_error for item in result.interactions] == [TransportError.RESET, None]
    assert [item.outcome for item in result.interactions] == ["continued", "captured"]
    assert len({item.id for item in result.interactions}) == 2
    _, lost, again = gateway.requests
    assert lost == again.replace(b"Connection: close\r\n", b"")


async def test_a_look_up_that_met_a_closing_connection_goes_out_again(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits
) -> None:
    async def lists(seen: Any) -> None:
        await seen.request()
        await seen.answer(b'{"data":[]}')

    gateway = await gateway_of(dying_at_the_second(look_ups=True), lists)
    await gateways.inquire(account(gateway.url), CALL, limits=limits)
    result = await gateways.inquire(account(gateway.url), CALL, limits=limits)
    assert result.outcome == NotFound()
    assert len(result.interactions) == 2


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"429 Too Many Requests\r\nSandbox-Certified: not-executed"])
async def test_after_a_lost_charge_no_answer_to_its_repeat_proves_that_nothing_was_done(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits, status: bytes
) -> None:
    async def refuses(seen: Any) -> None:
        await seen.request()
        await seen.answer(head=b"HTTP/1.1 " + status)

    gateway = await gateway_of(dying_at_the_second(), refuses)
    await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    result = await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    assert isinstance(result.outcome, Unknown)
    assert result.outcome.reason is UnknownReason.NO_REPLY


async def test_after_a_lost_charge_a_repeat_that_was_not_sent_proves_nothing(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits, clock: Any
) -> None:
    async def dies_when_it_is_too_late(seen: Any) -> None:
        await seen.request()
        await seen.answer(charge_body())
        await seen.request()
        clock.ahead_seconds += 0.9
        seen.reset()

    gateway = await gateway_of(dies_when_it_is_too_late)
    await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    start = clock.monotonic()
    soon_late = CallLimits(ends_at=start + 30, first_byte_before=start + 0.8, connect_seconds=10)
    result = await gateways.authorize(account(gateway.url), CALL, limits=soon_late, remember=remember_nothing)
    assert isinstance(result.outcome, Unknown)
    assert [item.transport_error for item in result.interactions] == [TransportError.RESET, TransportError.TOO_LATE]
    assert len(gateway.requests) == 2


async def test_a_charge_that_was_read_and_died_later_is_not_sent_again(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits, clock: Any
) -> None:
    async def dies_late(seen: Any) -> None:
        await seen.request()
        await seen.answer(charge_body())
        await seen.request()
        clock.ahead_seconds += 5
        seen.reset()

    gateway = await gateway_of(dies_late)
    await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    result = await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    assert isinstance(result.outcome, Unknown)
    assert len(result.interactions) == 1


def request_to(url: str, *, verb: Verb = Verb.CHARGE) -> HttpRequest:
    return HttpRequest(verb=verb, method="POST", url=url, headers={}, body=b"{}")


async def answers_all(seen: Any) -> None:
    while True:
        await seen.request()
        await seen.answer(b'{"secret": 1}')


async def test_the_id_is_committed_before_the_next_request_goes_out(
    scripted: Callable[..., HttpGateways], gateway_of: GatewayOf, limits: CallLimits
) -> None:
    gateway = await gateway_of(answers_all)
    seen_at_commit: list[int] = []

    async def commit(provider_payment_id: str) -> bool:
        await asyncio.sleep(0)
        assert provider_payment_id == "pi_1"
        seen_at_commit.append(len(gateway.requests))
        return True

    def exchange(account: GatewayAccount, call: ChargeCall) -> Exchange:
        yield request_to(account.base_url, verb=Verb.RESERVE)
        resumed = yield Remember("pi_1")
        assert resumed is None
        yield request_to(account.base_url)
        return Captured("pi_1", call.money)

    driver = scripted(exchange)
    result = await driver.authorize(account(gateway.url, "scripted"), CALL, limits=limits, remember=commit)
    assert isinstance(result.outcome, Captured)
    assert seen_at_commit == [1]
    assert len(gateway.requests) == 2


async def test_an_id_that_cannot_be_committed_stops_the_exchange(
    scripted: Callable[..., HttpGateways], gateway_of: GatewayOf, limits: CallLimits
) -> None:
    gateway = await gateway_of(answers_all)
    closed: list[bool] = []

    async def no_database(provider_payment_id: str) -> bool:
        raise ConnectionRefusedError(provider_payment_id)

    def exchange(account: GatewayAccount, call: ChargeCall) -> Exchange:
        try:
            yield Remember("pi_1")
            yield request_to(account.base_url)
        finally:
            closed.append(True)
        return Captured("pi_1", call.money)

    with pytest.raises(ConnectionRefusedError):
        await scripted(exchange).authorize(account(gateway.url, "scripted"), CALL, limits=limits, remember=no_database)
    assert closed == [True]
    assert gateway.connections == []


async def test_an_id_that_is_refused_ends_the_exchange_and_keeps_what_was_sent(
    scripted: Callable[..., HttpGateways], gateway_of: GatewayOf, limits: CallLimits
) -> None:
    gateway = await gateway_of(answers_all)

    async def moved_on(_provider_payment_id: str) -> bool:
        return False

    def exchange(account: GatewayAccount, call: ChargeCall) -> Exchange:
        yield request_to(account.base_url, verb=Verb.RESERVE)
        yield Remember("pi_1")
        yield request_to(account.base_url)
        return Captured("pi_1", call.money)

    result = await scripted(exchange).authorize(
        account(gateway.url, "scripted"), CALL, limits=limits, remember=moved_on
    )
    assert result.outcome == Unknown(UnknownReason.SUPERSEDED)
    assert [(i.verb, i.outcome) for i in result.interactions] == [(Verb.RESERVE, "unknown:superseded")]
    assert result.remembered is None
    assert len(gateway.requests) == 1


async def test_a_connector_that_raises_leaves_an_unknown_outcome_and_its_interactions(
    scripted: Callable[..., HttpGateways], gateway_of: GatewayOf, limits: CallLimits, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = await gateway_of(answers_all)

    def exchange(account: GatewayAccount, call: ChargeCall) -> Exchange:
        reply = yield request_to(account.base_url)
        message = f"cannot read {reply}"
        raise KeyError(message)

    result = await scripted(exchange).authorize(
        account(gateway.url, "scripted"), CALL, limits=limits, remember=remember_nothing
    )
    assert result.outcome == Unknown(UnknownReason.UNCLASSIFIED, "KeyError")
    assert len(result.interactions) == 1
    assert result.interactions[0].response == {}
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text


async def test_a_connector_that_gives_no_outcome_leaves_an_unknown_one(
    scripted: Callable[..., HttpGateways], limits: CallLimits
) -> None:
    def exchange(account: GatewayAccount, call: ChargeCall) -> Generator[HttpRequest | Remember, HttpReply | None, Any]:
        yield from ()
        return "captured"

    result = await scripted(exchange).inquire(account("http://x.invalid", "scripted"), CALL, limits=limits)
    assert isinstance(result.outcome, Unknown)
    assert result.interactions == ()


async def test_a_connector_that_asks_on_and_on_is_stopped(
    scripted: Callable[..., HttpGateways], gateway_of: GatewayOf, limits: CallLimits
) -> None:
    gateway = await gateway_of(answers_all)

    def exchange(account: GatewayAccount, call: ChargeCall) -> Exchange:
        while True:
            yield request_to(account.base_url)

    result = await scripted(exchange).inquire(account(gateway.url, "scripted"), CALL, limits=limits)
    assert isinstance(result.outcome, Unknown)
    assert len(gateway.requests) == REQUESTS_MAX


async def test_instant_answers_without_a_socket_and_is_recorded(gateways: HttpGateways, limits: CallLimits) -> None:
    target = account("", "instant")
    held = replace(CALL, capture="manual")
    soft = replace(CALL, token="instant_decline_soft")
    results = [
        await gateways.authorize(target, call, limits=limits, remember=remember_nothing) for call in (CALL, held, soft)
    ]
    captured, authorized, declined = (result.outcome for result in results)
    assert captured == Captured("instant_att_1_1", Money(1999, "eur"))
    assert authorized == Authorized("instant_att_1_1", Money(1999, "eur"))
    assert isinstance(declined, Declined)
    assert declined.refusal.retryable
    assert all(len(result.interactions) == 1 for result in results)
    assert results[0].interactions[0].response["status"] == "succeeded"
    assert (await gateways.inquire(target, CALL, limits=limits)).outcome == captured


async def test_a_card_number_that_a_gateway_repeats_is_not_kept(
    gateways: HttpGateways, gateway_of: GatewayOf, limits: CallLimits
) -> None:
    decline = {"code": "4242424242424242", "message": "card 4242 4242 4242 4242 was declined", "retryable": False}
    body = charge_body(status="declined", decline=decline)

    async def declines(seen: Any) -> None:
        await seen.request()
        await seen.answer(body, head=b"HTTP/1.1 200 OK\r\nRequest-Id: 4242424242424242")

    gateway = await gateway_of(declines)
    result = await gateways.authorize(account(gateway.url), CALL, limits=limits, remember=remember_nothing)
    assert isinstance(result.outcome, Declined)
    assert (result.outcome.refusal.message, result.outcome.refusal.gateway_code) == ("[redacted]", "[redacted]")
    assert "4242" not in repr(result)
