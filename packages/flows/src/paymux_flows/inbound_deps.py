"""What the flows need of the store for webhooks from the gateways."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol
from uuid import UUID

from paymux_core.inbound_webhooks import DueWebhook, NewWebhook, Stored, WebhookAccount, WebhookEnd, WebhookRow


class InboundWebhooks(Protocol):
    """What gateways told us. Each method is one atomic phase or one read."""

    async def find_account(self, account_id: UUID) -> WebhookAccount | None:
        """Give the account of an id with its secrets open."""
        ...

    async def store(self, webhook: NewWebhook) -> Stored:
        """Store a webhook whose proof holds, once."""
        ...

    async def store_refused(self, webhook: NewWebhook) -> bool:
        """Store a refused webhook, unless its account had many of them lately."""
        ...

    async def claim_due(
        self,
        *,
        at: datetime,
        lease_token: UUID,
        lease_expires_at: datetime,
        limit: int,
        busy_accounts: Collection[UUID],
    ) -> list[DueWebhook]:
        """Lease due webhooks and count the try."""
        ...

    async def finish(self, due: DueWebhook, end: WebhookEnd) -> bool:
        """End the work on a webhook, or put it off; False for a stale lease."""
        ...

    async def open_webhook_review(
        self,
        due: DueWebhook,
        *,
        review_id: UUID,
        event_id: UUID,
        subject: str,
        body: bytes,
        livemode: bool,
        reason: str,
        actor: str,
        at: datetime,
    ) -> bool:
        """Call a person about a webhook; False if one was called already."""
        ...

    async def attempt_of_reserve(
        self, *, merchant_id: UUID, provider_payment_id: str, account_id: UUID
    ) -> tuple[UUID, int] | None:
        """Find the attempt that made an object at the gateway: its payment and number."""
        ...

    async def of_payment(self, merchant_id: UUID, payment_id: UUID) -> list[WebhookRow]:
        """List what came in about a payment, oldest first."""
        ...
