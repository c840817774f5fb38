"""Take a webhook in: whose is it, does its proof hold, and is it stored. The worker applies it, not this."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

from paymux_core.card_numbers import contains_card_number
from paymux_core.errors import NotFound, WebhookRefused
from paymux_core.ids import Kind, public_id
from paymux_core.inbound_webhooks import (
    NewWebhook,
    ReceivedWebhook,
    Stored,
    WebhookAccount,
    WebhookDialect,
    WebhookFacts,
    WebhookRefusal,
)
from paymux_flows.commands import Reply
from paymux_flows.deps import Deps

REFUSED_BODY_MAX = 4096
"""How much is kept of a body that proves nothing."""
_HEADER_MAX = 1024
_ALWAYS_KEPT = ("content-type", "user-agent")
_ANSWERS = {stored: Reply(200, b'{"status":"%b"}' % stored.encode()) for stored in Stored}
_REMEDIES = {
    WebhookRefusal.NO_SECRET: "this account has no webhook secret, or its gateway sends no webhooks; give it one with "
    "`paymux accounts add-webhook-secret`",
    WebhookRefusal.TIMESTAMP_OUT_OF_TOLERANCE: "the signature is too old or from the future; set the clocks right and "
    "send the event again, signed anew",
    WebhookRefusal.OTHER_ACCOUNT: "the event is about another account; send it to the address of that one",
    WebhookRefusal.OTHER_MODE: "the event is of the other mode; send it to an account of that mode",
    WebhookRefusal.UNREADABLE: "the body is no event of this account's gateway",
}
_WRONG_SIGNATURE = "no active webhook secret of this account made this signature over these bytes; compare the secrets"


async def receive_webhook(account_id: UUID, webhook: ReceivedWebhook, deps: Deps) -> Reply:
    """Store a webhook; answers when that is durable.

    Raises: NotFound, WebhookRefused, Overloaded, StorageUnavailable.
    """
    account = await deps.store.inbound.find_account(account_id)
    if account is None:
        raise NotFound("there is no such gateway account; compare the address with the one you were given")
    dialect = deps.gateways.webhook_dialect(account.gateway)
    facts, refusal = _judged(account, webhook, dialect)
    if refusal is not None:
        await deps.store.inbound.store_refused(_refused(account, webhook, dialect, refusal, deps))
        raise WebhookRefused(_REMEDIES.get(refusal, _WRONG_SIGNATURE))
    stored = await deps.store.inbound.store(_new(account, webhook, dialect, facts, deps))
    return _ANSWERS[stored]


def _judged(
    account: WebhookAccount, webhook: ReceivedWebhook, dialect: WebhookDialect | None
) -> tuple[WebhookFacts | None, WebhookRefusal | None]:
    """Check the proof first: nothing is read from bytes that prove nothing."""
    if dialect is None or not account.secrets:
        return None, WebhookRefusal.NO_SECRET
    refusal = dialect.verify_webhook(webhook, account.secrets)
    if refusal is not None:
        return None, refusal
    facts = dialect.parse_webhook(webhook.body, webhook.headers)
    if facts is None:
        return None, WebhookRefusal.UNREADABLE
    if facts.account is not None and facts.account != public_id(Kind.GATEWAY_ACCOUNT, account.id):
        return facts, WebhookRefusal.OTHER_ACCOUNT
    if facts.livemode is not None and facts.livemode is not account.livemode:
        return facts, WebhookRefusal.OTHER_MODE
    return facts, None


def _new(
    account: WebhookAccount,
    webhook: ReceivedWebhook,
    dialect: WebhookDialect | None,
    facts: WebhookFacts | None,
    deps: Deps,
) -> NewWebhook:
    return NewWebhook(
        merchant_id=account.merchant_id,
        id=deps.ids.new(),
        gateway_account_id=account.id,
        gateway=account.gateway,
        body=webhook.body,
        body_bytes=len(webhook.body),
        body_sha256=hashlib.sha256(webhook.body).digest(),
        headers=_kept(webhook.headers, dialect),
        received_at=webhook.received_at,
        facts=facts,
    )


def _refused(
    account: WebhookAccount,
    webhook: ReceivedWebhook,
    dialect: WebhookDialect | None,
    refusal: WebhookRefusal,
    deps: Deps,
) -> NewWebhook:
    """Keep enough of a refused one to see what it was; not what a stranger must not make us keep."""
    whole = _new(account, webhook, dialect, None, deps)
    beginning = webhook.body[:REFUSED_BODY_MAX]
    shown = b"" if contains_card_number(beginning.decode(errors="replace")) else beginning
    return NewWebhook(
        merchant_id=whole.merchant_id,
        id=whole.id,
        gateway_account_id=whole.gateway_account_id,
        gateway=whole.gateway,
        body=shown,
        body_bytes=whole.body_bytes,
        body_sha256=whole.body_sha256,
        headers={name: value for name, value in whole.headers.items() if not contains_card_number(value)},
        received_at=whole.received_at,
        facts=None,
        refusal=refusal,
    )


def _kept(headers: Mapping[str, str], dialect: WebhookDialect | None) -> dict[str, str]:
    names = (*_ALWAYS_KEPT, *(() if dialect is None else dialect.kept_headers))
    return {name: headers[name][:_HEADER_MAX] for name in names if name in headers}
