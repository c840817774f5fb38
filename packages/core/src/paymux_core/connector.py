"""The contract every connector keeps: what it can do, and three generators.

A connector is pure: the same call gives the same bytes. `Capabilities` says what the core may rely on.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from paymux_core.exchange import Exchange, Listing
from paymux_core.money import Money


class Caching(StrEnum):
    """Which answers a gateway stores under an idempotency key and replays."""

    ALL = "all"
    SUCCESS = "2xx"
    NONE = "none"


class Fence(StrEnum):
    """How an attempt can be made unable to take money."""

    BY_ID = "by_id"
    BY_KEY = "by_key"
    NOT_CAPTURING = "not_capturing"
    NONE = "none"


class Lookup(StrEnum):
    """How a gateway is asked what became of an attempt."""

    BY_ID = "by_id"
    BY_REFERENCE = "by_reference"
    NONE = "none"


class Capabilities(Struct, frozen=True, gc=False):
    """What the core may rely on at one gateway. Units: seconds.

    `key_window_seconds`: how long the gateway remembers an idempotency key. `lookup_consistency_seconds`: a look-up
    counts as "absent" only this long after the last request. `unknown_deadline_seconds`: when an unknown outcome goes
    to a person. `lookups_per_second`: how many look-ups an account may be asked for, by all our processes together.
    `lists`: the gateway shows what was charged in a time window, page by page. `currencies` empty means every ISO 4217
    currency.
    """

    two_phase: bool
    caching: Caching
    key_window_seconds: int
    lookup: Lookup
    lookup_consistency_seconds: int
    fence: Fence
    certified_429: bool
    currencies: frozenset[str] = frozenset()
    test_only: bool = False
    unknown_deadline_seconds: int = 3600
    lookups_per_second: int = 5
    lists: bool = False


class GatewayAccount(Struct, frozen=True, gc=False):
    """A merchant's credentials at one gateway, as a connector sees them. Never logged; repr shows no secret."""

    id: str
    gateway: str
    base_url: str
    credentials: Mapping[str, str]
    livemode: bool

    def __repr__(self) -> str:
        """Show which account this is, and no credential."""
        return f"GatewayAccount(id={self.id!r}, gateway={self.gateway!r}, base_url={self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # A struct's own shows every field.
        return [("id", self.id), ("gateway", self.gateway), ("base_url", self.base_url)]


class ChargeCall(Struct, frozen=True, gc=False):
    """Everything a connector needs to build the bytes of one attempt, immutable since phase 1.

    `token` is the payment method at this gateway. `started_at` bounds look-ups by time window.
    """

    payment_id: str
    attempt_id: str
    money: Money
    capture: str
    payment_method_type: str
    token: str
    return_url: str | None
    off_session: bool
    started_at: datetime
    provider_payment_id: str | None = None
    fence_number: int = 1


class ListWindow(Struct, frozen=True, gc=False):
    """What a page of a gateway's list is to show: objects born from one moment to another, older than `after`."""

    born_from: datetime
    born_to: datetime
    after: str | None = None


class Connector(Protocol):
    """One gateway's dialect. Generators yield requests and return an outcome; they never raise for an answer."""

    name: str
    version: str
    capabilities: Capabilities
    request_id_header: str
    """The answer's header, in lower case, that names the request at the gateway."""
    credential_names: tuple[str, ...]
    """What an account's credentials must hold."""

    def authorize(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Reserve if the gateway has two phases and no id is remembered, then charge or hold the money."""
        ...

    def inquire(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Ask the gateway what became of this attempt: by id if one is remembered, else by our reference."""
        ...

    def list_page(self, account: GatewayAccount, window: ListWindow) -> Listing:
        """Read one page of what the gateway has of a time window, with one request, and say what each object is.

        Called only where the capabilities say `lists`. What is not shown proves nothing.
        """
        ...

    def fence(self, account: GatewayAccount, call: ChargeCall) -> Exchange:
        """Cancel this attempt's object, so that no money can move any more; `Voided` only if acknowledged."""
        ...

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        """SHA-256 over the bytes that `authorize` would send first: a re-send must match it."""
        ...

    def answer_safe(self, body: bytes) -> Mapping[str, object]:
        """Give what the audit trail may keep of an answer: an allow-list; every other field is dropped."""
        ...


def provider_key(attempt_id: str, *, verb: str, number: int = 1) -> str:
    """Build the deterministic idempotency key of one request at the gateway: `[A-Za-z0-9_-]`, at most 64 long."""
    return f"{attempt_id}-{verb}-{number}"
