"""Every refusal as an answer: RFC 9457 `application/problem+json` with a stable `code`, and the table of the codes."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from paymux_core.errors import Refused

PROBLEM_CONTENT_TYPE = b"application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was refused. Act on `code`; the other words may change."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    param: str | None = None
    payment_id: str | None = None
    current_status: str | None = None
    required_scope: str | None = None


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """What a code means: its HTTP status, a title that never changes, and what to do about it."""

    status: int
    title: str
    remedy: str


PROBLEMS: Mapping[str, ProblemKind] = {
    "malformed_request": ProblemKind(400, "This is not HTTP", "Send HTTP/1.1; nothing was read or stored."),
    "malformed_json": ProblemKind(400, "The body is not acceptable JSON", "Fix the body; nothing was stored."),
    "raw_card_data_not_allowed": ProblemKind(
        400, "A card number was sent", "Send a gateway's token instead; card numbers are never taken or logged."
    ),
    "idempotency_key_required": ProblemKind(
        400, "Idempotency-Key is missing", "Send one key per intention and repeat it on every retry."
    ),
    "idempotency_key_invalid": ProblemKind(
        400, "Idempotency-Key cannot be read", "Send one header of 1 to 255 printable ASCII characters."
    ),
    "webhook_refused": ProblemKind(
        400,
        "The webhook's proof does not hold",
        "Compare the account's webhook secret and address with the gateway's; a refused webhook is never applied.",
    ),
    "authentication_required": ProblemKind(
        401, "No valid API key", "Send `Authorization: Bearer pmx_…` with a key that is neither revoked nor expired."
    ),
    "permission_denied": ProblemKind(403, "The API key lacks a scope", "Use a key that has `required_scope`."),
    "not_found": ProblemKind(404, "No such object", "Check the id and the merchant of the key."),
    "method_not_allowed": ProblemKind(405, "The path does not take this method", "Use one of `Allow`."),
    "request_timeout": ProblemKind(408, "The request did not arrive in time", "Send it again; nothing was stored."),
    "payment_unexpected_state": ProblemKind(
        409, "The payment's state does not allow this", "Read the payment; `current_status` says where it is."
    ),
    "reference_in_use": ProblemKind(
        409, "Another payment holds this reference", "Go on with `payment_id`, or use a reference of its own."
    ),
    "operation_in_progress": ProblemKind(409, "A capture or void is open", "Wait until it has ended."),
    "action_not_allowed": ProblemKind(
        409,
        "The action does not fit the review",
        "Choose an action that fits, or act on what the gateway says instead: `detail` tells.",
    ),
    "gateway_account_in_use": ProblemKind(409, "The gateway account has open attempts", "Drain it first."),
    "webhook_endpoint_disabled": ProblemKind(409, "The webhook endpoint is disabled", "Enable it, then send again."),
    "idempotency_key_in_use": ProblemKind(
        409, "The first request with this key is still running", "Send the same request again after `Retry-After`."
    ),
    "body_too_large": ProblemKind(413, "The body is too large", "Send at most 64 KiB."),
    "validation_failed": ProblemKind(422, "The request is not valid", "Fix the field that `param` names."),
    "idempotency_key_reused": ProblemKind(
        422, "The key belongs to another request", "Use a new key for a new intention; the original is untouched."
    ),
    "currency_not_supported": ProblemKind(422, "The currency is not supported", "Use an ISO 4217 code in lower case."),
    "no_eligible_gateway": ProblemKind(
        422, "No gateway account fits", "Add an account for this currency, amount and payment method."
    ),
    "amount_exceeds_capturable": ProblemKind(422, "More than can be captured", "Send `amount_capturable` or less."),
    "amount_exceeds_refundable": ProblemKind(422, "More than can be refunded", "Send what is left or less."),
    "headers_too_large": ProblemKind(431, "The headers are too large", "Send at most 16 KiB of address and headers."),
    "rate_limited": ProblemKind(429, "Too many requests", "Wait for `Retry-After`; nothing was stored."),
    "internal_error": ProblemKind(
        500,
        "Something is wrong on our side",
        "If the request moves money, its outcome is unknown: read the payment, or send it again with the same key.",
    ),
    "overloaded": ProblemKind(
        503, "Too much is waiting", "Send the same request with the same key after `Retry-After`."
    ),
    "gateway_unavailable": ProblemKind(
        503, "Every gateway account that fits is switched off", "Send it again after `Retry-After`; nothing was stored."
    ),
}


class MalformedJson(Refused):
    """Syntax, NUL, lone surrogates, duplicate names or depth."""

    code = "malformed_json"


class BodyTooLarge(Refused):
    """More bytes than a body may have."""

    code = "body_too_large"


class RequestTimeout(Refused):
    """The body did not arrive in time."""

    code = "request_timeout"


class AuthenticationRequired(Refused):
    """No valid API key."""

    code = "authentication_required"


class PermissionDenied(Refused):
    """The key lacks a scope."""

    code = "permission_denied"

    def __init__(self, scope: str) -> None:
        """Name the scope."""
        super().__init__(f"This API key does not have the scope {scope}.")
        self.scope = scope


class RawCardData(Refused):
    """A card number stands somewhere in the request."""

    code = "raw_card_data_not_allowed"


class KeyRequired(Refused):
    """The route needs an Idempotency-Key."""

    code = "idempotency_key_required"


class KeyInvalid(Refused):
    """The Idempotency-Key cannot be read."""

    code = "idempotency_key_invalid"


_encode = msgspec.json.Encoder().encode


def render_problem(
    code: str, *, detail: str, request_id: str, docs_url: str, refusal: Refused | None = None
) -> tuple[int, bytes]:
    """Render a problem as status and body. Raises: KeyError for a code that is not in the table."""
    kind = PROBLEMS[code]
    problem = Problem(
        type=f"{docs_url}#problem-{code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=code,
        request_id=request_id,
        param=refusal.param if refusal else None,
        payment_id=refusal.payment_id if refusal else None,
        current_status=refusal.current_status if refusal else None,
        required_scope=refusal.scope if isinstance(refusal, PermissionDenied) else None,
    )
    return kind.status, _encode(problem)
