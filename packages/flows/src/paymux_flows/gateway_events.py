"""Apply a webhook: find the attempt it is about, ask the gateway, and record what the gateway says.

The event itself is never believed: it may be forged by whoever has a secret, old, out of order or for another payment.
"""

from datetime import timedelta
from uuid import UUID

import msgspec

from paymux_core.attempt_rules import Asked
from paymux_core.ids import Kind, parse_attempt_id, public_id
from paymux_core.inbound_webhooks import TRIES_MAX, DueWebhook, WebhookEnd, WebhookFacts, WebhookStatus, pause_after_try
from paymux_core.outcomes import NotExecuted, NotFound, Outcome, Unknown
from paymux_core.records import Attempt, Payment
from paymux_core.transitions import AttemptStatus
from paymux_flows.deps import Deps
from paymux_flows.reconcile import ask

UNMATCHED = "unmatched_webhook"
OWN_CALL_SECONDS = 2.0
"""As long as this an attempt is left to the call that has just begun: nearly all webhooks come while it is answered."""
OWN_CALL_PAUSE_SECONDS = 1.0


class EventNotRead(Exception):
    """A stored event cannot be read though it could when it came: our connector changed, or its bytes did."""


class NotAsked(Exception):
    """The attempt's account cannot be used: its connector is not installed here, or its credentials do not open."""


class _Matched(msgspec.Struct, frozen=True, gc=False):
    payment: Payment
    attempt: Attempt


async def apply_webhook(due: DueWebhook, deps: Deps) -> WebhookEnd:
    """Do what a webhook asks for, and end its lease.

    Raises: Refused, EventNotRead, NotAsked; the lease is still held then.
    """
    facts = _facts(due, deps)
    matched = await _match(due, facts, deps)
    if matched is not None and facts.about_payment:
        end = await _apply(due, facts, matched, deps)
    elif matched is not None or not facts.about_payment:
        end = _end(deps, "informational", matched)
    elif due.tries < TRIES_MAX:
        # It may be faster than the commit that makes us know what it speaks of.
        end = _again(due, "unmatched", deps)
    else:
        await _call_a_person(due, facts, deps)
        end = WebhookEnd(WebhookStatus.UNMATCHED, UNMATCHED, deps.clock.now())
    await deps.store.inbound.finish(due, end)
    return end


async def put_off(due: DueWebhook, reason: str, deps: Deps, *, counts: bool) -> WebhookEnd:
    """Give a webhook back whose try failed: it is tried again, and after the last try it is a dead letter."""
    if not counts:
        at = deps.clock.now() + timedelta(seconds=OWN_CALL_PAUSE_SECONDS / deps.clocks.divisor)
        end = WebhookEnd(WebhookStatus.PENDING, reason, deps.clock.now(), at, due.tries - 1)
    elif due.tries < TRIES_MAX:
        end = _again(due, reason, deps)
    else:
        end = WebhookEnd(WebhookStatus.DEAD, reason, deps.clock.now())
    await deps.store.inbound.finish(due, end)
    return end


def _facts(due: DueWebhook, deps: Deps) -> WebhookFacts:
    dialect = deps.gateways.webhook_dialect(due.gateway)
    facts = None if dialect is None else dialect.parse_webhook(due.body, due.headers)
    if facts is None:
        raise EventNotRead(f"webhook {due.webhook_id} of {due.gateway} cannot be read")
    return facts


async def _match(due: DueWebhook, facts: WebhookFacts, deps: Deps) -> _Matched | None:
    """Find the attempt by our own id, else by the gateway's; only one of this account can be meant."""
    named = None if facts.attempt_id is None else parse_attempt_id(facts.attempt_id)
    if named is None and facts.provider_payment_id is not None:
        named = await deps.store.inbound.attempt_of_reserve(
            merchant_id=due.merchant_id,
            provider_payment_id=facts.provider_payment_id,
            account_id=due.gateway_account_id,
        )
    return None if named is None else await _found(due, named, deps)


async def _found(due: DueWebhook, named: tuple[UUID, int], deps: Deps) -> _Matched | None:
    payment_id, number = named
    payment = await deps.store.load_payment(due.merchant_id, payment_id)
    if payment is None or number > len(payment.attempts):
        return None
    attempt = payment.attempts[number - 1]
    return _Matched(payment, attempt) if attempt.gateway_account_id == due.gateway_account_id else None


