"""The mutants: which rule each one removes, and the patch that removes it."""

from tests.mutants.patched import Edit, Mutant
from tests.mutants.store_patches import STORE_MUTANTS

_CONFIRM = "packages/flows/src/paymux_flows/confirm.py"
_CHARGING = "packages/flows/src/paymux_flows/charging.py"
_ATTEMPTING = "packages/flows/src/paymux_flows/attempting.py"
_RECONCILE = "packages/flows/src/paymux_flows/reconcile.py"
_REVIEWING = "packages/flows/src/paymux_flows/reviewing.py"
_RECORD = "packages/flows/src/paymux_flows/record_outcome.py"
_ANSWERING = "packages/flows/src/paymux_flows/answering.py"
_ASKING = "packages/core/src/paymux_core/asking.py"
_RULES = "packages/core/src/paymux_core/attempt_rules.py"
_RESOLUTION = "packages/core/src/paymux_core/resolution.py"
_CLOCKS = "packages/core/src/paymux_core/clocks.py"
_DRIVER = "packages/connectors/src/paymux_connectors/driver.py"

_CALLED_FIRST = """\
    early = Charge(payment, phase.attempt, choice.candidate, deps.clock.monotonic(), budget_ends_at, phase.actor)
    limits = money_limits(deps, opened_at=early.opened_at, budget_ends_at=budget_ends_at)

    async def forget(_provider_payment_id: str) -> None:
        return None

    await deps.gateways.authorize(
        choice.candidate.account, call_of(payment, phase.attempt), limits=limits, remember=forget
    )
    result = await deps.store.open_attempt(phase)
"""

