"""Write docs/guarantees.md: what the database refuses, by which guard, and which test tries it.

`python -m tests.guarantees.page` writes it anew from the attacks, so that the page lists what is really tried.
"""

from pathlib import Path

from tests.guarantees.attacks import ATTACKS

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"

INTRODUCTION = """\
# What the database refuses

These hold whoever asks: our own code, another program, or a person in `psql`. Constraints, partial unique indexes and
triggers keep them; the application's role cannot change those, and neither can an ordinary statement of the owner.

Every attempt below is made in plain SQL, as `paymux_app` and as `paymux_owner`, by
`tests/guarantees/test_refusals.py::test_the_database_refuses`; the name of the attempt is the test's parameter.
`test_without_its_guard_it_would_pass` drops the guards that are named and shows that the same attempt then succeeds, so
that a guard which disappears cannot go unnoticed. `tests/guarantees/catalog_snapshot.txt` lists every guard as the
catalog has it.

A superuser can switch triggers off. What was written meanwhile is found by `select * from inv.all_violations(now())`,
which returns no row on a healthy book; `tests/guarantees/test_invariants.py` plants a violation of each invariant.

This page is written by `python -m tests.guarantees.page`.
"""

REFUSALS = {
    1: "A second attempt of a payment while an earlier one has, or may yet take, the money",
    2: "An illegal transition; any change of how a payment ended",
    3: "Success without an accepted attempt of the same amount and currency; failure while money may move",
    4: "Something open without a future check; a wait without a deadline",
    5: "A change of a payment's id, merchant, amount, currency or reference",
    6: "A change or removal of what is append-only, or of what is kept",
    7: "Amounts that cannot be: nothing, more captured than authorised, more refunded than captured",
    8: "Two payments of one merchant that hold the same reference",
    9: "Rows that join two merchants",
    10: "A key claimed twice, a hash that is none, an answer that is early or changes",
    11: "A gap or repeat in a payment's events; a change without its event; an event without actor or reason",
    12: "Two leases on one attempt or slot; a stale lease that still writes; an event of a gateway stored twice",
    13: "A seal that changes, or does not go on where the chain ended",
}

FURTHER_TESTS = {
    1: ["test_refusals.py::test_each_holding_state_keeps_a_second_attempt_out"],
    2: [
        "test_transitions.py::test_the_tables_in_the_database_equal_those_in_the_code",
        "test_transitions.py::test_a_payment_moves_along_the_table_and_nowhere_else",
        "test_transitions.py::test_an_attempt_moves_along_the_table_and_nowhere_else",
        "test_transitions.py::test_a_payment_is_born_waiting_for_its_confirmation_only",
        "test_transitions.py::test_an_attempt_is_born_started_only",
        "test_transitions.py::test_without_the_guards_every_pair_would_pass",
    ],
    8: [
        "test_refusals.py::test_a_dead_payment_gives_its_reference_free",
        "test_refusals.py::test_another_merchant_uses_the_same_key_and_reference",
    ],
    11: ["test_refusals.py::test_an_event_that_waits_for_its_place_is_accepted"],
    12: ["test_refusals.py::test_two_workers_never_lease_one_attempt_and_a_stale_token_writes_nothing"],
}


def render() -> str:
    """Write the page."""
    parts = [INTRODUCTION]
    for item, refusal in REFUSALS.items():
        parts.append(f"## {item}. {refusal}\n")
        parts.append("| Attempt | Refused by |\n|---|---|")
        parts += [
            f"| {attack.name} | {', '.join(f'`{guard}`' for guard in attack.guards)} |"
            for attack in ATTACKS
            if attack.item == item
        ]
        if further := FURTHER_TESTS.get(item):
            parts.append("\nAlso: " + ",\n".join(f"`{name}`" for name in further) + ".")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
