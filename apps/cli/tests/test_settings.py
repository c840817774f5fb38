"""What commands are told, and the one line with which they refuse what makes no sense."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from paymux_api.settings import SettingRefused
from paymux_cli.composition import open_stack
from paymux_cli.manage import add_account, add_merchant
from paymux_cli.settings import StackSettings
from tests.support.commands import Ran, paymux
from tests.support.postgres import Database, Databases

SECRETS = {"PAYMUX_MASTER_KEY": secrets.token_hex(32), "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}"}
NOWHERE = "postgresql://me:hush@127.0.0.1:1/paymux"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYMUX_DATABASE_URL", ""),
        ("PAYMUX_DATABASE_URL", "nonsense"),
        ("PAYMUX_DATABASE_URL", "mysql://hush"),
        ("PAYMUX_DATABASE_URL", "postgresql://me:hush@db:99999/paymux"),
        ("PAYMUX_MASTER_KEY", ""),
        ("PAYMUX_MASTER_KEY", "abcd"),
        ("PAYMUX_MASTER_KEY", "00" * 32),
        ("PAYMUX_TEST_CLOCK_OFFSET", "nan"),
        ("PAYMUX_TEST_CLOCK_DIVISOR", "0"),
        ("PAYMUX_TEST_CLOCK_DIVISOR", "fast"),
        ("PAYMUX_BATCH_MAX", "0"),
        ("PAYMUX_DB_STATEMENT_CACHE", "-1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingRefused, match=name) as refused:
        StackSettings.from_environment({"PAYMUX_DATABASE_URL": NOWHERE, **SECRETS, name: value})
    assert "hush" not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    shown = repr(StackSettings.from_environment({"PAYMUX_DATABASE_URL": NOWHERE, **SECRETS}))
    assert "hush" not in shown
    assert "master_key" not in shown


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (("api",), "PAYMUX_API_KEY_PEPPERS"),
        (("worker",), "PAYMUX_MASTER_KEY"),
        (("merchants", "create", "Shop"), "PAYMUX_MASTER_KEY"),
    ],
)
def test_a_command_with_a_database_of_ours_makes_no_secrets_but_names_what_is_missing(
    tmp_path: Path, command: tuple[str, ...], missing: str
) -> None:
    ran = paymux(*command, settings={"PAYMUX_HOME": str(tmp_path), "PAYMUX_DATABASE_URL": NOWHERE})
    assert_one_line(ran, f"{missing} is missing", code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("api",), ("worker",), ("migrate",), ("merchants", "create", "Shop")])
def test_a_database_that_does_not_answer_is_told_by_the_settings_name(tmp_path: Path, command: tuple[str, ...]) -> None:
    ran = paymux(*command, settings={"PAYMUX_HOME": str(tmp_path), "PAYMUX_DATABASE_URL": NOWHERE, **SECRETS})
    assert_one_line(ran, "PAYMUX_DATABASE_URL: cannot connect", code=1)
    assert "hush" not in ran.complaint


def test_without_a_run_and_without_a_database_a_command_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        '{"pid": "4194305", "PAYMUX_DATABASE_URL": "postgresql:///left_by_a_killed_run"}'
    )
    ran = paymux("merchants", "create", "Shop", settings={"PAYMUX_HOME": str(tmp_path)})
    assert_one_line(ran, f"nothing runs on {tmp_path}", code=1)


@pytest.mark.parametrize("home", ["a file", "/proc/nope"])
def test_a_home_that_cannot_be_used_is_named(tmp_path: Path, home: str) -> None:
    (tmp_path / "a file").touch()
    ran = paymux("run", settings={"PAYMUX_HOME": str(tmp_path / home), "PAYMUX_PORT": "0"})
    assert_one_line(ran, "PAYMUX_HOME", code=1)


def test_a_run_refuses_a_wrong_setting_before_it_starts_anything(tmp_path: Path) -> None:
    ran = paymux("run", settings={"PAYMUX_HOME": str(tmp_path / "home"), "PAYMUX_PORT": "abc"})
    assert_one_line(ran, "PAYMUX_PORT", code=2)
    assert not (tmp_path / "home" / "postgres").exists()


def test_a_database_that_is_not_migrated_is_refused_with_what_to_do(databases: Databases) -> None:
    empty = databases.empty()
    for command in ("api", "worker"):
        ran = paymux(command, settings={"PAYMUX_DATABASE_URL": empty.app_dsn, "PAYMUX_PORT": "0", **SECRETS})
        assert_one_line(ran, "run `paymux migrate` first", code=1)
    databases.drop(empty)


def test_a_database_that_does_not_exist_is_named(shared_database: Database) -> None:
    nowhere = urlunsplit(urlsplit(shared_database.app_dsn)._replace(path="/nowhere"))
    ran = paymux("worker", settings={"PAYMUX_DATABASE_URL": nowhere, **SECRETS})
    assert_one_line(ran, 'database "nowhere" does not exist', code=1)


@pytest.mark.parametrize("command", [("api",), ("worker",), ("merchants", "create", "Shop")])
def test_a_superuser_is_refused(shared_database: Database, command: tuple[str, ...]) -> None:
    ran = paymux(*command, settings={"PAYMUX_DATABASE_URL": shared_database.dsn, "PAYMUX_PORT": "0", **SECRETS})
    assert_one_line(ran, "is a superuser", code=1)


async def test_an_account_that_does_not_open_does_not_stop_the_merchants_others(database: Database) -> None:
    ours = StackSettings.from_environment({"PAYMUX_DATABASE_URL": database.app_dsn, **SECRETS})
    others = StackSettings.from_environment(
        {"PAYMUX_DATABASE_URL": database.app_dsn, "PAYMUX_MASTER_KEY": secrets.token_hex(32)}
    )
    async with open_stack(ours, name="tests") as stack, open_stack(others, name="tests") as stranger:
        merchant_id = await add_merchant(stack, "Shop", limits={})
        made = {}
        for maker in (stranger, stack):
            made[maker.sealer] = await add_account(
                maker,
                merchant_id,
                "mock",
                base_url="http://127.0.0.1:1",
                name=secrets.token_hex(4),
                priority=1,
                secret="x",
            )
        found = await stack.deps.accounts.candidates(merchant_id)
        assert [candidate.account_id for candidate in found] == [made[stack.sealer]]


def assert_one_line(ran: Ran, words: str, *, code: int) -> None:
    """Hold a refusal to its form: one line on stderr, nothing on stdout."""
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.complaint.startswith("paymux: ")
    assert words in ran.complaint
    assert "\n" not in ran.complaint
