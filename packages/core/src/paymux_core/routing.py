"""Which gateway account is tried next: enabled accounts that fit, in order of priority."""

from collections.abc import Collection, Sequence
from uuid import UUID

from msgspec import Struct

from paymux_core.connector import Capabilities, GatewayAccount
from paymux_core.records import PaymentMethod


class Candidate(Struct, frozen=True, gc=False):
    """A gateway account of a merchant, with what routing needs to know of it. Lower `priority` is tried first."""

    account_id: UUID
    account: GatewayAccount
    capabilities: Capabilities
    status: str
    priority: int


class Choice(Struct, frozen=True, gc=False):
    """The account that was chosen and why; stored with the attempt."""

    candidate: Candidate
    reason: str

    @property
    def document(self) -> dict[str, object]:
        """The choice as it is stored."""
        return {"rule_version": 0, "reason": self.reason}


def fitting(
    candidates: Sequence[Candidate], *, currency: str, method: PaymentMethod, livemode: bool
) -> list[Candidate]:
    """List the accounts that could take this payment, whether or not they are enabled."""
    return [
        candidate
        for candidate in candidates
        if candidate.account.livemode is livemode
        and (not candidate.capabilities.currencies or currency in candidate.capabilities.currencies)
        and method.token_for(candidate.account.gateway) is not None
    ]


def choose_account(fit: Sequence[Candidate], *, tried: Collection[UUID]) -> Choice | None:
    """Choose the first enabled account that was not tried yet; `fit` is in order of priority."""
    for candidate in fit:
        if candidate.status == "enabled" and candidate.account_id not in tried:
            reason = "priority" if not tried else "failover"
            return Choice(candidate, reason)
    return None
