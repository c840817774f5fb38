"""Mutants of connectors, of the rules about a customer's action, of webhooks; each with the test that has to see it."""

from tests.mutants.inbound_patches import WEBHOOKS_CAUGHT
from tests.mutants.patched import Caught, Edit, Mutant
from tests.mutants.queues import CAUGHT_IN_QUEUES

_SOURCES = "packages/connectors/src/paymux_connectors"
_KIT = "packages/connectors/tests/test_conformance.py"
_ACTIONS = "packages/core/tests/test_actions.py"
_ASKING = "packages/core/tests/test_asking.py"


def _edit(name: str, search: str, replace: str, *, of: str = _SOURCES) -> Edit:
    return Edit(f"{of}/{name}.py", search, replace)


def _kit(name: str, rule: str, tests: str, *edits: Edit) -> Caught:
    return Caught(Mutant(name, rule, edits), _KIT, f"TestStripe and {tests}")


def _core(name: str, rule: str, file: str, *edits: Edit) -> Caught:
    return Caught(Mutant(name, rule, edits), file, "test")


_OF_CORE = "packages/core/src/paymux_core"

_MARKING = "packages/flows/src/paymux_flows/review_marking.py"
_AUDIT = "packages/postgres/src/paymux_postgres/audit.sql"

_OF_PEOPLE = (
    Caught(
        Mutant(
            "marked_unasked",
            "a person's word alone is no success: the gateway is asked",
            (
                Edit(
                    _MARKING,
                    "    return await look(step, when(resolving, holds), deps, "
                    "provider_reference=provider_reference)\n",
                    "    said = Captured(provider_reference, Money(step.attempt.amount, step.attempt.currency))\n"
                    "    result = CallResult(said, ())\n"
                    "    return await record(step, result, Asked.LOOK_UP, when(resolving, holds), deps)\n",
                ),
                Edit(
                    _MARKING,
                    "from paymux_core.ports import CallResult\n",
                    "from paymux_core.money import Money\nfrom paymux_core.ports import CallResult\n",
                ),
            ),
        ),
        "tests/reviews/test_resolving.py",
        "does_not_show_that_charge and absent",
    ),
    Caught(
        Mutant(
            "running_rows_skipped",
            "what a running transaction may still write is not sealed over",
            (Edit(_AUDIT, "pg_snapshot_xmin(pg_current_snapshot())", "pg_snapshot_xmax(pg_current_snapshot())"),),
        ),
        "tests/audit/test_seals.py",
        "long_transaction",
    ),
)

