"""What one request to a gateway did with the money: a value, never an exception.

An outcome speaks of one *request*. What it may do to the *attempt* is decided in `attempt_rules`.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from paymux_core.money import Money


class DeclineCode(StrEnum):
    """Our codes for why a payment did not go through; the gateway's own code is always kept beside it."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    DO_NOT_HONOR = "do_not_honor"
    CARD_DECLINED = "card_declined"
    EXPIRED_CARD = "expired_card"
    INCORRECT_CVC = "incorrect_cvc"
    INCORRECT_NUMBER = "incorrect_number"
    LOST_OR_STOLEN = "lost_or_stolen"
    FRAUD_SUSPECTED = "fraud_suspected"
    AUTHENTICATION_REQUIRED = "authentication_required"
    AUTHENTICATION_FAILED = "authentication_failed"
    AUTHORIZATION_EXPIRED = "authorization_expired"
    CUSTOMER_ABANDONED = "customer_abandoned"
    LIMIT_EXCEEDED = "limit_exceeded"
    TRANSACTION_NOT_PERMITTED = "transaction_not_permitted"
    INVALID_AMOUNT = "invalid_amount"
    CURRENCY_NOT_SUPPORTED = "currency_not_supported"
    INTEGRITY_MISMATCH = "integrity_mismatch"
    GATEWAY_UNAVAILABLE = "gateway_unavailable"
    GATEWAY_TIMEOUT = "gateway_timeout"
    GATEWAY_RATE_LIMITED = "gateway_rate_limited"
    GATEWAY_CONFIGURATION = "gateway_configuration"
    DUPLICATE_TRANSACTION = "duplicate_transaction"
    UNKNOWN = "unknown"


class Advice(StrEnum):
    """What may follow a refusal."""

    TRY_ANOTHER_GATEWAY = "try_another_gateway"
    """Another gateway may say yes; failover is allowed once the attempt is closed."""
    ASK_CUSTOMER = "ask_customer"
    """The customer has to do something else (another card, more funds); we try nothing further."""
    DO_NOT_RETRY = "do_not_retry"
    """Nobody should try this again (lost card, fraud, our own bug)."""


class Refusal(Struct, frozen=True, gc=False):
    """Why a request was refused, in our words and the gateway's."""

    code: DeclineCode
    message: str
    advice: Advice
    gateway_code: str | None = None

    @property
    def retryable(self) -> bool:
        """Whether another gateway may be tried."""
        return self.advice is Advice.TRY_ANOTHER_GATEWAY


class NextAction(Struct, frozen=True, gc=False):
    """What the customer has to do now; `url` for redirects, `parameters` for the browser's widget."""

    type: str
    url: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()


class Captured(Struct, frozen=True, gc=False):
    """The money was taken. `money` is what the *gateway* says it took."""

    provider_payment_id: str
    money: Money


class Authorized(Struct, frozen=True, gc=False):
    """The money is held and waits for a capture. `money` is what the gateway says it holds."""

    provider_payment_id: str
    money: Money


class RequiresAction(Struct, frozen=True, gc=False):
    """The customer has to act (3-D Secure, redirect)."""

    provider_payment_id: str
    next_action: NextAction


class Pending(Struct, frozen=True, gc=False):
    """The gateway has it and will know later."""

    provider_payment_id: str | None
    reason: str = "pending_at_gateway"


class Declined(Struct, frozen=True, gc=False):
    """The gateway refused, definitely, and says why.

    `stored`: the gateway keeps this answer under the key, as it does with a decline of the card. A refusal of the
    request as invalid is not kept: it says nothing of an earlier request with the same key.
    """

    refusal: Refusal
    provider_payment_id: str | None = None
    stored: bool = True


class NotExecuted(Struct, frozen=True, gc=False):
    """This request did nothing, provably: not sent, or refused by a layer that certifies it did not act."""

    refusal: Refusal
    retry_after_seconds: float | None = None


class Voided(Struct, frozen=True, gc=False):
    """The gateway acknowledged a cancel: this object can take no money any more."""

    provider_payment_id: str | None


class NotFound(Struct, frozen=True, gc=False):
    """The gateway shows no charge of this attempt *now*. It closes nothing: a request may still arrive."""


class UnknownReason(StrEnum):
    """Why we cannot tell what a request did."""

    NO_REPLY = "no_reply"
    """Sent (perhaps), and no answer came: read timeout, reset, closed connection."""
    SERVER_ERROR = "server_error"
    """The gateway answered 5xx; it may have acted before."""
    UNREADABLE = "unreadable"
    """A 2xx whose body could not be understood."""
    UNMAPPED = "unmapped_answer"
    """A well-formed answer with a status or code our tables do not know: a person has to look."""
    IN_FLIGHT = "in_flight"
    """Another request of this key or object is executing at the gateway."""
    RATE_LIMITED = "rate_limited"
    """Refused by a limiter that does not certify that nothing happened."""
    REQUEST_MISMATCH = "request_mismatch"
    """The gateway says our key was used with other parameters: our bug, a person has to look."""
    FENCE_REFUSED = "fence_refused"
    """The gateway did not let us cancel and does not say what became of the charge."""
    INTEGRITY_MISMATCH = "integrity_mismatch"
    """Amount or currency differ from the attempt's: nothing is booked, a person has to look."""
    SUPERSEDED = "superseded"
    """The attempt was closed, or got another object, while this one was reserved: nothing more was sent."""
    PROCESS_LOST = "process_lost"
    """Our process died between sending and recording."""
    UNCLASSIFIED = "unclassified"
    """A connector raised; its answer counts as unknown."""


class Unknown(Struct, frozen=True, gc=False):
    """We cannot tell. It is asked for, then reviewed, and asking goes on; it is never turned into a failure."""

    reason: UnknownReason
    detail: str = ""
    retry_after_seconds: float | None = None


Outcome = Captured | Authorized | RequiresAction | Pending | Declined | NotExecuted | Voided | NotFound | Unknown


def pause_seconds_asked(outcome: Outcome) -> float | None:
    """Say for how many seconds the gateway wants to be left alone, where it says so."""
    return outcome.retry_after_seconds if isinstance(outcome, (Unknown, NotExecuted)) else None


def outcome_name(outcome: Outcome) -> str:
    """Name an outcome as the audit trail does: `captured`, `declined:expired_card`, `unknown:no_reply`."""
    name = _NAMES[type(outcome)]
    match outcome:
        case Declined(refusal=refusal) | NotExecuted(refusal=refusal):
            return f"{name}:{refusal.code}"
        case Unknown(reason=reason):
            return f"{name}:{reason}"
        case _:
            return name


_NAMES: Mapping[type, str] = {
    Captured: "captured",
    Authorized: "authorized",
    RequiresAction: "requires_action",
    Pending: "pending",
    Declined: "declined",
    NotExecuted: "not_executed",
    Voided: "voided",
    NotFound: "not_found",
    Unknown: "unknown",
}
