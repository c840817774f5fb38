"""The effects the flows need, as protocols: time, randomness, ids, the gateways and the store."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from paymux_core.connector import Capabilities, ChargeCall, GatewayAccount
from paymux_core.exchange import Interaction
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


class Gateways(Protocol):
    """Runs a connector's exchange over HTTP. Never raises for what a gateway does."""

    def capabilities(self, gateway: str) -> Capabilities:
        """Say what a gateway can do. Raises: KeyError for a gateway that is not installed."""
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
