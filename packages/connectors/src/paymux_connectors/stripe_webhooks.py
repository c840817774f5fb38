"""Stripe's webhooks: `Stripe-Signature`, and events around a PaymentIntent or one of its charges."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from paymux_connectors import answers
from paymux_connectors.answers import JsonObject, identifier, integer, member, text
from paymux_connectors.webhook_proofs import refused_timestamped
from paymux_core.inbound_webhooks import ReceivedWebhook, WebhookFacts, WebhookRefusal

SIGNATURE = "stripe-signature"
_TELLING = frozenset(
    {
        *("payment_intent.processing", "payment_intent.requires_action", "payment_intent.amount_capturable_updated"),
        *("payment_intent.partially_funded", "payment_intent.succeeded", "payment_intent.payment_failed"),
        *("payment_intent.canceled", "charge.succeeded", "charge.failed", "charge.captured", "charge.expired"),
        *("charge.pending", "charge.updated"),
    }
)
"""What may say something new about the money of an attempt. `payment_intent.created` only repeats our own reserve."""
_YEAR_10000 = 253_402_300_800


class StripeWebhooks:
    """How Stripe signs and words its events."""

    kept_headers: tuple[str, ...] = (SIGNATURE,)

    def verify_webhook(self, webhook: ReceivedWebhook, secrets: Sequence[str]) -> WebhookRefusal | None:
        """Check the proof."""
        return refused_timestamped(webhook.headers.get(SIGNATURE), webhook.body, secrets, now=webhook.received_at)

    def parse_webhook(self, raw_body: bytes, headers: Mapping[str, str]) -> WebhookFacts | None:  # noqa: ARG002  the contract's
        """Read the facts. The account is there only where the event is about somebody connected to the merchant."""
        event = answers.json_object(raw_body)
        if event is None or text(event, "object") != "event":
            return None
        event_id, kind = identifier(event, "id"), identifier(event, "type")
        if event_id is None or kind is None:
            return None
        about = member(member(event, "data"), "object")
        livemode = event.get("livemode")
        return WebhookFacts(
            type=kind,
            event_id=event_id,
            created_at=moment(event, "created"),
            attempt_id=identifier(member(about, "metadata"), "attempt_id"),
            provider_payment_id=_intent_id(about),
            about_payment=kind in _TELLING,
            account=identifier(event, "account"),
            livemode=livemode if isinstance(livemode, bool) else None,
        )


WEBHOOKS = StripeWebhooks()


def moment(event: JsonObject, name: str) -> datetime | None:
    """Read a time in seconds since 1970."""
    seconds = integer(event, name)
    return None if seconds is None or not 0 <= seconds < _YEAR_10000 else datetime.fromtimestamp(seconds, UTC)


def _intent_id(about: JsonObject) -> str | None:
    if text(about, "object") == "payment_intent":
        return identifier(about, "id")
    # A charge, a refund or a dispute names its intent, as an id or as the object itself.
    return identifier(about, "payment_intent") or identifier(member(about, "payment_intent"), "id")
