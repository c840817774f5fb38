"""Merchants, keys and gateway accounts from the command line: what is refused, what is listed, what is switched off."""

import os
import secrets
from importlib.metadata import version

import pytest

from paymux_cli import listing, webhook_secrets
from paymux_cli.manage import NewAccount, check_account, command_stack, new_account, new_key, new_merchant
from paymux_cli.refusals import WrongArgument
from paymux_core.ids import Kind, parse_public_id, public_id, uuid7
from tests.support.commands import paymux
from tests.support.postgres import Database

SECRETS = {"PAYMUX_MASTER_KEY": secrets.token_hex(32), "PAYMUX_API_KEY_PEPPERS": f"1:{secrets.token_hex(32)}"}
NOBODY = public_id(Kind.MERCHANT, uuid7(1, 1))


def account(
    gateway: str = "stripe",
    base_url: str = "https://api.stripe.com",
    mode: str = "test",
    secret: str = "sk_test_x",
    *,
    name: str = "default",
    on_embedded_server: bool = False,
) -> NewAccount:
    """Describe an account."""
    return NewAccount(gateway, base_url, name, 100, mode, secret, on_embedded_server)


def settings(database: Database) -> dict[str, str]:
    """Tell a command where to work."""
    return {"PAYMUX_DATABASE_URL": database.app_dsn, **SECRETS}


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (account(gateway="paypal"), "there is no gateway paypal"),
        (account(gateway="mock", mode="live"), "for tests only"),
        (account(secret="sk_live_x"), "not for test mode"),
        (account(mode="live", secret="sk_test_x"), "not for live mode"),
        (account(mode="live", secret="sk_live_x", base_url="http://api.stripe.com"), "https address in live mode"),
        (account(base_url="nonsense"), "--base-url"),
        (account(base_url="ftp://gateway"), "--base-url"),
        (account(base_url="https://"), "--base-url"),
        (account(base_url="https://me@gateway"), "--base-url"),
        (account(name=""), "1 to 200 printable"),
        (account(name="two\nlines"), "1 to 200 printable"),
        (account(name="half \udcff"), "1 to 200 printable"),
        (account(secret="x" * 5000), "at most 4096"),
    ],
)
def test_an_account_that_cannot_be_meant_is_refused(refused: NewAccount, words: str) -> None:
    with pytest.raises(WrongArgument, match=words):
        check_account(refused)


def test_accounts_that_can_be_meant_are_taken() -> None:
    check_account(account())
    check_account(account(mode="live", secret="rk_live_x"))
    check_account(account(gateway="mock", base_url="http://127.0.0.1:1", secret="sandbox"))
    check_account(account(gateway="instant", base_url="instant://gateway", secret=""))


async def test_live_credentials_stay_off_the_embedded_server_unless_the_operator_insists(database: Database) -> None:
    if os.environ.get("PAYMUX_DATABASE_URL"):
        pytest.skip("the tests run on another server")
    merchant = await new_merchant(settings(database), "Shop", limits=[])
    with pytest.raises(WrongArgument, match="--yes-embedded"):
        await new_account(settings(database), merchant, account(mode="live", secret="sk_live_x"))
    assert await listing.accounts(settings(database), merchant) == []
    await new_account(settings(database), merchant, account(mode="live", secret="sk_live_x", on_embedded_server=True))
    assert len(await listing.accounts(settings(database), merchant)) == 1


