"""The chain of seals over the log: what a block hashes, where the next one begins, and which row no longer fits.

A block covers the rows of a range of transactions. It is chained later and not in the commit of a payment: an edit is
found once its range was sealed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import pack

from msgspec import Struct
from msgspec.structs import replace

FORM = 1
"""Of the rows that are hashed: another order or set of columns is another number."""
DIGEST_BYTES = 32
MARK_BYTES = 8
XID_MAX = (1 << 63) - 1
BLOCK_XIDS_MAX = 2_000
"""Transactions of one block: some ten thousand rows under load, half a million at the worst."""
INTERACTIONS_KEPT = timedelta(days=365)
"""Interactions are dropped some time after this; a younger block has all of its own."""
NO_HASH = bytes(DIGEST_BYTES)
_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SealRange(Struct, frozen=True, gc=False):
    """Transactions of an epoch, from one (included) to another (excluded)."""

    epoch: int
    from_xid: int
    to_xid: int


class SealedRows(Struct, frozen=True, gc=False):
    """Digests of the rows of a range, in order, and where each row is; labels only if they were asked for."""

    digests: Sequence[bytes]
    labels: Sequence[str] = ()

    @property
    def marks(self) -> bytes:
        """The first bytes of each digest."""
        return b"".join(digest[:MARK_BYTES] for digest in self.digests)

    @property
    def hash(self) -> bytes:
        """One hash over all."""
        return sha256(b"".join(self.digests)).digest()


class Seal(Struct, frozen=True, gc=False):
    """One block of the chain, as it is stored."""

    block: int
    form: int
    range: SealRange
    rows: int
    marks: bytes
    interactions: int
    interaction_marks: bytes
    interactions_hash: bytes
    prev_hash: bytes
    hash: bytes
    sealed_at: datetime


class BrokenSeal(Struct, frozen=True, gc=False):
    """The first block that no longer fits, and what is wrong with it."""

    block: int
    what: str


def new_seal(last: Seal | None, covered: SealRange, log: SealedRows, interactions: SealedRows, now: datetime) -> Seal:
    """Seal a range behind the last block."""
    block = 1 if last is None else last.block + 1
    previous = NO_HASH if last is None else last.hash
    seal = Seal(
        block=block,
        form=FORM,
        range=covered,
        rows=len(log.digests),
        marks=log.marks,
        interactions=len(interactions.digests),
        interaction_marks=interactions.marks,
        interactions_hash=interactions.hash,
        prev_hash=previous,
        hash=NO_HASH,
        sealed_at=now,
    )
    return replace(seal, hash=hash_of(seal, log.hash))


def hash_of(seal: Seal, log_hash: bytes) -> bytes:
    """Hash a block: its place, what it covers, the marks it is told by, and the block before it."""
    covered = seal.range
    header = pack(
        ">qHHqqqqq",
        seal.block,
        seal.form,
        covered.epoch,
        covered.from_xid,
        covered.to_xid,
        seal.rows,
        seal.interactions,
        (seal.sealed_at - _SINCE) // _MICROSECOND,
    )
    marks = sha256(seal.marks).digest() + sha256(seal.interaction_marks).digest()
    return sha256(header + seal.prev_hash + log_hash + seal.interactions_hash + marks).digest()


def next_range(last: SealRange | None, *, epoch_now: int, xmin: int) -> SealRange | None:
    """Say what is sealed next, if anything may be: all below the oldest transaction that still runs.

    An epoch that has ended is sealed to its end before the next one begins.
    """
    if last is None:
        last = SealRange(1, 0, 0)
    epoch, from_xid = last.epoch, last.to_xid
    if from_xid == XID_MAX and epoch < epoch_now:
        epoch, from_xid = epoch + 1, 0
    to_xid = xmin if epoch == epoch_now else XID_MAX
    return SealRange(epoch, from_xid, to_xid) if from_xid < to_xid and epoch <= epoch_now else None


def broken(seal: Seal, previous: Seal | None, log: SealedRows, interactions: SealedRows, now: datetime) -> str | None:
    """Say what of a block no longer fits: its place in the chain, its rows, or itself. None: all is as it was."""
    return (
        _out_of_place(seal, previous)
        or _first_difference(seal.marks, log)
        or _lost_interaction(seal, interactions, now)
        or _altered_itself(seal, log, interactions, now)
    )


def _out_of_place(seal: Seal, previous: Seal | None) -> str | None:
    follows = 1 if previous is None else previous.block + 1
    if seal.block != follows:
        return f"block {follows} is missing"
    if seal.prev_hash != (NO_HASH if previous is None else previous.hash):
        return "it does not carry the hash of the block before it"
    if seal.form != FORM:
        return f"its rows were hashed in form {seal.form}, which this version does not know"
    covered = seal.range
    begins = (1, 0) if previous is None else (previous.range.epoch, previous.range.to_xid)
    new_epoch = previous is not None and previous.range.to_xid == XID_MAX and covered.from_xid == 0
    if (covered.epoch, covered.from_xid) != begins and not new_epoch:
        return "it does not begin where the block before it ended"
    return None


def _first_difference(marks: bytes, found: SealedRows) -> str | None:
    """Name the first row that is not what was sealed."""
    sealed = [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]
    there = [digest[:MARK_BYTES] for digest in found.digests]
    if sealed == there:
        return None
    at = next((i for i, (a, b) in enumerate(zip(sealed, there, strict=False)) if a != b), min(len(sealed), len(there)))
    if len(there) == len(sealed):
        return f"{found.labels[at]} was altered"
    if len(there) > len(sealed):
        return f"{found.labels[at]} was added"
    before = f"after {found.labels[at - 1]}" if at else "at the beginning of the block"
    return f"a row is missing {before}"


def _lost_interaction(seal: Seal, found: SealedRows, now: datetime) -> str | None:
    """As above; of an old block some may have been dropped, and what is left is still in its order."""
    if now - seal.sealed_at < INTERACTIONS_KEPT or len(found.digests) >= seal.interactions:
        return _first_difference(seal.interaction_marks, found)
    marks = iter(
        seal.interaction_marks[at : at + MARK_BYTES] for at in range(0, len(seal.interaction_marks), MARK_BYTES)
    )
    for digest, label in zip(found.digests, found.labels, strict=True):
        if digest[:MARK_BYTES] not in marks:
            return f"{label} was altered or added"
    return None


def _altered_itself(seal: Seal, log: SealedRows, interactions: SealedRows, now: datetime) -> str | None:
    whole = len(interactions.digests) == seal.interactions
    if (whole and seal.interactions_hash != interactions.hash) or seal.hash != hash_of(seal, log.hash):
        return "the seal itself was altered"
    return None if whole or now - seal.sealed_at >= INTERACTIONS_KEPT else "interactions are missing"