CAUGHT = (
    *_OF_PEOPLE,
    _kit(
        "nothing_remembered",
        "a two-phase gateway's id is remembered before the charge",
        "remembered_before",
        _edit("stripe", "    yield Remember(intent_id)\n", ""),
    ),
    _kit(
        "silence_did_nothing",
        "no reply is unknown",
        "without_a_reply",
        _edit("answers", "    if isinstance(reply, NotSent):\n", "    if reply is not None:\n"),
    ),
    _kit(
        "server_error_is_unmapped",
        "a 5xx is a server's error, whatever its body says",
        "server_error",
        _edit("stripe_answers", "    if status >= 500 or status == 424:", "    if status == 424:"),
    ),
    _kit(
        "new_status_is_pending",
        "a word nobody knows is unmapped, never a default",
        "nobody_knows",
        _edit(
            "stripe_answers",
            '            return answers.unmapped(f"status {status}")\n',
            "            return Pending(intent_id)\n",
        ),
    ),
    _kit(
        "foreign_intent_believed",
        "an answer about another attempt is not this one's",
        "another_attempt",
        _edit(
            "stripe_answers",
            '    if text(member(intent, "metadata"), "attempt_id") != attempt_id:\n        return Unknown',
            '    if text(member(intent, "metadata"), "attempt_id") is None:\n        return Unknown',
        ),
    ),
    _kit(
        "fence_key_repeated",
        "a fence has a new key each time",
        "new_key_each_time",
        _edit("stripe_requests", ", number=call.fence_number", ""),
    ),
    _kit(
        "key_out_of_charset",
        "provider keys are short and plain",
        "short_plain",
        _edit(
            "stripe_requests", 'key=provider_key(call.attempt_id, verb="confirm")', 'key=f"{call.attempt_id}:confirm"'
        ),
    ),
    _kit(
        "bytes_differ",
        "the same call gives the same bytes",
        "same_bytes",
        _edit(
            "stripe_requests",
            '        ("currency", call.money.currency),\n',
            '        ("currency", call.money.currency),\n        ("x", str(__import__("secrets").token_hex(4))),\n',
        ),
    ),
    _kit(
        "secret_kept",
        "an answer's secret is not kept",
        "secrets_are_never_shown",
        _edit(
            "stripe_answers",
            "INTENT_FIELDS: FieldTree = {\n",
            'INTENT_FIELDS: FieldTree = {\n    "client_secret": None,\n',
        ),
    ),
    _kit(
        "token_shown",
        "the customer's token is in no kept request",
        "secrets_are_never_shown",
        _edit(
            "stripe_requests",
            '        shown=fields,\n        hidden=[("payment_method", call.token)],\n',
            '        shown=[*fields, ("payment_method", call.token)],\n        hidden=[],\n',
        ),
    ),
    _kit(
        "deep_answer_raises",
        "no answer makes a connector raise",
        "without_sense",
        _edit("answers", "    except (ValueError, RecursionError):\n", "    except ValueError:\n"),
    ),
    _kit(
        "unstorable_text",
        "what an answer leaves behind can be stored",
        "wrong_value",
        _edit("answers", "return _storable(_read(body.decode()))", "return _read(body.decode())"),
    ),
    _kit(
        "endless_id",
        "an id fits an index",
        "wrong_value",
        _edit("answers", "_IDENTIFIER_MAX = 255\n", "_IDENTIFIER_MAX = 255_000\n"),
        _edit("answers", "_TEXT_MAX = 4096\n", "_TEXT_MAX = 4096_000\n"),
    ),
    _core(
        "action_after_fence",
        "an action that was given up is not handed out again",
        _ACTIONS,
        _edit(
            "attempt_rules",
            "    if asked is Asked.FENCE or history.fenced:\n",
            "    if asked is Asked.FENCE:\n",
            of=_OF_CORE,
        ),
    ),
    _core(
        "unanswered_fence_waits",
        "a fence without an answer ends the customer's part",
        _ACTIONS,
        _edit(
            "attempt_rules",
            "    lost = (history.status is AttemptStatus.STARTED and asked is not Asked.HINT) or given_up\n",
            "    lost = history.status is AttemptStatus.STARTED and not given_up\n",
            of=_OF_CORE,
        ),
    ),
    _core(
        "decline_closes_action",
        "a decline after an action closes nothing until the cancel is acknowledged",
        _ACTIONS,
        _edit(
            "attempt_rules",
            "    if history.was_requires_action:\n",
            "    if history.was_requires_action and not closes:\n",
            of=_OF_CORE,
        ),
    ),
    _core(
        "look_puts_off",
        "a look out of turn does not put the worker's check off",
        _ACTIONS,
        _edit(
            "resolution",
            "    return min(finding.now, due) if asked_only and verdict.refusal is not None else due\n",
            "    return None\n",
            of=_OF_CORE,
        ),
    ),
    _core(
        "deadline_forgotten",
        "at the deadline a fence is tried",
        _ASKING,
        _edit("asking", "    ended = unwanted or is_over(payment, now)\n", "    ended = unwanted\n", of=_OF_CORE),
    ),
    _core(
        "resend_after_action",
        "what the customer was handed is not sent again",
        _ASKING,
        _edit("asking", "        and not attempt.was_requires_action\n", "", of=_OF_CORE),
    ),
    _core(
        "absence_believed_at_once",
        "an absence counts only when the gateway had the time to show what it did",
        _ASKING,
        _edit(
            "asking",
            "    return isinstance(seen, NotFound) and now >= shown_by\n",
            "    return isinstance(seen, NotFound) and shown_by is not None\n",
            of=_OF_CORE,
        ),
    ),
    *CAUGHT_IN_QUEUES,
    *WEBHOOKS_CAUGHT,
)
