"""The bench's own arithmetic, on figures that can be checked by hand."""

import pytest

from bench.bars import Bar, judged
from bench.figures import median_of, percentile, rounded
from bench.load import _is_complete


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1), (50.5, 51)]
)  # fmt: skip
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert [percentile([7.0], percent) for percent in (1, 50, 99)] == [7.0] * 3


def test_the_median_is_taken_of_each_figure_on_its_own() -> None:
    rounds = [{"a": 1.0, "b": 30.0}, {"a": 3.0, "b": 10.0}, {"a": 2.0, "b": 20.0}]
    assert median_of(rounds) == {"a": 2.0, "b": 20.0}


def test_figures_keep_three_digits_and_whole_numbers_stay_whole() -> None:
    assert rounded({"a": 0.0012345, "b": 1.2345, "c": 4444.5, "d": 0}) == {"a": 0.00123, "b": 1.23, "c": 4444, "d": 0}


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [
        (Bar("main", "x", least=1.2), 1.2, True),
        (Bar("main", "x", least=1.2), 1.19, False),
        (Bar("main", "x", most=3), 3.01, False),
    ],
)
def test_a_bar_is_met_on_its_edge_and_missed_beyond(bar: Bar, value: float, *, met: bool) -> None:
    assert bar.is_met(value) is met


def test_bars_of_tables_that_were_not_measured_are_not_judged() -> None:
    growth = {"p50_2m_over_10k": 1.3, "load_seconds_2m": 200.0}
    assert [(bar.figure, met) for bar, _, met in judged({"growth": growth})] == [
        ("p50_2m_over_10k", False),
        ("load_seconds_2m", True),
    ]


def test_an_answer_counts_only_once_its_body_is_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    assert [_is_complete(answer[:end]) for end in (10, len(answer) - 1, len(answer))] == [False, False, True]
