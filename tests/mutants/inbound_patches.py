"""Mutants of how webhooks are taken in and applied, each with the test that has to see it."""

from tests.mutants.patched import Caught, Edit, Mutant

_EVENTS = "packages/flows/src/paymux_flows/gateway_events.py"
_RECEIVE = "packages/flows/src/paymux_flows/receive_webhook.py"
_PROOFS = "packages/connectors/src/paymux_connectors/webhook_proofs.py"
_SQL = "packages/postgres/src/paymux_postgres/inbound_webhooks.sql"
_RULES = "packages/core/src/paymux_core/attempt_rules.py"

_STORING = "tests/inbound/test_storing.py"
_APPLYING = "tests/inbound/test_applying.py"
_VENDORS = "packages/connectors/tests/test_webhooks.py"

_BELIEVED = """\
    from paymux_core.connector import Caching
    from paymux_core.money import Money
    from paymux_core.outcomes import Captured
    from paymux_flows.record_outcome import Report, record_outcome

    said = Captured(facts.provider_payment_id or "", Money(attempt.amount, attempt.currency))
    report = Report(payment, attempt.number, Asked.HINT, said, (), Caching.ALL, actor, attempt.request_id)
    answer = ((await record_outcome(report, deps)).payment, said)
"""

WEBHOOKS_CAUGHT = (
    Caught(
        Mutant(
            "webhook_believed",
            "a webhook is a hint: the gateway is asked",
            (
                Edit(
                    _EVENTS,
                    "    answer = await ask(due.merchant_id, payment.id, attempt.number, deps, actor=actor, "
                    "asked=Asked.HINT)\n",
                    _BELIEVED,
                ),
            ),
        ),
        _APPLYING,
        "lies",
    ),
    Caught(
        Mutant(
            "webhook_signature_unchecked",
            "a webhook is stored for work only if its proof holds",
            (
                Edit(
                    _RECEIVE, "    refusal = dialect.verify_webhook(webhook, account.secrets)\n", "    refusal = None\n"
                ),
            ),
        ),
        _STORING,
        "refused or signature",
    ),
    Caught(
        Mutant(
            "webhook_told_apart_by_id_only",
            "where an event's id is not signed its bytes tell it apart",
            (
                Edit(_SQL, "and (event_id is null or not event_id_signed)", "and event_id is null"),
                Edit(_SQL, "and (event_id_signed or id in (select webhook_id from by_body))", ""),
            ),
        ),
        _STORING,
        "not_signed",
    ),
    Caught(
        Mutant(
            "webhook_takes_attempt_from_its_call",
            "a hint never calls an attempt lost whose own call may still run",
            (
                Edit(
                    _RULES,
                    "(history.status is AttemptStatus.STARTED and asked is not Asked.HINT) or given_up",
                    "history.status is AttemptStatus.STARTED or given_up",
                ),
            ),
        ),
        _APPLYING,
        "leaves_the_attempt",
    ),
    Caught(
        Mutant(
            "webhook_of_another_account",
            "an event speaks of attempts of its own account only",
            (
                Edit(
                    _EVENTS,
                    " if attempt.gateway_account_id == due.gateway_account_id else None",
                    "",
                ),
            ),
        ),
        _APPLYING,
        "before_its_payment",
    ),
    Caught(
        Mutant(
            "webhook_of_the_future",
            "a signed time is tolerated 300 s both ways",
            (
                Edit(
                    _PROOFS,
                    "    if abs(now.timestamp() - int(times[0])) > TOLERANCE_SECONDS:",
                    "    if now.timestamp() - int(times[0]) > TOLERANCE_SECONDS:",
                ),
            ),
        ),
        _VENDORS,
        "future",
    ),
)
