"""What is kept of events that go out, as the flows see it: for the deliverer, for merchants, for readers of the log."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from paymux_core.phases import AnsweredKey
from paymux_core.webhooks import (
    Delivery,
    DeliveryTry,
    DueDelivery,
    Lease,
    LoggedEvent,
    LogPlace,
    WebhookEndpoint,
)

Answering = Callable[[Sequence[Delivery]], AnsweredKey | None]
"""Builds what is kept of an answer about deliveries, in their commit."""

Numbered = tuple[UUID, int]
"""A merchant, and the number of one of its endpoints."""


class Deliveries(Protocol):
    """Endpoints under a worker's token, and the tries at them."""

    async def lease_endpoints(self, *, at: datetime, token: UUID, until: datetime, limit: int) -> list[Lease]:
        """Take endpoints that have something due."""
        ...

    async def renew_endpoints(self, *, token: UUID, until: datetime, owned: Sequence[Numbered]) -> set[Numbered]:
        """Hold on to endpoints; gives those that still are ours."""
        ...

    async def release_endpoints(self, *, token: UUID, owned: Sequence[Numbered]) -> None:
        """Give endpoints back."""
        ...

    async def claim_deliveries(
        self, *, token: UUID, at: datetime, hold_until: datetime, room: Sequence[tuple[UUID, int, int]]
    ) -> list[DueDelivery]:
        """Begin tries; what is not recorded until then comes back."""
        ...

    async def record_tries(self, token: UUID, tries: Sequence[DeliveryTry], leases: Sequence[Lease]) -> None:
        """Write how tries ended, under the lease only."""
        ...

    async def bury_deliveries(self) -> int:
        """Make dead letters of what waits for endpoints that are off."""
        ...

    async def disable_endpoint(
        self, before: WebhookEndpoint, after: WebhookEndpoint, *, event_id: UUID, subject: str, actor: str, body: bytes
    ) -> bool:
        """Switch an endpoint off and tell its merchant."""
        ...


class WebhookEndpoints(Protocol):
    """Endpoints and deliveries of a merchant."""

    async def insert_webhook_endpoint(
        self, endpoint: WebhookEndpoint, *, endpoints_max: int, answer: AnsweredKey | None
    ) -> bool | None:
        """Store an endpoint; False if there are too many, None if the key is taken."""
        ...

    async def find_webhook_endpoint(
        self, merchant_id: UUID, *, endpoint_id: UUID | None = None, number: int | None = None
    ) -> WebhookEndpoint | None:
        """Read an endpoint."""
        ...

    async def list_webhook_endpoints(
        self, merchant_id: UUID, *, livemode: bool, below: UUID, limit: int
    ) -> list[WebhookEndpoint]:
        """List endpoints, newest first."""
        ...

    async def change_webhook_endpoint(
        self, before: WebhookEndpoint, after: WebhookEndpoint, *, answer: AnsweredKey | None = None
    ) -> bool | None:
        """Write a change; False if somebody else was faster, None if the key is taken."""
        ...

    async def send_test_event(
        self,
        event: LoggedEvent,
        endpoint: WebhookEndpoint,
        *,
        subject: str,
        actor: str,
        request_id: str,
        answer: AnsweredKey | None,
    ) -> bool | None:
        """Tell an endpoint of itself; False if it is off, None if the key is taken."""
        ...

    async def resend_event(self, event: LoggedEvent, *, at: datetime, answer: Answering) -> list[Delivery] | None:
        """Send an event anew; None if the key is taken."""
        ...

    async def resend_dead(
        self,
        endpoint: WebhookEndpoint,
        *,
        created: tuple[datetime, datetime],
        limit: int,
        at: datetime,
        answer: Answering,
    ) -> list[Delivery] | None:
        """Send dead letters anew; None if the key is taken."""
        ...

    async def list_webhook_deliveries(
        self,
        merchant_id: UUID,
        *,
        livemode: bool,
        below: tuple[UUID, int, int],
        event: tuple[UUID, int] | None,
        status: str | None,
        endpoint_id: UUID | None,
        walk: int,
        limit: int,
    ) -> tuple[list[Delivery], int, tuple[UUID, int, int] | None]:
        """Walk deliveries: those that fit, how many were walked, and the last one walked."""
        ...


class EventLog(Protocol):
    """The log, in the one order in which no reader misses anything."""

    async def read_log_end(self) -> LogPlace:
        """Say up to where the log is final."""
        ...

    async def walk_log(
        self, merchant_id: UUID, *, livemode: bool, after: LogPlace, to_xid: int, type_: str | None, limit: int
    ) -> tuple[list[tuple[LogPlace, LoggedEvent]], int]:
        """Read what one merchant was told between a place and a transaction; and how many rows were walked."""
        ...

    async def list_payment_events(
        self, merchant_id: UUID, payment_id: UUID, *, livemode: bool, after: int, type_: str | None, limit: int
    ) -> list[tuple[LogPlace, LoggedEvent]]:
        """Read a payment's public events behind a position."""
        ...

    async def find_event(self, merchant_id: UUID, subject: UUID, position: int) -> LoggedEvent | None:
        """Read one public event."""
        ...
