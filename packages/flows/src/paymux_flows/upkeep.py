"""What the upkeep of the book needs of the store: slots of schedules, sweeps, and what goes once its time is over."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from paymux_core.upkeep import Expired, Slot, SlotClaim, SweepRange, Walked


class Schedules(Protocol):
    """Who runs what, once per slot on any number of workers."""

    async def claim_slot(self, claim: SlotClaim) -> Slot | None:
        """Lease a slot; None if there is nothing to do now."""
        ...

    async def hold_slot(self, slot: Slot, *, until: datetime) -> bool:
        """Hold on to a lease; False if it is somebody else's by now."""
        ...

    async def finish_slot(self, slot: Slot, *, at: datetime, outcome: str) -> bool:
        """Note that a slot is done; False as above."""
        ...

    async def put_slot_off(self, slot: Slot, *, until: datetime, tries: int) -> bool:
        """Give a slot back, for whoever takes it then; False as above."""
        ...


class Upkeep(Protocol):
    """What goes once its time is over."""

    async def list_sweeps(self) -> Sequence[SweepRange]:
        """List all merchants with how far they were swept."""
        ...

    async def walk_unconfirmed(self, ranges: Sequence[tuple[UUID, UUID, UUID]], *, limit: int) -> Sequence[Walked]:
        """Walk payments of merchants (merchant, after this id, before that id), at most `limit` of each."""
        ...

    async def expire_unconfirmed(self, expired: Sequence[Expired], *, at: datetime, actor: str) -> Collection[UUID]:
        """Cancel them, each with its event, unless it has moved on or somebody is at it; answers those it did."""
        ...

    async def note_sweep(self, merchant_id: UUID, *, swept_through: UUID, at: datetime) -> None:
        """Note how far a merchant's payments were swept."""
        ...

    async def reap_keys(self, *, at: datetime, limit: int) -> tuple[int, int]:
        """Delete expired keys; answers how many, and how many live longer than it was written."""
        ...

    async def reap_slots(self, *, at: datetime, limit: int) -> int:
        """Delete slots of long ago; answers how many."""
        ...

    async def monthly_tables(self) -> Sequence[str]:
        """Name the tables that are partitioned by month."""
        ...

    async def make_partitions(self, parent: str, *, at: datetime, months: int) -> Sequence[str]:
        """Make a table's months ahead; answers what was made."""
        ...

    async def drop_partitions(self, parent: str, *, at: datetime, months: int) -> Sequence[str]:
        """Drop a table's months that ended so many months ago; answers what was dropped."""
        ...
