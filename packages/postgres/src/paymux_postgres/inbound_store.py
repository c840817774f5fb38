"""Webhooks from the gateways as the flows see them. Lane and pool are its own: money requests never starve it."""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag

from paymux_core.inbound_webhooks import (
    SECRETS_MAX,
    DueWebhook,
    NewWebhook,
    Stored,
    WebhookAccount,
    WebhookEnd,
    WebhookRow,
)
from paymux_core.ports import Rng
from paymux_postgres import inbound_webhooks
from paymux_postgres.batch import BATCH_MAX, Batcher
from paymux_postgres.batch_run import run_batch
from paymux_postgres.connections import DatabaseSettings, Lane, Pool, Row
from paymux_postgres.losses import loss_is_a_refusal
from paymux_postgres.sealing import Sealer

CONNECTIONS = 2
ACCOUNT_SECONDS = 1.0
"""A change of an account's secrets is seen everywhere after this long."""
ACCOUNTS_MAX = 10_000
"""Accounts that are remembered, and ids that are none: whoever guesses ids must not fill the memory."""
REFUSED_MAX = 60
REFUSED_WINDOW = timedelta(minutes=1)
"""Refused webhooks that are kept per account in this time: forging them must not fill the disk."""
_FIELD = "webhook_secrets"