MUTANTS = (
    Mutant(
        "gateway_before_attempt",
        "the attempt is committed before the gateway is called",
        (
            Edit(_CONFIRM, "    result = await deps.store.open_attempt(phase)\n", _CALLED_FIRST),
            Edit(
                _CONFIRM,
                "import Intent, first_choice, new_attempt\n",
                "import Intent, call_of, first_choice, money_limits, new_attempt\n",
            ),
        ),
    ),
    Mutant(
        "fresh_key_on_resend",
        "a re-send carries the same provider key",
        (
            Edit(
                _DRIVER,
                "        responder = self._in_process.get(",
                "        if request.verb.moves_money:\n"
                '            fresh = f"{request.idempotency_key}-{int(self._clock.monotonic() * 1000)}"\n'
                '            headers = {**request.headers, "Idempotency-Key": fresh}\n'
                "            request = replace(request, headers=headers, idempotency_key=fresh)\n"
                "        responder = self._in_process.get(",
            ),
        ),
    ),
    Mutant(
        "failover_on_timeout",
        "a timeout is unknown, never failed",
        (
            Edit(
                _RULES,
                "            review = None if history.status in ATTEMPT_CLOSED else _REVIEWED.get(why)\n",
                "            if asked is Asked.CHARGE and history.status is AttemptStatus.STARTED:\n"
                "                refusal = Refusal(DeclineCode.GATEWAY_TIMEOUT, why, Advice.TRY_ANOTHER_GATEWAY)\n"
                "                return Verdict(AttemptEvent.NOT_EXECUTE, why, refusal)\n"
                "            review = None if history.status in ATTEMPT_CLOSED else _REVIEWED.get(why)\n",
            ),
            Edit(
                _RULES,
                "from paymux_core.outcomes import (\n",
                "from paymux_core.outcomes import (\n    Advice,\n    DeclineCode,\n",
            ),
        ),
    ),
    Mutant(
        "not_found_closes",
        "'not found' closes nothing",
        (
            Edit(
                _RULES,
                '            return _lost("not_found", asked, history)\n',
                '            return _if_possible(AttemptEvent.VOID, "not_found", history)\n',
            ),
        ),
    ),
    Mutant(
        "not_executed_of_resend_closes",
        "'not executed' closes an attempt only as the answer to its first charge",
        (
            Edit(
                _RULES,
                "    closes = (\n        asked is Asked.CHARGE\n        and history.status is AttemptStatus.STARTED\n",
                "    if asked is Asked.RESEND:\n"
                "        return _if_possible(AttemptEvent.VOID, refusal.code, history, refusal)\n"
                "    closes = (\n        asked is Asked.CHARGE\n        and history.status is AttemptStatus.STARTED\n",
            ),
        ),
    ),
    Mutant(
        "decline_of_resend_closes",
        "a charge is re-sent, and its decline believed, only where the gateway stores every answer under the key",
        (
            Edit(
                _RULES,
                "        Asked.RESEND: history.caching is Caching.ALL and declined.stored,\n",
                "        Asked.RESEND: True,\n",
            ),
            Edit(
                _ASKING,
                "        capabilities.caching is Caching.ALL\n",
                "        capabilities.caching is not Caching.NONE\n",
            ),
        ),
    ),
    Mutant(
        "failed_at_deadline",
        "unknown never becomes failed by a timeout",
        (
            Edit(
                _RECONCILE,
                "        await call_a_person(\n"
                "            payment.merchant_id, payment.id, step.attempt.number, reason=DEADLINE,"
                " actor=step.actor, deps=deps\n"
                "        )\n",
                "        await _record(step, CallResult(Voided(None), ()), Asked.LOOK_UP, deps)\n",
            ),
            Edit(
                _RECONCILE,
                "import Outcome, Unknown, UnknownReason, pause_seconds_asked\n",
                "import Outcome, Unknown, UnknownReason, Voided, pause_seconds_asked\n",
            ),
        ),
    ),
    Mutant(
        "refused_fence_believed",
        "a fence closes an attempt only with the gateway's acknowledgement",
        (
            Edit(
                _RECONCILE,
                "    recorded = await _record(step, result, Asked.FENCE, deps)\n",
                "    if isinstance(result.outcome, Unknown):\n"
                "        result = CallResult(Voided(None), result.interactions)\n"
                "    recorded = await _record(step, result, Asked.FENCE, deps)\n",
            ),
            Edit(
                _RECONCILE,
                "import Outcome, Unknown, UnknownReason, pause_seconds_asked\n",
                "import Outcome, Unknown, UnknownReason, Voided, pause_seconds_asked\n",
            ),
        ),
    ),
    Mutant(
        "no_review_at_deadline",
        "at the deadline a person is told",
        (
            Edit(
                _REVIEWING,
                "    for _ in range(ROUNDS_MAX):\n",
                "    return\n    for _ in range(ROUNDS_MAX):\n",
            ),
        ),
    ),
    Mutant(
        "asked_once",
        "what is unknown is asked for again and again",
        (
            Edit(
                _RESOLUTION,
                "    pause = pause_after_check(\n",
                "    return finding.now + timedelta(days=365)\n    pause = pause_after_check(\n",
            ),
            Edit(
                _RESOLUTION,
                "    due = now + max(pause, ",
                "    return now + timedelta(days=365)\n    due = now + max(pause, ",
            ),
            Edit(
                _RESOLUTION,
                "    return replace(attempt, next_check_at=deadline)\n",
                "    return attempt\n",
            ),
        ),
    ),
    Mutant(
        "late_charge_forgotten",
        "money for a closed attempt is recorded",
        (
            Edit(
                _RULES,
                '        return Verdict(None, "late_charge", review="late_charge", late=True)\n',
                "        return Verdict(None, _NOTHING)\n",
            ),
        ),
    ),
    Mutant(
        "closed_attempt_unwatched",
        "an attempt closed without money is still looked at for seven days",
        (
            Edit(
                _RESOLUTION,
                "        return tomorrow if watch_until is not None and tomorrow <= watch_until else None\n",
                "        return None if tomorrow else tomorrow\n",
            ),
        ),
    ),
    Mutant(
        "charge_after_window",
        "no re-send and no further attempt starts after the charge window",
        (
            Edit(_ASKING, "        and now < attempt.charge_window_ends_at\n", ""),
            Edit(_RESOLUTION, "        and finding.now < attempt.charge_window_ends_at\n", ""),
        ),
    ),
    Mutant(
        "late_first_byte",
        "a charge whose first byte would leave too late is not sent",
        (
            Edit(
                _ATTEMPTING,
                "        first_byte_before=opened_at + clocks.first_byte,\n",
                '        first_byte_before=opened_at + float("inf"),\n',
            ),
        ),
    ),
    Mutant(
        "first_byte_from_acknowledgement",
        "the latest first byte is counted from before phase 1 was sent",
        (
            Edit(
                _CONFIRM,
                "budget_ends_at - deps.clocks.request_budget, budget_ends_at",
                "deps.clock.monotonic(), budget_ends_at",
            ),
        ),
    ),
    Mutant(
        "resend_from_acknowledgement",
        "the latest first byte of a re-send is counted from before the claim was sent",
        (
            Edit(
                _RECONCILE,
                " candidate, due.claimed_at_seconds, actor, due)\n",
                " candidate, deps.clock.monotonic(), actor, due)\n",
            ),
        ),
    ),
    Mutant(
        "charge_before_remember",
        "a reserved id is committed before the charge is sent",
        (
            Edit(
                _DRIVER,
                "                    if not await course.remember(step.provider_payment_id):\n",
                "                    if not step.provider_payment_id:\n",
            ),
        ),
    ),
    Mutant(
        "failover_after_cancel",
        "no further attempt once a cancellation is requested",
        (Edit(_RESOLUTION, "        and payment.cancellation_requested_at is None\n", ""),),
    ),
    Mutant(
        "unseen_commit_calls",
        "a phase 1 whose acknowledgement was lost calls no gateway in this request",
        (
            Edit(
                _CONFIRM,
                "    if result is PhaseOneResult.COMMITTED_UNSEEN:\n",
                "    if result is PhaseOneResult.NOT_MOVED:\n",
            ),
        ),
    ),
    Mutant(
        "loser_goes_on",
        "who loses the compare-and-set of phase 2 decides again on what is true",
        (
            Edit(
                _RECORD,
                "        if await deps.store.record_outcome(phase):\n",
                "        await deps.store.record_outcome(phase)\n        if phase is not None:\n",
            ),
        ),
    ),
    Mutant(
        "retry_charges",
        "a client that asks again causes no money request",
        (
            Edit(
                _ANSWERING,
                "        return await look_now(caller.merchant_id, stored.payment_id, deps)\n",
                "        looked = await look_now(caller.merchant_id, stored.payment_id, deps)\n"
                "        return await _charge_again(looked, deps)\n",
            ),
            Edit(
                _ANSWERING,
                "async def existing(",
                "async def _charge_again(payment: Payment, deps: Deps) -> Payment:\n"
                "    from paymux_flows.attempting import candidate_of\n"
                "    from paymux_flows.charging import Charge, charge\n\n"
                "    candidate = await candidate_of(payment, payment.attempts[-1], deps)\n"
                "    now = deps.clock.monotonic()\n"
                '    step = Charge(payment, payment.attempts[-1], candidate, now, now + 26, "api:retry")\n'
                "    return await charge(step, deps)\n\n\n"
                "async def existing(",
            ),
        ),
    ),
    Mutant(
        "moved_on_still_charges",
        "nothing is sent for an attempt that was closed while its object was reserved",
        (
            Edit(
                _DRIVER,
                "                    if not await course.remember(step.provider_payment_id):\n",
                "                    if await course.remember(step.provider_payment_id) is None:\n",
            ),
        ),
    ),
    Mutant(
        "failed_without_fence",
        "at the deadline only the acknowledgement of a fence closes an attempt (with a deadline of 4 s, so that"
        " the sandbox's own late charges come after it)",
        (
            Edit(
                _RECONCILE,
                "    match follows:\n",
                "    if is_over(step.payment, deps.clock.now()):\n"
                "        await _record(step, CallResult(Voided(None), ()), Asked.LOOK_UP, deps)\n"
                "        return\n"
                "    match follows:\n",
            ),
            Edit(
                _RECONCILE,
                "import Outcome, Unknown, UnknownReason, pause_seconds_asked\n",
                "import Outcome, Unknown, UnknownReason, Voided, pause_seconds_asked\n",
            ),
            Edit(
                _CLOCKS,
                'values["processing_deadline"] = min(60.0, self.processing_deadline)\n',
                'values["processing_deadline"] = 4.0\n',
            ),
        ),
    ),
    *STORE_MUTANTS,
)


def by_name(name: str) -> Mutant:
    """Find a mutant. Raises: KeyError."""
    return {mutant.name: mutant for mutant in MUTANTS}[name]
