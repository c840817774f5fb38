"""What Schemathesis is told beyond its own checks; it imports this file by `SCHEMATHESIS_HOOKS`."""

from typing import Any, TypeAlias

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.specs.openapi.checks import positive_data_acceptance

AnyCase: TypeAlias = Case[Any]

STATE_CODES = frozenset({
    "idempotency_key_required",
    "idempotency_key_reused",
    "no_eligible_gateway",
    "raw_card_data_not_allowed",
})  # fmt: skip
"""Refusals that depend on what was sent before, or together, which a schema cannot say."""
PAYMENT_METHOD = ("validation_failed", "payment_method")
"""It comes with the confirm or with the create, so neither body's schema can insist on it."""
AMOUNT = ("validation_failed", "amount")


@schemathesis.check
def accepts_what_the_document_allows(ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """Refuse a refusal of what the document says is valid, unless its code is about state."""
    if response.headers.get("content-type") == ["application/problem+json"]:
        problem = response.json()
        refused = (problem["code"], problem.get("param"))
        if problem["code"] in STATE_CODES or refused == PAYMENT_METHOD or (refused == AMOUNT and _sends_a_float(case)):
            return
    positive_data_acceptance(ctx, response, case)


def _sends_a_float(case: AnyCase) -> bool:
    """Say whether the amount is written as 5.0, which is an integer to JSON Schema and no integer to us."""
    return isinstance(case.body, dict) and isinstance(case.body.get("amount"), float)
