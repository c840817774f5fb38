"""Each token does to the caller, and to the book, what its row says."""

import json
import socket
import time
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import urlsplit

import pytest

from paymux_testkit.sandbox_client import SandboxClient
from paymux_testkit.sandbox_process import SandboxProcess, SandboxSettings

POLL_SECONDS_MAX = 30.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    settings = SandboxSettings(clock_divisor=50)
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), settings=settings) as process:
        yield process


@pytest.fixture
def client(sandbox: SandboxProcess) -> SandboxClient:
    return SandboxClient(sandbox.url)


def _booked(sandbox: SandboxProcess, key: str) -> list[dict[str, object]]:
    return sandbox.charges(payment_id=f"payment of {key}")


def _statuses(client: SandboxClient, attempt_id: str) -> list[object]:
    return [charge["status"] for charge in client.charges_of_attempt(attempt_id)]


def _statuses_until_succeeded(sandbox: SandboxProcess, client: SandboxClient, key: str) -> list[object]:
    """Look until the charge succeeded; hold the book against each look on the way."""
    seen: list[object] = []
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while time.monotonic() < deadline:
        rows = _booked(sandbox, key)
        seen += _statuses(client, key)
        if seen and seen[-1] == "succeeded":
            return seen
        assert rows == [], "charged, but a later look did not find it"
        time.sleep(0.02)
    pytest.fail(f"{key} did not succeed: {seen[-1:]}")


def test_an_approval_charges_once_and_is_found_in_the_book(sandbox: SandboxProcess, client: SandboxClient) -> None:
    reply = client.charge("sandbox_approve", key="approve")
    assert reply.status == 200
    assert reply.content()["status"] == "succeeded"
    (row,) = _booked(sandbox, "approve")
    assert row == {
        "id": reply.content()["id"],
        "payment_id": "payment of approve",
        "attempt_id": "approve",
        "amount": 1050,
        "currency": "USD",
        "captured": 1050,
        "refunded": 0,
        "idempotency_key": "approve",
        "created_at": row["created_at"],
    }


@pytest.mark.parametrize(("token", "retryable"), [("sandbox_decline_soft", True), ("sandbox_decline_hard", False)])
def test_a_decline_books_nothing_and_says_whether_it_is_final(
    sandbox: SandboxProcess, client: SandboxClient, token: str, *, retryable: bool
) -> None:
    first, again = client.charge(token, key=token), client.charge(token, key=token)
    assert (first.status, first.content()["status"]) == (200, "declined")
    decline = first.content()["decline"]
    assert isinstance(decline, dict)
    assert decline["retryable"] is retryable
    assert again.body == first.body
    assert _statuses(client, token) == ["declined"]
    assert _booked(sandbox, token) == []


