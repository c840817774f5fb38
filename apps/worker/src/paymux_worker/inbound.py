"""Apply the webhooks that came in: claim what is due, ask the gateway about it, go on. No money verb is sent."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog

from paymux_core.errors import Refused
from paymux_core.ids import Kind, public_id
from paymux_core.inbound_webhooks import TRIES_MAX, DueWebhook, WebhookEnd, WebhookStatus
from paymux_flows.deps import Deps
from paymux_flows.gateway_events import NotAsked, apply_webhook, put_off

AT_ONCE_MAX = 12
"""Under way at once: the worker's own checks ask the same gateways."""
CLAIM_MAX = 12
AT_ONCE_PER_ACCOUNT = 4
"""A silent gateway keeps this many for 20 s each, and those of one claim; the others have the rest."""
POLL_SECONDS = 0.1
PAUSE_SECONDS_MAX = 5.0
"""Between claims while the database does not answer."""

log = structlog.get_logger()


@dataclass(slots=True)
class InboundWorker:
    """Applies webhooks until it is told to stop; then finishes what is under way."""

    deps: Deps
    name: str
    stopping: asyncio.Event
    _running: dict[asyncio.Task[None], UUID] = field(default_factory=dict, init=False)
    """Webhooks under way, with the gateway account of each."""

    async def run(self) -> None:
        """Work until stopped. Trouble with the database is waited out; nothing is lost by it."""
        pause_seconds = POLL_SECONDS
        while not self.stopping.is_set():
            begun = False
            try:
                begun = await self.begin_due()
                pause_seconds = POLL_SECONDS
            except Exception as error:
                # Whatever it is, what is under way goes on, and so does the queue.
                known = isinstance(error, (Refused, OSError))
                log.warning("webhooks.cannot_claim", reason=type(error).__name__, exc_info=not known)
                pause_seconds = min(pause_seconds * 2, PAUSE_SECONDS_MAX)
            if not begun:
                await self._wait(pause_seconds)
        await self.finish_running()

    async def finish_running(self) -> None:
        """Wait for what is under way."""
        if self._running:
            await asyncio.wait(self._running)

    async def _wait(self, seconds: float) -> None:
        """Wait until one is done, we are stopped, or the time is over."""
        stopped = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait([stopped, *self._running], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def begin_due(self) -> bool:
        """Begin what is due; False if there is nothing to begin now."""
        free = AT_ONCE_MAX - len(self._running)
        if free <= 0:
            return False
        per_account = Counter(self._running.values())
        now = self.deps.clock.now()
        due = await self.deps.store.inbound.claim_due(
            at=now,
            lease_token=self.deps.ids.new(),
            # Longer than any question to a gateway, so that it is never renewed.
            lease_expires_at=now + timedelta(seconds=self.deps.clocks.lease),
            limit=min(free, CLAIM_MAX),
            busy_accounts=[account for account, running in per_account.items() if running >= AT_ONCE_PER_ACCOUNT],
        )
        for webhook in due:
            task = asyncio.create_task(self._work(webhook))
            self._running[task] = webhook.gateway_account_id
            task.add_done_callback(self._running.pop)
        return bool(due)

    async def _work(self, due: DueWebhook) -> None:
        """Apply a webhook; whatever goes wrong with it is its own affair."""
        ids = {"webhook_id": public_id(Kind.WEBHOOK, due.webhook_id)}
        try:
            if due.tries > TRIES_MAX:
                # It was claimed so often and never put off: it ends the process it is applied in.
                end = await put_off(due, "process_lost", self.deps, counts=True)
            else:
                end = await apply_webhook(due, self.deps)
        except (Refused, NotAsked) as error:
            log.warning("webhooks.put_off", reason=type(error).__name__, tries=due.tries, **ids)
            await self._put_off(due, error, ids)
            return
        except Exception as error:
            log.exception("webhooks.failed", tries=due.tries, **ids)
            await self._put_off(due, error, ids)
            return
        self._tell(end, ids)

    async def _put_off(self, due: DueWebhook, error: Exception, ids: dict[str, str]) -> None:
        """Try again later. A database in trouble is not the webhook's fault."""
        try:
            self._tell(await put_off(due, type(error).__name__, self.deps, counts=not isinstance(error, Refused)), ids)
        except Exception as again:
            # The lease runs out, and it is due again.
            log.warning(
                "webhooks.lease_kept", reason=type(again).__name__, exc_info=not isinstance(again, Refused), **ids
            )

    def _tell(self, end: WebhookEnd, ids: dict[str, str]) -> None:
        if end.status is WebhookStatus.DEAD:
            log.error("webhooks.dead_letter", reason=end.result, **ids)
        elif end.status is not WebhookStatus.PENDING:
            log.info("webhooks.applied", status=end.status, result=end.result, **ids)
