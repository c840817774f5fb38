"""Whether a process may run on this database: start-up refuses for each finding, and `paymux doctor` names them all."""

from dataclasses import dataclass

from paymux_cli.settings import StackSettings
from paymux_postgres.api_keys import live_keys_exist
from paymux_postgres.connections import Pool
from paymux_postgres.migrate import epoch_is_current, pending
from paymux_postgres.server_checks import findings, read_server, warn_of_minor


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong and what to do, in a sentence; `check` is a word that a script can tell apart."""

    check: str
    what: str


async def unfitness(pool: Pool, settings: StackSettings) -> list[Finding]:
    """Find what keeps a process from running. Where migrations are missing, nothing else is looked at."""
    async with pool.connection() as connection:
        if missing := await pending(connection):
            return [Finding("migrations", f"the database lacks {', '.join(missing)}; run `paymux migrate` first.")]
        found: list[Finding] = []
        if not await epoch_is_current(connection):
            sentence = "the database was restored to another server; run `paymux migrate` first."
            found.append(Finding("epoch", sentence))
        server = await read_server(connection)
    found += [Finding("server", sentence) for sentence in findings(server)]
    warn_of_minor(server)
    shifted = settings.clock_offset_seconds != 0 or settings.clock_divisor != 1
    if shifted and await live_keys_exist(pool):
        sentence = (
            "PAYMUX_TEST_CLOCK_OFFSET and PAYMUX_TEST_CLOCK_DIVISOR are refused where live keys exist; unset them."
        )
        found.append(Finding("test_clock", sentence))
    return found
