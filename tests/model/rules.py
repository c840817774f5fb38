"""The rules as pure tables: clocks, states, what an outcome may close."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from tests.model.mutants import Mutant

BUDGET_SECONDS = 26.0
CALL_SECONDS = 20.0
NEXT_ATTEMPT_BUDGET_SECONDS = 5.0
FIRST_BYTE_SECONDS = 10.0
OWNER_SECONDS = 30.0
CHARGE_WINDOW_SECONDS = 120.0
PROCESSING_DEADLINE_SECONDS = 3_600.0
LOOKUP_CONSISTENCY_SECONDS = 20.0
LEASE_SECONDS = 60.0
DAY_SECONDS = 86_400.0
WATCH_SECONDS = 7 * DAY_SECONDS
ATTEMPTS_MAX = 3
_MINUTE, _HOUR = 60.0, 3_600.0
CHECK_PAUSES_SECONDS = (
    *(30.0, 45.0, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 12 * _HOUR, DAY_SECONDS),
)


class PaymentStatus(StrEnum):
    """Where a payment stands; the last three are final."""

    REQUIRES_CONFIRMATION = "requires_confirmation"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class AttemptStatus(StrEnum):
    """Where one try through one gateway account stands."""

    STARTED = "started"
    UNKNOWN = "unknown"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_EXECUTED = "not_executed"
    VOIDED = "voided"


class Outcome(StrEnum):
    """What one request to a gateway told."""

    CHARGED = "charged"
    DECLINED_SOFT = "declined_soft"
    DECLINED_HARD = "declined_hard"
    PENDING = "pending"
    NOT_EXECUTED = "not_executed"
    VOIDED = "voided"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Which request an outcome answers."""

    FIRST = "first"
    RESEND = "resend"
    RECORD = "record"
    FENCE = "fence"


class Caches(StrEnum):
    """Which answers a gateway stores under the provider key."""

    ALL = "all"
    ONLY_2XX = "2xx"
    NONE = "none"


_P, _A = PaymentStatus, AttemptStatus
TERMINAL = frozenset({_P.SUCCEEDED, _P.FAILED, _P.CANCELED})
OPEN = frozenset({_A.STARTED, _A.UNKNOWN, _A.PENDING})
HOLDING = OPEN | {_A.SUCCEEDED}
_CLOSED = frozenset({_A.SUCCEEDED, _A.FAILED, _A.VOIDED})
ATTEMPT_TRANSITIONS: dict[AttemptStatus, frozenset[AttemptStatus]] = {
    _A.STARTED: _CLOSED | {_A.NOT_EXECUTED, _A.UNKNOWN, _A.PENDING},
    _A.UNKNOWN: _CLOSED | {_A.PENDING},
    _A.PENDING: _CLOSED,
    _A.SUCCEEDED: frozenset(),
    _A.FAILED: frozenset(),
    _A.NOT_EXECUTED: frozenset(),
    _A.VOIDED: frozenset(),
}


def status_after(
    status: AttemptStatus, outcome: Outcome, *, source: Source, caches: Caches, mutant: Mutant | None
) -> AttemptStatus | None:
    """Decide where an outcome moves an attempt; None when it proves nothing new."""
    proven = _proven(status, outcome, source=source, caches=caches)
    if mutant is not None:
        proven = _proven_by_mutant(proven, outcome, source=source, mutant=mutant)
        if proven is _A.NOT_EXECUTED and status in OPEN:
            return proven
    return proven if proven in ATTEMPT_TRANSITIONS[status] else None


def _proven(status: AttemptStatus, outcome: Outcome, *, source: Source, caches: Caches) -> AttemptStatus | None:
    match outcome:
        case Outcome.CHARGED:
            return _A.SUCCEEDED
        case Outcome.DECLINED_SOFT | Outcome.DECLINED_HARD:
            # An earlier request may still arrive and charge, unless every request of the key gets this answer.
            return _A.FAILED if source is not Source.RESEND or caches is Caches.ALL else None
        case Outcome.NOT_EXECUTED:
            return _A.NOT_EXECUTED if source is Source.FIRST and status is _A.STARTED else None
        case Outcome.VOIDED:
            return _A.VOIDED
        case Outcome.PENDING:
            return _A.PENDING
        case Outcome.UNKNOWN:
            return None if source is Source.RECORD else _A.UNKNOWN
        case Outcome.ABSENT:
            return None
    assert_never(outcome)


def _proven_by_mutant(
    proven: AttemptStatus | None, outcome: Outcome, *, source: Source, mutant: Mutant
) -> AttemptStatus | None:
    declined = outcome in (Outcome.DECLINED_SOFT, Outcome.DECLINED_HARD)
    if mutant is Mutant.FAILOVER_ON_TIMEOUT and outcome is Outcome.UNKNOWN and source is Source.FIRST:
        return _A.NOT_EXECUTED
    if mutant is Mutant.FAILOVER_ON_NOT_FOUND and outcome is Outcome.ABSENT:
        return _A.VOIDED
    if mutant is Mutant.NOT_EXECUTED_OF_RESEND_CLOSES and outcome is Outcome.NOT_EXECUTED and source is Source.RESEND:
        return _A.NOT_EXECUTED
    if mutant is Mutant.DECLINE_OF_RESEND_CLOSES and declined:
        return _A.FAILED
    if mutant is Mutant.REFUSED_FENCE_BELIEVED and outcome is Outcome.UNKNOWN and source is Source.FENCE:
        return _A.VOIDED
    return proven
