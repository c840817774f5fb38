"""Which action fits which review, over every pair."""

from itertools import product

import pytest

from paymux_core.errors import ActionNotAllowed
from paymux_core.review_rules import ALLOWED, NEEDS_REFUNDS, ReviewAction, ReviewReason, permit

WRITTEN = {
    "deadline": "mark_succeeded, mark_failed, void, keep_waiting",
    "unmapped_answer": "mark_succeeded, mark_failed, void, keep_waiting",
    "request_mismatch": "mark_succeeded, mark_failed, void, keep_waiting",
    "handler_failed": "mark_succeeded, mark_failed, void, keep_waiting",
    "integrity_mismatch": "refund, void, keep_waiting",
    "late_charge": "refund, void, accept, keep_waiting",
    "refund_refused": "refund, void, accept, keep_waiting",
    "refund_overrun": "dismiss, keep_waiting",
    "unmatched_webhook": "dismiss, keep_waiting",
    "gateway_configuration": "dismiss, keep_waiting",
    "reconciliation_difference": "dismiss, keep_waiting",
}
"""The table of the contract, word for word."""


def test_the_table_is_that_of_the_contract() -> None:
    assert {str(reason): set(actions) for reason, actions in ALLOWED.items()} == {
        reason: set(actions.split(", ")) for reason, actions in WRITTEN.items()
    }


@pytest.mark.parametrize(("reason", "action"), list(product(ReviewReason, ReviewAction)), ids=str)
def test_a_pair_is_permitted_if_the_table_has_it_and_refunds_are_not_needed(
    reason: ReviewReason, action: ReviewAction
) -> None:
    if action in WRITTEN[reason].split(", ") and action not in NEEDS_REFUNDS:
        permit(reason, action)
        return
    with pytest.raises(ActionNotAllowed) as refused:
        permit(reason, action)
    assert refused.value.code == "action_not_allowed"
    assert ("needs refunds" in refused.value.detail) == (action in WRITTEN[reason].split(", "))
    assert "keep_waiting" in refused.value.detail
