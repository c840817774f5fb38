"""Keys, fences, operations, credentials and bad requests are treated as the wire says."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.parse import urlsplit

import pytest

from paymux_testkit.sandbox_client import GatewayReply, SandboxClient
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings

POLL_SECONDS_MAX = 30.0
CALLERS = 100
_GOOD_CHARGE: dict[str, object] = {
    "payment_id": "payment",
    "attempt_id": "attempt",
    "amount": 1050,
    "currency": "USD",
    "capture": True,
    "token": "sandbox_approve",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    settings = SandboxSettings(clock_divisor=50)
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), settings=settings) as process:
        yield process


@pytest.fixture
def client(sandbox: SandboxProcess) -> SandboxClient:
    return SandboxClient(sandbox.url)


def test_a_hundred_callers_with_one_key_make_one_charge_and_get_one_answer(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    together = Barrier(CALLERS)

    def charge(_: int) -> GatewayReply:
        together.wait()
        return client.charge("sandbox_approve", key="storm")

    with ThreadPoolExecutor(CALLERS) as callers:
        replies = list(callers.map(charge, range(CALLERS)))
    assert {(reply.status, reply.body) for reply in replies} == {(200, replies[0].body)}
    assert len(sandbox.charges(payment_id="payment of storm")) == 1
    assert len(sandbox.requests(payment_id="payment of storm")) == CALLERS


def test_a_key_with_other_parameters_is_refused_and_books_nothing(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    client.charge("sandbox_approve", key="reused")
    reply = client.charge("sandbox_approve", key="reused", amount=2000)
    assert (reply.status, reply.error_code()) == (400, "idempotency_key_reused")
    assert [row["amount"] for row in sandbox.charges(payment_id="payment of reused")] == [1050]


def test_the_two_gateways_share_neither_keys_nor_charges(sandbox: SandboxProcess, client: SandboxClient) -> None:
    flaky = SandboxClient(sandbox.url, gateway="flaky")
    mine = client.charge("sandbox_decline_hard", key="shared").content()
    theirs = flaky.charge("sandbox_pending_always", key="shared").content()
    assert mine["id"] != theirs["id"]
    assert flaky.get(f"/charges/{mine['id']}").status == 404
    assert [charge["id"] for charge in flaky.charges_of_attempt("shared")] == [theirs["id"]]


def test_a_fence_before_the_charge_refuses_it_for_ever(sandbox: SandboxProcess, client: SandboxClient) -> None:
    fence = client.fence("fenced early", key="fence 1")
    assert (fence.status, fence.content()) == (200, {"status": "fenced", "charge": None})
    for _ in range(2):
        reply = client.charge("sandbox_approve", key="fenced early")
        assert (reply.status, reply.error_code()) == (409, "fenced")
    assert client.charges_of_attempt("fenced early") == []
    assert sandbox.charges(payment_id="payment of fenced early") == []


def test_a_fence_cancels_a_pending_charge(sandbox: SandboxProcess, client: SandboxClient) -> None:
    client.charge("sandbox_pending", key="fenced pending")
    assert client.fence("fenced pending", key="fence 2").content()["status"] == "fenced"
    client.charge("sandbox_pending", key="pending after it")
    _wait_until_booked(sandbox, "pending after it")
    assert [charge["status"] for charge in client.charges_of_attempt("fenced pending")] == ["canceled"]
    assert client.charge("sandbox_pending", key="fenced pending").error_code() == "fenced"
    assert sandbox.charges(payment_id="payment of fenced pending") == []


def test_a_fence_in_a_conflict_stops_the_charge_that_was_in_flight(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    client.charge("sandbox_conflict_in_flight", key="fenced conflict")
    assert client.fence("fenced conflict", key="fence 3").content()["status"] == "fenced"
    client.charge("sandbox_conflict_in_flight", key="conflict after it")
    _wait_until_booked(sandbox, "conflict after it")
    assert sandbox.charges(payment_id="payment of fenced conflict") == []


def test_a_fence_after_the_money_moved_is_refused_with_the_charge(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    charge_id = client.charge("sandbox_approve", key="fenced late").content()["id"]
    fence, again = (client.fence("fenced late", key="fence 4") for _ in range(2))
    assert (fence.status, fence.error_code()) == (409, "already_charged")
    charge = fence.content()["charge"]
    assert isinstance(charge, dict)
    assert (charge["id"], charge["status"]) == (charge_id, "succeeded")
    assert again.body == fence.body
    assert client.charge("sandbox_approve", key="fenced late").content()["id"] == charge_id
    assert len(sandbox.charges(payment_id="payment of fenced late")) == 1


def test_a_fence_voids_a_held_authorisation(sandbox: SandboxProcess, client: SandboxClient) -> None:
    client.charge("sandbox_approve", key="fenced hold", capture=False)
    assert len(sandbox.charges(payment_id="payment of fenced hold")) == 1
    fence = client.fence("fenced hold", key="fence 5")
    assert fence.content()["status"] == "fenced"
    assert [charge["status"] for charge in client.charges_of_attempt("fenced hold")] == ["canceled"]
    assert sandbox.charges(payment_id="payment of fenced hold") == []


def test_a_fence_meets_the_zombie_when_it_arrives(sandbox: SandboxProcess, client: SandboxClient) -> None:
    # Zombies travel equally long: once the second has arrived, the first would have.
    with ThreadPoolExecutor(2) as callers:
        callers.submit(client.charge, "sandbox_zombie_charge", key="fenced zombie")
        _wait_until_seen(sandbox, "fenced zombie")
        assert client.charges_of_attempt("fenced zombie") == []
        assert client.fence("fenced zombie", key="fence 6").content() == {"status": "fenced", "charge": None}
        callers.submit(client.charge, "sandbox_zombie_charge", key="zombie after it")
        _wait_until_booked(sandbox, "zombie after it")
    assert client.charges_of_attempt("fenced zombie") == []
    assert sandbox.charges(payment_id="payment of fenced zombie") == []


def test_an_authorisation_is_captured_once_and_refunded_up_to_what_was_captured(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    charge = client.charge("sandbox_approve", key="two steps", capture=False).content()
    assert charge["status"] == "authorized"
    path = f"/charges/{charge['id']}"
    captures = [client.post(f"{path}/capture", {"amount": 1000}, key="capture 1") for _ in range(2)]
    assert captures[0].content()["captured"] == 1000
    assert captures[1].body == captures[0].body
    assert client.post(f"{path}/capture", {}, key="capture 2").error_code() == "charge_unexpected_state"
    refunds = [client.post(f"{path}/refunds", {"amount": 600}, key=key) for key in ("refund 1", "refund 2", "refund 1")]
    assert [refund.status for refund in refunds] == [200, 422, 200]
    (row,) = sandbox.charges(payment_id="payment of two steps")
    assert (row["amount"], row["captured"], row["refunded"]) == (1050, 1000, 600)


def test_a_voided_authorisation_leaves_the_book(sandbox: SandboxProcess, client: SandboxClient) -> None:
    charge = client.charge("sandbox_approve", key="voided", capture=False).content()
    assert client.post(f"/charges/{charge['id']}/void", {}, key="void 1").content()["status"] == "canceled"
    assert sandbox.charges(payment_id="payment of voided") == []
    assert client.post("/charges/ch_unknown/void", {}, key="void 2").status == 404


@pytest.mark.parametrize("api_key", ["sandbox_bad_key", " "])
def test_a_bad_credential_is_401_and_executes_nothing(sandbox: SandboxProcess, api_key: str) -> None:
    reply = SandboxClient(sandbox.url, api_key=api_key).charge("sandbox_approve", key="no access")
    assert (reply.status, reply.error_code()) == (401, "unauthorized")
    assert sandbox.charges(payment_id="payment of no access") == []


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("token", "sandbox_unheard_of", "unknown_token"),
        ("token", "approve", "unknown_token"),
        ("amount", 0, "invalid_request"),
        ("amount", True, "invalid_request"),
        ("amount", "1050", "invalid_request"),
        ("currency", "usd", "invalid_request"),
        ("capture", "yes", "invalid_request"),
        ("payment_id", "", "invalid_request"),
        ("metadata", [], "invalid_request"),
    ],
)
def test_a_bad_request_is_refused_and_does_not_use_up_its_key(
    client: SandboxClient, field: str, value: object, code: str
) -> None:
    key = f"bad {field} {value}"
    reply = client.post("/charges", {**_GOOD_CHARGE, field: value}, key=key)
    assert (reply.status, reply.error_code()) == (400, code)
    assert client.post("/charges", _GOOD_CHARGE, key=key).content()["status"] == "succeeded"


def test_a_post_without_a_key_is_refused(client: SandboxClient) -> None:
    reply = client.post("/charges", _GOOD_CHARGE, key=None)
    assert (reply.status, reply.error_code()) == (400, "idempotency_key_missing")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /mock/v1/charges HTTP/1.1\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n", 400),
        (b"POST /mock/v1/charges HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /mock/v1/charges HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
    ],
)
def test_what_is_no_request_ends_the_connection(sandbox: SandboxProcess, request_bytes: bytes, status: int) -> None:
    received = _exchange_bytes(sandbox, request_bytes)
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in received


def test_requests_on_one_connection_are_answered_in_their_order(sandbox: SandboxProcess) -> None:
    health = b"GET /health HTTP/1.1\r\n\r\n"
    received = _exchange_bytes(sandbox, health + b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+)", received) == [b"200", b"404"]


def test_the_book_is_a_page_that_shows_no_markup_of_others(sandbox: SandboxProcess, client: SandboxClient) -> None:
    client.charge("sandbox_approve", key="<script>alert(1)</script>")
    page = _exchange_bytes(sandbox, b"GET /book HTTP/1.1\r\nConnection: close\r\n\r\n").decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page


def _wait_until_booked(sandbox: SandboxProcess, key: str) -> None:
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while not sandbox.charges(payment_id=f"payment of {key}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _wait_until_seen(sandbox: SandboxProcess, key: str) -> None:
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while not sandbox.requests(payment_id=f"payment of {key}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _exchange_bytes(sandbox: SandboxProcess, request_bytes: bytes) -> bytes:
    parts = urlsplit(sandbox.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=POLL_SECONDS_MAX) as bare:
        bare.sendall(request_bytes)
        received = b""
        while piece := bare.recv(65536):
            received += piece
    return received
