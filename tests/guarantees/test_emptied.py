"""Between two cases of a file a database is emptied: of everything, or the next case would depend on the one before."""

import asyncpg

from tests.support.empty import TABLES

FIXED = {"schema_migrations", "event_epochs", "payment_transitions", "attempt_transitions"}
"""What migrations write and nobody else."""


async def test_every_table_is_emptied_between_cases(as_admin: asyncpg.Connection) -> None:
    rows = await as_admin.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
        "and not relispartition"
    )
    assert {row["relname"] for row in rows} == FIXED | set(TABLES)
