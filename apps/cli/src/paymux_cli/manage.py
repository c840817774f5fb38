"""What an operator does from the command line: migrate, create merchants, keys and gateway accounts."""

import contextlib
import os
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg

from paymux_api.settings import Reader, parse_peppers
from paymux_cli.composition import Stack, open_stack
from paymux_cli.embedded_postgres import CLUSTER_NAME
from paymux_cli.refusals import WrongArgument, reaching_database
from paymux_cli.settings import StackSettings, command_settings, database_url, given
from paymux_connectors.registry import CONNECTORS, IN_PROCESS
from paymux_core.api_keys import DEFAULT_SCOPES, RANDOM_BITS, Scope, hash_api_key, new_api_key
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_core.records import ApiKeyRow
from paymux_postgres.api_keys import insert_api_key
from paymux_postgres.merchants import AccountRow, MerchantRow, insert_gateway_account, insert_merchant
from paymux_postgres.migrate import migrate
from paymux_postgres.server_checks import read_server

_KEY_LIMITS = ("requests_per_second", "same_key_per_second")
_NAME_CHARACTERS_MAX = 200
_SECRET_CHARACTERS_MAX = 4096
_MERCHANT_LIMITS = (*_KEY_LIMITS, "confirms_per_second")


@contextlib.asynccontextmanager
async def command_stack(environment: Mapping[str, str]) -> AsyncIterator[tuple[Stack, dict[str, str]]]:
    """Open what a command works on. Raises: as open_stack; WrongArgument for a merchant that does not exist."""
    settings = command_settings(environment)
    async with open_stack(StackSettings.from_environment(settings), name="cli") as stack:
        try:
            yield stack, settings
        except asyncpg.ForeignKeyViolationError:
            raise WrongArgument("there is no such merchant; `paymux merchants list` names them") from None


async def migrate_database(environment: Mapping[str, str]) -> None:
    """Apply what is missing and say so. Raises: SettingRefused, DatabaseNotReached, MigrationRefused."""
    dsn = database_url(given(environment))
    with reaching_database():
        applied = await migrate(dsn, now=datetime.now(UTC), progress=print)  # noqa: TID251
    print(f"{len(applied)} applied" if applied else "nothing to do")


async def new_merchant(environment: Mapping[str, str], name: str, *, limits: Sequence[str]) -> str:
    """Create a merchant; answers its id. Raises: WrongArgument."""
    check_name(name)
    chosen = parse_limits(limits, known=_MERCHANT_LIMITS)
    async with command_stack(environment) as (stack, _):
        return public_id(Kind.MERCHANT, await add_merchant(stack, name, limits=chosen))


def parse_limits(limits: Sequence[str], *, known: Collection[str]) -> dict[str, str]:
    """Read limits as `name=number`, or `rates=none` for no limits. Raises: WrongArgument."""
    parsed: dict[str, str] = {}
    for limit in limits:
        name, _, value = limit.partition("=")
        if limit != "rates=none" and (name not in known or not re.fullmatch("[1-9][0-9]{0,5}", value)):
            message = f"{limit!r} is no limit; give rates=none, or a number from 1 to 999999 for {', '.join(known)}"
            raise WrongArgument(message)
        parsed[name] = value
    return parsed


async def add_merchant(stack: Stack, name: str, *, limits: dict[str, str]) -> UUID:
    """Store a merchant."""
    merchant = MerchantRow(stack.deps.ids.new(), name, limits, stack.deps.clock.now())
    await insert_merchant(stack.store.pool, merchant)
    return merchant.id


async def new_key(
    environment: Mapping[str, str],
    *,
    merchant: str,
    name: str,
    scopes: Sequence[Scope] | None,
    mode: str,
    limits: Sequence[str] = (),
) -> str:
    """Create an API key; answers the token. Raises: WrongArgument."""
    merchant_id = merchant_id_of(merchant)
    check_name(name)
    own = parse_limits(limits, known=_KEY_LIMITS)
    chosen = frozenset(scopes) if scopes else DEFAULT_SCOPES
    async with command_stack(environment) as (stack, known):
        return await add_key(stack, merchant_id, name=name, scopes=chosen, mode=mode, peppers=known, limits=own)