class InboundStore:
    """What gateways told us. `sealer` opens the accounts' webhook secrets."""

    def __init__(self, settings: DatabaseSettings, sealer: Sealer, *, rng: Rng, batch_max: int = BATCH_MAX) -> None:
        """Make pool, lane and batchers; nothing is opened yet."""
        self._rng = rng
        self._sealer = sealer
        self._pool = Pool(settings, connections=CONNECTIONS, acquire_seconds=2.0)
        self._lane = Lane(settings)
        self._webhooks: Batcher[NewWebhook, Stored] = Batcher(
            self._run_webhooks, keys_of=lambda _item: (), batch_max=batch_max
        )
        self._known: OrderedDict[UUID, tuple[float, WebhookAccount | None]] = OrderedDict()
        self._reading: dict[UUID, asyncio.Task[WebhookAccount | None]] = {}
        self._refused: OrderedDict[UUID, deque[datetime]] = OrderedDict()

    async def open(self) -> None:
        """Connect. Raises: OSError, asyncpg.PostgresError."""
        await self._pool.open()

    async def close(self) -> None:
        """Finish what was submitted, then disconnect."""
        await self._webhooks.close()
        await self._lane.close()
        await self._pool.close()

    # Accounts -----------------------------------------------------------------------------------------------

    async def find_account(self, account_id: UUID) -> WebhookAccount | None:
        """Give the account of an id with its secrets open, read at most once a second. Raises: StorageUnavailable."""
        now = asyncio.get_running_loop().time()
        known = self._known.get(account_id)
        if known is not None and now - known[0] < ACCOUNT_SECONDS:
            return known[1]
        reading = self._reading.get(account_id)
        if reading is None:
            reading = self._reading[account_id] = asyncio.create_task(self._read_account(account_id, now))
            reading.add_done_callback(lambda _: self._reading.pop(account_id, None))
        return await asyncio.shield(reading)

    async def _read_account(self, account_id: UUID, asked_at: float) -> WebhookAccount | None:
        row = await inbound_webhooks.find_webhook_account(self._pool, account_id)
        account = None if row is None else self._opened(row)
        self._known[account_id] = (asked_at, account)
        self._known.move_to_end(account_id)
        if len(self._known) > ACCOUNTS_MAX:
            self._known.popitem(last=False)
        return account

    def _opened(self, row: Row) -> WebhookAccount:
        secrets: tuple[str, ...] = ()
        # Sealed under another master key, it proves nothing: its webhooks are refused, and that is visible.
        with contextlib.suppress(InvalidTag):
            secrets = self._open(row["webhook_secrets"], row["merchant_id"], row["id"])
        return WebhookAccount(row["merchant_id"], row["id"], row["gateway"], row["livemode"], secrets)

    def _open(self, sealed: bytes | None, merchant_id: UUID, account_id: UUID) -> tuple[str, ...]:
        opened = self._sealer.open(sealed, merchant_id=merchant_id, object_id=account_id, field=_FIELD)
        return tuple(opened[name] for name in sorted(opened))

    async def change_secrets(
        self, merchant_id: UUID, account_id: UUID, *, new: str, keep: int, at: datetime
    ) -> int | None:
        """Put a secret before the newest `keep` ones; answers how many are active now, None without such an account.

        Raises: StorageUnavailable; InvalidTag for secrets sealed under another master key.
        """
        with loss_is_a_refusal():
            while True:
                row = await inbound_webhooks.find_webhook_account(self._pool, account_id)
                if row is None or row["merchant_id"] != merchant_id:
                    return None
                known = row["webhook_secrets"]
                # Those that are not kept need not even open.
                kept = self._open(known, merchant_id, account_id)[:keep] if keep else ()
                active = (new, *kept)
                assert len(active) <= SECRETS_MAX
                sealed = self._sealer.seal(
                    {str(place): secret for place, secret in enumerate(active)},
                    merchant_id=merchant_id,
                    object_id=account_id,
                    field=_FIELD,
                )
                if await inbound_webhooks.set_webhook_secrets(
                    self._pool, merchant_id=merchant_id, account_id=account_id, known=known, sealed=sealed, at=at
                ):
                    return len(active)

    # Storing ------------------------------------------------------------------------------------------------

    async def store(self, webhook: NewWebhook) -> Stored:
        """Store a webhook whose proof holds, with whoever else comes now. Raises: Overloaded, StorageUnavailable."""
        return await self._webhooks.submit(webhook)

    async def store_refused(self, webhook: NewWebhook) -> bool:
        """Store a refused webhook, unless its account had many of them lately. Raises: as above."""
        times = self._refused.setdefault(webhook.gateway_account_id, deque())
        self._refused.move_to_end(webhook.gateway_account_id)
        if len(self._refused) > ACCOUNTS_MAX:
            self._refused.popitem(last=False)
        while times and webhook.received_at - times[0] > REFUSED_WINDOW:
            times.popleft()
        if len(times) >= REFUSED_MAX:
            return False
        times.append(webhook.received_at)
        await self._webhooks.submit(webhook)
        return True

    async def _run_webhooks(self, items: Sequence[NewWebhook]) -> Sequence[Stored | Exception]:
        async def together(batch: Sequence[NewWebhook]) -> Sequence[Stored]:
            new = await inbound_webhooks.store_webhooks(self._lane, batch)
            return [Stored.STORED if place in new else Stored.DUPLICATE for place in range(len(batch))]

        # Run again after a loss it finds its own rows, and calls them duplicates: either way the gateway is told 200.
        results = await run_batch(items, together=together, after_loss=together, rng=self._rng)
        again = [item for item, result in zip(items, results, strict=True) if result is Stored.DUPLICATE]
        if again:
            # How often is good to know, and nothing that anybody waits for twice.
            with contextlib.suppress(Exception):
                await inbound_webhooks.count_duplicates(self._pool, again)
        return results

    # Applying -----------------------------------------------------------------------------------------------

    async def claim_due(
        self,
        *,
        at: datetime,
        lease_token: UUID,
        lease_expires_at: datetime,
        limit: int,
        busy_accounts: Collection[UUID],
    ) -> list[DueWebhook]:
        """Lease due webhooks. Raises: StorageUnavailable; a lease that nobody knows of runs out."""
        with loss_is_a_refusal():
            return await inbound_webhooks.claim_due_webhooks(
                self._pool,
                at=at,
                lease_token=lease_token,
                lease_expires_at=lease_expires_at,
                limit=limit,
                busy_accounts=busy_accounts,
            )

    async def finish(self, due: DueWebhook, end: WebhookEnd) -> bool:
        """End the work on a webhook, or put it off; False if its lease is somebody else's by now. Raises: as above."""
        with loss_is_a_refusal():
            return await inbound_webhooks.finish_webhook(self._pool, due, end)

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
        """Call a person about a webhook; False if one was called already. Raises: as above; then ask again."""
        with loss_is_a_refusal():
            return await inbound_webhooks.open_webhook_review(
                self._pool,
                due,
                review_id=review_id,
                event_id=event_id,
                subject=subject,
                body=body,
                livemode=livemode,
                reason=reason,
                actor=actor,
                at=at,
            )

    async def attempt_of_reserve(
        self, *, merchant_id: UUID, provider_payment_id: str, account_id: UUID
    ) -> tuple[UUID, int] | None:
        """Find the attempt that made an object at the gateway: its payment and number."""
        return await inbound_webhooks.attempt_of_reserve(
            self._pool, merchant_id=merchant_id, provider_payment_id=provider_payment_id, account_id=account_id
        )

    # Showing ------------------------------------------------------------------------------------------------

    async def of_payment(self, merchant_id: UUID, payment_id: UUID) -> list[WebhookRow]:
        """List what came in about a payment, oldest first; each says when it came and where it was applied."""
        return await inbound_webhooks.list_payment_webhooks(self._pool, merchant_id, payment_id)

    async def of_account(self, merchant_id: UUID, account_id: UUID, *, limit: int) -> list[WebhookRow]:
        """List an account's newest webhooks, refused ones among them."""
        return await inbound_webhooks.list_account_webhooks(self._pool, merchant_id, account_id, limit=limit)

    async def body(self, merchant_id: UUID, webhook_id: UUID) -> bytes | None:
        """Give the bytes of a webhook as they came."""
        return await inbound_webhooks.read_webhook_body(self._pool, merchant_id, webhook_id)
