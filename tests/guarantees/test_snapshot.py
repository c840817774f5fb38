"""No guard disappears unnoticed: the catalog of a migrated database is the one that was reviewed."""

from tests.guarantees.snapshot import SNAPSHOT, describe
from tests.support.postgres import Database


async def test_the_catalog_is_the_reviewed_one(shared_database: Database) -> None:
    assert (await describe(shared_database.dsn)).splitlines() == SNAPSHOT.read_text().splitlines(), (
        "a guard changed; if that is meant, run: python -m tests.guarantees.snapshot"
    )
