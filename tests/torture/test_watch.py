"""A final status stays final for everybody who asks after it was told; who asked before may have been told before."""

from paymux_cli.torture.watch import Seen, Watch


def watched(*seen: tuple[str, float, float]) -> dict[str, str]:
    """Show one payment's statuses to a watch, in the order in which they were told."""
    watch = Watch()
    for status, asked_at, told_at in seen:
        watch.see(Seen("pay_1", status, asked_at, told_at))
    return watch.regressions


def test_an_answer_that_was_asked_for_before_the_end_may_tell_of_the_time_before() -> None:
    assert watched(("succeeded", 1.0, 2.0), ("processing", 1.5, 3.0)) == {}


def test_an_answer_that_was_asked_for_after_the_end_was_told_must_tell_it() -> None:
    assert "pay_1" in watched(("succeeded", 1.0, 2.0), ("processing", 2.5, 3.0))


def test_two_ends_contradict_each_other_whenever_they_were_asked_for() -> None:
    assert "pay_1" in watched(("succeeded", 1.0, 2.0), ("failed", 1.5, 3.0))


def test_a_payment_on_its_way_is_no_regression() -> None:
    assert watched(("processing", 1.0, 2.0), ("requires_confirmation", 0.5, 3.0), ("succeeded", 3.0, 4.0)) == {}
