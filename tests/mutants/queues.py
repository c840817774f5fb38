"""Mutants of the worker's queue: what goes first, what a budget and a list may do, what is on record."""

from tests.mutants.patched import Caught, Edit, Mutant

_BACKLOG = "tests/worker/test_backlog.py"
_LEFT = "tests/worker/test_left_to_the_worker.py"
_BUDGETS = "packages/postgres/tests/test_lookup_budgets.py"
_RECONCILE = "packages/flows/src/paymux_flows/reconcile.py"
_LISTING = "packages/flows/src/paymux_flows/listing.py"
_LOOP = "apps/worker/src/paymux_worker/loop.py"
_BUDGETS_SQL = "packages/postgres/src/paymux_postgres/lookup_budgets.sql"
_ATTEMPTS_SQL = "packages/postgres/src/paymux_postgres/payment_attempts.sql"


def _caught(name: str, rule: str, file: str, tests: str, *edits: Edit) -> Caught:
    return Caught(Mutant(name, rule, edits), file, tests)


CAUGHT_IN_QUEUES = (
    _caught(
        "budget_per_process",
        "all processes together ask an account no faster than it allows",
        _BUDGETS,
        "no_faster",
        Edit(_BUDGETS_SQL, "then $3 else greatest(b.given_until, $3) end", "then $3 else $3 end"),
    ),
    _caught(
        "budget_ignored",
        "a check without a place asks nobody",
        _BACKLOG,
        "without_a_place",
        Edit(_LOOP, "        if wait_seconds is not None:\n", "        if wait_seconds != -1:\n"),
        Edit(_LOOP, "            if wait_seconds > 0:\n", "            if wait_seconds:\n"),
    ),
    _caught(
        "list_closes",
        "what a list does not show is closed by nobody",
        _BACKLOG,
        "does_not_show",
        Edit(
            _LISTING,
            "    return ListRead(pages, found, ended=True)\n",
            "    for waiting in wanted.values():\n"
            '        voided = __import__("paymux_core.outcomes", fromlist=["Voided"]).Voided(None)\n'
            "        gone = Listed(attempt_id(waiting.payment_id, waiting.number), voided, {})\n"
            "        seen = _Seen(waiting, gone, result.interaction)\n"
            "        await _settle(merchant_id, candidate, seen, deps, actor=actor)\n"
            "    return ListRead(pages, found, ended=True)\n",
        ),
    ),
    _caught(
        "deadline_waits",
        "a deadline that was reached goes first",
        _BACKLOG,
        "goes_first",
        Edit(
            _ATTEMPTS_SQL,
            "    order by case when p.processing_deadline_at <= $1 then p.processing_deadline_at end nulls last,"
            " o.next_check_at\n",
            "    order by o.next_check_at\n",
        ),
    ),
    _caught(
        "called_twice",
        "what a process may have called before it died is not called again",
        _LEFT,
        "not_made_twice",
        Edit(
            _RECONCILE,
            "        and (due.due_at, due.check_count) == (attempt.created_at, 1)\n",
            "        and due.due_at == attempt.created_at\n",
        ),
    ),
    _caught(
        "re_send_unnoted",
        "a re-send is on record though its process dies",
        _LEFT,
        "re_send",
        Edit(
            _RECONCILE,
            "    return since is not None and (last is None or last < since)\n",
            "    return since is not None and last is None\n",
        ),
    ),
)
