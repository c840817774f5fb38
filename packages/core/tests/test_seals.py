"""The chain of seals, without a database: where the next block begins, and what no longer fits."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from msgspec.structs import replace

from paymux_core.seals import INTERACTIONS_KEPT, XID_MAX, Seal, SealedRows, SealRange, broken, new_seal, next_range

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rows(*names: str) -> SealedRows:
    return SealedRows([sha256(name.encode()).digest() for name in names], names)


LOG, CALLS = rows("event 1", "event 2", "event 3"), rows("call 1", "call 2", "call 3")
FIRST = new_seal(None, SealRange(1, 0, 100), LOG, CALLS, NOW)
SECOND = new_seal(FIRST, SealRange(1, 100, 200), rows("event 4"), rows(), NOW)


@pytest.mark.parametrize(
    ("last", "epoch_now", "xmin", "expected"),
    [
        (None, 1, 700, SealRange(1, 0, 700)),
        (None, 1, 0, None),
        (SealRange(1, 0, 700), 1, 700, None),
        (SealRange(1, 0, 700), 1, 900, SealRange(1, 700, 900)),
        # A restore: the old epoch is sealed to its end, then the new one begins.
        (SealRange(1, 0, 700), 2, 30, SealRange(1, 700, XID_MAX)),
        (SealRange(1, 700, XID_MAX), 2, 30, SealRange(2, 0, 30)),
        (SealRange(2, 0, 30), 2, 30, None),
        (SealRange(1, 700, XID_MAX), 3, 30, SealRange(2, 0, XID_MAX)),
        (SealRange(1, 700, XID_MAX), 1, 30, None),
    ],
)
def test_the_next_block_goes_on_where_the_last_one_ended(
    last: SealRange | None, epoch_now: int, xmin: int, expected: SealRange | None
) -> None:
    assert next_range(last, epoch_now=epoch_now, xmin=xmin) == expected


def test_what_is_as_it_was_fits() -> None:
    assert broken(FIRST, None, LOG, CALLS, NOW) is None
    assert broken(SECOND, FIRST, rows("event 4"), rows(), NOW) is None
    closing = new_seal(SECOND, SealRange(1, 200, XID_MAX), rows(), rows(), NOW)
    assert broken(closing, SECOND, rows(), rows(), NOW) is None
    assert broken(new_seal(closing, SealRange(2, 0, 9), LOG, rows(), NOW), closing, LOG, rows(), NOW) is None


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (rows("event 1", "lie", "event 3"), "lie was altered"),
        (rows("event 1", "event 3"), "a row is missing after event 1"),
        (rows("event 2", "event 3"), "a row is missing at the beginning of the block"),
        (rows("event 1", "event 2"), "a row is missing after event 2"),
        (rows(), "a row is missing at the beginning of the block"),
        (rows("event 1", "more", "event 2", "event 3"), "more was added"),
        (rows("event 1", "event 2", "event 3", "more"), "more was added"),
    ],
)
def test_the_first_row_that_does_not_fit_is_named(found: SealedRows, what: str) -> None:
    assert broken(FIRST, None, found, CALLS, NOW) == what


@pytest.mark.parametrize(
    "altered",
    [
        replace(FIRST, hash=bytes(32)),
        replace(FIRST, interactions_hash=bytes(32)),
        replace(FIRST, sealed_at=NOW + timedelta(microseconds=1)),
        replace(FIRST, range=SealRange(1, 0, 101)),
        replace(FIRST, form=2),
        replace(FIRST, prev_hash=b"x" * 32),
        replace(FIRST, block=2),
        replace(FIRST, range=SealRange(1, 1, 100)),
        replace(FIRST, range=SealRange(2, 0, 100)),
    ],
)
def test_a_seal_that_was_altered_is_found(altered: Seal) -> None:
    assert broken(altered, None, LOG, CALLS, NOW) is not None


def test_a_mark_is_part_of_its_seal() -> None:
    # Both the row and its mark: then the hash of the block does not fit.
    lie = rows("event 1", "lie", "event 3")
    assert broken(replace(FIRST, marks=lie.marks), None, lie, CALLS, NOW) == "the seal itself was altered"


@pytest.mark.parametrize("second", [replace(SECOND, range=SealRange(1, 101, 200)), replace(SECOND, block=3)])
def test_a_chain_with_a_gap_is_found(second: Seal) -> None:
    assert broken(second, FIRST, rows("event 4"), rows(), NOW) is not None


def test_a_block_in_the_place_of_another_is_found() -> None:
    forged = new_seal(replace(FIRST, hash=b"y" * 32), SECOND.range, rows("event 4"), rows(), NOW)
    assert broken(forged, FIRST, rows("event 4"), rows(), NOW) == "it does not carry the hash of the block before it"


def test_interactions_are_kept_for_their_time_and_what_is_left_then_is_as_it_was() -> None:
    later = NOW + INTERACTIONS_KEPT
    some = rows("call 1", "call 3")
    assert broken(FIRST, None, LOG, some, later - timedelta(seconds=1)) == "a row is missing after call 1"
    assert broken(FIRST, None, LOG, some, later) is None
    assert broken(FIRST, None, LOG, rows(), later) is None
    assert broken(FIRST, None, LOG, rows("call 3", "call 1"), later) == "call 1 was altered or added"
    assert broken(FIRST, None, LOG, rows("call 1", "call 2", "lie"), later) == "lie was altered"
    assert (
        broken(replace(FIRST, interactions_hash=bytes(32)), None, LOG, rows(), later) == "the seal itself was altered"
    )
