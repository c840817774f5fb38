"""`paymux run` by itself: what it takes, whom it refuses, what it starts again, and what it leaves."""

import asyncio
import os
import re
import secrets
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import asyncpg
import pytest

from paymux_cli.postgres_account import Account, why_not
from paymux_cli.postgres_binaries import PostgresBinaries
from tests.support.commands import RunOfEverything, paymux, start_run
from tests.support.http import Merchant, Reply, eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

StartRun = Callable[..., RunOfEverything]


async def charge(shop: Merchant, token: str) -> Reply:
    """Create and confirm a payment."""
    fields = {"amount": 1999, "currency": "eur", "confirm": True, "payment_method": {"type": "card", "token": token}}
    return await shop.post("/payments", fields, key=secrets.token_hex(8))


async def outcome(run: RunOfEverything) -> tuple[int, object]:
    """Take money as the demo merchant."""
    reply = await charge(run.shop(), "sandbox_approve")
    return reply.status, reply.content.get("status")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunOfEverything]:
    """One run that these tests share; its folder has a space and a quote in its name."""
    run = start_run(tmp_path_factory.mktemp("a shop's") / "home", {})
    run.until("ready in")
    yield run
    assert run.end() == 0
    assert run.process.stdout is not None
    run.process.stdout.close()


def test_what_it_prints_can_be_sourced_and_tried(running: RunOfEverything) -> None:
    commands = "".join([running.until("source "), *(running.until(word) for word in ("curl", "-H", "payment_method"))])
    answer = subprocess.run(["bash", "-ec", "set -a\n" + commands], capture_output=True, text=True, check=True)
    assert '"status":"succeeded"' in answer.stdout


def test_something_is_said_before_the_database_is_up(running: RunOfEverything) -> None:
    assert "starting" in running.lines[0]
    assert "answers" in running.lines[1]