async def _apply(due: DueWebhook, facts: WebhookFacts, matched: _Matched, deps: Deps) -> WebhookEnd:
    if _is_known(facts, matched.attempt):
        return _end(deps, "known", matched)
    if _just_begun(matched.attempt, deps):
        at = deps.clock.now() + timedelta(seconds=OWN_CALL_PAUSE_SECONDS / deps.clocks.divisor)
        return WebhookEnd(WebhookStatus.PENDING, "own_call_runs", deps.clock.now(), at, due.tries - 1)
    actor = f"webhook:{public_id(Kind.WEBHOOK, due.webhook_id)}"
    payment, attempt = matched.payment, matched.attempt
    answer = await ask(due.merchant_id, payment.id, attempt.number, deps, actor=actor, asked=Asked.HINT)
    if answer is None:
        raise NotAsked(f"{attempt.gateway} cannot be asked about {public_id(Kind.PAYMENT, payment.id)}")
    now_known, outcome = answer
    seen = _Matched(now_known, now_known.attempts[attempt.number - 1])
    if _tells_nothing(outcome):
        return _unanswered(due, seen, deps)
    return _end(deps, _result(matched, seen), seen)


def _is_known(facts: WebhookFacts, attempt: Attempt) -> bool:
    """Whether the event can only repeat what is booked; gateways are not asked about that."""
    same = facts.provider_payment_id in {None, attempt.provider_payment_id}
    return attempt.status is AttemptStatus.SUCCEEDED and same


def _just_begun(attempt: Attempt, deps: Deps) -> bool:
    age = deps.clock.now() - attempt.created_at
    return attempt.status is AttemptStatus.STARTED and age < timedelta(seconds=OWN_CALL_SECONDS / deps.clocks.divisor)


def _tells_nothing(outcome: Outcome) -> bool:
    """Whether the gateway did not answer, or does not show yet what it told us of."""
    return isinstance(outcome, (Unknown, NotExecuted, NotFound))


def _unanswered(due: DueWebhook, seen: _Matched, deps: Deps) -> WebhookEnd:
    if due.tries < TRIES_MAX:
        return _again(due, "no_answer", deps)
    if seen.attempt.next_check_at is None:
        return WebhookEnd(WebhookStatus.DEAD, "no_answer", deps.clock.now(), None, None, *_place(seen))
    # The attempt's own checks go on asking, and call a person in time.
    return _end(deps, "left_to_checks", seen)


def _result(before: _Matched, after: _Matched) -> str:
    if len(after.payment.late_charges) > len(before.payment.late_charges):
        return "late_charge"
    return "no_change" if after.attempt.status is before.attempt.status else after.attempt.status


def _end(deps: Deps, result: str, matched: _Matched | None) -> WebhookEnd:
    now = deps.clock.now()
    if matched is None:
        return WebhookEnd(WebhookStatus.APPLIED, result, now)
    return WebhookEnd(WebhookStatus.APPLIED, result, now, None, None, *_place(matched))


def _place(matched: _Matched) -> tuple[UUID, int, int]:
    return matched.payment.id, matched.attempt.number, matched.payment.event_position


def _again(due: DueWebhook, reason: str, deps: Deps) -> WebhookEnd:
    now = deps.clock.now()
    pause = pause_after_try(due.tries, jitter=deps.rng.uniform(), divisor_seconds=deps.clocks.divisor)
    return WebhookEnd(WebhookStatus.PENDING, reason, now, now + pause)


async def _call_a_person(due: DueWebhook, facts: WebhookFacts, deps: Deps) -> None:
    account = await deps.store.inbound.find_account(due.gateway_account_id)
    assert account is not None, "an account is never deleted"
    webhook_id = public_id(Kind.WEBHOOK, due.webhook_id)
    told = {
        "id": webhook_id,
        "object": "gateway_webhook",
        "gateway_account_id": public_id(Kind.GATEWAY_ACCOUNT, due.gateway_account_id),
        "gateway": due.gateway,
        "type": facts.type,
        "event_id": facts.event_id,
        "provider_payment_id": facts.provider_payment_id,
        "received_at": due.received_at,
    }
    await deps.store.inbound.open_webhook_review(
        due,
        review_id=deps.ids.new(),
        event_id=deps.ids.new(),
        subject=webhook_id,
        body=msgspec.json.encode(told),
        livemode=account.livemode,
        reason=UNMATCHED,
        actor=f"webhook:{webhook_id}",
        at=deps.clock.now(),
    )
