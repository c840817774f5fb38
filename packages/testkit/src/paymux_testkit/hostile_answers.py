"""The part of the contract about answers that are wrong inside: types, lengths, characters, strangers and secrets.

An answer that is well-formed JSON and still nonsense may make an outcome unknown. It never makes a connector raise,
never turns into another outcome, and leaves nothing behind that the database cannot store.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import pytest
from msgspec.structs import replace

from paymux_core.connector import ChargeCall, Connector
from paymux_core.exchange import Answer, Exchange
from paymux_core.outcomes import NotFound, Outcome, Unknown
from paymux_testkit.recordings import Recordings, Scenario, play

PLANTED = "planted-in-the-answer"
ID_LENGTH_MAX = 255
"""An id is stored under an index, whose entries have a limit."""
_STRANGERS = {"client_secret": PLANTED, "unheard_of": {"number": PLANTED, "list": [PLANTED]}}
_WRONG: Mapping[str, object] = {
    "null": None,
    "list": [],
    "list of null": [None],
    "object": {},
    "no text": "",
    "true": True,
    "negative": -1,
    "fraction": 1.5,
    "infinite": 1e308,  # written ten times as large below
    "beyond int64": 2**63,
    "thirty digits": 10**30,
    "long": "x" * 5_000,
    "NUL": "a\x00b",
    "half a pair": "a\ud800b",
}
_Path = tuple[str | int, ...]


class HostileAnswers:
    """Tests over the fixtures of `ConnectorConformance`."""

    @pytest.fixture
    def recorded(self, courses: Mapping[str, Scenario], recordings: Recordings) -> Sequence[tuple[str, Scenario]]:
        """Give every recorded course with its verb."""
        states = [
            (verb, scenario)
            for pair in recordings.same.values()
            for verb, scenario in zip(("authorize", "inquire"), pair, strict=True)
        ]
        return [*courses.items(), *states]

    @pytest.mark.parametrize("wrong", [*_WRONG, "missing"])
    def test_a_wrong_value_anywhere_never_raises_and_never_becomes_another_outcome(
        self,
        start: Callable[[str], Exchange],
        connector: Connector,
        recorded: Sequence[tuple[str, Scenario]],
        wrong: str,
    ) -> None:
        for verb, scenario in recorded:
            for place, answer in _answers(scenario):
                for path in _paths(json.loads(answer.body)):
                    body = _with_wrong(answer.body, path, wrong)
                    hostile = [*scenario.replies[:place], replace(answer, body=body), *scenario.replies[place + 1 :]]
                    outcome = play(start(verb), hostile).outcome
                    where = f"{verb} {place} {path}"
                    assert isinstance(outcome, _may_become(verb, scenario)), where
                    assert _is_storable(msgspec.to_builtins(outcome)), where
                    assert len(getattr(outcome, "provider_payment_id", None) or "") <= ID_LENGTH_MAX, where
                    kept = json.dumps(dict(connector.answer_safe(body)), allow_nan=False)
                    assert _is_storable(json.loads(kept)), where

    def test_what_nobody_heard_of_changes_nothing_and_is_not_kept(
        self, start: Callable[[str], Exchange], connector: Connector, recorded: Sequence[tuple[str, Scenario]]
    ) -> None:
        for verb, scenario in recorded:
            salted = [
                replace(reply, body=json.dumps(_salted(json.loads(reply.body))).encode())
                if isinstance(reply, Answer)
                else reply
                for reply in scenario.replies
            ]
            outcome = play(start(verb), salted).outcome
            assert outcome == scenario.outcome, verb
            assert PLANTED not in repr(outcome), verb
            for reply in salted:
                if isinstance(reply, Answer):
                    assert PLANTED not in json.dumps(dict(connector.answer_safe(reply.body))), verb

    def test_the_answer_about_another_attempt_is_never_taken_for_this_ones(
        self, start: Callable[[str], Exchange], call: ChargeCall, recorded: Sequence[tuple[str, Scenario]]
    ) -> None:
        for verb, scenario in recorded:
            for place, answer in _answers(scenario):
                if call.attempt_id.encode() not in answer.body:
                    continue
                foreign = replace(answer, body=answer.body.replace(call.attempt_id.encode(), b"att_of_somebody_else"))
                replies = [*scenario.replies[:place], foreign, *scenario.replies[place + 1 :]]
                outcome = play(start(verb), replies).outcome
                allowed = (Unknown, NotFound) if verb == "inquire" else Unknown
                assert isinstance(outcome, allowed), f"{verb} {place} {outcome}"


def _answers(scenario: Scenario) -> Iterator[tuple[int, Answer]]:
    for place, reply in enumerate(scenario.replies):
        if isinstance(reply, Answer):
            yield place, reply


def _may_become(verb: str, scenario: Scenario) -> tuple[type[Outcome], ...]:
    # A list in which the attempt cannot be recognised any more does not show it.
    return (type(scenario.outcome), Unknown, *((NotFound,) if verb == "inquire" else ()))


def _paths(document: object) -> Iterator[_Path]:
    """List the way to every value of a document."""
    inside: Iterator[tuple[str | int, object]] = iter(())
    if isinstance(document, dict):
        inside = iter(document.items())
    elif isinstance(document, list):
        inside = iter(enumerate(document))
    for name, value in inside:
        yield (name,)
        yield from ((name, *below) for below in _paths(value))


def _with_wrong(body: bytes, path: _Path, wrong: str) -> bytes:
    document = json.loads(body)
    holder = document
    for step in path[:-1]:
        holder = holder[step]
    if wrong == "missing":
        del holder[path[-1]]
    else:
        holder[path[-1]] = copy.deepcopy(_WRONG[wrong])
    return json.dumps(document).replace("1e+308", "1e+309").encode()


def _salted(value: object) -> object:
    """Add strangers to every object of a document."""
    if isinstance(value, dict):
        return {name: _salted(item) for name, item in value.items()} | _STRANGERS
    return [_salted(item) for item in value] if isinstance(value, list) else value


def _is_storable(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, Mapping):
        return all(_is_storable(item) for item in value.values())
    return all(_is_storable(item) for item in value) if isinstance(value, (list, tuple)) else True
