"""What the deliverer asks of the database: endpoints to itself, deliveries to try, and how the tries ended."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from paymux_core.delivering import EndpointHealth
from paymux_core.webhooks import DeliveryTry, DueDelivery, Lease, WebhookEndpoint
from paymux_postgres import queries
from paymux_postgres.bodies import pack_body
from paymux_postgres.connections import Pool, Row
from paymux_postgres.losses import CommitUnknown, loss_is_a_refusal
from paymux_postgres.rows import read_event
from paymux_postgres.sealing import Sealer, open_secret

SQL = queries.load(__file__)

BURIED_MAX = 1_000
SECRETS_KEPT = 10_000
"""Open secrets of endpoints that are in use, so that none is decrypted for each delivery."""

Numbered = tuple[UUID, int]
"""A merchant, and the number of one of its endpoints."""


class DeliveryStore:
    """Endpoints are leased under a token; whatever is written with another one changes nothing."""

    def __init__(self, pool: Pool, sealer: Sealer) -> None:
        """Take the pool, and what opens secrets."""
        self._pool = pool
        self._open = lru_cache(SECRETS_KEPT)(
            lambda sealed, merchant_id, id_: open_secret(sealer, sealed, merchant_id=merchant_id, endpoint_id=id_)
        )

    async def lease_endpoints(self, *, at: datetime, token: UUID, until: datetime, limit: int) -> list[Lease]:
        """Take endpoints that have something due. Raises: StorageUnavailable; a lease nobody knows of runs out."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                rows = await connection.fetch(SQL["lease_endpoints"], at, token, until, limit)
        return [
            Lease(
                row["merchant_id"],
                row["endpoint_number"],
                EndpointHealth(
                    row["consecutive_failures"],
                    row["failing_since"],
                    row["breaker_open_until"],
                    row["probe_pause_seconds"],
                ),
            )
            for row in rows
        ]

    async def renew_endpoints(self, *, token: UUID, until: datetime, owned: Sequence[Numbered]) -> set[Numbered]:
        """Hold on to endpoints; gives those that still are ours. Raises: as above."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                rows = await connection.fetch(SQL["renew_endpoints"], token, until, *_columns(owned))
        return {(row["merchant_id"], row["endpoint_number"]) for row in rows}

    async def release_endpoints(self, *, token: UUID, owned: Sequence[Numbered]) -> None:
        """Give endpoints back. Raises: as above."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                await connection.fetch(SQL["release_endpoints"], token, *_columns(owned))

    async def claim_deliveries(
        self, *, token: UUID, at: datetime, hold_until: datetime, room: Sequence[tuple[UUID, int, int]]
    ) -> list[DueDelivery]:
        """Begin tries at endpoints that are ours, each as many as it has room for. Raises: as above."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                rows = await connection.fetch(
                    SQL["claim_deliveries"],
                    token,
                    at,
                    hold_until,
                    [one[0] for one in room],
                    [one[1] for one in room],
                    [one[2] for one in room],
                )
        return [self._due(row, at) for row in rows]

    def _due(self, row: Row, at: datetime) -> DueDelivery:
        whose = (row["merchant_id"], row["endpoint_id"])
        secrets = [self._open(row["secret"], *whose)]
        if row["previous_secret"] is not None and at < row["previous_secret_until"]:
            secrets.append(self._open(row["previous_secret"], *whose))
        return DueDelivery(
            merchant_id=row["merchant_id"],
            endpoint_number=row["endpoint_number"],
            try_count=row["try_count"],
            url=row["url"],
            secrets=secrets,
            event=read_event(row),
        )

    async def record_tries(self, token: UUID, tries: Sequence[DeliveryTry], leases: Sequence[Lease]) -> None:
        """Write how tries ended. Raises: StorageUnavailable; then they come back, under the same event's id."""
        values = (token, *_try_columns(tries), *_health_columns(leases))
        with loss_is_a_refusal():
            try:
                async with self._pool.connection() as connection:
                    await connection.fetch(SQL["record_tries"], *values)
            except CommitUnknown:
                async with self._pool.connection() as connection:
                    await connection.fetch(SQL["record_tries"], *values)

    async def bury_deliveries(self) -> int:
        """Make dead letters of what waits for endpoints that are off; says how many. Raises: as above."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                return len(await connection.fetch(SQL["bury_deliveries"], BURIED_MAX))

    async def disable_endpoint(
        self, before: WebhookEndpoint, after: WebhookEndpoint, *, event_id: UUID, subject: str, actor: str, body: bytes
    ) -> bool:
        """Switch an endpoint off and tell its merchant; False if it was changed meanwhile. Raises: as above."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                rows = await connection.fetch(
                    SQL["disable_endpoint"],
                    before.merchant_id,
                    before.number,
                    after.disabled_reason,
                    before.updated_at,
                    after.updated_at,
                    event_id,
                    subject,
                    actor,
                    pack_body(body),
                )
        return bool(rows)


def _columns(owned: Sequence[Numbered]) -> tuple[list[UUID], list[int]]:
    return [one[0] for one in owned], [one[1] for one in owned]


def _try_columns(tries: Sequence[DeliveryTry]) -> tuple[list[object], ...]:
    return (
        [one.due.merchant_id for one in tries],
        [one.due.event.subject for one in tries],
        [one.due.event.position for one in tries],
        [one.due.endpoint_number for one in tries],
        [one.due.try_count for one in tries],
        [one.status for one in tries],
        [one.next_try_at for one in tries],
        [one.id for one in tries],
        [one.answered.http_status for one in tries],
        [one.answered.duration_ms for one in tries],
        [one.answered.error for one in tries],
        [one.answered.excerpt for one in tries],
        [one.tried_at for one in tries],
    )


def _health_columns(leases: Sequence[Lease]) -> tuple[list[object], ...]:
    return (
        [one.merchant_id for one in leases],
        [one.number for one in leases],
        [one.health.consecutive_failures for one in leases],
        [one.health.failing_since for one in leases],
        [one.health.breaker_open_until for one in leases],
        [one.health.probe_pause_seconds for one in leases],
    )
