"""Our refusals, one tree; each has a stable `code`, the ids it is about, and one sentence that says what to do.

Refused
├── ValidationFailed           422  (param)
│   ├── CurrencyNotSupported   422
│   └── NoEligibleGateway      422
├── NotFound                   404
├── PaymentUnexpectedState     409  (payment_id, current_status)
├── ReferenceInUse             409  (payment_id)
├── ActionNotAllowed           409
├── IdempotencyKeyReused       422
├── IdempotencyKeyInUse        409  (retry_after_seconds)
├── WebhookEndpointDisabled    409
├── WebhookRefused             400
├── GatewayUnavailable         503  (retry_after_seconds)
├── Overloaded                 503  (retry_after_seconds)
└── StorageUnavailable         503  (retry_after_seconds)
IllegalTransition (a bug)
"""


class Refused(Exception):
    """What we refuse to do. `detail` is one sentence that says what to do instead."""

    code = "refused"

    def __init__(
        self,
        detail: str,
        *,
        param: str | None = None,
        payment_id: str | None = None,
        current_status: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Keep what a client needs to act."""
        super().__init__(detail)
        self.detail = detail
        self.param = param
        self.payment_id = payment_id
        self.current_status = current_status
        self.retry_after_seconds = retry_after_seconds


class ValidationFailed(Refused):
    """The request's shape, types or ranges are wrong."""

    code = "validation_failed"


class CurrencyNotSupported(ValidationFailed):
    """No ISO 4217 currency, or one we cannot take."""

    code = "currency_not_supported"


class NoEligibleGateway(Refused):
    """No gateway account fits currency, amount and method."""

    code = "no_eligible_gateway"


class NotFound(Refused):
    """No such object for this merchant; the same answer for another merchant's."""

    code = "not_found"


class PaymentUnexpectedState(Refused):
    """The payment is not in a state that allows this."""

    code = "payment_unexpected_state"


class ReferenceInUse(Refused):
    """Another payment of this merchant holds the reference."""

    code = "reference_in_use"


class ActionNotAllowed(Refused):
    """The action does not fit the review, or the gateway does not confirm what it says."""

    code = "action_not_allowed"


class IdempotencyKeyReused(Refused):
    """The key was first used with another request."""

    code = "idempotency_key_reused"


class IdempotencyKeyInUse(Refused):
    """The first request with this key is still running."""

    code = "idempotency_key_in_use"


class WebhookEndpointDisabled(Refused):
    """Nothing is sent to an endpoint that is off."""

    code = "webhook_endpoint_disabled"


class WebhookRefused(Refused):
    """A webhook whose proof does not hold, or that is for another account."""

    code = "webhook_refused"


class GatewayUnavailable(Refused):
    """Every account that fits is switched off."""

    code = "gateway_unavailable"


class Overloaded(Refused):
    """Too much is waiting; nothing was stored."""

    code = "overloaded"


class StorageUnavailable(Refused):
    """The database cannot be reached; nothing was confirmed."""

    code = "overloaded"


class RateLimited(Refused):
    """Too many requests."""

    code = "rate_limited"


class IllegalTransition(AssertionError):
    """A status change that no table allows: a bug of ours, never caught to go on."""

    def __init__(self, *, status: str, event: str) -> None:
        """Name both sides."""
        super().__init__(f"no transition from {status!r} by {event!r}")
        self.status = status
        self.event = event
