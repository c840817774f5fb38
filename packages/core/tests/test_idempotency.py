"""Equal requests have equal fingerprints and keys, however they are written; different ones never."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymux_core.idempotency import canonical_json, fingerprint, normalised_key

_words = st.text(alphabet=st.characters(codec="utf-8"), max_size=6)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=10,
)


def test_the_example_of_rfc_8785_for_names_is_kept() -> None:
    # Section 3.2.3: sorted by UTF-16 code units, so the emoji comes before U+FB33.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = canonical_json(dict.fromkeys(names, 0))
    assert list(json.loads(written)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_the_example_of_rfc_8785_for_strings_is_kept() -> None:
    # Section 3.2.2.2
    assert canonical_json('\u20ac$\u000f\nA\'B"\\\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    assert canonical_json([None, True, False, {"b": 1, "a": []}]) == '[null,true,false,{"a":[],"b":1}]'


@given(_values)
def test_the_form_is_json_of_the_same_value_and_stays_as_it_is(value: object) -> None:
    written = canonical_json(value)
    assert json.loads(written) == value
    assert canonical_json(json.loads(written)) == written


@given(_values | st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_form_is_the_one_of_the_fingerprints_that_are_stored(value: object) -> None:
    stored = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if stored.isascii():
        assert canonical_json(value) == stored


@given(_values, _values)
def test_two_values_have_one_form_only_if_they_are_equal(left: object, right: object) -> None:
    same = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert (canonical_json(left) == canonical_json(right)) == same


def test_a_fingerprint_covers_method_path_and_fields() -> None:
    prints = {
        fingerprint("POST", "/payments", {}),
        fingerprint("PUT", "/payments", {}),
        fingerprint("POST", "/payments/1", {}),
        fingerprint("POST", "/payments", {"confirm": False}),
        fingerprint("POST", "/payments", {"confirm": True}),
        fingerprint("POST", "/payments", {"confirm": 1}),
        fingerprint("POST", "/payments", {"confirm": "1"}),
        fingerprint("POST", "/payments", None),
    }
    assert len(prints) == 8
    assert {len(one) for one in prints} == {32}


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"a", "a"),
        (b"order 1001", "order 1001"),
        (b" \tpadded\t ", "padded"),
        (b"~" * 255, "~" * 255),
        (b'"quoted"', "quoted"),
        (b'" in side "', " in side "),
        (rb'"a \" b \\ c"', r"a \" b \ c".replace(r"\"", '"')),
        (b"it's", "it's"),
        (b'6"', '6"'),
    ],
)
def test_a_key_is_read_bare_or_quoted(header: bytes, key: str) -> None:
    assert normalised_key([header]) == key


@pytest.mark.parametrize(
    "header",
    [b"", b" ", b'""', b'"', b'"open', b'"a"b"', rb'"a\b"', b'"a\\"', b"~" * 256, b'"' + b"~" * 256 + b'"', b"\xe9",
     "é".encode(), b"a\x00b", b"a\tb", b"a\x7f"],
)  # fmt: skip
def test_anything_else_is_no_key(header: bytes) -> None:
    assert normalised_key([header]) is None


def test_two_headers_are_no_key() -> None:
    assert normalised_key([b"a", b"a"]) is None
    assert normalised_key([]) is None


def test_a_quote_that_is_not_escaped_ends_the_string_too_early() -> None:
    assert normalised_key([rb'"a\\b"c"']) is None
    assert normalised_key([rb'"a\\b\"c"']) == r"a\b" + '"c'
