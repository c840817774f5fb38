"""The store the flows see: each method is one atomic phase or one read. Batches share lanes; the rest uses the pool."""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from paymux_core.errors import Overloaded, StorageUnavailable
from paymux_core.phases import (
    Claim,
    DueAttempt,
    Key,
    NewPayment,
    PhaseOne,
    PhaseOneResult,
    PhaseTwo,
    ReviewCall,
    StoredKey,
    Which,
)
from paymux_core.ports import Rng
from paymux_core.records import ApiKeyRow, Payment, Violation
from paymux_postgres import api_keys, idempotency_keys, invariants, outcomes, payment_attempts, payments
from paymux_postgres.batch import BATCH_MAX, Batcher
from paymux_postgres.batch_keys import keys_of_create, keys_of_phase_one, keys_of_phase_two
from paymux_postgres.batch_run import run_batch
from paymux_postgres.connections import DatabaseSettings, Lane, Pool
from paymux_postgres.losses import CommitUnknown, RolledBack, loss_is_a_refusal, once_more
from paymux_postgres.reviews import ReviewStore
from paymux_postgres.sealing import Sealer
from paymux_postgres.sub_stores import SubStores

BORN_MAX = 10_000
"""Payments that are remembered for their confirm, some 2 kB each; the oldest are forgotten, and then read."""

SETTLE_ACQUIRE_SECONDS = 5.0
"""Longer than a lock may be waited for, twice."""
LOCKED_TRIES = 3
"""A payment whose lock is not free after three waits of 2 s is held by somebody in `psql`: the worker asks later."""

_KeyOfPayment = tuple[UUID, UUID]


