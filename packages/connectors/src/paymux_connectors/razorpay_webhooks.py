"""Razorpay's proof of a webhook: hex HMAC-SHA256 over the raw body; the event's id, in a header, is not covered.

Its events are read by the connector, which is not there yet.
"""

from collections.abc import Sequence

from paymux_connectors.webhook_proofs import refused_body_hmac
from paymux_core.inbound_webhooks import ReceivedWebhook, WebhookRefusal

SIGNATURE = "x-razorpay-signature"
EVENT_ID = "x-razorpay-event-id"


def verify_webhook(webhook: ReceivedWebhook, secrets: Sequence[str]) -> WebhookRefusal | None:
    """Check the proof."""
    return refused_body_hmac(webhook.headers.get(SIGNATURE), webhook.body, secrets)
