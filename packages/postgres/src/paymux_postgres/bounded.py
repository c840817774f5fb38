"""Reads for operators: on connections of their own, read-only, each with a limit that the server itself keeps."""

import asyncio
from collections.abc import Sequence

from paymux_postgres.connections import DatabaseSettings, Pool, Row
from paymux_postgres.losses import loss_is_a_refusal

CONNECTIONS = 2
"""One for whoever looks for long, one for the metrics."""


class BoundedReads:
    """Reads that are never a burden: no request waits for their connections, and none of them lasts."""

    def __init__(self, settings: DatabaseSettings) -> None:
        """Remember the settings; nothing is opened before somebody asks."""
        self._pool = Pool(settings, connections=CONNECTIONS)
        self._opening = asyncio.Lock()
        self._is_open = False

    async def fetch(self, statement: str, *values: object, seconds: float) -> Sequence[Row]:
        """Run a reading statement. Raises: StorageUnavailable, also when it takes too long; Overloaded; OSError."""
        async with self._opening:
            if not self._is_open:
                await self._pool.open()
                self._is_open = True
        with loss_is_a_refusal():
            async with self._pool.connection() as connection, connection.transaction(readonly=True):
                await connection.execute(f"set local statement_timeout = {max(1, int(seconds * 1000))}")
                return await connection.fetch(statement, *values)

    async def close(self) -> None:
        """Disconnect."""
        await self._pool.close()
