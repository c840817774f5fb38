"""Requests with a key that are about no payment: their answer is kept at once, in the commit of what it tells."""

from paymux_core.errors import Overloaded
from paymux_core.phases import AnsweredKey
from paymux_flows.answering import answered_key, replay
from paymux_flows.commands import Caller, KeyUse, Reply
from paymux_flows.deps import Deps


async def answered_before(caller: Caller, key: KeyUse | None, deps: Deps) -> Reply | None:
    """Give the answer that a key has; None if it is new, or there is none. Raises: IdempotencyKeyReused."""
    return None if key is None else await replay(caller, key, deps)


def to_store(key: KeyUse | None, reply: Reply, deps: Deps, *, body: bytes | None = None) -> AnsweredKey | None:
    """Build what is kept of an answer; `body`: it without its secret."""
    if key is None:
        return None
    kept = reply.body if body is None else body
    return answered_key(key, status=reply.http_status, body=kept, deps=deps, location=reply.location)


async def lost_the_race(caller: Caller, key: KeyUse | None, deps: Deps) -> Reply:
    """Answer a request whose key was taken while it ran. Raises: IdempotencyKeyReused, Overloaded."""
    replayed = await answered_before(caller, key, deps)
    if replayed is None:
        raise Overloaded("somebody else changed this just now; send the same request again", retry_after_seconds=1)
    return replayed
