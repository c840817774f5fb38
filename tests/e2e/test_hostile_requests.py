"""Whatever comes over the wire gets a clear 4xx problem and changes nothing."""

import gzip
import json

import pytest

from tests.support.http import Merchant, Reply
from tests.support.stack import Stack


def _with(**fields: object) -> bytes:
    return json.dumps({"amount": 1999, "currency": "eur"} | fields).encode()


def _amount(text: str) -> bytes:
    return b'{"currency": "eur", "amount": ' + text.encode() + b"}"


BODIES = {
    "NUL in a string": (rb'{"amount": 1, "currency": "eur", "description": "a\u0000b"}', 400, "malformed_json"),
    "NUL in a name": (rb'{"amount": 1, "currency": "eur", "metadata": {"a\u0000": ""}}', 400, "malformed_json"),
    "a NUL byte": (b'{"amount": 1, "currency": "eur", "description": "a\x00b"}', 400, "malformed_json"),
    "a lone surrogate": (rb'{"amount": 1, "currency": "eur", "description": "\ud83d"}', 400, "malformed_json"),
    "swapped surrogates": (rb'{"amount": 1, "currency": "eur", "description": "\ude00\ud83d"}', 400, "malformed_json"),
    "bytes that are no UTF-8": (b'{"amount": 1, "currency": "eur", "description": "\xff"}', 400, "malformed_json"),
    "UTF-16": ('{"amount": 1, "currency": "eur"}'.encode("utf-16"), 400, "malformed_json"),
    "no JSON": (b"amount=1&currency=eur", 400, "malformed_json"),
    "half a JSON": (b'{"amount": 1, "currency"', 400, "malformed_json"),
    "two documents": (_with() + _with(), 400, "malformed_json"),
    "not a number": (_amount("NaN"), 400, "malformed_json"),
    "infinity": (_amount("Infinity"), 400, "malformed_json"),
    "a name twice": (b'{"amount": 1, "amount": 2, "currency": "eur"}', 400, "malformed_json"),
    "a name twice, escaped": (rb'{"amount": 1, "\u0061mount": 2, "currency": "eur"}', 400, "malformed_json"),
    "depth 100 of lists": (b"[" * 100 + b"]" * 100, 400, "malformed_json"),
    "depth 100 of objects": (b'{"a":' * 100 + b"1" + b"}" * 100, 400, "malformed_json"),
    "depth 30,000": (b"[" * 30_000 + b"]" * 30_000, 400, "malformed_json"),
    "nothing": (b"", 422, "validation_failed"),
    "a list": (b"[]", 422, "validation_failed"),
    "null": (b"null", 422, "validation_failed"),
    "a float": (_amount("19.99"), 422, "validation_failed"),
    "a float without a fraction": (_amount("1999.0"), 422, "validation_failed"),
    "an exponent": (_amount("2e3"), 422, "validation_failed"),
    "a boolean": (_amount("true"), 422, "validation_failed"),
    "a number as a string": (_amount('"1999"'), 422, "validation_failed"),
    "zero": (_amount("0"), 422, "validation_failed"),
    "less than zero": (_amount("-1"), 422, "validation_failed"),
    "2 to the 63": (_amount(str(2**63)), 422, "validation_failed"),
    "2 to the 64": (_amount(str(2**64)), 422, "validation_failed"),
    "a thousand digits": (_amount("9" * 1000), 422, "validation_failed"),
    "an unknown field": (_with(amounts=1), 422, "validation_failed"),
    "an unknown field within": (_with(payment_method={"type": "card", "number": "x"}), 422, "validation_failed"),
    "no currency of this world": (_with(currency="xxq"), 422, "currency_not_supported"),
    "a currency in capitals": (_with(currency="EUR"), 422, "validation_failed"),
    "a currency and a newline": (_with(currency="eur\n"), 422, "validation_failed"),
    "a method type and a newline": (_with(payment_method={"type": "card\n", "token": "x"}), 422, "validation_failed"),
    "manual capture": (_with(capture_method="manual"), 422, "validation_failed"),
    "confirm without a method": (_with(confirm=True), 422, "validation_failed"),
    "an amount beyond what every client reads exactly": (_amount(str(2**53)), 422, "validation_failed"),
    "sixty thousand digits": (_amount("9" * 60_000), 400, "malformed_json"),
    "a boolean as text": (_with(off_session="false"), 422, "validation_failed"),
    "a number as a boolean": (_with(off_session=0), 422, "validation_failed"),
    "a name of metadata that is too long": (_with(metadata={"k" * 41: ""}), 422, "validation_failed"),
    "a name of metadata that is empty": (_with(metadata={"": ""}), 422, "validation_failed"),
    "a value of metadata that is too long": (_with(metadata={"k": "v" * 501}), 422, "validation_failed"),
    "a reference that is empty": (_with(reference=""), 422, "validation_failed"),
    "a reference that is too long": (_with(reference="r" * 256), 422, "validation_failed"),
    "an address of another kind": (_with(return_url="javascript:alert(1)"), 422, "validation_failed"),
    "depth 17": (b'{"metadata":' + b'{"a":' * 16 + b'""' + b"}" * 17, 400, "malformed_json"),
    "compressed": (gzip.compress(_with()), 400, "malformed_json"),
    "metadata that is no text": (_with(metadata={"order": 7}), 422, "validation_failed"),
    "too much metadata": (_with(metadata={str(n): "" for n in range(51)}), 422, "validation_failed"),
    "a card number": (_with(description="4242424242424242"), 400, "raw_card_data_not_allowed"),
    "a card number with spaces": (_with(metadata={"card": "4242 4242 4242 4242"}), 400, "raw_card_data_not_allowed"),
    "a card number as a token": (
        _with(payment_method={"type": "card", "token": "5555-5555-5555-4444"}),
        400,
        "raw_card_data_not_allowed",
    ),
    "a card number in other digits": (
        _with(description="4242424242424242".translate({48 + n: 0x0660 + n for n in range(10)})),
        400,
        "raw_card_data_not_allowed",
    ),
    "64 KiB and a byte": (_with(description="x" * 65_536), 413, "body_too_large"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body_is_a_clear_problem_and_changes_nothing(name: str, stack: Stack, shop: Merchant) -> None:
    body, status, code = BODIES[name]
    before = await stack.payments_count(shop)
    reply = await shop.send("POST", "/payments", body)
    _is_problem(reply, status, code)
    assert await stack.payments_count(shop) == before


async def test_a_refused_card_number_is_not_repeated(shop: Merchant) -> None:
    reply = await shop.send("POST", "/payments", _with(**{"4242424242424242": "x"}))
    assert reply.status in {400, 422}
    assert b"4242424242424242" not in reply.body


async def test_ten_megabytes_are_refused_before_they_are_read(stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    head = shop.head_bytes("POST", "/payments", "Content-Length: 10000000")
    _is_problem(await shop.send_raw(head), 413, "body_too_large")
    assert await stack.payments_count(shop) == before


async def test_a_body_that_does_not_say_its_length_is_cut_off(stack: Stack, shop: Merchant) -> None:
    before = await stack.payments_count(shop)
    head = shop.head_bytes("POST", "/payments", "Transfer-Encoding: chunked")
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    _is_problem(await shop.send_raw(head + chunk * 5), 413, "body_too_large")
    assert await stack.payments_count(shop) == before


async def test_what_is_just_allowed_is_taken_and_shown_as_it_was_sent(shop: Merchant) -> None:
    fields = {
        "amount": 2**53 - 1,
        "currency": "kwd",
        "reference": "\U0001f6d2" * 255,
        "description": "d" * 1000,
        "metadata": {f"{n:02}" + "k" * 38: "v" * 500 for n in range(50)},
        "return_url": "https://shop.example/" + "p" * (2048 - 21),
    }
    payment = (await shop.post("/payments", fields)).content
    assert {name: payment[name] for name in fields} == fields


@pytest.mark.parametrize("verb", ["confirm", "cancel"])
@pytest.mark.parametrize("name", ["NUL in a string", "an unknown field", "depth 100 of objects", "a list"])
async def test_a_hostile_body_leaves_a_payment_as_it_is(verb: str, name: str, stack: Stack, shop: Merchant) -> None:
    body, status, code = BODIES[name]
    payment_id = await shop.new_payment("sandbox_approve")
    before = await shop.payment(payment_id)
    reply = await shop.send("POST", f"/payments/{payment_id}/{verb}", body, key=f"hostile-{verb}-{name}")
    _is_problem(reply, status, code)
    assert await shop.payment(payment_id) == before
    assert stack.sandbox.requests(payment_id) == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=1.5",
        "limit=1e1",
        "limit=1.0",
        "limit=05",
        "limit=%D9%A3",
        "limit=true",
        "limit=99999999999999999999",
        "limit=1&limit=2",
        "starting_after=pay_x",
        "status=paid",
        "starting_after=",
        "starting_after=att_01m85nrj8ffm59ce1gp5skj4s8",
        "starting_after=pay_01m85nrj8ffm59ce1gp5skj4s8%0A",
        "created_from=yesterday",
        "created_from=0.5",
        "created_to=1700000000",
        "created_from=2026-13-01T00:00:00Z",
        "created_from=2026-01-01T00:00:00",
        "reference=%00",
        "reference=%ff",
        "metadata.=x",
        "surprise=1",
    ],
)
async def test_a_hostile_query_is_a_clear_problem(query: str, shop: Merchant) -> None:
    _is_problem(await shop.get(f"/payments?{query}"), 422, "validation_failed")


def _is_problem(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.content["request_id"] == reply.headers["request-id"]
    assert reply.content["status"] == status