async def add_key(
    stack: Stack,
    merchant_id: UUID,
    *,
    name: str,
    scopes: frozenset[Scope],
    mode: str,
    peppers: Mapping[str, str],
    limits: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Store a key as its keyed hash under the newest pepper; answers the token. Raises: WrongArgument."""
    known = Reader(peppers).required("PAYMUX_API_KEY_PEPPERS", parse_peppers)
    version = max(known)
    token = new_api_key(int.from_bytes(os.urandom(RANDOM_BITS // 8)), mode=mode)
    row = ApiKeyRow(
        key_id=token.key_id,
        merchant_id=merchant_id,
        token_hash=hash_api_key(known[version], token.token),
        pepper_version=version,
        scopes=frozenset(scopes),
        livemode=token.livemode,
        expires_at=None,
        revoked_at=None,
        limits_exempt=False,
        last4=token.last4,
    )
    await insert_api_key(stack.store.pool, row, name=name, limits=limits, at=stack.deps.clock.now())
    return token.token


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A gateway account as an operator describes it."""

    gateway: str
    base_url: str
    name: str
    priority: int
    mode: str
    secret: str = field(repr=False)
    on_embedded_server: bool
    """The operator knows that the embedded server is for trial, and wants live credentials on it all the same."""


async def new_account(environment: Mapping[str, str], merchant: str, new: NewAccount) -> str:
    """Create a gateway account; answers its id. Raises: WrongArgument."""
    merchant_id = merchant_id_of(merchant)
    check_account(new)
    live = new.mode == "live"
    async with command_stack(environment) as (stack, _):
        if live and not new.on_embedded_server and await _is_embedded(stack):
            raise WrongArgument(
                "the embedded server is for trial and tests: bring your own by PAYMUX_DATABASE_URL for live "
                "credentials, or say --yes-embedded"
            )
        account = await add_account(
            stack,
            merchant_id,
            new.gateway,
            base_url=new.base_url,
            name=new.name,
            priority=new.priority,
            secret=new.secret,
            livemode=live,
        )
    return public_id(Kind.GATEWAY_ACCOUNT, account)


def check_account(new: NewAccount) -> None:
    """Refuse an account that cannot be meant. Raises: WrongArgument."""
    check_name(new.name)
    if not new.secret.isprintable() or len(new.secret) > _SECRET_CHARACTERS_MAX:
        raise WrongArgument(f"the secret is one line of at most {_SECRET_CHARACTERS_MAX} printable characters")
    if new.gateway not in CONNECTORS:
        raise WrongArgument(f"there is no gateway {new.gateway}; installed: {', '.join(sorted(CONNECTORS))}")
    live = new.mode == "live"
    if live and CONNECTORS[new.gateway].capabilities.test_only:
        raise WrongArgument(f"{new.gateway} is for tests only")
    # Stripe and others write the mode into their keys: sk_live_…, rk_test_….
    if ("_test_" if live else "_live_") in new.secret:
        raise WrongArgument(f"the secret says that it is not for {new.mode} mode; give --mode, or another secret")
    address = urlsplit(new.base_url)
    allowed = {"https"} if live else {"https", "http", *IN_PROCESS}
    if address.scheme not in allowed or not address.hostname or address.username or address.query or address.fragment:
        raise WrongArgument(f"--base-url: give an {' or '.join(sorted(allowed))} address in {new.mode} mode")


async def _is_embedded(stack: Stack) -> bool:
    async with stack.store.pool.connection() as connection:
        return (await read_server(connection))["cluster"] == CLUSTER_NAME


async def add_account(
    stack: Stack,
    merchant_id: UUID,
    gateway: str,
    *,
    base_url: str,
    name: str,
    priority: int,
    secret: str,
    livemode: bool = False,
) -> UUID:
    """Store a gateway account with its credential sealed under the connector's name for it. Raises: WrongArgument."""
    account_id = stack.deps.ids.new()
    names = CONNECTORS[gateway].credential_names
    if names and not secret:
        message = f"{gateway} needs its {names[0]}, on standard input"
        raise WrongArgument(message)
    sealed = stack.sealer.seal({names[0]: secret}, merchant_id=merchant_id, object_id=account_id) if names else None
    row = AccountRow(account_id, gateway, name, "enabled", livemode, base_url, priority, sealed)
    await insert_gateway_account(stack.store.pool, merchant_id, row, at=stack.deps.clock.now())
    return account_id


def check_name(name: str) -> None:
    """Refuse a name that no list can show. Raises: WrongArgument."""
    if not name.strip() or not name.isprintable() or len(name) > _NAME_CHARACTERS_MAX:
        raise WrongArgument(f"a name has 1 to {_NAME_CHARACTERS_MAX} printable characters")


def merchant_id_of(text: str) -> UUID:
    """Read a merchant's id. Raises: WrongArgument."""
    found = parse_public_id(Kind.MERCHANT, text)
    if found is None:
        message = f"{text!a} is no merchant id; it looks like mer_01j…"
        raise WrongArgument(message)
    return found
