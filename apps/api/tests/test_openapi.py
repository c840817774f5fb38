"""The document is complete: what is declared stands in it, and what it names exists."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from paymux_api.app import render_contract
from paymux_api.problems import PROBLEMS
from paymux_api.routes.contract import OPERATIONS
from paymux_core.currencies import CURRENCY_EXPONENTS

DOCUMENT: dict[str, Any] = json.loads(render_contract(OPERATIONS))
DESCRIBED: list[tuple[str, dict[str, Any]]] = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield str(name), item
        yield from _walk(item)


def test_every_reference_leads_somewhere() -> None:
    references = [item for name, item in _walk(DOCUMENT) if name == "$ref"]
    assert references
    for reference in references:
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_pattern_is_one_that_browsers_know() -> None:
    patterns = [item for name, item in _walk(DOCUMENT) if name == "pattern" and isinstance(item, str)]
    assert len(patterns) > 5
    for pattern in patterns:
        assert r"\Z" not in pattern
        re.compile(pattern)


@pytest.mark.parametrize(("name", "operation"), DESCRIBED)
def test_every_answer_is_described_with_its_headers(name: str, operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        assert {"Request-Id", "Paymux-Version"} <= answer["headers"].keys(), status
        assert answer["content"] or status == "204"
        if int(status) >= 400:
            assert "application/problem+json" in answer["content"]
    assert {"405", "500", "503", "400", "431", "408"} <= operation["responses"].keys()
    if operation["security"]:
        assert {"401", "403", "429"} <= operation["responses"].keys()
    if "{id}" in name:
        assert "404" in operation["responses"]


@pytest.mark.parametrize(("name", "operation"), [one for one in DESCRIBED if one[0].startswith("POST")])
def test_every_post_takes_a_key_and_shows_a_body_that_works(name: str, operation: dict[str, Any]) -> None:
    if "/webhooks/" in name:
        return  # gateways call there, with a proof of their own
    assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
    assert {"413", "422"} <= operation["responses"].keys()
    assert "409" in operation["responses"] or "/payments" not in name, "what moves money may still be running"
    if "requestBody" in operation:
        assert operation["requestBody"]["content"]["application/json"]["example"]


def test_every_code_is_explained_and_every_currency_named() -> None:
    assert DOCUMENT["x-problems"].keys() == PROBLEMS.keys()
    currency = DOCUMENT["components"]["schemas"]["CreatePaymentBody"]["properties"]["currency"]
    assert set(currency["enum"]) == CURRENCY_EXPONENTS.keys()


def test_links_name_operations_that_exist() -> None:
    names = {operation["operationId"] for _, operation in DESCRIBED}
    links = [link for _, operation in DESCRIBED for answer in operation["responses"].values()
             for link in answer.get("links", {}).values()]  # fmt: skip
    linked = {link["operationId"] for link in links}
    assert (
        {"read_payment", "confirm_payment", "cancel_payment", "read_webhook_endpoint", "read_event"} <= linked <= names
    )


@pytest.mark.parametrize(
    ("key", "fits"),
    [("a", 1), ("order 1001", 1), ("~" * 255, 1), ('"quoted"', 1), (r'"a \" b"', 1), ('"open', 0), ("", 0), (" a", 0),
     ('"', 0), ("é", 0)],
)  # fmt: skip
def test_the_pattern_of_a_key_fits_what_is_taken(key: str, fits: int) -> None:
    (schema,) = {
        parameter["schema"]["pattern"]
        for _, operation in DESCRIBED
        for parameter in operation["parameters"]
        if parameter["name"] == "Idempotency-Key"
    }
    assert bool(re.fullmatch(schema, key)) == bool(fits)
