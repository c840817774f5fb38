"""A bundle checks itself: one byte changed anywhere, and it is refused."""

from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymux_core.bundles import BUNDLE_BYTES_MAX, BundleRefused, verify_bundle, write_bundle
from paymux_core.idempotency import canonical_json

ROWS: list[dict[str, object]] = [
    {"table": "payment_events", "columns": {"position": 1, "reason": "created", "body": None}},
    {"table": "payment_events", "columns": {"position": 2, "reason": "bestätigt", "body": "\\x0102"}},
    {"table": "gateway_interactions", "columns": {"id": "a", "request": {"amount": 1999, "x": [1, True, "€"]}}},
]
BUNDLE = write_bundle({"id": "pay_1", "status": "succeeded"}, [{"id": "evt_1"}, {"id": "int_1"}], ROWS)
NO_ROWS = b'{"chain":0,"format":"paymux.audit-bundle.1","payment":0,"root":0,"rows":0,"timeline":0}\n'


def test_a_whole_bundle_tells_what_it_is_about() -> None:
    checked = verify_bundle(BUNDLE)
    assert (checked.payment_id, checked.rows, len(checked.root)) == ("pay_1", 3, 64)


def test_the_same_history_gives_the_same_bytes() -> None:
    assert write_bundle({"status": "succeeded", "id": "pay_1"}, [{"id": "evt_1"}, {"id": "int_1"}], ROWS) == BUNDLE


def test_every_byte_counts() -> None:
    for at in range(len(BUNDLE)):
        with pytest.raises(BundleRefused):
            verify_bundle(BUNDLE[:at] + bytes((BUNDLE[at] ^ 1,)) + BUNDLE[at + 1 :])


@given(at=st.integers(0, len(BUNDLE) - 1), byte=st.integers(0, 255))
def test_no_other_byte_fits_anywhere(at: int, byte: int) -> None:
    changed = BUNDLE[:at] + bytes((byte,)) + BUNDLE[at + 1 :]
    if changed == BUNDLE:
        verify_bundle(changed)
        return
    with pytest.raises(BundleRefused):
        verify_bundle(changed)


@given(at=st.integers(0, len(BUNDLE)), more=st.binary(min_size=1, max_size=4))
def test_nothing_is_added_and_nothing_cut_off(at: int, more: bytes) -> None:
    with pytest.raises(BundleRefused):
        verify_bundle(BUNDLE[:at] + more + BUNDLE[at:])
    if at < len(BUNDLE):
        with pytest.raises(BundleRefused):
            verify_bundle(BUNDLE[:at])


@given(st.binary(max_size=200))
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused):
        verify_bundle(content)


@pytest.mark.parametrize(
    "content",
    [b"null\n", b"[]\n", b"{}\n", b'{"format":1}\n', b"[" * 100_000, b" " * (BUNDLE_BYTES_MAX + 1),
     BUNDLE.replace(b'"rows":[', b'"rows":[null,'), NO_ROWS],
    ids=["null", "list", "nothing", "number", "deep", "large", "odd row", "no rows"],
)  # fmt: skip
def test_what_looks_like_one_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(BundleRefused) as refused:
        verify_bundle(content)
    assert str(refused.value)


def test_rows_in_another_order_do_not_fit_the_chain() -> None:
    """Everything but the chain is made to fit."""
    document = msgspec.json.decode(write_bundle({"id": "pay_1"}, [], ROWS))
    document["rows"].reverse()
    document.pop("root")
    document["root"] = sha256(canonical_json(document).encode()).hexdigest()
    with pytest.raises(BundleRefused, match="chain"):
        verify_bundle((canonical_json(document) + "\n").encode())
