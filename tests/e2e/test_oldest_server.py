"""PostgreSQL 15 is the oldest server we promise: it takes the migrations, and a confirm goes through on it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from paymux_cli.postgres_binaries import MAJOR_VERSION_MIN
from paymux_core.money import Money
from paymux_core.records import PaymentMethod
from paymux_flows.commands import Caller, CreatePayment, KeyUse
from paymux_flows.create import create_payment
from paymux_testkit.sandbox_process import SandboxProcess
from tests.support.one_account import set_up
from tests.support.postgres import Database, Databases
from tests.support.private_server import private_server

pytestmark = pytest.mark.slow

# Where Debian keeps the programs of each version; elsewhere pg_config on PATH says it.
PG_CONFIGS = (f"/usr/lib/postgresql/{MAJOR_VERSION_MIN}/bin/pg_config", "pg_config")


def oldest_bindir() -> Path:
    """Find the programs of the oldest version. Skips, aloud, where there are none."""
    for name in PG_CONFIGS:
        found = shutil.which(name)
        if found is None:
            continue
        bindir = Path(_told(found, "--bindir"))
        is_oldest = re.match(rf"PostgreSQL {MAJOR_VERSION_MIN}\b", _told(found, "--version"))
        if is_oldest and (bindir / "postgres").exists():
            return bindir
    pytest.skip(f"no pg_config of a PostgreSQL {MAJOR_VERSION_MIN} is here: nothing is proven about that version")


def _told(pg_config: str, option: str) -> str:
    return subprocess.run([pg_config, option], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def oldest_database() -> Iterator[Database]:
    with private_server(oldest_bindir()) as dsn, Databases(dsn) as databases:
        yield databases.fresh()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


async def test_a_confirm_goes_through_on_the_oldest_server(oldest_database: Database, sandbox: SandboxProcess) -> None:
    async with set_up(oldest_database.dsn, sandbox.url, seed="oldest", call_seconds=20) as stage:
        (told,) = await stage.store.pool.fetch("show server_version_num")
        caller = Caller(stage.merchant_id, livemode=False, api_key_id="0000000000", request_id="req_test")
        command = CreatePayment(
            caller=caller,
            money=Money(1999, "eur"),
            payment_method=PaymentMethod("card", "sandbox_approve"),
            confirm=True,
            key=KeyUse("key-1", bytes(32)),
        )
        reply = await create_payment(command, stage.deps)
        broken = await stage.store.pool.fetch("select * from inv.all_violations($1)", stage.clock.now())
    assert int(told["server_version_num"]) // 10_000 == MAJOR_VERSION_MIN
    assert (reply.http_status, len(sandbox.charges()), list(broken)) == (201, 1, [])
