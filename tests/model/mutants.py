"""One switch per rule of the protocol: with the rule removed, some seed must fail."""

from __future__ import annotations

from enum import StrEnum


class Mutant(StrEnum):
    """Name the rule that is removed. No product code knows these switches."""

    GATEWAY_BEFORE_ATTEMPT = "gateway called before the attempt is recorded"
    FRESH_KEY_ON_RESEND = "fresh provider key on re-send"
    FAILOVER_ON_TIMEOUT = "failover on timeout"
    CHECK_THEN_ACT = "check-then-act instead of compare-and-set"
    FAILED_AT_DEADLINE = "unknown -> failed at the deadline"
    FAILOVER_ON_NOT_FOUND = "failover on not found without a fence"
    WEBHOOK_UNCONDITIONAL = "webhook applied unconditionally"
    NOT_EXECUTED_OF_RESEND_CLOSES = "NotExecuted of a re-send closes the attempt"
    # At such a gateway the protocol never re-sends; the mutant takes 'caches 2xx' for 'caches all'.
    DECLINE_OF_RESEND_CLOSES = "decline of a re-send closes the attempt at a 2xx-caching gateway"
    BATCH_RUNS_AGAIN = "a batch whose commit is unknown runs its items again"
    CHARGE_AFTER_WINDOW = "re-send or further attempt after the charge window"
    LATE_FIRST_BYTE = "first byte of a charge after its latest moment"
    # Beyond the list of the guarantees: mistakes that are easy to make.
    FIRST_BYTE_FROM_ACKNOWLEDGEMENT = "latest first byte counted from the acknowledgement of phase 1"
    LEFT_TO_WORKER_UNCHECKED = "an attempt left to the worker is sent although the charge window has closed since"
    CHARGE_BEFORE_REMEMBER = "charge sent before the reserved id is committed"
    WALL_CLOCK = "deadlines read from the machine's own clock"
    FAILOVER_AFTER_CANCEL = "further attempt although a cancellation is requested"
    REFUSED_FENCE_BELIEVED = "a fence without a definite answer counts as acknowledged"
    LATE_CHARGE_FORGOTTEN = "money for a closed attempt is not recorded"
    NO_REVIEW_AT_DEADLINE = "no review at the deadline"
    ASKED_ONCE = "an unknown attempt is asked for once, without a next check"
