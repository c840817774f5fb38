"""The protocol itself: an API node that confirms, and a worker that asks until it knows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model import gateways, rules
from tests.model.gateways import Verb
from tests.model.mutants import Mutant
from tests.model.oracle import Reply
from tests.model.process import CommitUnknownError, Process
from tests.model.rules import Caches, Outcome, Source
from tests.model.store import Answer, Attempt, Claim, Confirm, GatewayEvent, Intent, LateCharge, NextBy, Verdict

if TYPE_CHECKING:
    from tests.model.world import World

BATCH_TRIES_MAX = 3
_STILL_UNKNOWN = frozenset({Outcome.UNKNOWN, Outcome.PENDING, Outcome.NOT_EXECUTED})
_UNAVAILABLE, _CONFLICT, _ACCEPTED, _OK = 503, 409, 202, 200


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A confirm in a batch of phase 1."""

    command: Confirm
    verdict: asyncio.Future[Verdict | None]


class ApiNode(Process):
    """Serve confirms, cancels and webhooks."""

    def __init__(self, world: World, name: str) -> None:
        """Start with nothing in memory."""
        super().__init__(world, name)
        self._batch: list[_Waiting] = []
        self._flushing = False
        self._clients: list[asyncio.Future[int | None]] = []

    def forget(self) -> None:
        """Reset the clients' connections."""
        clients, self._clients = self._clients, []
        self._batch, self._flushing = [], False
        for answered in clients:
            if not answered.done():
                answered.set_result(None)

    def receive_confirm(self, command: Confirm, answered: asyncio.Future[int | None]) -> None:
        """Take a client's request."""
        self._clients = [client for client in self._clients if not client.done()] + [answered]
        self.spawn(lambda: self._serve(command, answered))

    def receive_cancel(self, payment_id: str) -> None:
        """Take a merchant's cancel."""
        self.spawn(lambda: self._cancel(payment_id))

    def receive_webhook(self, event_id: str, attempt_id: str, told: Outcome) -> None:
        """Take a gateway's webhook: store it, nothing else."""
        self.spawn(lambda: self._store_webhook(event_id, attempt_id, told))

    async def _serve(self, command: Confirm, answered: asyncio.Future[int | None]) -> None:
        http_status = await self._confirm(command)
        self.world.note(self.name, f"answers {command.request_id} {http_status}")
        reply = Reply(request_id=command.request_id, payment_id=command.payment_id, http_status=http_status)
        self.world.oracle.replies.append(reply)
        if not answered.done():
            answered.set_result(http_status)

    async def _confirm(self, command: Confirm) -> int:
        if self.world.mutant is Mutant.GATEWAY_BEFORE_ATTEMPT:
            return await self._confirm_without_record(command)
        started_at = self.monotonic()
        verdict = await self._phase_1(command)
        if self.world.mutant is Mutant.FIRST_BYTE_FROM_ACKNOWLEDGEMENT:
            started_at = self.monotonic()
        if verdict is None:
            return _UNAVAILABLE
        match verdict.answer:
            case Answer.ACCEPTED if verdict.intent is not None:
                return await self._call_the_gateway(verdict.intent, started_at=started_at)
            case Answer.LIVE if verdict.intent is not None:
                if not verdict.settled:
                    await self._look(verdict.intent)
                return _OK if verdict.settled else _ACCEPTED
            case Answer.ACCEPTED | Answer.LIVE:
                # The commit was unknown and the key is there: no gateway call in this request.
                return _ACCEPTED
            case Answer.IN_USE | Answer.UNEXPECTED_STATE:
                return _CONFLICT

    async def _phase_1(self, command: Confirm) -> Verdict | None:
        if self.world.mutant is Mutant.CHECK_THEN_ACT:
            return await self._phase_1_check_then_act(command)
        waiting = _Waiting(command, self.world.loop.create_future())
        self._batch.append(waiting)
        if not self._flushing:
            self._flushing = True
            self.spawn(self._flush)
        return await self.wait(waiting.verdict)

    async def _flush(self) -> None:
        while self._batch:
            batch, self._batch = self._batch, []
            verdicts = await self._commit_batch(batch)
            for waiting, verdict in zip(batch, verdicts, strict=True):
                waiting.verdict.set_result(verdict)
        self._flushing = False

    async def _commit_batch(self, batch: list[_Waiting]) -> list[Verdict | None]:
        store, now = self.world.store, self.clock()
        try:
            return list(await self.commit(lambda: [store.confirm(item.command, now=now) for item in batch]))
        except CommitUnknownError:
            if self.world.mutant is Mutant.BATCH_RUNS_AGAIN:
                return [await self._run_again(item.command) for item in batch]
            return [await self._look_up_then_run(item.command) for item in batch]

    async def _run_again(self, command: Confirm) -> Verdict | None:
        store, now = self.world.store, self.clock()
        return await self.commit_until_known(lambda: store.confirm(command, now=now))

    async def _look_up_then_run(self, command: Confirm) -> Verdict | None:
        """Settle one item of an unknown commit: found means accepted, and left to the worker."""
        store = self.world.store
        for _ in range(BATCH_TRIES_MAX):
            try:
                if await self.commit(lambda: command.key in store.keys):
                    return Verdict(Answer.ACCEPTED)
                now = self.clock()
                verdict = await self.commit(lambda now=now: store.confirm(command, now=now))  # type: ignore[misc]
            except CommitUnknownError:
                continue
            # The first commit may have come late, between the look-up and this one.
            return Verdict(Answer.ACCEPTED) if verdict.answer in (Answer.IN_USE, Answer.LIVE) else verdict
        return None

    async def _phase_1_check_then_act(self, command: Confirm) -> Verdict | None:
        store, now = self.world.store, self.clock()
        try:
            seen = await self.commit(lambda: store.diagnose(command, now=now))
            if seen.answer is Answer.ACCEPTED:
                return await self.commit(lambda: store.accept(command, now=now))
        except CommitUnknownError:
            return None
        return seen

    async def _confirm_without_record(self, command: Confirm) -> int:
        payment = self.world.store.payments[command.payment_id]
        intent = Intent(
            attempt_id=f"{payment.id}_1",
            payment_id=payment.id,
            account=payment.route[0],
            accepted_at=self.clock(),
            deadline_at=0.0,
            object_id=None,
            last_sent_at=0.0,
            attempts=1,
            is_first=True,
            is_open=True,
            cancel_requested=False,
        )
        answer = await self._first_charge(intent, started_at=self.monotonic(), ends_at=self.monotonic() + 25.0)
        verdict = await self._phase_1(command)
        if verdict is not None and verdict.intent is not None and verdict.answer is Answer.ACCEPTED:
            await record_outcome(self, verdict.intent, answer.outcome, source=Source.FIRST, next_by=NextBy.WORKER)
        return _ACCEPTED

    async def _call_the_gateway(self, intent: Intent | None, *, started_at: float) -> int:
        budget_ends_at = started_at + rules.BUDGET_SECONDS
        while intent is not None:
            answer = await self._first_charge(intent, started_at=started_at, ends_at=budget_ends_at - 1.0)
            # The further attempt's clock starts before its own commit, which a pause may follow.
            started_at = self.monotonic()
            has_time = budget_ends_at - started_at >= rules.NEXT_ATTEMPT_BUDGET_SECONDS
            next_by = NextBy.CALLER if has_time else NextBy.WORKER
            intent = await record_outcome(self, intent, answer.outcome, source=Source.FIRST, next_by=next_by)
        return _ACCEPTED

    async def _first_charge(self, intent: Intent, *, started_at: float, ends_at: float) -> gateways.Answer:
        key = f"{intent.attempt_id}-charge-1"
        return await self.charge(intent, key=key, action_started_at=started_at, call_ends_at=ends_at)

    async def _look(self, intent: Intent) -> None:
        """Ask the gateway on behalf of a retrying client; such a request never sends a money verb."""
        answer = await self.ask(Verb.READ, intent, object_id=intent.object_id)
        await record_outcome(self, intent, answer.outcome, source=Source.RECORD, next_by=NextBy.WORKER)

    async def _cancel(self, payment_id: str) -> None:
        store, now = self.world.store, self.clock()
        await self.commit_until_known(lambda: store.cancel(payment_id, now=now))

    async def _store_webhook(self, event_id: str, attempt_id: str, told: Outcome) -> None:
        store, now = self.world.store, self.clock()
        await self.commit_until_known(lambda: store.store_webhook(event_id, attempt_id, told, now=now))


