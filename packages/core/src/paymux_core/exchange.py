"""The words between a connector and the driver that speaks HTTP for it.

A connector is a generator: it yields `HttpRequest` and is resumed with an `HttpReply`, or yields `Remember` and is
resumed with None once the id is committed; it returns an `Outcome`. It holds no socket and raises for no answer.
"""

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from paymux_core.outcomes import Outcome


class Verb(StrEnum):
    """What a request is for; also the middle part of a provider key."""

    RESERVE = "reserve"
    """Create the gateway's object; moves no money."""
    CHARGE = "charge"
    """May take or hold money."""
    INQUIRE = "inquire"
    """Reads the gateway's own record."""
    FENCE = "fence"
    """A cancel sent to obtain `voided`."""

    @property
    def moves_money(self) -> bool:
        """Whether a request of this kind can take or hold money."""
        return self is Verb.CHARGE


class HttpRequest(Struct, frozen=True, gc=False):
    """One request on the wire, complete to the byte.

    `body_safe` is what the audit trail may keep of it (the transport never sees what is in `body`).
    `idempotent_replay`: the gateway replays every answer of this key, so a reset of a reused connection before any
    answer byte may be followed by the same bytes at once.
    """

    verb: Verb
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    body_safe: Mapping[str, object] = {}
    idempotency_key: str | None = None
    idempotent_replay: bool = False


class TransportError(StrEnum):
    """Why no answer came."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    POOL = "pool_timeout"
    TOO_LATE = "too_late_to_send"
    TIMEOUT = "timeout"
    RESET = "reset"
    CLOSED = "closed"
    TOO_LARGE = "answer_too_large"
    MALFORMED = "malformed_answer"
    PROCESS_LOST = "process_lost"


class Answer(Struct, frozen=True, gc=False):
    """A complete answer. Header names are lower case."""

    http_status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Struct, frozen=True, gc=False):
    """Not one byte of the request left us: the gateway cannot have acted."""

    error: TransportError
    detail: str = ""


class NoReply(Struct, frozen=True, gc=False):
    """Bytes may have left and no complete answer came: nobody knows what the gateway did."""

    error: TransportError
    detail: str = ""


HttpReply = Answer | NotSent | NoReply


class Remember(Struct, frozen=True, gc=False):
    """Commit the gateway's id of a reserved object before the generator goes on."""

    provider_payment_id: str


Exchange = Generator[HttpRequest | Remember, HttpReply | None, Outcome]


class Listed(Struct, frozen=True, gc=False):
    """One object of a gateway's list: whose it is, what it says, and what of it the audit trail may keep."""

    attempt_id: str
    outcome: Outcome
    shown: Mapping[str, object]


class Page(Struct, frozen=True, gc=False):
    """One page of a gateway's list. `after`: where the next one begins; None if there is none."""

    found: Sequence[Listed]
    after: str | None = None


Listing = Generator[HttpRequest, HttpReply | None, Page | Outcome]
"""Reads one page; an outcome where it cannot be read."""


class Interaction(Struct, frozen=True, gc=False):
    """One request on the wire and what came back, redacted: a row of the audit trail.

    Units: `duration_ms` milliseconds. `id` is a UUIDv7, made before the commit, so that a repeat writes nothing twice.
    """

    id: bytes
    verb: Verb
    method: str
    url: str
    sent_at: datetime
    duration_ms: int
    bytes_sent: bool
    http_status: int | None
    transport_error: TransportError | None
    idempotency_key: str | None
    gateway_request_id: str | None
    request: Mapping[str, object]
    response: Mapping[str, object]
    response_sha256: bytes | None
    outcome: str
    provider_payment_id: str | None = None
    """The gateway's object that the answer spoke of."""
