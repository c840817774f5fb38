"""L0, the limit that never changes: what its fixed schema is loaded and confirmed with."""

from collections.abc import Mapping
from uuid import UUID

from paymux_postgres import queries

SQL = queries.load(__file__)
MERCHANT_ID = UUID("01900000-0000-7000-8000-000000000000")


def values() -> Mapping[str, str]:
    """Give the documents, in the sizes the method prescribes."""
    return {
        "merchant_id": str(MERCHANT_ID),
        "request": _document(260),
        "response": _document(220),
        "payload": _document(290),
        "snapshot": _document(390),
    }


def _document(size: int) -> str:
    """Write a JSON document of so many bytes, of short fields, as real ones are."""
    fields = ",".join(f'"field_{number}":"value {number * 7919}"' for number in range(size // 26))
    start = f'{{{fields},"text":"'
    return start + "x" * (size - len(start) - 2) + '"}'
