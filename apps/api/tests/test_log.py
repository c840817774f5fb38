"""What reaches the log is on the list; an exception is told by type and place, never by its words."""

import json

import pytest
import structlog

from paymux_api.log import configure_log, drop_unlisted_fields, where_it_failed


def test_a_field_that_is_not_listed_is_dropped() -> None:
    event = {"event": "request.answered", "http_status": 200, "authorization": "Bearer pmx_live", "body": "{}"}
    assert drop_unlisted_fields(None, "info", event) == {"event": "request.answered", "http_status": 200}


def test_an_exception_is_told_without_its_words() -> None:
    with pytest.raises(ValueError, match="4242") as raised:
        int("4242424242424242x")
    told = where_it_failed(raised.value)
    assert told["error_type"] == "ValueError"
    assert "4242" not in json.dumps(told)
    assert "test_log.py" in json.dumps(told)


def test_a_line_is_one_json_object(capfd: pytest.CaptureFixture[str]) -> None:
    configure_log("info")
    try:
        log = structlog.get_logger("test")
        log.info("request.answered", operation="x", password="hush")
        log.debug("too quiet")
    finally:
        structlog.reset_defaults()
    (line,) = capfd.readouterr().err.splitlines()
    shown = json.loads(line)
    assert (shown["event"], shown["operation"], shown["level"]) == ("request.answered", "x", "info")
    assert "hush" not in line
