"""Bodies are capped, timed, and parsed more strictly than JSON asks for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paymux_api.bodies import BODY_BYTES_MAX, DEPTH_MAX, ClientGone, parse_body, read_body
from paymux_api.problems import BodyTooLarge, MalformedJson, RequestTimeout

Receive = Callable[[], Awaitable[dict[str, Any]]]


def _pieces(*pieces: bytes) -> Receive:
    messages = [
        {"type": "http.request", "body": piece, "more_body": place < len(pieces)}
        for place, piece in enumerate(pieces, start=1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return receive


async def _read(receive: Receive, announced: bytes | None = None, seconds: float = 30) -> bytes:
    return await read_body(receive, announced_bytes=announced, deadline_seconds=seconds)


async def test_pieces_are_put_together() -> None:
    assert await _read(_pieces(b'{"a"', b"", b":1}")) == b'{"a":1}'


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert len(await _read(_pieces(b"x" * BODY_BYTES_MAX))) == BODY_BYTES_MAX
    with pytest.raises(BodyTooLarge):
        await _read(_pieces(b"x" * BODY_BYTES_MAX, b"x"))


@pytest.mark.parametrize("announced", [str(BODY_BYTES_MAX + 1).encode(), b"9" * 9, b"9" * 5000])
async def test_an_announced_flood_is_refused_before_a_byte_is_read(announced: bytes) -> None:
    with pytest.raises(BodyTooLarge):
        await _read(_pieces(), announced)


async def test_a_body_that_does_not_come_in_time_is_a_timeout() -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RequestTimeout):
        await _read(never, seconds=0.01)


async def test_a_client_that_hangs_up_is_gone() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await _read(gone)


def _nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_sixteen_levels_are_taken_and_seventeen_are_not() -> None:
    parse_body(_nested(DEPTH_MAX))
    parse_body(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    for deeper in (_nested(DEPTH_MAX + 1), b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), b"[" * 60_000):
        with pytest.raises(MalformedJson):
            parse_body(deeper)


_words = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=12,
)


@given(_values, st.sampled_from([None, 1]))
def test_what_python_writes_is_read_as_it_was(value: object, indent: int | None) -> None:
    for body in (json.dumps(value, indent=indent), json.dumps(value, ensure_ascii=False, indent=indent)):
        assert parse_body(body.encode()).fields == value


@given(_values, _words)
@example("a:b", ":")
def test_a_name_that_comes_twice_is_found_wherever_it_hides(value: object, name: str) -> None:
    written, inner = json.dumps(name), json.dumps(value)
    escaped = '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in name) + '"'
    for second in (written, escaped):
        twice = f"{{{written}: {inner}, {second}: {inner}}}"
        for body in (twice, f'{{"outer:": [{twice}]}}'):
            with pytest.raises(MalformedJson):
                parse_body(body.encode())


@given(_words, _words, st.sampled_from([r"\u0000", r"\ud800", r"\udfff\ud800"]))
def test_nul_and_lone_surrogates_are_found_wherever_they_hide(before: str, after: str, bad: str) -> None:
    word = json.dumps(before)[:-1] + bad + json.dumps(after)[1:]
    for body in (word, f"[{word}]", f'{{"a": {word}}}', f'{{{word}: "a"}}'):
        with pytest.raises(MalformedJson):
            parse_body(body.encode())


@given(st.binary(max_size=200))
def test_random_bytes_are_json_or_malformed(body: bytes) -> None:
    try:
        parse_body(body)
    except MalformedJson:
        return
    json.loads(body or b"{}")


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_body(rb'["\ud83d\uded2"]').fields == ["\U0001f6d2"]


def test_escaped_text_is_searched_as_what_it_means() -> None:
    assert "4242" in parse_body(rb'{"a": "\u0034242"}').text
    assert "4242" in parse_body(rb'{"\u0034242": "\n"}').text
