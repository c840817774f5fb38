"""Every statement of every `.sql` file is valid on the migrated schema, and the application's role may run it."""

from pathlib import Path

import asyncpg
import pytest

import paymux_postgres
from paymux_postgres import queries

FOLDER = Path(paymux_postgres.__file__).parent
STATEMENTS = [
    pytest.param(sql, id=f"{path.stem}.{name}")
    for path in sorted(FOLDER.glob("*.sql"))
    for name, sql in queries.load(str(path)).items()
]


async def check(connection: asyncpg.Connection, sql: str) -> None:
    """Prepare and plan a statement. Explaining it looks at the grants too; nothing runs."""
    statement = await connection.prepare(sql)
    nulls = ", ".join("null" for _ in statement.get_parameters())
    await connection.execute(f"prepare checked as {sql}")
    await connection.execute(f"explain execute checked{f'({nulls})' if nulls else ''}")


@pytest.mark.parametrize("sql", STATEMENTS)
async def test_a_statement_is_valid_and_granted(reader: asyncpg.Connection, sql: str) -> None:
    await check(reader, sql)
    assert await reader.fetchval("select current_user") == "paymux_app"


async def test_a_statement_that_is_not_granted_is_found(reader: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await check(reader, "update payments set amount = $1 where id = $2")


async def test_a_statement_that_does_not_fit_the_schema_is_found(reader: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UndefinedColumnError):
        await check(reader, "select colour from payments")


def test_each_file_of_statements_is_read() -> None:
    assert {path.stem for path in FOLDER.glob("*.sql")} <= {str(param.id).split(".")[0] for param in STATEMENTS}
