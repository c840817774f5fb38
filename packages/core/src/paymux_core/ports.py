"""The effects the flows need, as protocols: time, randomness, ids, the gateways and the store."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from paymux_core.connector import Capabilities, ChargeCall, GatewayAccount, ListWindow
from paymux_core.delivering import Answered
from paymux_core.exchange import Interaction, Page
from paymux_core.inbound_webhooks import WebhookDialect
from paymux_core.outcomes import Outcome

RememberProviderPayment = Callable[[str], Awaitable[bool]]
"""Commits the gateway's id of a reserved object; True only when it is durable. False: nothing more may be sent."""


class Clock(Protocol):
    """Time. In production it is the database's, so that leases and deadlines agree across machines."""

    def now(self) -> datetime:
        """Give the time of day, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never jump, for timeouts."""
        ...


class Rng(Protocol):
    """Randomness that a seed can replay."""

    def uniform(self) -> float:
        """Give a float in [0, 1)."""
        ...

    def bits(self, count: int) -> int:
        """Give `count` random bits as an integer."""
        ...


class Sleep(Protocol):
    """Waiting."""

    def __call__(self, seconds: float) -> Awaitable[None]:
        """Wait."""
        ...


class CallLimits(Struct, frozen=True, gc=False):
    """When a gateway call has to be over. Units: seconds on the monotonic clock.

    `ends_at`: the whole exchange, all its requests. `first_byte_before`: no money request starts later.
    """

    ends_at: float
    first_byte_before: float
    connect_seconds: float


class CallResult(Struct, frozen=True, gc=False):
    """The outcome of one call, and one interaction per request on the wire, oldest first.

    `remembered` is the gateway's id that was committed during the call.
    """

    outcome: Outcome
    interactions: Sequence[Interaction]
    remembered: str | None = None


class PageResult(Struct, frozen=True, gc=False):
    """One page of a gateway's list, or why it could not be read; and its request, to be noted at whom it settles."""

    page: Page | Outcome
    interaction: Interaction | None


class Gateways(Protocol):
    """Runs a connector's exchange over HTTP. Never raises for what a gateway does."""

    def capabilities(self, gateway: str) -> Capabilities:
        """Say what a gateway can do. Raises: KeyError for a gateway that is not installed."""
        ...

    def webhook_dialect(self, gateway: str) -> WebhookDialect | None:
        """Give how a gateway signs and words its webhooks; None if it sends none."""
        ...

    def connector_version(self, gateway: str) -> str:
        """Say which version of the connector builds the bytes."""
        ...

    def request_digest(self, account: GatewayAccount, call: ChargeCall) -> bytes:
        """SHA-256 of the bytes a charge would start with."""
        ...

    async def authorize(
        self, account: GatewayAccount, call: ChargeCall, *, limits: CallLimits, remember: RememberProviderPayment
    ) -> CallResult:
        """Charge or hold the money."""
        ...

    async def inquire(self, account: GatewayAccount, call: ChargeCall, *, limits: CallLimits) -> CallResult:
        """Ask what became of the attempt."""
        ...

    async def list_page(self, account: GatewayAccount, window: ListWindow, *, limits: CallLimits) -> PageResult:
        """Read one page of what the gateway has of a time window."""
        ...

    async def fence(
        self, account: GatewayAccount, call: ChargeCall, *, limits: CallLimits, remember: RememberProviderPayment
    ) -> CallResult:
        """Cancel the attempt's object."""
        ...


class Ids(Protocol):
    """Time-ordered ids."""

    def new(self) -> UUID:
        """Make a UUIDv7."""
        ...


class Webhooks(Protocol):
    """Sends events to merchants. Never raises for what a receiver does."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Send one signed body once."""
        ...
