"""A payment's history as one file that checks itself: one byte changed anywhere, and it is refused.

The file is one JSON document in its one canonical form (RFC 8785) and a newline. Each row of the book carries its
SHA-256; `chain` is one hash over those in order, `root` one over everything else. Whoever got the root by another way
(a log, a mail) also knows that nobody wrote the whole file anew.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
from msgspec import Struct

from paymux_core.idempotency import canonical_json

FORMAT = "paymux.audit-bundle.1"
BUNDLE_BYTES_MAX = 256 * 1024 * 1024
ROWS_MAX = 20_000
_NO_HASH = bytes(32)
_NAMES = {"format", "payment", "timeline", "rows", "chain", "root"}


class BundleRefused(Exception):
    """The file is no bundle, or not the one that was written; the message says where."""


class CheckedBundle(Struct, frozen=True, gc=False):
    """What a bundle is about."""

    payment_id: str
    rows: int
    root: str


def write_bundle(payment: object, timeline: Sequence[object], rows: Sequence[Mapping[str, object]]) -> bytes:
    """Write a bundle of JSON values; the same history gives the same bytes."""
    hashed = [{"row": row, "sha256": _hash(row)} for row in rows]
    document: dict[str, object] = {
        "format": FORMAT,
        "payment": payment,
        "timeline": list(timeline),
        "rows": hashed,
        "chain": _chain([str(entry["sha256"]) for entry in hashed]),
    }
    return (canonical_json(document | {"root": _hash(document)}) + "\n").encode()


def verify_bundle(content: bytes) -> CheckedBundle:
    """Check every hash, and that the file is what those hashes were written in. Raises: BundleRefused."""
    document = _document(content)
    rows = document["rows"]
    if not isinstance(rows, list):
        raise BundleRefused("its rows are no list")
    hashes: list[str] = []
    for number, entry in enumerate(rows, 1):
        if not isinstance(entry, dict) or set(entry) != {"row", "sha256"} or entry["sha256"] != _hash(entry["row"]):
            raise BundleRefused(f"row {number} does not fit its hash")
        hashes.append(entry["sha256"])
    if document["chain"] != _chain(hashes):
        raise BundleRefused("its rows are not those, in that order, over which the chain was made")
    root = document.pop("root")
    if root != _hash(document):
        raise BundleRefused("it does not fit its root hash")
    payment = document["payment"]
    payment_id = payment.get("id") if isinstance(payment, dict) else None
    return CheckedBundle(str(payment_id), len(hashes), str(root))


def _document(content: bytes) -> dict[str, object]:
    if len(content) > BUNDLE_BYTES_MAX:
        raise BundleRefused(f"it is larger than {BUNDLE_BYTES_MAX >> 20} MiB")
    try:
        document = msgspec.json.decode(content)
        # Whatever says the same in other bytes is another file.
        canonical = (canonical_json(document) + "\n").encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError) as error:
        raise BundleRefused(f"it is not JSON as a bundle is: {error}") from None
    if not isinstance(document, dict) or set(document) != _NAMES or document["format"] != FORMAT:
        raise BundleRefused(f"it is no {FORMAT}")
    if canonical != content:
        raise BundleRefused("its bytes are not those that were written")
    return document


def _hash(value: object) -> str:
    return sha256(canonical_json(value).encode()).hexdigest()


def _chain(hashes: Sequence[str]) -> str:
    head = _NO_HASH
    for one in hashes:
        head = sha256(head + bytes.fromhex(one)).digest()
    return head.hex()
