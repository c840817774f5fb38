"""Why a command cannot do what was asked, as one sentence for its border: what is wrong, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from paymux_api.settings import SettingRefused
from paymux_cli.postgres_errors import EmbeddedPostgresError
from paymux_core.errors import Refused
from paymux_postgres.migrate import MigrationRefused
from paymux_postgres.server_checks import ServerUnfit
from paymux_testkit.sandbox_process import SandboxDidNotStart

WRONG_USE, NOT_POSSIBLE, INTERRUPTED = 2, 1, 130


class NotPossible(Exception):
    """A command cannot do what was asked; the message says what to do."""


class DoesNotFit(Exception):
    """What was written is not what is there any more; the message names the first place."""


class WrongArgument(Exception):
    """An argument or option that makes no sense; the message says what it takes."""


class DatabaseNotReached(Exception):
    """The database cannot be used with PAYMUX_DATABASE_URL as it is; the message says what to do."""


@contextmanager
def reaching_database() -> Iterator[None]:
    """Name the setting when the database cannot be reached. Raises: DatabaseNotReached."""
    try:
        yield
    except asyncpg.InvalidCatalogNameError as error:
        raise DatabaseNotReached(f"PAYMUX_DATABASE_URL: {error}; create it, then run `paymux migrate`.") from error
    except asyncpg.InvalidParameterValueError as error:
        raise DatabaseNotReached(f"PAYMUX_DATABASE_URL: {error}; run `paymux migrate` first.") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseNotReached(
            f"PAYMUX_DATABASE_URL: {error}; let an administrator run `grant paymux_app to` this login."
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise DatabaseNotReached(f"PAYMUX_DATABASE_URL: cannot connect: {reason}") from error


def sentence_for(error: BaseException) -> tuple[str, int] | None:
    """Give the sentence and the exit code of an end that was foreseen; None for a bug."""
    match error:
        case SettingRefused() | WrongArgument():
            return str(error), WRONG_USE
        case KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case (
            NotPossible()
            | DoesNotFit()
            | DatabaseNotReached()
            | EmbeddedPostgresError()
            | MigrationRefused()
            | ServerUnfit()
            | Refused()
        ):
            return str(error), NOT_POSSIBLE
        case SandboxDidNotStart():
            return f"the sandbox gateway did not start; its last words:\n{error}", NOT_POSSIBLE
        case _:
            return None
