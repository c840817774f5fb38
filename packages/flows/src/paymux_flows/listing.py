"""After an outage: read the gateway's own list and settle what it shows, before anybody is asked about one by one.

What the list does not show is as unknown as before: an absence in it closes nothing, sends nothing, fences nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from paymux_core.attempt_rules import Asked
from paymux_core.connector import ListWindow
from paymux_core.exchange import Interaction, Listed, Page
from paymux_core.ids import attempt_id
from paymux_core.lookups import Waiting
from paymux_core.outcomes import (
    DeclineCode,
    NotExecuted,
    NotFound,
    Outcome,
    Unknown,
    UnknownReason,
    outcome_name,
    pause_seconds_asked,
)
from paymux_core.ports import PageResult
from paymux_core.routing import Candidate
from paymux_core.transitions import ATTEMPT_CLOSED, AttemptStatus
from paymux_flows.attempting import asking_limits
from paymux_flows.deps import Deps
from paymux_flows.record_outcome import Report, record_outcome

FEW = 20
"""As many are asked about one by one sooner than a list is read."""
GROUP_SPAN = timedelta(hours=1)
LIST_BEFORE = timedelta(minutes=2)
LIST_AFTER = timedelta(minutes=15)
"""The gateway's clock may differ from ours, and a charge may be sent again while its window is open."""
PAGES_MAX = 100
RICH = 2
POOR_PAGES_MAX = 3
"""After as many pages in a row that found fewer than two attempts, asking one by one is no dearer."""
LIMITED_SECONDS = 5.0
"""An account that is limited, and does not say for how long, is left alone for this long."""


async def leave_alone(outcome: Outcome, merchant_id: UUID, candidate: Candidate, deps: Deps) -> None:
    """Ask an account nothing for a while where its gateway wants that. Raises: StorageUnavailable, Overloaded."""
    limited = (isinstance(outcome, NotExecuted) and outcome.refusal.code is DeclineCode.GATEWAY_RATE_LIMITED) or (
        isinstance(outcome, Unknown) and outcome.reason is UnknownReason.RATE_LIMITED
    )
    if not limited:
        return
    now = deps.clock.now()
    seconds = pause_seconds_asked(outcome) or LIMITED_SECONDS / deps.clocks.divisor
    await deps.store.lookups.hold(
        merchant_id=merchant_id, account_id=candidate.account_id, at=now, until=now + timedelta(seconds=seconds)
    )


class ListRead(Struct, frozen=True, gc=False):
    """What reading a list came to: pages read, attempts found in it and recorded, whether it was read to its end."""

    pages: int
    found: int
    ended: bool


async def settle_by_list(
    merchant_id: UUID,
    candidate: Candidate,
    crowd: Sequence[Waiting],
    deps: Deps,
    *,
    actor: str,
    wanted: Callable[[], bool],
) -> ListRead:
    """Read the gateway's list over the time in which a crowd of attempts was born, and record what it shows of them.

    Ends early when it is not `wanted` any more. Raises: StorageUnavailable, Overloaded; what was recorded stays.
    """
    total = ListRead(0, 0, ended=True)
    for group in _by_time(crowd):
        read = await _settle_group(merchant_id, candidate, group, deps, actor=actor, goes_on=wanted)
        total = ListRead(total.pages + read.pages, total.found + read.found, total.ended and read.ended)
        if not read.ended:
            break
    return total


def _by_time(crowd: Sequence[Waiting]) -> Iterator[Sequence[Waiting]]:
    """Give those born within an hour of each other; too few for a page are left to be asked about one by one."""
    rest = sorted(crowd, key=lambda waiting: waiting.born_at)
    while rest:
        group = [waiting for waiting in rest if waiting.born_at - rest[0].born_at <= GROUP_SPAN]
        rest = rest[len(group) :]
        if len(group) > FEW:
            yield group


