"""Cancel what nobody confirmed in time: a sweep over ids, which are the order of birth.

An index on the status would cost every confirm its cheap update; ids tell the age, and each merchant's sweep goes on
where the last one stopped.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from paymux_core.ids import unix_ms_of, uuid7
from paymux_core.records import Payment
from paymux_core.transitions import PaymentEvent, PaymentStatus, next_payment_status
from paymux_core.upkeep import Expired, SweepRange, Walked
from paymux_flows.deps import Deps
from paymux_flows.views import render_payment

EXPIRED = "expired"
MERCHANTS_AT_ONCE = 50
WALK_MAX = 500
"""Payments of one merchant that are walked at a time: so many bodies fit one statement."""
MARGIN = timedelta(minutes=5)
"""An id is made before its row is committed: a sweep begins again this far before its last end."""
NOTHING = UUID(int=0)


async def expire_unconfirmed(deps: Deps, *, actor: str, stopping: Callable[[], bool]) -> int | None:
    """Sweep all merchants; answers how many payments expired, None if it was stopped. Raises: Refused."""
    now = deps.clock.now()
    expired = 0
    sweeps = await deps.store.upkeep.list_sweeps()
    for first in range(0, len(sweeps), MERCHANTS_AT_ONCE):
        ranges = {sweep.merchant_id: _range(sweep, now, deps) for sweep in sweeps[first : first + MERCHANTS_AT_ONCE]}
        while ranges:
            if stopping():
                return None
            expired += await _step(ranges, deps, actor=actor)
    return expired


def _range(sweep: SweepRange, now: datetime, deps: Deps) -> tuple[UUID, UUID]:
    """Give the ids between which a merchant's payments are too old."""
    hours = sweep.expires_after_hours
    seconds = deps.clocks.unconfirmed if hours is None else hours * 3600 / deps.clocks.divisor
    after = NOTHING
    if sweep.swept_through is not None:
        margin_ms = MARGIN // timedelta(milliseconds=1)
        after = uuid7(max(0, unix_ms_of(sweep.swept_through) - margin_ms), 0)
    return after, uuid7(int((now.timestamp() - seconds) * 1000), 0)


async def _step(ranges: dict[UUID, tuple[UUID, UUID]], deps: Deps, *, actor: str) -> int:
    """Walk a piece of each range; what is swept to its end, or meets somebody at work, is taken out."""
    asked = [(merchant_id, after, before) for merchant_id, (after, before) in ranges.items() if after < before]
    walked = await deps.store.upkeep.walk_unconfirmed(asked, limit=WALK_MAX) if asked else ()
    expired = 0
    met = {piece.merchant_id: piece for piece in walked}
    for merchant_id, (after, before) in list(ranges.items()):
        piece = met.get(merchant_id)
        if piece is None:
            del ranges[merchant_id]
            continue
        done, left = await _expire(piece, deps, actor=actor)
        expired += done
        # Whatever is left is met again by the next sweep.
        swept_through = UUID(int=min(left).int - 1) if left else piece.last
        if swept_through > after:
            await deps.store.upkeep.note_sweep(merchant_id, swept_through=swept_through, at=deps.clock.now())
        if left or piece.payments < WALK_MAX:
            del ranges[merchant_id]
        else:
            ranges[merchant_id] = (piece.last, before)
    return expired


async def _expire(piece: Walked, deps: Deps, *, actor: str) -> tuple[int, Sequence[UUID]]:
    """Cancel the unconfirmed; answers how many, and which are still unconfirmed."""
    if not piece.unconfirmed:
        return 0, ()
    now = deps.clock.now()
    payments = await _load(piece.merchant_id, piece.unconfirmed, deps)
    written = await deps.store.upkeep.expire_unconfirmed(
        [_expired(payment, now) for payment in payments], at=now, actor=actor
    )
    beaten = [payment.id for payment in payments if payment.id not in written]
    left = [payment.id for payment in await _load(piece.merchant_id, beaten, deps)]
    return len(written), left


async def _load(merchant_id: UUID, ids: Sequence[UUID], deps: Deps) -> list[Payment]:
    """Read those that are unconfirmed now."""
    found = await asyncio.gather(*(deps.store.load_payment(merchant_id, payment_id) for payment_id in ids))
    return [p for p in found if p is not None and p.status is PaymentStatus.REQUIRES_CONFIRMATION]


def _expired(payment: Payment, now: datetime) -> Expired:
    canceled = replace(
        payment,
        status=next_payment_status(payment.status, PaymentEvent.CANCEL),
        cancellation_reason=EXPIRED,
        version=payment.version + 1,
        event_position=payment.event_position + 1,
        event_sequence=payment.event_sequence + 1,
        updated_at=now,
        finalized_at=now,
    )
    return Expired(payment.merchant_id, payment.id, payment.version, render_payment(canceled))
