"""The way of an operator with a database of their own, step by step as the README tells it, with real processes."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from paymux_cli.processes import free_port
from tests.support.commands import clean_environment, paymux
from tests.support.http import Merchant, eventually
from tests.support.postgres import Databases
from tests.support.stack import Child

pytestmark = pytest.mark.slow


async def test_an_operator_migrates_makes_a_login_starts_the_services_and_takes_money(
    databases: Databases, tmp_path: Path
) -> None:
    empty, port = databases.empty(), str(free_port())
    chosen = {
        "PAYMUX_MASTER_KEY": secrets.token_hex(32),
        "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}",
        "PAYMUX_PORT": port,
    }
    assert paymux("migrate", settings=chosen | {"PAYMUX_DATABASE_URL": empty.dsn}).code == 0
    login, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    admin = await asyncpg.connect(empty.dsn)
    await admin.execute(f"create role {login} login password '{password}' in role paymux_app")
    parts = urlsplit(empty.dsn)
    chosen["PAYMUX_DATABASE_URL"] = urlunsplit(
        parts._replace(netloc=f"{login}:{password}@{parts.netloc.rpartition('@')[2]}")
    )
    services = [Child(verb, clean_environment(chosen), tmp_path / f"{verb}.log") for verb in ("api", "worker")]
    try:
        for service in services:
            service.start()
        merchant = paymux("merchants", "create", "My shop", settings=chosen).out
        key = paymux("keys", "create", merchant, settings=chosen).out
        made = paymux("accounts", "create", merchant, "instant", "--base-url", "instant://gateway", settings=chosen)
        assert made.out.startswith("ga_"), made
        shop = Merchant(f"http://127.0.0.1:{port}", key)

        async def answers() -> bool:
            try:
                return (await shop.get("/health/ready")).status == 200
            except OSError:
                return False

        await eventually(answers, bool)
        fields = {"confirm": True, "payment_method": {"type": "card", "token": "sandbox_approve"}}
        reply = await shop.post("/payments", {"amount": 1999, "currency": "eur", **fields}, key="first")
        assert (reply.status, reply.content["status"]) == (201, "succeeded")
    finally:
        for service in services:
            service.stop()
    assert [service.process.returncode for service in services if service.process] == [0, 0]
    await admin.execute(f"drop role {login}")
    await admin.close()
    databases.drop(empty)
