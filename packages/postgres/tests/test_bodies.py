"""Bodies of events come back byte for byte, and those of every confirm are small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymux_postgres.bodies import pack_body, unpack_body

# What version 1 wrote once: a dictionary that changed would not read it any more.
PACKED = bytes.fromhex("01432a4a0cb117245892432d00")


@given(st.binary(max_size=3000))
def test_a_body_comes_back_byte_for_byte(body: bytes) -> None:
    assert unpack_body(pack_body(body)) == body


def test_what_the_first_version_packed_is_still_read() -> None:
    assert unpack_body(PACKED) == b'{"id":"pay_1","object":"payment","status":"succeeded"}'


def test_a_version_that_is_not_known_is_no_guess() -> None:
    with pytest.raises(KeyError):
        unpack_body(b"\x09" + PACKED[1:])
