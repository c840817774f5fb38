"""The sandbox's webhooks: `mock` signs a timestamp and the body, `flaky` the body alone, and its event's id not."""

from collections.abc import Mapping, Sequence

from paymux_connectors import answers
from paymux_connectors.answers import identifier, member, text
from paymux_connectors.stripe_webhooks import moment
from paymux_connectors.webhook_proofs import refused_body_hmac, refused_timestamped
from paymux_core.inbound_webhooks import ReceivedWebhook, WebhookFacts, WebhookRefusal

SIGNATURE = "sandbox-signature"
EVENT_ID = "sandbox-event-id"


class SandboxWebhooks:
    """How one of the sandbox's gateways signs and words its events."""

    kept_headers: tuple[str, ...] = (SIGNATURE, EVENT_ID)

    def __init__(self, *, signs_time: bool) -> None:
        self._signs_time = signs_time

    def verify_webhook(self, webhook: ReceivedWebhook, secrets: Sequence[str]) -> WebhookRefusal | None:
        """Check the proof."""
        header = webhook.headers.get(SIGNATURE)
        if self._signs_time:
            return refused_timestamped(header, webhook.body, secrets, now=webhook.received_at)
        return refused_body_hmac(header, webhook.body, secrets)

    def parse_webhook(self, raw_body: bytes, headers: Mapping[str, str]) -> WebhookFacts | None:
        """Read the facts."""
        event = answers.json_object(raw_body)
        kind = None if event is None else identifier(event, "type")
        if event is None or kind is None:
            return None
        charge = member(event, "charge")
        return WebhookFacts(
            type=kind,
            event_id=identifier(event if self._signs_time else headers, "id" if self._signs_time else EVENT_ID),
            event_id_signed=self._signs_time,
            created_at=moment(event, "created"),
            attempt_id=identifier(charge, "attempt_id"),
            provider_payment_id=identifier(charge, "id"),
            about_payment=kind.startswith("charge."),
            account=text(event, "account"),
        )


MOCK = SandboxWebhooks(signs_time=True)
FLAKY = SandboxWebhooks(signs_time=False)
