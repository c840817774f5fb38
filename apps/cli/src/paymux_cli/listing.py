"""What an operator looks up and switches off from the command line: merchants, keys, gateway accounts."""

from collections.abc import Mapping, Sequence

from paymux_cli.manage import command_stack, merchant_id_of
from paymux_cli.refusals import WrongArgument
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_postgres.api_keys import list_api_keys, revoke_api_key
from paymux_postgres.merchants import list_gateway_accounts, list_merchants, set_gateway_account_status

Lines = Sequence[str]


async def merchants(environment: Mapping[str, str]) -> Lines:
    """Name all merchants."""
    async with command_stack(environment) as (stack, _):
        rows = await list_merchants(stack.store.pool)
    return [f"{public_id(Kind.MERCHANT, row.id)}  {row.name}" for row in rows]


async def keys(environment: Mapping[str, str], merchant: str) -> Lines:
    """Name a merchant's keys by their ids, which are no secret."""
    merchant_id = merchant_id_of(merchant)
    async with command_stack(environment) as (stack, _):
        rows = await list_api_keys(stack.store.pool, merchant_id)
    return [
        "  ".join((
            str(row["key_id"]),
            "live" if row["livemode"] else "test",
            f"…{row['last4']}",
            "revoked" if row["revoked_at"] else "in use ",
            str(row["name"]),
        ))
        for row in rows
    ]  # fmt: skip


async def revoke(environment: Mapping[str, str], merchant: str, key: str) -> None:
    """End a key's life. Raises: WrongArgument."""
    merchant_id = merchant_id_of(merchant)
    async with command_stack(environment) as (stack, _):
        if not key.isascii() or not await revoke_api_key(stack.store.pool, merchant_id, key, at=stack.deps.clock.now()):
            raise WrongArgument(f"the merchant has no key {key!a}; `paymux keys list` names them")


async def accounts(environment: Mapping[str, str], merchant: str) -> Lines:
    """Name a merchant's gateway accounts in the order in which they are tried."""
    merchant_id = merchant_id_of(merchant)
    async with command_stack(environment) as (stack, _):
        rows = await list_gateway_accounts(stack.store.pool, merchant_id)
    return [
        "  ".join((
            public_id(Kind.GATEWAY_ACCOUNT, row.id),
            f"{row.priority:>5}",
            "live" if row.livemode else "test",
            f"{row.status:<8}",
            row.gateway,
            row.base_url,
            row.name,
        ))
        for row in rows
    ]  # fmt: skip


async def set_status(environment: Mapping[str, str], merchant: str, account: str, *, status: str) -> None:
    """Enable or disable a gateway account. Raises: WrongArgument."""
    merchant_id, account_id = merchant_id_of(merchant), parse_public_id(Kind.GATEWAY_ACCOUNT, account)
    async with command_stack(environment) as (stack, _):
        found = account_id is not None and await set_gateway_account_status(
            stack.store.pool, merchant_id=merchant_id, account_id=account_id, status=status, at=stack.deps.clock.now()
        )
    if not found:
        raise WrongArgument(f"the merchant has no account {account}; `paymux accounts list` names them")