async def _settle_group(
    merchant_id: UUID,
    candidate: Candidate,
    group: Sequence[Waiting],
    deps: Deps,
    *,
    actor: str,
    goes_on: Callable[[], bool],
) -> ListRead:
    wanted = {attempt_id(waiting.payment_id, waiting.number): waiting for waiting in group}
    window = ListWindow(born_from=group[0].born_at - LIST_BEFORE, born_to=group[-1].born_at + LIST_AFTER)
    pages = found = poor = 0
    while pages < PAGES_MAX and poor < POOR_PAGES_MAX and wanted:
        if not goes_on():
            return ListRead(pages, found, ended=False)
        result = await _read_page(merchant_id, candidate, window, deps)
        if result is None or not isinstance(result.page, Page):
            return ListRead(pages, found, ended=False)
        pages += 1
        shown = Counter(listed.attempt_id for listed in result.page.found)
        # Several objects of one attempt are for its own look-up, which calls a person.
        seen = [
            _Seen(wanted.pop(listed.attempt_id), listed, result.interaction)
            for listed in result.page.found
            if listed.attempt_id in wanted and shown[listed.attempt_id] == 1 and result.interaction is not None
        ]
        # Together: they share the statements, and none is cancelled for another's trouble.
        ended = await asyncio.gather(
            *(_settle(merchant_id, candidate, one, deps, actor=actor) for one in seen), return_exceptions=True
        )
        for trouble in ended:
            if trouble is not None:
                raise trouble
        settled = len(seen)
        found += settled
        # A page costs what a single look-up costs.
        poor = poor + 1 if settled < RICH else 0
        if result.page.after is None:
            break
        window = replace(window, after=result.page.after)
    return ListRead(pages, found, ended=True)


async def _read_page(merchant_id: UUID, candidate: Candidate, window: ListWindow, deps: Deps) -> PageResult | None:
    """Read one page in its place; None if the account has none left soon."""
    wait_seconds = await deps.store.lookups.place(
        merchant_id=merchant_id,
        account_id=candidate.account_id,
        per_second=candidate.capabilities.lookups_per_second,
        at=deps.clock.now(),
    )
    if wait_seconds is None:
        return None
    if wait_seconds > 0:
        await deps.sleep(wait_seconds)
    result = await deps.gateways.list_page(candidate.account, window, limits=asking_limits(deps))
    if not isinstance(result.page, Page):
        await leave_alone(result.page, merchant_id, candidate, deps)
    return result


class _Seen(Struct, frozen=True, gc=False):
    waiting: Waiting
    listed: Listed
    interaction: Interaction


async def _settle(merchant_id: UUID, candidate: Candidate, seen: _Seen, deps: Deps, *, actor: str) -> None:
    """Record what a page shows of one attempt, as a look-up of it: the page is noted at each attempt it speaks of."""
    payment = await deps.store.load_payment(merchant_id, seen.waiting.payment_id)
    assert payment is not None, "a payment is never deleted"
    attempt = payment.attempts[seen.waiting.number - 1]
    outcome = seen.listed.outcome
    if attempt.status in ATTEMPT_CLOSED or attempt.status is AttemptStatus.STARTED or isinstance(outcome, NotFound):
        # A started one is first taken for lost, and what the list shows to be reserved proves nothing: its check comes.
        return
    known, shown_id = attempt.provider_payment_id, getattr(outcome, "provider_payment_id", None)
    if known is not None and shown_id not in {None, known}:
        # Another object of the same attempt: what became of ours is asked by its id.
        return
    own = replace(
        seen.interaction,
        id=deps.ids.new().bytes,
        response=seen.listed.shown,
        outcome=outcome_name(outcome),
        provider_payment_id=shown_id,
    )
    report = Report(
        payment=payment,
        number=attempt.number,
        asked=Asked.LOOK_UP,
        outcome=outcome,
        interactions=(own,),
        caching=candidate.capabilities.caching,
        actor=actor,
        request_id=attempt.request_id,
        # A next attempt that this opens is the worker's to call.
        inline=False,
        unknown_deadline_seconds=candidate.capabilities.unknown_deadline_seconds,
    )
    await record_outcome(report, deps)