class PostgresStore(SubStores):
    """Everything that is kept, in Postgres. `batch_max` 1 switches batching off, for comparison only."""

    def __init__(self, settings: DatabaseSettings, *, rng: Rng, sealer: Sealer, batch_max: int = BATCH_MAX) -> None:
        """Make pool, lanes and batchers; nothing is opened yet."""
        super().__init__(settings, rng=rng, sealer=sealer, batch_max=batch_max)
        self._rng = rng
        # What follows a call to a gateway never waits behind reads: money may have moved.
        self._settling = Pool(settings, connections=2, acquire_seconds=SETTLE_ACQUIRE_SECONDS)
        self.reviews = ReviewStore(self.pool, self._settling)
        self._lanes = {name: Lane(settings) for name in ("create", "read", "key", "phase_one", "phase_two")}
        self._born: OrderedDict[_KeyOfPayment, Payment] = OrderedDict()
        self._creates: Batcher[NewPayment, bool] = Batcher(
            self._run_creates, keys_of=keys_of_create, batch_max=batch_max
        )
        self._reads: Batcher[_KeyOfPayment, Payment | None] = Batcher(
            self._run_reads, keys_of=lambda _key: (), batch_max=batch_max
        )
        self._loads: Batcher[_KeyOfPayment, Payment | None] = Batcher(
            self._run_loads, keys_of=lambda _key: (), batch_max=batch_max
        )
        self._keys: Batcher[tuple[UUID, str], StoredKey | None] = Batcher(
            self._run_keys, keys_of=lambda _key: (), batch_max=batch_max
        )
        self._phase_ones: Batcher[PhaseOne, PhaseOneResult] = Batcher(
            self._run_phase_ones, keys_of=keys_of_phase_one, batch_max=batch_max
        )
        self._phase_twos: Batcher[PhaseTwo, bool | None] = Batcher(
            self._run_phase_twos, keys_of=keys_of_phase_two, batch_max=batch_max
        )

    async def open(self) -> None:
        """Connect. Raises: OSError, asyncpg.PostgresError."""
        await self.pool.open()
        await self._settling.open()
        await self.inbound.open()

    async def close(self) -> None:
        """Finish what was submitted, then disconnect."""
        for batcher in (self._creates, self._reads, self._loads, self._keys, self._phase_ones, self._phase_twos):
            await batcher.close()
        for lane in self._lanes.values():
            await lane.close()
        await self.inbound.close()
        await self.bounded.close()
        await self._settling.close()
        await self.pool.close()

    # Create -------------------------------------------------------------------------------------------------

    async def create_payment(self, new: NewPayment) -> bool:
        """Insert a payment, its event and key; False if reference or key is taken. Raises: StorageUnavailable."""
        born = await self._creates.submit(new)
        if born:
            self._born[new.payment.merchant_id, new.payment.id] = new.payment
            if len(self._born) > BORN_MAX:
                self._born.popitem(last=False)
        return born

    async def create_and_open(self, new: NewPayment, phase: PhaseOne) -> PhaseOneResult:
        """Insert a payment and run its phase 1 in one commit; not moved, and nothing is written, if either is refused.

        Raises: StorageUnavailable.
        """
        for _ in range(2):
            try:
                return await self._create_and_open(new, phase)
            except CommitUnknown:
                # As for any phase 1: the key row tells.
                found = await self.find_key(new.payment.merchant_id, phase.key.idempotency_key)
                if found is not None:
                    return _seen_after_loss(phase, (found.payment_id, found.request_hash))
        raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2)

    async def _create_and_open(self, new: NewPayment, phase: PhaseOne) -> PhaseOneResult:
        async with self.pool.connection() as connection:
            try:
                async with connection.transaction():
                    born = await payments.create_payments(connection, [new])
                    moved = await payment_attempts.open_attempts(connection, [phase]) if born else set()
                    if not moved:
                        raise RolledBack  # noqa: TRY301  it undoes the insert
            except (RolledBack, asyncpg.UniqueViolationError):
                return PhaseOneResult.NOT_MOVED
        return PhaseOneResult.MOVED

    async def _run_creates(self, items: Sequence[NewPayment]) -> Sequence[bool | Exception]:
        async def together(batch: Sequence[NewPayment]) -> Sequence[bool]:
            born = await payments.create_payments(self._lanes["create"], batch)
            return [item.payment.id in born for item in batch]

        async def after_loss(batch: Sequence[NewPayment]) -> Sequence[bool]:
            keys = [(item.payment.merchant_id, item.payment.id) for item in batch]
            there = await payments.read_payments(self._lanes["create"], keys)
            missing = [item for item, key in zip(batch, keys, strict=True) if key not in there]
            born = await payments.create_payments(self._lanes["create"], missing) if missing else set()
            return [key in there or key[1] in born for key in keys]

        results = await run_batch(items, together=together, after_loss=after_loss, rng=self._rng)
        # A clash, seen when the item ran alone: with somebody else's key, or with our own insert that came late.
        clashed = [index for index, result in enumerate(results) if isinstance(result, asyncpg.UniqueViolationError)]
        if not clashed:
            return results
        keys = {index: (items[index].payment.merchant_id, items[index].payment.id) for index in clashed}
        there = await once_more(lambda: payments.read_payments(self._lanes["create"], list(keys.values())))
        return [keys[index] in there if index in keys else result for index, result in enumerate(results)]

    # Read ---------------------------------------------------------------------------------------------------

    async def read_payment(self, merchant_id: UUID, payment_id: UUID) -> Payment | None:
        """Read a payment's row without its attempts, with whoever else reads now; perhaps as it was born."""
        # One born here is given as born, once, so it may be old: for a caller whose next step is a compare-and-set.
        born = self._born.pop((merchant_id, payment_id), None)
        return born if born is not None else await self._reads.submit((merchant_id, payment_id))

    async def _run_reads(self, items: Sequence[_KeyOfPayment]) -> Sequence[Payment | None]:
        found = await once_more(lambda: payments.read_payments(self._lanes["read"], items))
        return [found.get(key) for key in items]

    async def load_payment(self, merchant_id: UUID, payment_id: UUID) -> Payment | None:
        """Read a payment with all that belongs to it, with whoever else loads now: a crowd is one statement."""
        return await self._loads.submit((merchant_id, payment_id))

    async def _run_loads(self, items: Sequence[_KeyOfPayment]) -> Sequence[Payment | None]:
        found = await payments.load_payments(self.pool, set(items))
        return [found.get(key) for key in items]

    async def payment_exists(self, merchant_id: UUID, payment_id: UUID) -> bool:
        """Say whether this merchant has this payment."""
        return await payments.payment_exists(self.pool, merchant_id, payment_id)

    async def payment_holding_reference(self, merchant_id: UUID, reference: str) -> UUID | None:
        """Find the payment that holds a reference."""
        return await payments.payment_holding_reference(self.pool, merchant_id, reference)

    async def walk_payments(self, *values: object) -> tuple[list[UUID], int, UUID | None]:
        """Walk a merchant's payments; see `payments.list_payments`."""
        return await payments.list_payments(self.pool, *values)

    async def find_key(self, merchant_id: UUID, idempotency_key: str) -> StoredKey | None:
        """Read what became of a key, with whoever else asks now: a storm of one key is one statement."""
        return await self._keys.submit((merchant_id, idempotency_key))

    async def _run_keys(self, items: Sequence[tuple[UUID, str]]) -> Sequence[StoredKey | None]:
        found = await once_more(lambda: idempotency_keys.read_keys(self._lanes["key"], items))
        return [found.get(index) for index in range(len(items))]

    async def find_api_key(self, key_id: str) -> ApiKeyRow | None:
        """Read an API key by the id inside its token."""
        return await api_keys.find_api_key(self.pool, key_id)

    # Phase 1 ------------------------------------------------------------------------------------------------

    async def open_attempt(self, phase: PhaseOne) -> PhaseOneResult:
        """Run phase 1 with whoever else confirms now. Raises: Overloaded, StorageUnavailable."""
        return await self._phase_ones.submit(phase)

    async def open_attempt_alone(self, phase: PhaseOne) -> PhaseOneResult:
        """Run phase 1 for one payment, waiting for its lock. Raises: StorageUnavailable."""
        try:
            async with self.pool.connection() as connection, connection.transaction():
                await payment_attempts.lock_payment(connection, phase.payment.merchant_id, phase.payment.id)
                moved = await payment_attempts.open_attempts(connection, [phase])
        except asyncpg.UniqueViolationError:
            return PhaseOneResult.NOT_MOVED
        except CommitUnknown:
            return (await self._phase_ones_after_loss([phase]))[0]
        return PhaseOneResult.MOVED if moved else PhaseOneResult.NOT_MOVED

    async def _run_phase_ones(self, items: Sequence[PhaseOne]) -> Sequence[PhaseOneResult | Exception]:
        results = await run_batch(
            items, together=self._phase_ones_together, after_loss=self._phase_ones_after_loss, rng=self._rng
        )
        # A clash on the key, seen when the item ran alone: somebody else was faster, and a read will tell.
        return [
            PhaseOneResult.NOT_MOVED if isinstance(result, asyncpg.UniqueViolationError) else result
            for result in results
        ]

    async def _phase_ones_together(self, batch: Sequence[PhaseOne]) -> Sequence[PhaseOneResult]:
        moved = await payment_attempts.open_attempts(self._lanes["phase_one"], batch)
        return [PhaseOneResult.MOVED if item.payment.id in moved else PhaseOneResult.NOT_MOVED for item in batch]

    async def _phase_ones_after_loss(self, batch: Sequence[PhaseOne]) -> Sequence[PhaseOneResult]:
        """Look the keys up: a derived attempt id may be another confirm's. Found ones call no gateway any more."""
        seen = await self._phase_ones_seen(batch)
        missing = [index for index, result in enumerate(seen) if result is None]
        again = await self._phase_ones_together([batch[index] for index in missing]) if missing else ()
        results = dict(zip(missing, again, strict=True))
        # What was lost may have arrived between the look and this run.
        refused = [index for index in missing if results[index] is PhaseOneResult.NOT_MOVED]
        late = await self._phase_ones_seen([batch[index] for index in refused]) if refused else ()
        results |= {index: result for index, result in zip(refused, late, strict=True) if result is not None}
        return [results[index] if result is None else result for index, result in enumerate(seen)]

    async def _phase_ones_seen(self, batch: Sequence[PhaseOne]) -> Sequence[PhaseOneResult | None]:
        """Say of each item whether its key is there, and whose it is; None if it is not there."""
        keys = [(item.payment.merchant_id, item.key.idempotency_key) for item in batch]
        found = await idempotency_keys.find_keys(self._lanes["phase_one"], keys)
        return [_seen_after_loss(item, found[index]) if index in found else None for index, item in enumerate(batch)]

    # The gateway's id, phase 2 -------------------------------------------------------------------------------

    async def remember_provider_payment(
        self, *, merchant_id: UUID, payment_id: UUID, number: int, provider_payment_id: str, at: datetime
    ) -> bool:
        """Commit the gateway's id before the charge; False if the attempt moved on. Raises: StorageUnavailable."""
        for _ in range(2):
            try:
                return await payment_attempts.remember_provider_payment(
                    self._settling,
                    merchant_id=merchant_id,
                    payment_id=payment_id,
                    number=number,
                    provider_payment_id=provider_payment_id,
                    at=at,
                )
            except CommitUnknown:
                continue  # the statement keeps the first id, so that running it again changes nothing
        raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2)

    async def record_outcome(self, phase: PhaseTwo) -> bool:
        """Run phase 2; False if the payment has moved on since `phase.before`. Raises: StorageUnavailable."""
        if phase.resolution is not None:
            return await self.reviews.record(phase)
        won = await self._phase_twos.submit(phase)
        if won is not None:
            return won
        # Somebody holds the payment: wait for the lock alone, so that the neighbours do not.
        refused: Exception | None = None
        for _ in range(LOCKED_TRIES):
            try:
                async with self._settling.connection() as connection, connection.transaction():
                    await payment_attempts.lock_payment(connection, phase.before.merchant_id, phase.before.id)
                    return bool((await outcomes.record_outcomes(connection, [phase]))[0])
            except (CommitUnknown, Overloaded) as error:
                refused = error  # phase 2 is a compare-and-set: running it again changes nothing
        raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2) from refused

    async def _run_phase_twos(self, items: Sequence[PhaseTwo]) -> Sequence[bool | Exception | None]:
        async def together(batch: Sequence[PhaseTwo]) -> Sequence[bool | None]:
            return await outcomes.record_outcomes(self._lanes["phase_two"], batch)

        return await run_batch(items, together=together, after_loss=together, rng=self._rng)

    # Cancel, checks -----------------------------------------------------------------------------------------

    async def cancel_unconfirmed(
        self, *, before: Payment, after: Payment, key: Key, body: bytes, actor: str, request_id: str
    ) -> bool:
        """Cancel a payment nobody confirmed; False if the payment or the key is somebody else's by now."""
        try:
            return await payments.cancel_unconfirmed(
                self.pool, before=before, after=after, key=key, body=body, actor=actor, request_id=request_id
            )
        except (asyncpg.UniqueViolationError, CommitUnknown):
            return False  # the read that follows tells which

    async def request_cancellation(
        self, *, payment: Payment, reason: str, at: datetime, key: Key, actor: str, request_id: str
    ) -> bool:
        """Note that a running payment is to be cancelled; False as above."""
        try:
            return await payments.request_cancellation(
                self.pool, payment=payment, reason=reason, at=at, key=key, actor=actor, request_id=request_id
            )
        except (asyncpg.UniqueViolationError, CommitUnknown):
            return False

    async def claim_due_attempts(self, claim: Claim) -> list[DueAttempt]:
        """Lease due attempts for a worker. Raises: StorageUnavailable; a lease that nobody knows of runs out."""
        with loss_is_a_refusal():
            suspect = claim.which is Which.SUSPECT
            lease = payment_attempts.claim_suspect if suspect else payment_attempts.claim_due_attempts
            return await lease(self.pool, claim)

    async def claim_attempt(
        self,
        *,
        merchant_id: UUID,
        payment_id: UUID,
        number: int,
        at: datetime,
        lease_token: UUID,
        lease_expires_at: datetime,
    ) -> bool:
        """Lease one attempt for a client's request. Raises: as above."""
        with loss_is_a_refusal():
            return await payment_attempts.claim_attempt(
                self.pool,
                merchant_id=merchant_id,
                payment_id=payment_id,
                number=number,
                at=at,
                lease_token=lease_token,
                lease_expires_at=lease_expires_at,
            )

    async def note_look(
        self, *, merchant_id: UUID, payment_id: UUID, number: int, at: datetime, not_looked_since: datetime
    ) -> bool:
        """Let a client look, if none did lately. Raises: as above."""
        with loss_is_a_refusal():
            return await payment_attempts.note_look(
                self.pool,
                merchant_id=merchant_id,
                payment_id=payment_id,
                number=number,
                at=at,
                not_looked_since=not_looked_since,
            )

    async def note_resend(self, *, due: DueAttempt, at: datetime) -> bool:
        """Note that the charge is about to leave once more. Raises: as above."""
        with loss_is_a_refusal():
            return await payment_attempts.note_resend(self.pool, due=due, at=at)

    async def renew_lease(self, *, due: DueAttempt, lease_expires_at: datetime, next_check_at: datetime | None) -> bool:
        """Hold on to a lease. Raises: as above."""
        with loss_is_a_refusal():
            return await payment_attempts.renew_lease(
                self.pool, due=due, lease_expires_at=lease_expires_at, next_check_at=next_check_at
            )

    async def release_attempt(
        self, *, due: DueAttempt, next_check_at: datetime | None, unfinished_checks: int | None, counted: bool = True
    ) -> bool:
        """Give a lease back. Raises: as above."""
        with loss_is_a_refusal():
            return await payment_attempts.release_attempt(
                self.pool, due=due, next_check_at=next_check_at, unfinished_checks=unfinished_checks, counted=counted
            )

    async def open_review(self, call: ReviewCall) -> bool:
        """Call a person about a payment; False if nothing was written. Raises: as above; then ask again."""
        with loss_is_a_refusal():
            return await payment_attempts.open_review(self.pool, call)

    async def recent_violations(self, *, at: datetime, born_since: UUID, limit: int) -> list[Violation]:
        """List what is broken among payments born since an id, and among open ones."""
        return await invariants.recent_violations(self.bounded, at=at, born_since=born_since, limit=limit)


def _seen_after_loss(item: PhaseOne, found: tuple[UUID | None, bytes]) -> PhaseOneResult:
    ours = found == (item.payment.id, item.key.request_hash)
    return PhaseOneResult.COMMITTED_UNSEEN if ours else PhaseOneResult.NOT_MOVED
