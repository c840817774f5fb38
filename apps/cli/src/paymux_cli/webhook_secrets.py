"""What an operator does about the webhooks of a gateway account: give it secrets, and see what came."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag

from paymux_cli.composition import Stack
from paymux_cli.manage import command_stack, merchant_id_of
from paymux_cli.refusals import WrongArgument
from paymux_core.ids import Kind, parse_public_id, public_id
from paymux_core.inbound_webhooks import SECRETS_MAX, WebhookAccount, WebhookRow

_SECRET_CHARACTERS_MIN = 8
_SECRET_CHARACTERS_MAX = 512


async def add(environment: Mapping[str, str], merchant: str, account: str, *, secret: str) -> str:
    """Add a secret beside the one there may be; answers the address for the gateway. Raises: WrongArgument."""
    check_secret(secret)
    async with command_stack(environment) as (stack, known):
        found = await _account(stack, merchant, account)
        if len(found.secrets) >= SECRETS_MAX:
            raise WrongArgument(f"the account has {SECRETS_MAX} webhook secrets; use `accounts roll-webhook-secret`")
        await put_first(stack, found.merchant_id, found.id, secret=secret, keep=1)
        return webhook_url(known.get("PAYMUX_URL"), found.id)


async def roll(environment: Mapping[str, str], merchant: str, account: str, *, secret: str, at_once: bool) -> str:
    """Put a new secret first and keep the one before, unless that leaked. Raises: WrongArgument."""
    check_secret(secret)
    async with command_stack(environment) as (stack, known):
        found = await _account(stack, merchant, account)
        await put_first(stack, found.merchant_id, found.id, secret=secret, keep=0 if at_once else 1)
        return webhook_url(known.get("PAYMUX_URL"), found.id)


async def put_first(stack: Stack, merchant_id: UUID, account_id: UUID, *, secret: str, keep: int) -> None:
    """Make a secret the newest one of an account. Raises: WrongArgument."""
    try:
        active = await stack.store.inbound.change_secrets(
            merchant_id, account_id, new=secret, keep=keep, at=stack.deps.clock.now()
        )
    except InvalidTag:
        raise WrongArgument(
            "the account's webhook secrets were sealed under another master key; roll with --at-once to replace them"
        ) from None
    assert active is not None, "an account is never deleted"


async def webhooks(environment: Mapping[str, str], merchant: str, account: str, *, limit: int) -> Sequence[str]:
    """List an account's newest webhooks. Raises: WrongArgument."""
    async with command_stack(environment) as (stack, _):
        found = await _account(stack, merchant, account)
        rows = await stack.store.inbound.of_account(found.merchant_id, found.id, limit=limit)
    return [_line(row) for row in rows]


def webhook_url(base: str | None, account_id: UUID) -> str:
    """Say where a gateway sends the webhooks of an account."""
    return f"{base or 'https://YOUR-HOST'}/webhooks/{public_id(Kind.GATEWAY_ACCOUNT, account_id)}"


def check_secret(secret: str) -> None:
    """Refuse what is no secret. Raises: WrongArgument."""
    if not _SECRET_CHARACTERS_MIN <= len(secret) <= _SECRET_CHARACTERS_MAX or not secret.isprintable():
        raise WrongArgument(
            f"give the webhook secret on standard input: one line of {_SECRET_CHARACTERS_MIN} to "
            f"{_SECRET_CHARACTERS_MAX} printable characters"
        )


async def _account(stack: Stack, merchant: str, account: str) -> WebhookAccount:
    merchant_id, account_id = merchant_id_of(merchant), parse_public_id(Kind.GATEWAY_ACCOUNT, account)
    found = None if account_id is None else await stack.store.inbound.find_account(account_id)
    if found is None or found.merchant_id != merchant_id:
        raise WrongArgument(f"the merchant has no account {account!a}; `paymux accounts list` names them")
    return found


def _line(row: WebhookRow) -> str:
    came_of_it = f"refused: {row.refusal}" if row.refusal else f"{row.status}: {row.result or '-'}"
    about = "-" if row.payment_id is None else public_id(Kind.PAYMENT, row.payment_id)
    return "  ".join((
        row.received_at.isoformat(timespec="seconds"),
        public_id(Kind.WEBHOOK, row.id),
        f"{row.type or '-':<24}",
        f"{came_of_it:<32}",
        about,
        f"+{row.duplicates}",
    ))  # fmt: skip
