"""What every connector must keep, as tests without a network: subclass `ConnectorConformance` and give it recordings.

The kit plays the gateway. It walks each exchange along the recorded answers, and at every request of it lets the
network or the gateway go wrong instead; whatever happens, the connector gives the outcome the contract demands.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence

import pytest
from msgspec.structs import replace

from paymux_core.connector import ChargeCall, Connector, GatewayAccount
from paymux_core.exchange import (
    Answer,
    Exchange,
    HttpReply,
    HttpRequest,
    NoReply,
    NotSent,
    TransportError,
)
from paymux_core.money import Money
from paymux_core.outcomes import (
    Captured,
    NotExecuted,
    NotFound,
    Outcome,
    Unknown,
    UnknownReason,
)
from paymux_testkit.hostile_answers import HostileAnswers
from paymux_testkit.list_pages import ListPages
from paymux_testkit.recordings import Played, Recordings, Scenario, json_answer, play

__all__ = ["ConnectorConformance", "Played", "Recordings", "Scenario", "json_answer", "play"]

PROVIDER_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
MONIES = (Money(1999, "eur"), Money(1999, "usd"), Money(500, "jpy"), Money(12340, "kwd"))
_NOT_SENT = (TransportError.DNS, TransportError.CONNECT, TransportError.TLS, TransportError.TOO_LATE)
_NO_REPLY = (TransportError.TIMEOUT, TransportError.RESET, TransportError.CLOSED)
_NO_SENSE = {
    "empty": b"",
    "html": b"<html>502</html>",
    "cut": b'{"id": "x", "sta',
    "list": b"[]",
    "number": b"7",
    "null": b"null",
    "object": b"{}",
    "deep": b"[" * 100_000,
    "deep object": b'{"id":' * 100_000,
    "no text": b"\xff\xfe\x00",
    "no text inside": b'{"id": "K\xfcche"}',
    "not a number": b'{"id": "x", "status": "succeeded", "amount": NaN}',
    "long number": b'{"id": ' + b"9" * 5_000 + b"}",
    "megabyte": b'"' + b"x" * 1_000_000 + b'"',
}
"""Bodies of a 200 that no gateway means."""


class ConnectorConformance(ListPages, HostileAnswers):
    """The contract. A subclass, named `Test…`, gives the four fixtures `connector`, `account`, `call`, `recordings`.

    The account's credentials and the call's token are to be secrets of at least eight characters.
    """

    VERBS = ("authorize", "inquire", "fence")

    @pytest.fixture
    def connector(self) -> Connector:
        """Give the connector under test."""
        raise NotImplementedError

    @pytest.fixture
    def account(self) -> GatewayAccount:
        """Give an account with planted secrets."""
        raise NotImplementedError

    @pytest.fixture
    def call(self) -> ChargeCall:
        """Give a call with a planted token and no remembered id."""
        raise NotImplementedError

    @pytest.fixture
    def recordings(self) -> Recordings:
        """Give what the gateway answers to that call."""
        raise NotImplementedError

    @pytest.fixture
    def start(self, connector: Connector, account: GatewayAccount, call: ChargeCall) -> Callable[[str], Exchange]:
        """Start an exchange by its verb."""

        def begin(verb: str) -> Exchange:
            exchange: Exchange = getattr(connector, verb)(account, call)
            return exchange

        return begin

    @pytest.fixture
    def courses(self, recordings: Recordings) -> Mapping[str, Scenario]:
        """Give the recorded course of each verb."""
        return {"authorize": recordings.charged, "inquire": recordings.looked_up, "fence": recordings.fenced}

    def test_the_recorded_courses_give_the_recorded_outcomes(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], recordings: Recordings
    ) -> None:
        for verb, scenario in courses.items():
            assert play(start(verb), scenario.replies).outcome == scenario.outcome, verb
        assert play(start("inquire"), recordings.absent.replies).outcome == NotFound()

    def test_the_same_call_gives_the_same_bytes(
        self,
        start: Callable[[str], Exchange],
        courses: Mapping[str, Scenario],
        connector: Connector,
        account: GatewayAccount,
        call: ChargeCall,
    ) -> None:
        for verb, scenario in courses.items():
            first, second = (play(start(verb), scenario.replies).requests for _ in range(2))
            assert first == second
        digest = connector.request_digest(account, call)
        assert digest == connector.request_digest(
            account, replace(call, provider_payment_id="remembered", fence_number=9)
        )
        assert digest != connector.request_digest(account, replace(call, money=Money(2000, "eur")))
        assert digest == connector.request_digest(_rotated(account), call)
        of_monies = {connector.request_digest(account, replace(call, money=money)) for money in MONIES}
        assert len(of_monies) == len(MONIES), "amount and currency are in the bytes"

    def test_provider_keys_are_short_plain_and_carry_the_attempt(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], call: ChargeCall
    ) -> None:
        for verb, scenario in courses.items():
            for request in play(start(verb), scenario.replies).requests:
                if request.verb.moves_money:
                    assert request.idempotency_key is not None
                if request.idempotency_key is not None:
                    assert PROVIDER_KEY.fullmatch(request.idempotency_key)
                    assert request.idempotency_key.startswith(call.attempt_id)
                    sent = {name.lower(): value for name, value in request.headers.items()}
                    assert request.idempotency_key in (*sent.values(), request.body.decode())

    def test_a_fence_has_a_new_key_each_time(
        self, connector: Connector, account: GatewayAccount, call: ChargeCall, recordings: Recordings
    ) -> None:
        keys = set()
        for number in (1, 2):
            requests = play(
                connector.fence(account, replace(call, fence_number=number)), recordings.fenced.replies
            ).requests
            keys.add(requests[-1].idempotency_key)
        assert len(keys) == 2

    def test_methods_that_a_client_may_repeat_by_itself_move_no_money(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario]
    ) -> None:
        for verb, scenario in courses.items():
            for request in play(start(verb), scenario.replies).requests:
                assert request.method in {"GET", "POST"}
                assert request.method == "GET" or request.idempotency_key is not None

    def test_an_inquiry_moves_no_money_and_remembers_nothing(
        self, start: Callable[[str], Exchange], recordings: Recordings
    ) -> None:
        played = play(start("inquire"), recordings.looked_up.replies)
        assert not played.remembered
        assert not any(request.verb.moves_money for request in played.requests)

    def test_the_id_is_remembered_before_any_request_that_moves_money_at_a_two_phase_gateway(
        self, start: Callable[[str], Exchange], connector: Connector, recordings: Recordings
    ) -> None:
        played = play(start("authorize"), recordings.charged.replies)
        if not connector.capabilities.two_phase:
            assert not played.remembered
            return
        assert isinstance(recordings.charged.outcome, Captured)
        first_charge = next(place for place, request in enumerate(played.requests) if request.verb.moves_money)
        assert played.remembered == [(first_charge, recordings.charged.outcome.provider_payment_id)]

    def test_a_remembered_id_is_used_and_nothing_is_reserved_again(
        self, connector: Connector, account: GatewayAccount, call: ChargeCall, recordings: Recordings
    ) -> None:
        if not connector.capabilities.two_phase:
            pytest.skip("this gateway reserves nothing")
        assert isinstance(recordings.charged.outcome, Captured)
        known = replace(call, provider_payment_id=recordings.charged.outcome.provider_payment_id)
        first = connector.authorize(account, known).send(None)
        assert isinstance(first, HttpRequest)
        assert first.verb.moves_money

    @pytest.mark.parametrize("error", _NOT_SENT)
    def test_what_was_not_sent_did_nothing(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], error: TransportError
    ) -> None:
        for verb, outcome in _at_every_request(start, courses, NotSent(error)):
            assert isinstance(outcome, NotExecuted), verb

    @pytest.mark.parametrize("error", _NO_REPLY)
    def test_without_a_reply_nobody_knows(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], error: TransportError
    ) -> None:
        for verb, outcome in _at_every_request(start, courses, NoReply(error)):
            assert isinstance(outcome, Unknown), verb
            assert outcome.reason is UnknownReason.NO_REPLY

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    @pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"error":{"code":"x","message":"y","type":"z"}}'])
    def test_a_server_error_leaves_it_unknown(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], status: int, body: bytes
    ) -> None:
        for verb, outcome in _at_every_request(start, courses, Answer(status, {}, body)):
            assert isinstance(outcome, Unknown), verb
            assert outcome.reason is UnknownReason.SERVER_ERROR

    @pytest.mark.parametrize("name", _NO_SENSE)
    def test_a_success_without_sense_leaves_it_unknown(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], name: str
    ) -> None:
        for verb, outcome in _at_every_request(start, courses, Answer(200, {}, _NO_SENSE[name])):
            assert isinstance(outcome, Unknown), verb

    @pytest.mark.parametrize("status", [100, 201, 204, 301, 302, 307, 418, 451])
    def test_a_status_nobody_documents_leaves_it_unknown(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], status: int
    ) -> None:
        for verb, outcome in _at_every_request(start, courses, Answer(status, {}, b"{}")):
            assert isinstance(outcome, Unknown), verb

    def test_a_word_nobody_knows_is_unmapped_and_never_a_default(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], recordings: Recordings
    ) -> None:
        for verb, scenario in courses.items():
            last = scenario.replies[-1]
            assert isinstance(last, Answer)
            outcome = play(start(verb), [*scenario.replies[:-1], recordings.unheard_of(last)]).outcome
            assert isinstance(outcome, Unknown), verb
            assert outcome.reason is UnknownReason.UNMAPPED

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_credentials_did_nothing(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], status: int
    ) -> None:
        answer = json_answer(status, {"error": {"type": "x", "code": "x", "message": "x"}})
        for verb, outcome in _at_every_request(start, courses, answer):
            assert isinstance(outcome, NotExecuted), verb

    def test_a_request_in_flight_leaves_it_unknown(
        self, start: Callable[[str], Exchange], courses: Mapping[str, Scenario], recordings: Recordings
    ) -> None:
        for verb, scenario in courses.items():
            if verb == "inquire":
                continue
            outcome = play(start(verb), [*scenario.replies[:-1], recordings.in_flight]).outcome
            assert isinstance(outcome, Unknown), verb
            assert outcome.reason is UnknownReason.IN_FLIGHT

    def test_only_a_certified_429_did_nothing(
        self,
        start: Callable[[str], Exchange],
        courses: Mapping[str, Scenario],
        connector: Connector,
        recordings: Recordings,
    ) -> None:
        assert connector.capabilities.certified_429 == (recordings.certified_429 is not None)
        if recordings.certified_429 is None:
            for _, outcome in _at_every_request(start, courses, Answer(429, {}, b"{}")):
                assert isinstance(outcome, Unknown)
            return
        for verb, outcome in _at_every_request(start, courses, recordings.certified_429):
            assert isinstance(outcome, NotExecuted), verb

    def test_the_money_reported_is_the_gateways_in_every_currency(
        self, connector: Connector, account: GatewayAccount, call: ChargeCall, recordings: Recordings
    ) -> None:
        for money in MONIES:
            asked = replace(call, money=money)
            scenario = recordings.charged_for(money)
            outcome = play(connector.authorize(account, asked), scenario.replies).outcome
            assert isinstance(outcome, Captured)
            assert outcome.money == money
        other = play(connector.authorize(account, call), recordings.charged_for(Money(1, "usd")).replies).outcome
        assert isinstance(other, Captured)
        assert other.money == Money(1, "usd"), "the gateway's amount is reported, not ours"

    def test_the_same_state_gives_the_same_outcome_by_answer_and_by_look_up(
        self, start: Callable[[str], Exchange], recordings: Recordings
    ) -> None:
        for state, (answered, looked_up) in recordings.same.items():
            by_answer = play(start("authorize"), answered.replies).outcome
            assert by_answer == answered.outcome, state
            assert play(start("inquire"), looked_up.replies).outcome == by_answer, state

    def test_secrets_are_never_shown(
        self,
        start: Callable[[str], Exchange],
        courses: Mapping[str, Scenario],
        connector: Connector,
        account: GatewayAccount,
        call: ChargeCall,
    ) -> None:
        secrets = [*account.credentials.values(), call.token]
        assert all(len(secret) >= 8 for secret in secrets), "plant longer secrets"
        assert set(account.credentials) == set(connector.credential_names)
        assert not _shown(secrets[:-1], repr(account))
        for verb, scenario in courses.items():
            played = play(start(verb), scenario.replies)
            for request in played.requests:
                assert not _shown(secrets, json.dumps(dict(request.body_safe)))
                assert not _shown(secrets, request.url)
            assert not _shown(secrets, repr(played.outcome))
        planted = {"client_secret": "planted-client-secret", "unheard_of": "planted-client-secret"}
        for document in (planted, {"data": [planted]}, {"error": {**planted, "payment_intent": planted}}):
            kept = connector.answer_safe(json.dumps(document).encode())
            assert "planted-client-secret" not in json.dumps(kept)

    def test_an_answer_that_is_no_json_keeps_nothing(self, connector: Connector) -> None:
        for body in _NO_SENSE.values():
            assert connector.answer_safe(body) == {}


def _at_every_request(
    start: Callable[[str], Exchange], courses: Mapping[str, Scenario], reply: HttpReply
) -> list[tuple[str, Outcome]]:
    """Let each request of each course go wrong in turn."""
    return [
        (f"{verb} {place}", play(start(verb), [*scenario.replies[:place], reply]).outcome)
        for verb, scenario in courses.items()
        for place in range(len(scenario.replies))
    ]


def _shown(secrets: Sequence[str], text: str) -> bool:
    return any(secret in text for secret in secrets)


def _rotated(account: GatewayAccount) -> GatewayAccount:
    return replace(account, credentials=dict.fromkeys(account.credentials, "rotated-secret"))