def test_a_timeout_before_the_charge_leaves_nothing_and_the_same_key_charges_then(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    token = "sandbox_timeout_before_charge"
    with pytest.raises((HTTPException, OSError)):
        client.charge(token, key="before")
    assert client.charges_of_attempt("before") == []
    assert _booked(sandbox, "before") == []
    assert client.charge(token, key="before").content()["status"] == "succeeded"
    assert len(_booked(sandbox, "before")) == 1


@pytest.mark.parametrize("fault", ["timeout_after_charge", "reset_after_charge"])
def test_a_lost_answer_leaves_one_charge_that_look_up_and_replay_show(
    sandbox: SandboxProcess, client: SandboxClient, fault: str
) -> None:
    with pytest.raises((HTTPException, OSError)):
        client.charge(f"sandbox_{fault}", key=fault)
    assert _statuses(client, fault) == ["succeeded"]
    again = client.charge(f"sandbox_{fault}", key=fault)
    assert (again.status, again.headers["Sandbox-Replayed"]) == (200, "true")
    assert len(_booked(sandbox, fault)) == 1


def test_a_reset_comes_in_the_middle_of_the_answer(sandbox: SandboxProcess) -> None:
    with _charge_on_bare_socket(sandbox, "sandbox_reset_after_charge", key="bare reset") as bare:
        received = bytearray()
        with pytest.raises(ConnectionResetError):
            _receive_all(bare, received)
    # The reset may overtake the half that was sent: nothing more can be said of the bytes.
    assert not received.endswith(b"}")
    assert len(_booked(sandbox, "bare reset")) == 1


@pytest.mark.parametrize(("fault", "statuses"), [("error_before_charge", []), ("error_after_charge", ["succeeded"])])
def test_a_500_is_replayed_for_its_key_whether_or_not_it_charged(
    sandbox: SandboxProcess, client: SandboxClient, fault: str, statuses: list[str]
) -> None:
    first, again = (client.charge(f"sandbox_{fault}", key=fault) for _ in range(2))
    assert (first.status, again.status) == (500, 500)
    assert again.body == first.body
    assert _statuses(client, fault) == statuses
    assert len(_booked(sandbox, fault)) == len(statuses)


def test_garbage_is_a_200_whose_json_ends_in_the_middle(sandbox: SandboxProcess, client: SandboxClient) -> None:
    reply = client.charge("sandbox_garbage_after_charge", key="garbage")
    assert reply.status == 200
    with pytest.raises(json.JSONDecodeError):
        reply.content()
    assert client.charge("sandbox_garbage_after_charge", key="garbage").body.startswith(reply.body)
    assert _statuses(client, "garbage") == ["succeeded"]
    assert len(_booked(sandbox, "garbage")) == 1


def test_a_slow_drip_begins_an_answer_and_does_not_end_it_soon(sandbox: SandboxProcess, client: SandboxClient) -> None:
    with _charge_on_bare_socket(sandbox, "sandbox_slow_drip", key="drip") as bare:
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 3:
            piece = bare.recv(1)
            assert piece
            received += piece
        assert _statuses(client, "drip") == ["succeeded"]
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(_booked(sandbox, "drip")) == 1
    assert client.charge("sandbox_slow_drip", key="drip").content()["status"] == "succeeded"


def test_a_conflict_is_409_and_pending_until_the_one_charge_is_there(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    reply = client.charge("sandbox_conflict_in_flight", key="conflict")
    assert (reply.status, reply.error_code()) == (409, "idempotency_key_in_use")
    seen = _statuses_until_succeeded(sandbox, client, "conflict")
    assert set(seen) <= {"pending", "succeeded"}
    assert client.charge("sandbox_conflict_in_flight", key="conflict").content()["status"] == "succeeded"
    assert len(_booked(sandbox, "conflict")) == 1


def test_a_rate_limit_certifies_that_nothing_ran_and_the_next_request_charges(
    sandbox: SandboxProcess, client: SandboxClient
) -> None:
    reply = client.charge("sandbox_rate_limited", key="limited")
    assert (reply.status, reply.headers["Sandbox-Certified"]) == (429, "not-executed")
    assert client.charges_of_attempt("limited") == []
    assert client.charge("sandbox_rate_limited", key="limited").content()["status"] == "succeeded"
    assert len(_booked(sandbox, "limited")) == 1


@pytest.mark.parametrize("token", ["sandbox_pending", "sandbox_late_success"])
def test_a_pending_charge_is_booked_only_when_it_succeeds(
    sandbox: SandboxProcess, client: SandboxClient, token: str
) -> None:
    first = client.charge(token, key=token)
    assert (first.status, first.content()["status"]) == (200, "pending")
    seen = _statuses_until_succeeded(sandbox, client, token)
    assert set(seen) <= {"pending", "succeeded"}
    assert client.charge(token, key=token).body == first.body
    assert len(_booked(sandbox, token)) == 1


def test_a_zombie_charges_after_its_caller_gave_up(sandbox: SandboxProcess, client: SandboxClient) -> None:
    with pytest.raises((HTTPException, OSError)):
        client.charge("sandbox_zombie_charge", key="zombie")
    assert _statuses_until_succeeded(sandbox, client, "zombie") == ["succeeded"]
    assert len(_booked(sandbox, "zombie")) == 1


def test_a_zombie_that_was_sent_again_charges_once(sandbox: SandboxProcess, client: SandboxClient) -> None:
    with _charge_on_bare_socket(sandbox, "sandbox_zombie_charge", key="twin"):
        _wait_until_seen(sandbox, "twin")
        reply = client.charge("sandbox_zombie_charge", key="twin")
    assert reply.content()["status"] == "succeeded"
    with pytest.raises((HTTPException, OSError)):
        client.charge("sandbox_zombie_charge", key="later zombie")
    # The later one arrives after the first one would have.
    _statuses_until_succeeded(sandbox, client, "later zombie")
    assert [row["id"] for row in _booked(sandbox, "twin")] == [reply.content()["id"]]


@pytest.mark.parametrize(
    ("token", "status", "rows"),
    [("sandbox_rate_limited_always", 429, 0), ("sandbox_error_before_charge_always", 500, 0)],
)
def test_always_strikes_every_request_of_the_key(
    sandbox: SandboxProcess, client: SandboxClient, token: str, status: int, rows: int
) -> None:
    assert [client.charge(token, key=token).status for _ in range(3)] == [status] * 3
    assert len(_booked(sandbox, token)) == rows


@pytest.mark.parametrize(
    ("token", "rows"),
    [
        ("sandbox_timeout_before_charge_always", 0),
        ("sandbox_timeout_after_charge_always", 1),
        ("sandbox_reset_after_charge_always", 1),
    ],
)
def test_always_loses_every_answer_and_charges_at_most_once(
    sandbox: SandboxProcess, client: SandboxClient, token: str, rows: int
) -> None:
    for _ in range(2):
        with pytest.raises((HTTPException, OSError)):
            client.charge(token, key=token)
    assert len(_booked(sandbox, token)) == rows


def test_always_pending_stays_pending_while_others_settle(sandbox: SandboxProcess, client: SandboxClient) -> None:
    client.charge("sandbox_pending_always", key="for ever")
    client.charge("sandbox_pending", key="for a while")
    _statuses_until_succeeded(sandbox, client, "for a while")
    assert _statuses(client, "for ever") == ["pending"]
    assert _booked(sandbox, "for ever") == []


def _charge_on_bare_socket(sandbox: SandboxProcess, token: str, *, key: str) -> socket.socket:
    body = json.dumps(
        {
            "payment_id": f"payment of {key}",
            "attempt_id": key,
            "amount": 1050,
            "currency": "USD",
            "capture": True,
            "token": token,
            "metadata": {},
        }
    ).encode()
    head = (
        f"POST /mock/v1/charges HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer any\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    parts = urlsplit(sandbox.url)
    assert parts.hostname is not None
    bare = socket.create_connection((parts.hostname, parts.port or 80), timeout=POLL_SECONDS_MAX)
    bare.sendall(head.encode() + body)
    return bare


def _receive_all(bare: socket.socket, received: bytearray) -> None:
    while piece := bare.recv(4096):
        received += piece


def _wait_until_seen(sandbox: SandboxProcess, key: str) -> None:
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while not sandbox.requests(payment_id=f"payment of {key}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
