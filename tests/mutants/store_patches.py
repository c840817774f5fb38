"""Mutants of what is kept: the statements, what a lost commit means, the clock."""

from tests.mutants.patched import Edit, Mutant

_STORE = "packages/postgres/src/paymux_postgres/store.py"
_CLOCK = "packages/postgres/src/paymux_postgres/clock.py"
_PAYMENTS_SQL = "packages/postgres/src/paymux_postgres/payments.sql"
_OUTCOMES_SQL = "packages/postgres/src/paymux_postgres/outcomes.sql"

STORE_MUTANTS = (
    Mutant(
        "machine_clock",
        "deadlines are read on the database's clock, not the machine's",
        (
            Edit(
                _CLOCK,
                "        self._epoch_seconds = epoch\n        self._measured = True\n",
                "        self._measured = True\n",
            ),
        ),
    ),
    Mutant(
        "batch_runs_again",
        "a batch whose commit is unknown looks its keys up before anything runs again",
        (
            Edit(
                _STORE,
                "together=self._phase_ones_together, after_loss=self._phase_ones_after_loss",
                "together=self._phase_ones_together, after_loss=self._phase_ones_together",
            ),
        ),
    ),
    Mutant(
        "phase_two_without_compare",
        "phase 2 compares the payment's version",
        (
            Edit(_OUTCOMES_SQL, "p.version = i.version as won", "true as won"),
            Edit(_OUTCOMES_SQL, " and p.version = l.version\n", "\n"),
        ),
    ),
    Mutant(
        "stale_attempt_wins",
        "phase 2 compares what its attempt has sent",
        (
            Edit(
                _OUTCOMES_SQL,
                "      and a.money_requested = l.money_requested_before and a.fence_count = l.fence_count_before\n"
                "      and a.last_request_at is not distinct from l.last_request_at_before\n",
                "",
            ),
        ),
    ),
    Mutant(
        "cancel_without_compare",
        "only an unconfirmed payment is cancelled at once",
        (
            Edit(
                _PAYMENTS_SQL,
                "    where merchant_id = $1 and id = $2 and status = 'requires_confirmation' and version = $5\n",
                "    where merchant_id = $1 and id = $2 and status <> 'succeeded' and $5::integer is not null\n",
            ),
        ),
    ),
    Mutant(
        "key_left_open",
        "phase 2 finishes the request's key",
        (
            Edit(
                _OUTCOMES_SQL,
                "      and (m.next_attempt_number is null or k.finished_at is null)\n",
                "      and false\n",
            ),
        ),
    ),
)
