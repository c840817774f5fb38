"""Everything that may change a status: these tables and the one function that reads them.

Rule 1: a transition that is not in a table does not exist, in Python and in Postgres alike (the database holds copies,
and a test holds them equal). Rule 2: a status added later has no way in or out until a table says so.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from paymux_core.errors import IllegalTransition


class PaymentStatus(StrEnum):
    """What the merchant is told about a payment."""

    REQUIRES_CONFIRMATION = "requires_confirmation"
    """Created, nothing sent. The merchant confirms or cancels; the sweep cancels it after 24 h."""
    PROCESSING = "processing"
    """An attempt, capture or void is under way. The worker asks until it knows; at the deadline a person is told."""
    REQUIRES_ACTION = "requires_action"
    """The customer has to act. Ends by `complete_action`, the gateway's word, or the deadline's fence."""
    REQUIRES_CAPTURE = "requires_capture"
    """The money is held. The merchant captures or voids; expiry is learnt from the gateway."""
    SUCCEEDED = "succeeded"
    """The money was taken, proven by the gateway. Final."""
    FAILED = "failed"
    """No money moved, proven. Final; money that appears later is a late charge."""
    CANCELED = "canceled"
    """Cancelled, voided, expired or abandoned without money moving, proven. Final."""


class PaymentEvent(StrEnum):
    """What happens to a payment."""

    CREATE = "create"
    CONFIRM = "confirm"
    ACTION_NEEDED = "action_needed"
    AUTHORIZE = "authorize"
    CONTINUE = "continue"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


class AttemptStatus(StrEnum):
    """What is known about one try at one gateway account."""

    STARTED = "started"
    """Committed; its request is about to be sent or on its way. Its own process, else the worker, moves it on."""
    UNKNOWN = "unknown"
    """Nobody can tell. The worker asks; a fence or the gateway's record ends it."""
    PENDING = "pending"
    """The gateway has it and will know later. The worker asks."""
    REQUIRES_ACTION = "requires_action"
    """The customer has to act."""
    AUTHORIZED = "authorized"
    """The gateway holds the money."""
    SUCCEEDED = "succeeded"
    """The gateway took the money. Final."""
    FAILED = "failed"
    """The gateway refused, definitely. Final."""
    NOT_EXECUTED = "not_executed"
    """We are sure that no money moved and the gateway did not act. Final."""
    VOIDED = "voided"
    """The gateway acknowledged a cancel. Final."""


class AttemptEvent(StrEnum):
    """What happens to an attempt."""

    OPEN = "open"
    LOSE_TRACK = "lose_track"
    WAIT = "wait"
    ACTION_NEEDED = "action_needed"
    RESUME = "resume"
    AUTHORIZE = "authorize"
    SUCCEED = "succeed"
    FAIL = "fail"
    NOT_EXECUTE = "not_execute"
    VOID = "void"


_P, _PE, _A, _AE = PaymentStatus, PaymentEvent, AttemptStatus, AttemptEvent

_PAYMENT_ENDS = {_PE.SUCCEED: _P.SUCCEEDED, _PE.FAIL: _P.FAILED, _PE.CANCEL: _P.CANCELED}
_ATTEMPT_ENDS = {_AE.SUCCEED: _A.SUCCEEDED, _AE.FAIL: _A.FAILED, _AE.VOID: _A.VOIDED}

PAYMENT_TRANSITIONS: Mapping[PaymentStatus | None, Mapping[PaymentEvent, PaymentStatus]] = {
    None: {_PE.CREATE: _P.REQUIRES_CONFIRMATION},
    _P.REQUIRES_CONFIRMATION: {_PE.CONFIRM: _P.PROCESSING, _PE.CANCEL: _P.CANCELED},
    _P.PROCESSING: {
        _PE.ACTION_NEEDED: _P.REQUIRES_ACTION,
        _PE.AUTHORIZE: _P.REQUIRES_CAPTURE,
        **_PAYMENT_ENDS,
    },
    _P.REQUIRES_ACTION: {
        _PE.CONTINUE: _P.PROCESSING,
        _PE.AUTHORIZE: _P.REQUIRES_CAPTURE,
        **_PAYMENT_ENDS,
    },
    _P.REQUIRES_CAPTURE: {_PE.CONTINUE: _P.PROCESSING, **_PAYMENT_ENDS},
    _P.SUCCEEDED: {},
    _P.FAILED: {},
    _P.CANCELED: {},
}

ATTEMPT_TRANSITIONS: Mapping[AttemptStatus | None, Mapping[AttemptEvent, AttemptStatus]] = {
    None: {_AE.OPEN: _A.STARTED},
    _A.STARTED: {
        _AE.LOSE_TRACK: _A.UNKNOWN,
        _AE.WAIT: _A.PENDING,
        _AE.ACTION_NEEDED: _A.REQUIRES_ACTION,
        _AE.AUTHORIZE: _A.AUTHORIZED,
        _AE.NOT_EXECUTE: _A.NOT_EXECUTED,
        **_ATTEMPT_ENDS,
    },
    _A.UNKNOWN: {
        _AE.WAIT: _A.PENDING,
        _AE.ACTION_NEEDED: _A.REQUIRES_ACTION,
        _AE.AUTHORIZE: _A.AUTHORIZED,
        **_ATTEMPT_ENDS,
    },
    _A.PENDING: {_AE.ACTION_NEEDED: _A.REQUIRES_ACTION, _AE.AUTHORIZE: _A.AUTHORIZED, **_ATTEMPT_ENDS},
    _A.REQUIRES_ACTION: {
        _AE.RESUME: _A.STARTED,
        _AE.WAIT: _A.PENDING,
        _AE.AUTHORIZE: _A.AUTHORIZED,
        _AE.LOSE_TRACK: _A.UNKNOWN,
        **_ATTEMPT_ENDS,
    },
    _A.AUTHORIZED: _ATTEMPT_ENDS,
    _A.SUCCEEDED: {},
    _A.FAILED: {},
    _A.NOT_EXECUTED: {},
    _A.VOIDED: {},
}

PAYMENT_TERMINAL = frozenset(status for status, exits in PAYMENT_TRANSITIONS.items() if status and not exits)
ATTEMPT_CLOSED = frozenset(status for status, exits in ATTEMPT_TRANSITIONS.items() if status and not exits)
ATTEMPT_CLOSED_WITHOUT_MONEY = ATTEMPT_CLOSED - {AttemptStatus.SUCCEEDED}

_Status = TypeVar("_Status", PaymentStatus, AttemptStatus)
_Event = TypeVar("_Event", PaymentEvent, AttemptEvent)


def next_payment_status(status: PaymentStatus | None, event: PaymentEvent) -> PaymentStatus:
    """Look up where `event` leads from `status`. Raises: IllegalTransition."""
    return _look_up(PAYMENT_TRANSITIONS, status, event)


def next_attempt_status(status: AttemptStatus | None, event: AttemptEvent) -> AttemptStatus:
    """Look up where `event` leads from `status`. Raises: IllegalTransition."""
    return _look_up(ATTEMPT_TRANSITIONS, status, event)


def _look_up(
    table: Mapping[_Status | None, Mapping[_Event, _Status]], status: _Status | None, event: _Event
) -> _Status:
    target = table[status].get(event)
    if target is None:
        raise IllegalTransition(status=status or "(not born)", event=event)
    return target