def test_everything_in_its_home_is_for_us_alone(running: RunOfEverything) -> None:
    ours = [path for path in running.home.iterdir() if path.is_file()]
    assert {path.name for path in ours} >= {"api.log", "worker.log", "secrets.json", "demo.env", "run.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in ours} == {0o600}
    assert stat.S_IMODE((running.home / "sandbox").stat().st_mode) == 0o700


async def test_api_and_worker_act_as_a_login_that_the_guards_bind(running: RunOfEverything) -> None:
    connection = await asyncpg.connect(running.where()["PAYMUX_DATABASE_URL"])
    strong = await connection.fetchval(
        "select rolsuper or pg_has_role(oid, 'paymux_owner', 'member') from pg_roles where rolname = session_user"
    )
    assert strong is False
    await connection.close()


async def test_a_second_run_on_the_home_is_refused_and_leaves_the_first_alone(running: RunOfEverything) -> None:
    before = (running.where(), running.demo())
    refused = paymux("run", settings=running.settings)
    assert (refused.code, refused.out) == (1, "")
    assert f"already run by process {running.process.pid}" in refused.complaint
    assert (running.where(), running.demo()) == before
    assert await outcome(running) == (201, "succeeded")


def test_a_port_in_use_is_refused_before_anything_starts(running: RunOfEverything, tmp_path: Path) -> None:
    port = running.demo()["PAYMUX_URL"].rpartition(":")[2]
    refused = paymux("run", settings={"PAYMUX_HOME": str(tmp_path / "other"), "PAYMUX_PORT": port})
    assert (refused.code, refused.out) == (1, "")
    assert f"port {port} of 127.0.0.1 is in use; set PAYMUX_PORT" in refused.complaint
    assert not (tmp_path / "other" / "postgres").exists()
    assert not (tmp_path / "other" / "demo.env").exists()


async def test_other_commands_find_the_run(running: RunOfEverything) -> None:
    home = {"PAYMUX_HOME": str(running.home)}
    merchant = paymux("merchants", "create", "Second shop", settings=home)
    assert re.fullmatch("mer_[0-9a-z]{26}", merchant.out), merchant
    key = paymux("keys", "create", merchant.out, settings=home)
    assert (await Merchant(running.demo()["PAYMUX_URL"], key.out).get("/payments")).status == 200


@pytest.mark.parametrize("name", ["api", "worker", "sandbox"])
async def test_a_part_that_is_killed_comes_back_where_it_was(running: RunOfEverything, name: str) -> None:
    before = running.where()
    os.kill(int(before[f"{name}_pid"]), signal.SIGKILL)
    running.until(f"{name} runs again")
    assert running.where()[f"{name}_pid"] != before[f"{name}_pid"]
    assert running.where()["PAYMUX_SANDBOX_URL"] == before["PAYMUX_SANDBOX_URL"]
    assert await outcome(running) == (201, "succeeded")


async def test_a_killed_database_comes_back(running: RunOfEverything) -> None:
    os.kill(int(running.where()["postgres_pid"]), signal.SIGKILL)
    running.until("postgres runs again")
    assert await outcome(running) == (201, "succeeded")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
async def test_the_gateway_outlives_the_api_which_still_answers_and_nothing_stays(
    tmp_path: Path, runs: StartRun, number: signal.Signals
) -> None:
    run = runs(tmp_path / "home", PAYMUX_TEST_CLOCK_DIVISOR="15")
    run.until("ready in")
    where, shop, sandbox = run.where(), run.shop(), run.demo()["PAYMUX_SANDBOX_URL"]
    api, gateway = (os.pidfd_open(int(where[f"{name}_pid"])) for name in ("api", "sandbox"))
    waiting = asyncio.create_task(charge(shop, "sandbox_slow_drip"))

    async def charge_was_asked() -> bool:
        with closing(HTTPConnection(sandbox.removeprefix("http://"))) as book:
            book.request("GET", "/book/requests")
            return b"/charges" in book.getresponse().read()

    await eventually(charge_was_asked, bool, seconds=30)
    # As a terminal does it: to everybody in the run's process group.
    os.killpg(run.process.pid, number)
    gone, _, _ = await asyncio.to_thread(select.select, [api, gateway], [], [], 60)
    assert api in gone
    assert (await waiting).status == 202
    assert run.end_by_itself() == 0
    assert not (run.home / "run.json").exists()
    assert not (run.home / "demo.env").exists()
    assert not [name for name, pid in where.items() if name.endswith("pid") and Path(f"/proc/{pid}").exists()]
    os.close(api)
    os.close(gateway)


def test_a_part_that_does_not_come_up_ends_the_run_with_its_last_words(tmp_path: Path, runs: StartRun) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "api.log").write_text("words of an earlier start\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin_port = str(taken.getsockname()[1])
        run = runs(tmp_path / "home", PAYMUX_ADMIN_PORT=admin_port)
        assert run.end_by_itself() == 1
    said = "".join(run.lines)
    assert "api did not start; its last words" in said
    assert f"port {admin_port} of 127.0.0.1 is in use; set PAYMUX_ADMIN_PORT" in said
    assert "earlier start" not in said
    assert not (run.home / "demo.env").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's server is that user")
async def test_a_fresh_home_of_root_lets_nobody_pass_to_the_server() -> None:
    directory = Path(tempfile.mkdtemp(prefix="paymux-test-"))
    directory.chmod(0o711)
    program = PostgresBinaries.find().program("postgres")
    try:
        if refusal := await why_not(Account.NOBODY, program=program, directory=directory):
            pytest.skip(f"nobody cannot run {program} here: {refusal}")
        # It ends after it made its home: the address is none of this machine.
        refused = paymux("run", settings={"PAYMUX_HOME": str(directory / "home"), "PAYMUX_HOST": "192.0.2.1"})
        assert "PAYMUX_HOST" in refused.complaint
        assert await why_not(Account.NOBODY, program=program, directory=directory / "home") is None
        assert stat.S_IMODE((directory / "home").stat().st_mode) == 0o711
    finally:
        shutil.rmtree(directory)
