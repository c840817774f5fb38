"""After an outage: read the lists of the accounts of which many checks are due, before asking one by one."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog

from paymux_core.errors import Refused
from paymux_core.ids import Kind, public_id
from paymux_core.lookups import Crowd
from paymux_core.routing import Candidate
from paymux_flows.attempting import candidate_of_account
from paymux_flows.deps import Deps
from paymux_flows.listing import FEW, settle_by_list

PAUSE_SECONDS = 5.0
"""Between looks for crowds while the queue is long."""
LISTING_SECONDS = 120.0
"""For as long the others leave an account to whoever reads its list; it may have died."""
AGAIN_SECONDS = 300.0
WAITING_MAX = 5000

log = structlog.get_logger()


@dataclass(slots=True)
class Lists:
    """The lists that this worker reads, and the accounts that it leaves alone meanwhile."""

    under_way: dict[asyncio.Task[None], UUID] = field(default_factory=dict)
    _elsewhere: set[UUID] = field(default_factory=set)
    _next_look_at: float = 0.0

    @property
    def accounts(self) -> set[UUID]:
        """Accounts whose list is being read, here or elsewhere: nobody of theirs is asked about one by one."""
        return self._elsewhere.union(self.under_way.values())

    async def begin(self, deps: Deps, *, actor: str, stopping: asyncio.Event) -> None:
        """Look for crowds, now and then, and begin to read their lists. Raises: StorageUnavailable, Overloaded."""
        if deps.clock.monotonic() < self._next_look_at:
            return
        self._next_look_at = deps.clock.monotonic() + PAUSE_SECONDS
        found = await deps.store.lookups.crowds(at=deps.clock.now(), more_than=FEW)
        self._elsewhere = {crowd.account_id for crowd in found if crowd.listed_by_other}
        for crowd in found:
            if crowd.account_id in self.accounts:
                continue
            candidate = await candidate_of_account(crowd.merchant_id, crowd.account_id, deps)
            if candidate is None or not candidate.capabilities.lists:
                continue
            if await _taken(crowd, deps):
                task = asyncio.create_task(_read(crowd, candidate, deps, actor=actor, stopping=stopping))
                self.under_way[task] = crowd.account_id
                task.add_done_callback(self.under_way.pop)


async def _taken(crowd: Crowd, deps: Deps) -> bool:
    now, divisor = deps.clock.now(), deps.clocks.divisor
    return await deps.store.lookups.begin_list(
        merchant_id=crowd.merchant_id,
        account_id=crowd.account_id,
        at=now,
        until=now + timedelta(seconds=LISTING_SECONDS),
        not_since=now - timedelta(seconds=AGAIN_SECONDS / divisor),
    )


async def _read(crowd: Crowd, candidate: Candidate, deps: Deps, *, actor: str, stopping: asyncio.Event) -> None:
    """Read one list to its end; whatever goes wrong, those that wait are asked about one by one."""
    where = {"merchant_id": crowd.merchant_id, "account_id": crowd.account_id}
    account = public_id(Kind.GATEWAY_ACCOUNT, crowd.account_id)
    try:
        waiting = await deps.store.lookups.waiting(**where, at=deps.clock.now(), limit=WAITING_MAX)
        read = await settle_by_list(
            crowd.merchant_id, candidate, waiting, deps, actor=actor, wanted=lambda: not stopping.is_set()
        )
        log.info(
            "worker.listed", account=account, waiting=len(waiting), pages=read.pages, found=read.found, ended=read.ended
        )
        await deps.store.lookups.end_list(**where, at=deps.clock.now())
    except Exception as error:
        log.warning(
            "worker.list_not_read",
            account=account,
            reason=type(error).__name__,
            exc_info=not isinstance(error, Refused),
        )
