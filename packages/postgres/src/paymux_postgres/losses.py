"""A connection lost where nothing has to be looked up: a read runs again, a lease is refused."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from paymux_core.errors import StorageUnavailable

Found = TypeVar("Found")


class CommitUnknown(Exception):
    """The connection went away before the answer came: the statement may have committed."""


class RolledBack(Exception):
    """What was begun is undone: it is raised inside a transaction, for that alone."""


@contextlib.contextmanager
def loss_is_a_refusal() -> Iterator[None]:
    """Refuse where a lost answer is not worth a second look: whatever was committed mends itself."""
    try:
        yield
    except CommitUnknown as error:
        raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2) from error


async def once_more(read: Callable[[], Awaitable[Found]]) -> Found:
    """Run a read again on a new connection if the old one was gone. Raises: StorageUnavailable."""
    try:
        return await read()
    except CommitUnknown:
        pass
    try:
        return await read()
    except CommitUnknown as error:
        raise StorageUnavailable("the database cannot be reached; try again soon", retry_after_seconds=2) from error
