"""The part of the contract about a gateway's list: one page, one request, each object as a look-up would read it."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from paymux_core.connector import ChargeCall, Connector, GatewayAccount, ListWindow
from paymux_core.exchange import Answer, HttpReply, HttpRequest, NoReply, NotSent, Page, TransportError
from paymux_core.outcomes import NotExecuted, NotFound, Outcome, Unknown
from paymux_testkit.recordings import Recordings, json_answer

_NO_PAGE: Mapping[str, HttpReply] = {
    "not sent": NotSent(TransportError.CONNECT),
    "no reply": NoReply(TransportError.TIMEOUT),
    "server error": Answer(503, {}, b"{}"),
    "credentials refused": json_answer(401, {"error": {"type": "x", "code": "x", "message": "x"}}),
    "html": Answer(200, {}, b"<html>"),
    "no list": Answer(200, {}, b'{"data": {}}'),
    "list of numbers": Answer(200, {}, b'{"data": [1]}'),
    "deep": Answer(200, {}, b"[" * 100_000),
}


class ListPages:
    """Tests over the fixtures of `ConnectorConformance`."""

    @pytest.fixture
    def read_page(
        self, connector: Connector, account: GatewayAccount, call: ChargeCall
    ) -> Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]]:
        """Read the page of the call's time with one answer."""
        if not connector.capabilities.lists:
            pytest.skip("this gateway has no list")
        window = ListWindow(call.started_at - timedelta(minutes=2), call.started_at + timedelta(minutes=2), "the_last")

        def read(reply: HttpReply) -> tuple[HttpRequest, Page | Outcome]:
            listing = connector.list_page(account, window)
            request = next(listing)
            with pytest.raises(StopIteration) as stop:
                listing.send(reply)
            page: Page | Outcome = stop.value.value
            return request, page

        return read

    def test_an_object_of_a_list_is_read_as_by_its_look_up(
        self,
        read_page: Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]],
        recordings: Recordings,
        call: ChargeCall,
    ) -> None:
        for state, (_, looked_up) in recordings.same.items():
            request, page = read_page(looked_up.replies[-1])
            assert request.method == "GET", state
            assert not request.verb.moves_money
            assert "the_last" in request.url
            assert isinstance(page, Page)
            assert [(found.attempt_id, found.outcome) for found in page.found] == [(call.attempt_id, looked_up.outcome)]
            assert page.after is None, "the answer says that there is no more"

    def test_a_list_that_goes_on_says_where(
        self, read_page: Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]], recordings: Recordings
    ) -> None:
        answer = recordings.looked_up.replies[-1]
        assert isinstance(answer, Answer)
        document = json.loads(answer.body)
        _, page = read_page(json_answer(200, document | {"has_more": True}))
        assert isinstance(page, Page)
        assert page.after == document["data"][-1]["id"]
        _, empty = read_page(json_answer(200, document | {"has_more": True, "data": []}))
        assert empty == Page(()), "what shows nothing has no end to go on from"

    def test_what_is_not_ours_is_left_out(
        self, read_page: Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]], recordings: Recordings
    ) -> None:
        answer = recordings.looked_up.replies[-1]
        assert isinstance(answer, Answer)
        document = json.loads(answer.body)
        [ours] = document["data"]
        stranger = {name: value for name, value in ours.items() if name not in {"attempt_id", "metadata"}}
        _, page = read_page(json_answer(200, document | {"data": [stranger, ours]}))
        assert isinstance(page, Page)
        assert len(page.found) == 1

    @pytest.mark.parametrize("name", _NO_PAGE)
    def test_a_list_that_cannot_be_read_is_an_outcome_that_proves_nothing(
        self, read_page: Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]], name: str
    ) -> None:
        _, page = read_page(_NO_PAGE[name])
        assert isinstance(page, (Unknown, NotExecuted))

    def test_an_empty_list_shows_nothing_and_says_nothing(
        self, read_page: Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]], recordings: Recordings
    ) -> None:
        _, page = read_page(recordings.absent.replies[-1])
        assert page == Page(())
        assert not isinstance(page, NotFound)

    def test_no_secret_is_shown_of_an_object(
        self, read_page: Callable[[HttpReply], tuple[HttpRequest, Page | Outcome]], recordings: Recordings
    ) -> None:
        answer = recordings.looked_up.replies[-1]
        assert isinstance(answer, Answer)
        document = json.loads(answer.body)
        planted = {"client_secret": "planted-client-secret", "unheard_of": ["planted-client-secret"]}
        _, page = read_page(json_answer(200, document | {"data": [{**document["data"][0], **planted}]}))
        assert isinstance(page, Page)
        assert "planted" not in json.dumps([dict(found.shown) for found in page.found])
