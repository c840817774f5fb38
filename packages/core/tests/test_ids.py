"""Ids: written and read back, in the order of their birth, and nothing else is taken for one."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymux_core.ids import Kind, attempt_id, parse_attempt_id, parse_public_id, public_id, unix_ms_of, uuid7

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


@given(st.uuids(), st.sampled_from(Kind))
def test_an_id_is_its_kind_and_its_bits_in_crockfords_base_32(value: UUID, kind: Kind) -> None:
    written = public_id(kind, value)
    prefix, token = written.split("_")
    assert prefix == kind
    assert sum(CROCKFORD.index(character) << 5 * place for place, character in enumerate(reversed(token))) == value.int
    assert parse_public_id(kind, written) == value


@given(st.uuids(), st.uuids())
def test_texts_are_ordered_as_their_ids(left: UUID, right: UUID) -> None:
    assert (public_id(Kind.PAYMENT, left) < public_id(Kind.PAYMENT, right)) == (left < right)


@given(st.text(max_size=40) | st.text(alphabet=CROCKFORD + "iloupay_", min_size=28, max_size=32))
def test_whatever_is_read_is_written_the_same(text: str) -> None:
    value = parse_public_id(Kind.PAYMENT, text)
    assert value is None or public_id(Kind.PAYMENT, value) == text


@pytest.mark.parametrize(
    "text",
    [
        "pay_" + "z" * 26,  # 130 bits
        "pay_" + "0" * 25,
        "pay_" + "0" * 25 + "i",
        "pay_" + "0" * 25 + "A",
        "pay_" + "0" * 25 + "\n",
        "pay_" + "\u0660" * 26,  # digits elsewhere
        "att_" + "0" * 26,
        "pay" + "0" * 26,
        "",
    ],
)
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_public_id(Kind.PAYMENT, text) is None


@given(st.uuids(), st.integers(1, 32767))
def test_an_attempts_id_is_its_payments_and_a_number(payment: UUID, number: int) -> None:
    assert parse_attempt_id(attempt_id(payment, number)) == (payment, number)
    assert parse_attempt_id(attempt_id(payment, number) + "0" * 5) is None


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_a_uuid_7_holds_its_time(unix_ms: int, bits: int) -> None:
    value = uuid7(unix_ms, bits)
    assert (value.version, value.variant, unix_ms_of(value)) == (7, "specified in RFC 4122", unix_ms)
