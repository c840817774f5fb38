"""After a run: every confirm that was answered is complete in the book, and nothing is stuck."""

import asyncpg

from bench.stage import Shop
from paymux_postgres import queries

SQL = queries.load(__file__)


class NotComplete(Exception):
    """A confirm that was answered is not whole in the database, or something is stuck."""


async def insist_on_whole_confirms(shop: Shop, *, answered: int, requests_each: int = 1) -> None:
    """Count the rows of all confirms. Raises: NotComplete."""
    connection = await asyncpg.connect(shop.dsn)
    try:
        found = await connection.fetchrow(SQL["count_confirms"])
        broken = await connection.fetch(SQL["list_violations"])
    finally:
        await connection.close()
    assert found is not None
    expected = {"whole": answered, "stuck": 0, "interactions": answered * requests_each}
    if dict(found) != expected or broken:
        raise NotComplete(f"expected {expected}, found {dict(found)} and {len(broken)} violations of the invariants")