class Worker(Process):
    """Claim what is due, ask, re-send or fence, write down what is proven."""

    def __init__(self, world: World, name: str) -> None:
        """Wait for start."""
        super().__init__(world, name)
        self.idle: asyncio.Future[None] | None = None
        self.sleeps_until = float("inf")

    def start(self) -> None:
        """Begin to work, also after a crash."""
        super().start()
        self.spawn(self._run)

    def forget(self) -> None:
        """Forget that it was idle."""
        self.idle = None

    async def _run(self) -> None:
        store = self.world.store
        while True:
            started_at, now = self.monotonic(), self.clock()
            try:
                claim = await self.commit(lambda now=now: store.claim(now=now))  # type: ignore[misc]
            except CommitUnknownError:
                continue
            if claim is None:
                await self._sleep_until_due()
                continue
            if self.world.mutant is Mutant.FIRST_BYTE_FROM_ACKNOWLEDGEMENT:
                started_at = self.monotonic()
            if claim.intent is not None and isinstance(claim.item, Attempt):
                await self._check(claim, claim.intent, started_at=started_at)
            elif isinstance(claim.item, GatewayEvent):
                await self._apply_webhook(claim.item)
            elif isinstance(claim.item, LateCharge):
                await self._refund(claim.item)
            now = self.clock()
            await self.commit_until_known(lambda claim=claim, now=now: store.finish(claim, now=now))  # type: ignore[misc]

    async def _sleep_until_due(self) -> None:
        # Real workers poll; here the next due time is looked up, for speed. Clocks differ by up to 1 s.
        loop = self.world.loop
        due_at = max(self.world.store.next_due_at(), loop.now)
        self.idle, self.sleeps_until = loop.create_future(), due_at + self.world.between(0.2, 3.0)
        timer = loop.call_at(min(self.sleeps_until, loop.now + rules.DAY_SECONDS), self.wake)
        await self.wait(self.idle)
        timer.cancel()

    def wake(self) -> None:
        """End the sleep."""
        if self.idle is not None and not self.idle.done():
            self.idle.set_result(None)
        self.idle = None

    async def _check(self, claim: Claim, intent: Intent, *, started_at: float) -> None:
        if intent.is_first and intent.is_open:
            unchecked = self.world.mutant is Mutant.LEFT_TO_WORKER_UNCHECKED
            if unchecked or _in_charge_window(self.world, intent, claimed_at=claim.claimed_at):
                await self._send_first(intent, started_at=started_at)
            else:
                # Left to the worker, and the worker came too late: this claim alone could have sent it.
                await self._record_and_follow(intent, Outcome.NOT_EXECUTED, source=Source.FIRST)
            return
        answer = await self.ask(Verb.READ, intent, object_id=intent.object_id)
        source, outcome = Source.RECORD, answer.outcome
        if intent.is_open and outcome is Outcome.ABSENT:
            source, outcome = await self._after_absent(claim, intent, started_at=started_at)
        elif intent.is_open and outcome in _STILL_UNKNOWN and _fence_is_due(claim, intent):
            source, outcome = Source.FENCE, await self._fence(intent, claim)
        await self._record_and_follow(intent, outcome, source=source)

    async def _send_first(self, intent: Intent, *, started_at: float) -> None:
        key = f"{intent.attempt_id}-charge-1"
        ends_at = started_at + rules.BUDGET_SECONDS - 1.0
        answer = await self.charge(intent, key=key, action_started_at=started_at, call_ends_at=ends_at)
        await self._record_and_follow(intent, answer.outcome, source=Source.FIRST)

    async def _record_and_follow(self, intent: Intent, outcome: Outcome, *, source: Source) -> None:
        started_at = self.monotonic()
        further = await record_outcome(self, intent, outcome, source=source, next_by=NextBy.CALLER)
        if further is not None:
            await self._send_first(further, started_at=started_at)

    async def _after_absent(self, claim: Claim, intent: Intent, *, started_at: float) -> tuple[Source, Outcome]:
        """Decide between re-send, fence and waiting, once 'absent' counts."""
        world, account = self.world, self.world.gateways[intent.account].account
        if world.mutant is Mutant.FAILOVER_ON_NOT_FOUND:
            return Source.RECORD, Outcome.ABSENT
        if claim.claimed_at < intent.last_sent_at + rules.LOOKUP_CONSISTENCY_SECONDS:
            return Source.RECORD, Outcome.ABSENT
        trusted = account.caches is Caches.ALL or (
            world.mutant is Mutant.DECLINE_OF_RESEND_CLOSES and account.caches is Caches.ONLY_2XX
        )
        may_resend = trusted and _in_charge_window(world, intent, claimed_at=claim.claimed_at)
        prefers_fence = account.can_fence and intent.attempts < rules.ATTEMPTS_MAX and world.chance(0.15)
        if may_resend and not intent.cancel_requested and not prefers_fence:
            return Source.RESEND, await self._resend(claim, intent, started_at=started_at)
        if account.can_fence:
            return Source.FENCE, await self._fence(intent, claim)
        return Source.RECORD, Outcome.ABSENT

    async def _resend(self, claim: Claim, intent: Intent, *, started_at: float) -> Outcome:
        store, now = self.world.store, self.clock()
        await self.commit_until_known(lambda: store.note_resend(intent.attempt_id, now=now))
        fresh = self.world.mutant is Mutant.FRESH_KEY_ON_RESEND
        key = f"{intent.attempt_id}-charge-{claim.lease_token + 1 if fresh else 1}"
        ends_at = started_at + rules.BUDGET_SECONDS - 1.0
        return (await self.charge(intent, key=key, action_started_at=started_at, call_ends_at=ends_at)).outcome

    async def _fence(self, intent: Intent, claim: Claim) -> Outcome:
        """Obtain the gateway's word that no request of this attempt can charge any more."""
        object_id = intent.object_id
        if self.world.gateways[intent.account].account.two_phase and object_id is None:
            object_id = (await self.reserve(intent)).object_id
            if object_id is None or not await self.remember(intent, object_id):
                return Outcome.UNKNOWN
        key = f"{intent.attempt_id}-void-{claim.lease_token}"
        return (await self.ask(Verb.FENCE, intent, key=key, object_id=object_id)).outcome

    async def _apply_webhook(self, event: GatewayEvent) -> None:
        store, attempt_id, told = self.world.store, event.attempt_id, event.told
        if self.world.mutant is Mutant.WEBHOOK_UNCONDITIONAL:
            await self.commit_until_known(lambda: store.apply_unchecked(attempt_id, told))
            return
        intent = await self.commit_until_known(lambda: store.intent(attempt_id))
        if intent is None:
            return
        outcome = told
        if self.world.gateways[intent.account].account.can_look_up:
            outcome = (await self.ask(Verb.READ, intent, object_id=intent.object_id)).outcome
        await record_outcome(self, intent, outcome, source=Source.RECORD, next_by=NextBy.WORKER)

    async def _refund(self, late_charge: LateCharge) -> None:
        store, attempt = self.world.store, late_charge.attempt
        intent = await self.commit_until_known(lambda: store.intent(attempt.id))
        if intent is None:
            return
        answer = await self.ask(Verb.REFUND, intent, key=f"{late_charge.id}-refund-1", object_id=intent.object_id)
        if answer.outcome is Outcome.VOIDED:
            await self.commit_until_known(lambda: store.note_refund(late_charge))


async def record_outcome(
    process: Process, intent: Intent, outcome: Outcome, *, source: Source, next_by: NextBy
) -> Intent | None:
    """Run phase 2, again when its commit is unknown: only who wins may call for the further attempt."""
    store, now = process.world.store, process.clock()
    return await process.commit_until_known(
        lambda: store.record(intent.attempt_id, outcome, source=source, now=now, next_by=next_by)
    )


def _in_charge_window(world: World, intent: Intent, *, claimed_at: float) -> bool:
    in_window = claimed_at < intent.accepted_at + rules.CHARGE_WINDOW_SECONDS
    return in_window or world.mutant is Mutant.CHARGE_AFTER_WINDOW


def _fence_is_due(claim: Claim, intent: Intent) -> bool:
    return intent.cancel_requested or claim.claimed_at >= intent.deadline_at
