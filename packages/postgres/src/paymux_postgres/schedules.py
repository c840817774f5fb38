"""Statements about slots of schedules: who runs a task in this period."""

from datetime import datetime

from paymux_core.upkeep import Slot, SlotClaim
from paymux_postgres import queries
from paymux_postgres.connections import Pool
from paymux_postgres.losses import loss_is_a_refusal

SQL = queries.load(__file__)


class ScheduleStore:
    """Slots. Each method is one commit; after a lost answer a lease runs out, and somebody takes the slot again."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool."""
        self._pool = pool

    async def claim_slot(self, claim: SlotClaim) -> Slot | None:
        """Lease a slot; None if there is nothing to do now. Raises: StorageUnavailable, Overloaded."""
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                row = await connection.fetchrow(
                    SQL["claim_slot"],
                    list(claim.wanted),
                    list(claim.wanted.values()),
                    claim.at,
                    claim.lease_token,
                    claim.lease_expires_at,
                    claim.tries_max,
                )
        return None if row is None else Slot(row["kind"], row["slot"], row["tries"], claim.lease_token)

    async def hold_slot(self, slot: Slot, *, until: datetime) -> bool:
        """Hold on to a lease; False if it is somebody else's by now. Raises: as above."""
        return await self._write(SQL["hold_slot"], slot, until)

    async def finish_slot(self, slot: Slot, *, at: datetime, outcome: str) -> bool:
        """Note that a slot is done; False as above. Raises: as above."""
        return await self._write(SQL["finish_slot"], slot, at, outcome)

    async def put_slot_off(self, slot: Slot, *, until: datetime, tries: int) -> bool:
        """Give a slot back, for whoever takes it then; False as above. Raises: as above."""
        return await self._write(SQL["put_slot_off"], slot, until, tries)

    async def _write(self, statement: str, slot: Slot, *values: object) -> bool:
        with loss_is_a_refusal():
            async with self._pool.connection() as connection:
                return bool(await connection.fetch(statement, slot.kind, slot.begins_at, slot.lease_token, *values))
