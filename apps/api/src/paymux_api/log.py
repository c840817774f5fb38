"""What the API writes to its log: JSON lines of facts; a field that is not on the list is dropped."""

import logging
import sys
import traceback

import structlog
from structlog.typing import EventDict, WrappedLogger

_FIELDS = frozenset({
    "event", "level", "timestamp", "operation", "http_status", "duration_ms", "request_id", "code",
    "payment_id", "attempt_id", "attempt", "account_id", "gateway", "outcome", "error_type", "error_place", "address",
    "count", "seconds", "reason", "status", "unfinished", "drift_seconds", "limit",
})  # fmt: skip


def configure_log(level: str) -> None:
    """Set up the log of this process: to standard error, one JSON object per line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            describe_exception,
            drop_unlisted_fields,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def drop_unlisted_fields(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Keep the fields that are known to be harmless: a secret under a new name never reaches the log."""
    return {name: value for name, value in event.items() if name in _FIELDS}


def describe_exception(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Put the type and place of the exception being handled into an event that asks for it."""
    if event.pop("exc_info", None):
        error = sys.exception()
        if error is not None:
            event.update(where_it_failed(error))
    return event


def where_it_failed(error: BaseException) -> dict[str, object]:
    """Describe an exception by type and place. Its message stays out: it may repeat what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "error_type": type(error).__name__,
        "error_place": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-8:]],
    }