async def test_what_was_made_is_listed_and_can_be_switched_off(database: Database) -> None:
    merchant = await new_merchant(settings(database), "Shop", limits=[])
    made = await new_account(settings(database), merchant, account())
    token = await new_key(settings(database), merchant=merchant, name="till", scopes=None, mode="test")
    key_id = token.split("_")[2][:10]
    assert await listing.merchants(settings(database)) == [f"{merchant}  Shop"]
    (key,) = await listing.keys(settings(database), merchant)
    assert key.startswith(key_id)
    assert token not in key
    await listing.revoke(settings(database), merchant, key_id)
    assert "revoked" in (await listing.keys(settings(database), merchant))[0]
    for status in ("disabled", "enabled"):
        await listing.set_status(settings(database), merchant, made, status=status)
        assert status in (await listing.accounts(settings(database), merchant))[0]


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "half \udcff", "x" * 201])
async def test_a_name_that_no_list_can_show_is_refused(name: str) -> None:
    with pytest.raises(WrongArgument, match="1 to 200 printable"):
        await new_merchant({}, name, limits=[])


async def test_what_does_not_exist_is_named(database: Database) -> None:
    for wrong in (
        new_key(settings(database), merchant=NOBODY, name="till", scopes=None, mode="test"),
        new_account(settings(database), NOBODY, account()),
    ):
        with pytest.raises(WrongArgument, match="no such merchant"):
            await wrong
    with pytest.raises(WrongArgument, match="no key '0123456789'"):
        await listing.revoke(settings(database), NOBODY, "0123456789")
    with pytest.raises(WrongArgument, match="no account ga_x"):
        await listing.set_status(settings(database), NOBODY, "ga_x", status="disabled")
    with pytest.raises(WrongArgument, match="no merchant id"):
        await listing.keys(settings(database), "Shop")


def test_a_mode_or_scope_that_does_not_exist_is_answered_with_those_that_do() -> None:
    for option, known in (("--mode", "live"), ("--scope", "payments:read")):
        ran = paymux("keys", "create", NOBODY, option, "bogus", settings=SECRETS)
        assert ran.code == 2
        assert known in ran.complaint
        assert "Traceback" not in ran.complaint


def test_the_version_is_that_of_the_package() -> None:
    said = paymux("--version", settings={})
    assert (said.code, said.out.strip()) == (0, f"paymux {version('paymux')}")


async def test_webhook_secrets_are_two_at_most_and_never_shown(database: Database) -> None:
    where = settings(database)
    merchant = await new_merchant(where, "Shop", limits=[])
    made = await new_account(where, merchant, account(gateway="mock", base_url="http://127.0.0.1:1", secret="sandbox"))
    told = [await webhook_secrets.add(where, merchant, made, secret=f"whsec_number_{n}") for n in (1, 2)]
    assert told == [f"https://YOUR-HOST/webhooks/{made}"] * 2
    with pytest.raises(WrongArgument, match="roll-webhook-secret"):
        await webhook_secrets.add(where, merchant, made, secret="whsec_number_3")
    assert await webhook_secrets.roll(where, merchant, made, secret="whsec_number_3", at_once=False) == told[0]
    async with command_stack(where) as (stack, _):
        account_id = parse_public_id(Kind.GATEWAY_ACCOUNT, made)
        assert account_id is not None
        found = await stack.store.inbound.find_account(account_id)
        assert found is not None
        assert found.secrets == ("whsec_number_3", "whsec_number_2")
        assert "whsec" not in repr(found)
    # Another master key opens none of them, and need not.
    elsewhere = where | {"PAYMUX_MASTER_KEY": secrets.token_hex(32)}
    with pytest.raises(WrongArgument, match="--at-once"):
        await webhook_secrets.roll(elsewhere, merchant, made, secret="whsec_number_4", at_once=False)
    await webhook_secrets.roll(elsewhere, merchant, made, secret="whsec_number_4", at_once=True)
    assert await webhook_secrets.webhooks(where, merchant, made, limit=5) == []
    for secret in ("", "short", "two\nlines are no secret", "x" * 513):
        with pytest.raises(WrongArgument, match="standard input"):
            await webhook_secrets.add(where, merchant, made, secret=secret)
    with pytest.raises(WrongArgument, match="has no account"):
        await webhook_secrets.add(where, NOBODY, made, secret="whsec_number_5")
