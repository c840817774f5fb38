"""Fields and queries become typed structs; a refusal names the place, and repeats nothing that was sent."""

from collections.abc import Mapping

import msgspec
import pytest

from paymux_api.decoding import decode_fields, decode_query
from paymux_api.schemas import CreatePaymentBody, GetPaymentQuery, ListPaymentsQuery
from paymux_core.errors import ValidationFailed

GOOD: dict[str, object] = {"amount": 1999, "currency": "eur"}
CARD = "4242424242424242"


def _refused(fields: object) -> ValidationFailed:
    with pytest.raises(ValidationFailed) as refused:
        decode_fields(fields, CreatePaymentBody)
    return refused.value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"currency": "eur"}, "amount"),
        ({}, "amount"),
        (GOOD | {"surprise": 1}, "surprise"),
        (GOOD | {"amount": 19.99}, "amount"),
        (GOOD | {"amount": True}, "amount"),
        (GOOD | {"amount": 0}, "amount"),
        (GOOD | {"amount": 2**64}, "amount"),
        (GOOD | {"amount": None}, "amount"),
        (GOOD | {"currency": "eur\n"}, "currency"),
        (GOOD | {"confirm": 1}, "confirm"),
        (GOOD | {"capture_method": "manual"}, "capture_method"),
        (GOOD | {"payment_method": {"type": "card", "surprise": 1}}, "payment_method.surprise"),
        (GOOD | {"payment_method": {"type": "card\n"}}, "payment_method.type"),
        (GOOD | {"payment_method": {}}, "payment_method.type"),
        (GOOD | {"payment_method": {"type": "card", "gateway_tokens": {"mock": 1}}}, "payment_method.gateway_tokens"),
        (GOOD | {"metadata": {"k": 1}}, "metadata"),
        (GOOD | {"metadata": {"k" * 41: ""}}, "metadata"),
        (GOOD | {"return_url": "https:///nowhere"}, "return_url"),
        (GOOD | {"x" * 500: 1}, "x" * 100),
        (GOOD | {CARD: 1}, None),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_a_refusal_names_the_place(fields: object, param: str | None) -> None:
    assert _refused(fields).param == param


@pytest.mark.parametrize(
    "fields",
    [
        GOOD | {"amount": CARD},
        GOOD | {"currency": CARD},
        GOOD | {"capture_method": CARD},
        GOOD | {CARD: CARD},
        GOOD | {"metadata": {CARD: 1}},
    ],
)
def test_a_refusal_repeats_no_value(fields: object) -> None:
    refused = _refused(fields)
    assert CARD not in refused.detail + str(refused.param)


def _query(text: bytes, shape: type[msgspec.Struct] = ListPaymentsQuery) -> tuple[object, Mapping[str, str]]:
    query = decode_query(text, shape, filter_prefix="metadata." if shape is ListPaymentsQuery else None)
    return query.parameters, query.filters


def test_a_query_is_typed_and_its_filters_are_collected() -> None:
    parameters, filters = _query(b"limit=7&reference=a+b%26c&metadata.order=1&metadata.a.b=%C3%A9")
    assert isinstance(parameters, ListPaymentsQuery)
    assert (parameters.limit, parameters.reference) == (7, "a b&c")
    assert filters == {"order": "1", "a.b": "\u00e9"}
    assert _query(b"sync=true", GetPaymentQuery)[0] == GetPaymentQuery(sync=True)
    assert _query(b"", GetPaymentQuery)[0] == GetPaymentQuery(sync=False)


@pytest.mark.parametrize(
    "text",
    [b"limit=1&limit=1", b"metadata.a=1&metadata.a=1", b"limit", b"limit=1e1", b"limit=+1", b"limit=01", b"limit=",
     b"limit=" + b"9" * 400, b"created_from=0", b"created_from=2026-01-01", b"reference=%00", b"reference=%FF",
     b"reference=\xc3", b"&".join(b"metadata.%d=" % n for n in range(101))],
)  # fmt: skip
def test_a_query_that_can_be_read_in_two_ways_or_none_is_refused(text: bytes) -> None:
    with pytest.raises(ValidationFailed):
        _query(text)


@pytest.mark.parametrize("text", [b"sync=1", b"sync=True", b"sync=yes", b"sync=", b"other=1"])
def test_a_boolean_has_one_spelling(text: bytes) -> None:
    with pytest.raises(ValidationFailed):
        _query(text, GetPaymentQuery)
