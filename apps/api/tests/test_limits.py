"""Buckets hold what they promise, whatever the order of requests, and cost bounded memory."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from paymux_api.limits import Buckets, Limiter, Limits, Rate
from paymux_core.errors import RateLimited


@pytest.fixture
def row(keys: Any) -> Any:
    """A key with the default limits."""
    return keys.rows[keys.add().key_id]


def _taken(limiter: Limiter, row: Any, tries: int, **what: Any) -> int:
    """Count the requests that pass."""
    passed = 0
    for _ in range(tries):
        try:
            limiter.check(row, **{"idempotency_key": None, "charges": False} | what)
        except RateLimited:
            continue
        passed += 1
    return passed


def test_the_defaults_are_those_of_the_design(clock: Any, row: Any) -> None:
    assert _taken(Limiter(Limits(), clock=clock), row, 200) == 100
    assert _taken(Limiter(Limits(), clock=clock), row, 90, charges=True) == 25
    assert _taken(Limiter(Limits(), clock=clock), row, 90, idempotency_key="one") == 5


def test_a_bucket_fills_again_evenly_and_never_over_its_brim(clock: Any, row: Any) -> None:
    limiter = Limiter(Limits(), clock=clock)
    assert _taken(limiter, row, 200) == 100
    clock.seconds += 0.5
    assert _taken(limiter, row, 200) == 50
    clock.seconds += 3600
    assert _taken(limiter, row, 200) == 100


def test_each_key_and_merchant_has_its_own(clock: Any, keys: Any, row: Any) -> None:
    limiter = Limiter(Limits(), clock=clock)
    other = keys.rows[keys.add(2).key_id]
    sibling = replace(row, key_id="its brother")
    assert _taken(limiter, row, 90, charges=True) == 25
    assert _taken(limiter, sibling, 90, charges=True) == 0, "confirms are counted per merchant"
    assert _taken(limiter, other, 90, charges=True) == 25
    assert _taken(limiter, other, 9, idempotency_key="same") == 5
    assert _taken(limiter, replace(row, key_id="another"), 9, idempotency_key="same") == 5


def test_a_row_may_have_rates_of_its_own(clock: Any, row: Any) -> None:
    own = replace(row, requests_per_second=7, confirms_per_second=3, same_key_per_second=2)
    assert _taken(Limiter(Limits(), clock=clock), own, 200) == 7
    assert _taken(Limiter(Limits(), clock=clock), own, 200, charges=True) == 3
    assert _taken(Limiter(Limits(), clock=clock), own, 200, idempotency_key="k") == 2
    assert _taken(Limiter(Limits(), clock=clock), replace(row, requests_per_second=500), 900) == 500


def test_a_refusal_tells_whole_seconds_to_wait(clock: Any, row: Any) -> None:
    limiter = Limiter(Limits(), clock=clock)
    _taken(limiter, row, 100)
    with pytest.raises(RateLimited) as refused:
        limiter.check(row, idempotency_key=None, charges=False)
    assert refused.value.retry_after_seconds == 1


def test_an_exempt_key_walks_the_path_and_is_never_refused(clock: Any, row: Any) -> None:
    limiter = Limiter(Limits(), clock=clock)
    assert _taken(limiter, replace(row, limits_exempt=True), 300, idempotency_key="k", charges=True) == 300
    assert _taken(limiter, row, 1) == 0, "it was counted"


def test_failed_authentications_are_counted_per_address(clock: Any) -> None:
    limiter = Limiter(Limits(), clock=clock)
    for _ in range(20):
        limiter.count_failed_authentication("192.0.2.1")
    with pytest.raises(RateLimited):
        limiter.count_failed_authentication("192.0.2.1")
    limiter.count_failed_authentication("192.0.2.2")
    clock.seconds += 3
    limiter.count_failed_authentication("192.0.2.1")


def test_buckets_forget_the_one_that_was_used_least_lately() -> None:
    buckets = Buckets(Rate(1, 1000.0), buckets_max=2)
    for name in ("first", "second", "first", "third"):
        buckets.take(name, now=0)
    assert len(buckets) == 2
    assert buckets.take("first", now=0) > 0
    assert buckets.take("second", now=0) == 0, "forgotten, so full again"


@given(
    st.integers(1, 50),
    st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=200),
)
def test_no_second_ever_passes_more_than_burst_and_rate(count: int, pauses: list[float]) -> None:
    buckets = Buckets(Rate(count, 1.0))
    now, passed = 0.0, []
    for pause in pauses:
        now += pause
        if not buckets.take("name", now=now):
            passed.append(now)
    for start in passed:
        inside = sum(start <= moment <= start + 1 for moment in passed)
        assert inside <= 2 * count + 1


@given(st.integers(1, 20), st.floats(0, 5, allow_nan=False))
def test_whoever_waits_as_told_passes(count: int, start: float) -> None:
    buckets = Buckets(Rate(count, 1.0))
    wait = 0.0
    while not wait:
        wait = buckets.take("name", now=start)
    assert buckets.take("name", now=start + wait + 1e-6) == 0
