"""Each refusal has a code of the table, each code one meaning, and a problem shows what helps and nothing else."""

import json

import pytest

from paymux_api import problems
from paymux_api.problems import PROBLEMS, PermissionDenied, render_problem
from paymux_core import errors
from paymux_core.errors import PaymentUnexpectedState, Refused


def _refusals(kind: type[Refused]) -> list[type[Refused]]:
    return [one for child in kind.__subclasses__() for one in (child, *_refusals(child))]


@pytest.mark.parametrize("refusal", _refusals(Refused), ids=lambda refusal: refusal.__name__)
def test_each_refusal_has_a_problem(refusal: type[Refused]) -> None:
    assert refusal.code in PROBLEMS
    assert refusal.__module__ in {errors.__name__, problems.__name__}


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_problem_is_what_rfc_9457_says(code: str) -> None:
    status, body = render_problem(code, detail="Why.", request_id="req_1", docs_url="https://pay.example/docs")
    assert json.loads(body) == {
        "type": f"https://pay.example/docs#problem-{code}",
        "title": PROBLEMS[code].title,
        "status": status,
        "detail": "Why.",
        "code": code,
        "request_id": "req_1",
    }
    assert 400 <= status == PROBLEMS[code].status < 600


def test_what_helps_is_shown() -> None:
    refusal = PaymentUnexpectedState("Why.", payment_id="pay_1", current_status="succeeded", param="status")
    _, body = render_problem(refusal.code, detail="Why.", request_id="req_1", docs_url="/docs", refusal=refusal)
    shown = json.loads(body)
    assert (shown["payment_id"], shown["current_status"], shown["param"]) == ("pay_1", "succeeded", "status")
    denied = PermissionDenied("refunds:write")
    _, body = render_problem(denied.code, detail=denied.detail, request_id="req_1", docs_url="/docs", refusal=denied)
    assert json.loads(body)["required_scope"] == "refunds:write"


def test_a_code_that_is_not_in_the_table_is_a_bug() -> None:
    with pytest.raises(KeyError):
        render_problem("made_up", detail="", request_id="", docs_url="")
