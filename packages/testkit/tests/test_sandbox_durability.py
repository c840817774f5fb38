"""What the sandbox told anybody survives kill -9, and it stops and starts as a process should."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from itertools import count
from pathlib import Path

import pytest

from paymux_testkit.sandbox.journal import Journal
from paymux_testkit.sandbox.scripts import DEFAULT_FLAKY_RATES, draw_script
from paymux_testkit.sandbox_client import SandboxClient
from paymux_testkit.sandbox_process import SandboxDidNotStart, SandboxProcess, SandboxSettings

POLL_SECONDS_MAX = 30.0
CALLERS = 16


def test_every_answered_charge_is_in_the_book_after_a_kill_under_load(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        client = SandboxClient(sandbox.url)
        numbers, answered, asked = count(), dict[str, bytes](), list[str]()
        enough = threading.Event()

        def charge_until_it_dies() -> None:
            while True:
                key = f"load {next(numbers)}"
                asked.append(key)
                try:
                    answered[key] = client.charge("sandbox_approve", key=key).body
                except (HTTPException, OSError):
                    return
                if len(answered) >= 300:
                    enough.set()

        with ThreadPoolExecutor(CALLERS) as callers:
            running = [callers.submit(charge_until_it_dies) for _ in range(CALLERS)]
            assert enough.wait(POLL_SECONDS_MAX)
            sandbox.kill()
            for caller in running:
                caller.result()
        sandbox.start()
        booked = [row["idempotency_key"] for row in sandbox.charges()]
        assert answered.keys() <= set(booked) <= set(asked)
        assert len(booked) == len(set(booked))
        for key in asked:
            body = client.charge("sandbox_approve", key=key).body
            assert answered.get(key, body) == body
        assert sorted(str(row["idempotency_key"]) for row in sandbox.charges()) == sorted(asked)


def test_a_kill_between_book_and_answer_leaves_the_charge(tmp_path: Path) -> None:
    settings = SandboxSettings(latency_ms=60_000)
    with SandboxProcess(tmp_path, settings=settings) as sandbox, ThreadPoolExecutor(1) as callers:
        client = SandboxClient(sandbox.url)
        caller = callers.submit(client.charge, "sandbox_approve", key="unanswered")
        _wait_until_booked(sandbox, "unanswered")
        sandbox.kill()
        with pytest.raises((HTTPException, OSError)):
            caller.result()
        sandbox.start()
        assert [charge["status"] for charge in client.charges_of_attempt("unanswered")] == ["succeeded"]
        assert len(sandbox.charges()) == 1


def test_keys_fences_and_open_charges_survive_a_kill(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path, settings=SandboxSettings(clock_divisor=20)) as sandbox:
        client = SandboxClient(sandbox.url)
        error = client.charge("sandbox_error_after_charge", key="error")
        decline = client.charge("sandbox_decline_soft", key="decline")
        client.charge("sandbox_rate_limited", key="limited")
        client.charge("sandbox_pending", key="pending")
        client.fence("tombstone", key="fence 1")
        client.charge("sandbox_pending", key="canceled")
        client.fence("canceled", key="fence 2")
        hold = client.charge("sandbox_approve", key="hold", capture=False).content()
        client.post(f"/charges/{hold['id']}/capture", {"amount": 7}, key="capture")
        sandbox.kill()
        sandbox.start()
        assert client.charge("sandbox_error_after_charge", key="error").body == error.body
        assert client.charge("sandbox_decline_soft", key="decline").body == decline.body
        assert client.charge("sandbox_rate_limited", key="limited").status == 200
        assert client.charge("sandbox_approve", key="tombstone").error_code() == "fenced"
        assert client.charge("sandbox_pending", key="canceled").error_code() == "fenced"
        _wait_until_booked(sandbox, "pending")
        captured = {row["idempotency_key"]: row["captured"] for row in sandbox.charges()}
        assert captured == {"error": 1050, "limited": 1050, "hold": 7, "pending": 1050}


def test_a_torn_last_line_is_cut_off_and_what_follows_is_kept(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        client = SandboxClient(sandbox.url)
        client.charge("sandbox_approve", key="whole")
        sandbox.kill()
        with (tmp_path / "book.jsonl").open("ab") as book:
            book.write(b'{"keys":[{"gateway":"mock","k')
        sandbox.start()
        client.charge("sandbox_approve", key="next")
        sandbox.kill()
        sandbox.start()
        assert [row["idempotency_key"] for row in sandbox.charges()] == ["whole", "next"]


def test_a_book_damaged_in_the_middle_is_not_served(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        client = SandboxClient(sandbox.url)
        client.charge("sandbox_approve", key="one")
        client.charge("sandbox_approve", key="two")
        sandbox.stop()
        book = (tmp_path / "book.jsonl").read_bytes()
        (tmp_path / "book.jsonl").write_bytes(b"#" + book)
        with pytest.raises(SandboxDidNotStart, match="line 1 cannot be read"):
            sandbox.start()


def test_a_second_sandbox_on_the_same_home_says_so_and_ends(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as first:
        with pytest.raises(SandboxDidNotStart, match="another sandbox runs"):
            SandboxProcess(tmp_path)
        assert first.charges() == []
        assert json.loads((tmp_path / "sandbox.json").read_text())["url"] == first.url


def test_it_stops_cleanly_while_requests_hang(tmp_path: Path) -> None:
    with (
        SandboxProcess(tmp_path, settings=SandboxSettings(clock_divisor=1)) as sandbox,
        ThreadPoolExecutor(2) as callers,
    ):
        client = SandboxClient(sandbox.url)
        hanging = [
            callers.submit(client.charge, f"sandbox_{fault}", key=fault)
            for fault in ("timeout_after_charge", "slow_drip")
        ]
        _wait_until_booked(sandbox, "timeout_after_charge")
        _wait_until_booked(sandbox, "slow_drip")
        assert sandbox.stop() == 0
        for caller in hanging:
            with pytest.raises((HTTPException, OSError)):
                caller.result()
    assert not (tmp_path / "sandbox.json").exists()


def test_it_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    sandbox = SandboxProcess(tmp_path)
    assert sandbox._process.stdin is not None
    sandbox._process.stdin.close()
    try:
        assert sandbox._process.wait(POLL_SECONDS_MAX) == 0
    except subprocess.TimeoutExpired:
        sandbox.kill()
        raise
    finally:
        sandbox._close_pipes()


def test_a_long_book_is_listed_whole_and_in_order(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        SandboxClient(sandbox.url).charge("sandbox_approve", key="key-0")
        sandbox.stop()
        line = (tmp_path / "book.jsonl").read_text()
        charge_id = json.loads(line)["charge"]["id"]
        with (tmp_path / "book.jsonl").open("a") as book:
            book.writelines(line.replace("key-0", f"key-{n}").replace(charge_id, f"ch_{n}") for n in range(1, 3000))
        sandbox.start()
        assert [row["idempotency_key"] for row in sandbox.charges()] == [f"key-{n}" for n in range(3000)]


def test_nobody_is_called_back_before_the_fsync_that_covers_his_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, released = os.fsync, threading.Semaphore(0)

    async def scenario() -> list[str]:
        journal = Journal(tmp_path / "book.jsonl")
        monkeypatch.setattr(os, "fsync", lambda file: (released.acquire(), fsync(file)))
        called: list[str] = []
        journal.append({"line": 1})
        journal.when_durable(lambda: called.append("first"))
        await _until(lambda: (tmp_path / "book.jsonl").stat().st_size > 0)
        journal.append({"line": 2})
        journal.when_durable(lambda: called.append("second"))
        called.append("written, not synced")
        released.release()
        await _until(lambda: "first" in called)
        called.append("one fsync done")
        released.release()
        await _until(lambda: "second" in called)
        journal.when_durable(lambda: called.append("nothing to wait for"))
        journal.close()
        return called

    expected = ["written, not synced", "first", "one fsync done", "second", "nothing to wait for"]
    assert asyncio.run(scenario()) == expected


def test_flaky_strikes_the_same_keys_in_every_run_of_a_seed(tmp_path: Path) -> None:
    rates = {"error_before_charge": 0.2, "garbage_after_charge": 0.2, "rate_limited": 0.2, "decline_soft": 0.2}
    runs = []
    for number, seed in enumerate((7, 7, 8)):
        settings = SandboxSettings(seed=seed, flaky_rates=rates)
        with SandboxProcess(tmp_path / str(number), settings=settings) as sandbox:
            client = SandboxClient(sandbox.url, gateway="flaky")
            for key in range(60):
                client.charge("sandbox_approve", key=f"key {key}")
            runs.append([request["did"] for request in sandbox.requests()])
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 5


def test_flaky_draws_every_fault_about_as_often_as_its_rate() -> None:
    drawn = [draw_script(DEFAULT_FLAKY_RATES, seed=1, key=str(key)) for key in range(20_000)]
    expected = {name: round(20_000 * rate) for name, rate in DEFAULT_FLAKY_RATES.items()}
    scripts = {name: draw_script({name: 1.0}, seed=1, key="any") for name in expected}
    for name, script in scripts.items():
        assert abs(drawn.count(script) - expected[name]) < 120, name


def _wait_until_booked(sandbox: SandboxProcess, key: str) -> None:
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while not sandbox.charges(payment_id=f"payment of {key}"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + POLL_SECONDS_MAX
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
