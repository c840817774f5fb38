"""A declaration says what a route needs; one that contradicts itself is refused at start."""

from typing import Any

import msgspec
import pytest

from paymux_api.operation import Call, Charges, KeyRule, Operation
from paymux_api.routes.contract import OPERATIONS
from paymux_core.api_keys import Scope
from paymux_core.ids import Kind
from paymux_flows.commands import Reply


class _Body(msgspec.Struct):
    name: str


async def _handler(_call: Call) -> Reply:
    return Reply(200, b"")


def _declared(**changes: Any) -> Operation:
    plain: dict[str, Any] = {
        "method": "POST",
        "path": "/things",
        "name": "make_thing",
        "summary": "Make a thing",
        "handler": _handler,
        "success": {201: "Made."},
        "scope": Scope.PAYMENTS_WRITE,
    }
    return Operation(**(plain | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "/things/{id}"},
        {"object_kind": Kind.PAYMENT},
        {"charges": Charges.ALWAYS, "scope": None},
        {"method": "GET", "request": _Body},
    ],
)
def test_a_contradiction_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        _declared(**changes)


@pytest.mark.parametrize("fields", [{}, [], None, "confirm", {"confirm": "true"}, {"confirm": 1}, {"confirm": False}])
def test_only_confirm_true_asks_to_confirm(fields: object) -> None:
    operation = _declared(key_rule=KeyRule.REQUIRED_TO_CONFIRM, charges=Charges.WITH_CONFIRM)
    assert (operation.key_required_with(fields), operation.charges_with(fields)) == (False, False)
    confirm = {"confirm": True}
    assert (operation.key_required_with(confirm), operation.charges_with(confirm)) == (True, True)


OURS = [operation for operation in OPERATIONS if not operation.path.startswith("/webhooks/")]
"""Without the one route at which gateways call, which have no key of ours."""


def test_every_post_of_the_contract_takes_a_key_and_what_moves_money_insists_on_it() -> None:
    rules = {operation.name: operation.key_rule for operation in OURS if operation.method == "POST"}
    assert KeyRule.NONE not in rules.values()
    assert rules["confirm_payment"] is rules["cancel_payment"] is KeyRule.REQUIRED
    assert rules["create_payment"] is KeyRule.REQUIRED_TO_CONFIRM


def test_every_route_about_payments_has_a_scope() -> None:
    assert all(operation.scope is not None for operation in OURS)
