"""What a merchant does with endpoints and deliveries; an answer with a key is kept in the commit of what it tells."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from paymux_core.phases import AnsweredKey
from paymux_core.webhooks import (
    Delivery,
    DeliveryStatus,
    EndpointStatus,
    LoggedEvent,
    ShownTry,
    WebhookEndpoint,
)
from paymux_postgres import documents, queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Connection, Pool, Row
from paymux_postgres.idempotency_keys import insert_answered_key
from paymux_postgres.losses import loss_is_a_refusal
from paymux_postgres.sealing import Sealer, open_secret, seal_secret

SQL = queries.load(__file__)

Answering = Callable[[Sequence[Delivery]], AnsweredKey | None]
"""Builds what is kept of an answer about deliveries, in their commit."""

CLASHES_MAX = 5
"""Endpoints of one merchant that are made at the same moment."""


async def _keep(connection: Connection, merchant_id: UUID, answer: AnsweredKey | None) -> None:
    """Keep what a request with a key is answered. Raises: UniqueViolationError if the key is taken."""
    if answer is not None:
        await insert_answered_key(connection, merchant_id, answer)


class WebhookEndpointStore:
    """Endpoints with their secrets open. A change is a compare-and-set on `updated_at`."""

    def __init__(self, pool: Pool, sealer: Sealer) -> None:
        """Take the pool, and what seals secrets."""
        self._pool = pool
        self._sealer = sealer

    async def insert_webhook_endpoint(
        self, endpoint: WebhookEndpoint, *, endpoints_max: int, answer: AnsweredKey | None
    ) -> bool | None:
        """Store an endpoint; False if there are too many, None if the key is taken. Raises: StorageUnavailable."""
        for _ in range(CLASHES_MAX):
            try:
                async with self._commit() as connection:
                    rows = await connection.fetch(
                        SQL["insert_webhook_endpoint"],
                        endpoint.merchant_id,
                        endpoint.id,
                        endpoint.url,
                        endpoint.event_types,
                        endpoint.description,
                        documents.write_mapping(endpoint.metadata),
                        self._sealed(endpoint, endpoint.secret),
                        endpoint.livemode,
                        endpoint.created_at,
                        endpoints_max,
                    )
                    if rows:
                        await _keep(connection, endpoint.merchant_id, answer)
                    return bool(rows)
            except asyncpg.UniqueViolationError as clash:
                if clash.table_name == "idempotency_keys":
                    return None
        return False

    async def find_webhook_endpoint(
        self, merchant_id: UUID, *, endpoint_id: UUID | None = None, number: int | None = None
    ) -> WebhookEndpoint | None:
        """Read an endpoint by its id or its number."""
        rows = await self._pool.fetch(SQL["find_webhook_endpoint"], merchant_id, endpoint_id, number)
        return self._endpoint(rows[0]) if rows else None

    async def list_webhook_endpoints(
        self, merchant_id: UUID, *, livemode: bool, below: UUID, limit: int
    ) -> list[WebhookEndpoint]:
        """List endpoints, newest first."""
        rows = await self._pool.fetch(SQL["list_webhook_endpoints"], merchant_id, livemode, below, limit)
        return [self._endpoint(row) for row in rows]

    async def change_webhook_endpoint(
        self, before: WebhookEndpoint, after: WebhookEndpoint, *, answer: AnsweredKey | None = None
    ) -> bool | None:
        """Write a change; False if somebody else was faster, None if the key is taken. Raises: StorageUnavailable."""
        enabled_anew = before.status is not EndpointStatus.ENABLED and after.status is EndpointStatus.ENABLED
        try:
            async with self._commit() as connection:
                rows = await connection.fetch(
                    SQL["change_webhook_endpoint"],
                    before.merchant_id,
                    before.id,
                    before.updated_at,
                    after.url,
                    after.event_types,
                    after.description,
                    documents.write_mapping(after.metadata),
                    after.status,
                    after.disabled_reason,
                    self._sealed(after, after.secret),
                    self._sealed(after, after.previous_secret),
                    after.previous_secret_until,
                    after.filters_changed_at,
                    after.updated_at,
                    enabled_anew or before.url != after.url,
                )
                if rows:
                    await _keep(connection, before.merchant_id, answer)
        except asyncpg.UniqueViolationError:
            return None
        return bool(rows)

    async def send_test_event(
        self, event: LoggedEvent, endpoint: WebhookEndpoint, *, subject: str, actor: str, request_id: str,
        answer: AnsweredKey | None,
    ) -> bool | None:  # fmt: skip
        """Tell an endpoint of itself; False if it is off, None if the key is taken. Raises: StorageUnavailable."""
        assert event.body is not None
        try:
            async with self._commit() as connection:
                rows = await connection.fetch(
                    SQL["send_test_event"],
                    event.merchant_id,
                    endpoint.id,
                    event.subject,
                    subject,
                    actor,
                    request_id,
                    pack_body(event.body),
                    event.recorded_at,
                )
                if rows:
                    await _keep(connection, event.merchant_id, answer)
        except asyncpg.UniqueViolationError:
            return None
        return bool(rows)

    async def resend_event(self, event: LoggedEvent, *, at: datetime, answer: Answering) -> list[Delivery] | None:
        """Send an event anew to all who want it; None if the key is taken. Raises: StorageUnavailable."""
        try:
            async with self._commit() as connection:
                rows = await connection.fetch(
                    SQL["resend_event"],
                    event.merchant_id,
                    event.subject,
                    event.position,
                    event.livemode,
                    event.type,
                    at,
                )
                sent = [_delivery(row) for row in rows]
                await _keep(connection, event.merchant_id, answer(sent))
        except asyncpg.UniqueViolationError:
            return None
        return sent

    async def resend_dead(
        self,
        endpoint: WebhookEndpoint,
        *,
        created: tuple[datetime, datetime],
        limit: int,
        at: datetime,
        answer: Answering,
    ) -> list[Delivery] | None:
        """Send dead letters anew; None if the key is taken. Raises: StorageUnavailable."""
        try:
            async with self._commit() as connection:
                rows = await connection.fetch(
                    SQL["resend_dead"], endpoint.merchant_id, endpoint.id, *created, limit, at
                )
                sent = sorted((_delivery(row) for row in rows), key=lambda one: one.created_at)
                await _keep(connection, endpoint.merchant_id, answer(sent))
        except asyncpg.UniqueViolationError:
            return None
        return sent

    async def list_webhook_deliveries(
        self, merchant_id: UUID, *, livemode: bool, below: tuple[UUID, int, int], event: tuple[UUID, int] | None,
        status: str | None, endpoint_id: UUID | None, walk: int, limit: int,
    ) -> tuple[list[Delivery], int, tuple[UUID, int, int] | None]:  # fmt: skip
        """Walk deliveries: those that fit, how many were walked, and the last one walked."""
        subject, position = event if event is not None else (None, None)
        rows = await self._pool.fetch(
            SQL["list_webhook_deliveries"],
            merchant_id,
            livemode,
            *below,
            subject,
            position,
            status,
            walk,
            endpoint_id,
            limit,
        )
        last = next((row for row in rows if not row["fits"]), None)
        place = None if last is None else (last["event_id"], last["position"], last["endpoint_number"])
        return [_delivery(row) for row in rows if row["fits"]], 0 if last is None else last["walked"], place

    @contextlib.asynccontextmanager
    async def _commit(self) -> AsyncIterator[Connection]:
        with loss_is_a_refusal():
            async with self._pool.connection() as connection, connection.transaction():
                yield connection

    def _sealed(self, endpoint: WebhookEndpoint, secret: str | None) -> bytes | None:
        if secret is None:
            return None
        return seal_secret(self._sealer, secret, merchant_id=endpoint.merchant_id, endpoint_id=endpoint.id)

    def _opened(self, row: Row, column: str) -> str | None:
        sealed: bytes | None = row[column]
        if sealed is None:
            return None
        return open_secret(self._sealer, sealed, merchant_id=row["merchant_id"], endpoint_id=row["id"])

    def _endpoint(self, row: Row) -> WebhookEndpoint:
        return WebhookEndpoint(
            merchant_id=row["merchant_id"],
            id=row["id"],
            number=row["number"],
            url=row["url"],
            event_types=row["event_types"],
            description=row["description"],
            metadata=documents.read_strings(row["metadata"]),
            status=EndpointStatus(row["status"]),
            disabled_reason=row["disabled_reason"],
            secret=self._opened(row, "secret"),
            previous_secret=self._opened(row, "previous_secret"),
            previous_secret_until=row["previous_secret_until"],
            livemode=row["livemode"],
            filters_changed_at=row["filters_changed_at"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )


def _delivery(row: Row) -> Delivery:
    tries: Sequence[Row] = row["tries"] or ()
    return Delivery(
        subject=row["event_id"],
        position=row["position"],
        endpoint_number=row["endpoint_number"],
        endpoint_id=row["endpoint_id"],
        status=DeliveryStatus(row["status"]),
        next_try_at=row["next_try_at"],
        created_at=row["created_at"],
        tries=[
            ShownTry(t["tried_at"], t["http_status"], t["duration_ms"], t["error"], t["response_excerpt"])
            for t in tries
        ],
    )
