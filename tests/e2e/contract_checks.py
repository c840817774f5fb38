"""What Schemathesis is told beyond its own checks; it imports this file by `SCHEMATHESIS_HOOKS`."""

from itertools import count
from typing import Any, TypeAlias

import requests
import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.specs.openapi.checks import positive_data_acceptance

AnyCase: TypeAlias = Case[Any]

STATE_CODES = frozenset({
    "idempotency_key_required",
    "idempotency_key_reused",
    "no_eligible_gateway",
    "raw_card_data_not_allowed",
    "webhook_endpoint_disabled",
})  # fmt: skip
"""Refusals that depend on what was sent before, or together, which a schema cannot say."""
PAYMENT_METHOD = ("validation_failed", "payment_method")
"""It comes with the confirm or with the create, so neither body's schema can insist on it."""
AMOUNT = ("validation_failed", "amount")
URL = ("validation_failed", "url")
"""Which hosts and ports are taken is more than a pattern can say."""


_addresses = count(1)
_send = requests.Session.send


def _send_from_another_address(session: Any, request: Any, **options: Any) -> Any:
    """Who fails to authenticate too often is told nothing else for a while: here each request is somebody else's."""
    number = next(_addresses)
    request.headers["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return _send(session, request, **options)


requests.Session.send = _send_from_another_address  # type: ignore[assignment,method-assign]


@schemathesis.check
def accepts_what_the_document_allows(ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """Refuse a refusal of what the document says is valid, unless its code is about state."""
    if response.headers.get("content-type") == ["application/problem+json"]:
        problem = response.json()
        refused = (problem["code"], problem.get("param"))
        if (
            problem["code"] in STATE_CODES
            or refused in (PAYMENT_METHOD, URL)
            or (refused == AMOUNT and _sends_a_float(case))
        ):
            return
    positive_data_acceptance(ctx, response, case)


def _sends_a_float(case: AnyCase) -> bool:
    """Say whether the amount is written as 5.0, which is an integer to JSON Schema and no integer to us."""
    return isinstance(case.body, dict) and isinstance(case.body.get("amount"), float)
