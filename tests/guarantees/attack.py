"""One thing somebody might try in plain SQL, and the guards that refuse it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt. `item` numbers the refusals of docs/guarantees.md; `stage` is how far the payment was brought.

    `guards`: names of triggers, constraints, unique indexes, or `table.column` for a NOT NULL. Without them it passes.
    """

    item: int
    name: str
    stage: str
    guards: tuple[str, ...]
    sql: str
