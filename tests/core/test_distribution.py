"""How durations are distributed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifier.core.distribution import BARS, BINS, spread_of

lengths = st.lists(st.floats(min_value=0, max_value=1e6, allow_nan=False), min_size=1, max_size=200)


def test_quantiles_are_durations_that_were_seen() -> None:
    found = spread_of([*range(1, 100), 1_000])
    assert found
    assert (found.runs, found.p10, found.p50, found.p90, found.longest) == (100, 10, 50, 90, 1_000)


def test_a_histogram_shows_gaps() -> None:
    found = spread_of([60.0] * 20 + [70.0] * 10 + [7_200.0])
    assert found
    assert found.bins == (30, 0, 0, 0, 0, 0, 0, 1)
    assert found.bars == "█      ▁"


def test_nothing_has_no_distribution_and_equal_durations_one_bar() -> None:
    assert spread_of(()) is None
    found = spread_of([60.0] * 3)
    assert found
    assert found.bars == BARS[-1]


@given(lengths)
def test_every_run_is_in_a_bar(durations: list[float]) -> None:
    found = spread_of(durations)
    assert found
    assert sum(found.bins) == found.runs == len(durations)
    assert found.p10 <= found.p50 <= found.p90 <= found.longest == max(durations)
    assert len(found.bars) in (1, BINS)
