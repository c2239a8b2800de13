"""Usual durations, and when a running task is likely to end."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.usual import MAX_RUNS, MIN_RUNS, Run, Runs, Usual, UsualBasis, measure, remaining, usual_of

REGULAR = (600.0, 540.0, 660.0, 580.0, 620.0, 610.0, 590.0, 600.0, 570.0, 640.0, 605.0, 595.0, 615.0, 600.0)
"""Runs of eight to eleven minutes."""
WEEK = 7

lengths = st.floats(min_value=1, max_value=1e6, allow_nan=False)
runs = st.lists(lengths, min_size=MIN_RUNS, max_size=MAX_RUNS + 5)
shares = st.floats(min_value=0, max_value=99.9, allow_nan=False)


def usual(*durations: float) -> Usual:
    found = measure(durations)
    assert found
    return found


@st.composite
def measured(draw: st.DrawFn) -> Usual:
    return usual(*draw(runs))


# ---- what is usual ----


def test_too_few_runs_are_not_enough_to_say() -> None:
    assert measure(REGULAR[: MIN_RUNS - 1]) is None
    assert measure(()) is None
    assert usual(*REGULAR[:MIN_RUNS]).runs == MIN_RUNS


def test_most_runs_are_within_the_bounds() -> None:
    found = usual(*REGULAR)
    assert found.middle == pytest.approx(600, rel=0.02)
    assert 540 <= found.low < found.middle < found.high <= 660
    assert (found.runs, found.basis) == (14, UsualBasis.SOURCE)


def test_only_the_latest_runs_are_measured() -> None:
    assert usual(*[60.0] * MAX_RUNS, *[6000.0] * 1000) == usual(*[60.0] * MAX_RUNS)


def test_a_lasting_change_becomes_usual_within_a_dozen_runs() -> None:
    before = [600.0] * MAX_RUNS
    assert usual(1200.0, 1200.0, 1200.0, *before).middle == 600
    assert usual(*[1200.0] * 12, *before).middle == 1200


def test_slow_runs_that_recur_are_not_remarkable() -> None:
    """A weekly full backup takes three hours, a daily one ten minutes."""
    found = usual(*(10_800.0 if n % WEEK == 0 else 600.0 + n for n in range(MAX_RUNS)))
    assert found.high < 1_000
    assert found.ceiling == pytest.approx(10_800, rel=0.01)
    assert not found.exceeded_by(10_000)


@given(runs)
def test_bounds_are_in_order_and_within_what_was_seen(durations: list[float]) -> None:
    found = usual(*durations)
    latest = durations[:MAX_RUNS]
    assert min(latest) - 0.001 <= found.low <= found.middle <= found.high <= max(latest) + 0.001
    assert found.slow <= max(latest) + 0.001
    assert found.runs == len(latest)


@given(runs, st.floats(min_value=1.5, max_value=100))
def test_durations_in_another_unit_give_the_same_bounds(durations: list[float], factor: float) -> None:
    found, scaled = usual(*durations), usual(*(factor * one for one in durations))
    for name in ("low", "middle", "high", "slow"):
        assert getattr(scaled, name) == pytest.approx(factor * getattr(found, name), rel=1e-3, abs=0.01)


@given(runs, st.data())
def test_a_longer_run_never_makes_a_shorter_time_usual(durations: list[float], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(durations) - 1))
    longer = list(durations)
    longer[index] *= data.draw(st.floats(min_value=1, max_value=100))
    assert usual(*longer).middle >= usual(*durations).middle - 0.001
    assert usual(*longer).slow >= usual(*durations).slow - 0.001


@given(st.integers(0, 10_000), st.lists(st.sampled_from((1.0, 1e6)), max_size=3))
def test_one_outlier_in_eight_does_not_move_the_bounds(seed: int, outliers: list[float]) -> None:
    rng = random.Random(seed)
    regular = [rng.uniform(540, 660) for _ in range(8 * max(len(outliers), 1))]
    mixed = [*regular]
    for outlier in outliers:
        mixed.insert(rng.randrange(len(mixed) + 1), outlier)
    found = usual(*mixed)
    assert 540 <= found.middle <= 660
    assert found.low > 540 / 1.5
    assert found.high < 660 * 1.5


def test_the_nearest_runs_of_which_there_are_enough_are_measured() -> None:
    everywhere, source, instance = ([Run(seconds, 0)] * 8 for seconds in (60.0, 120.0, 240.0))
    runs = Runs(of_source=source, by_instance={"in-1": instance, "in-2": instance[:3]}, everywhere=everywhere)
    assert usual_of(runs, "in-1", 0) == measure([240.0] * 8, UsualBasis.INSTANCE)
    assert usual_of(runs, "in-2", 0) == measure([120.0] * 8, UsualBasis.SOURCE)
    assert usual_of(runs, None, 0) == measure([120.0] * 8, UsualBasis.SOURCE)
    few = Runs(of_source=source[:7], everywhere=everywhere)
    assert usual_of(few, "in-1", 0) == measure([60.0] * 8, UsualBasis.EVERYWHERE)
    assert usual_of(replace(few, everywhere=everywhere[:7]), "in-1", 0) is None


def test_slow_days_of_the_week_are_measured_apart() -> None:
    """A weekly full backup takes three hours, a daily one ten minutes."""
    mine = [Run(10_800.0 if day % WEEK == 6 else 600.0 + day, day % WEEK) for day in range(MAX_RUNS)]
    runs = Runs(by_instance={"in-1": mine})
    daily, weekly = usual_of(runs, "in-1", 0), usual_of(runs, "in-1", 6)
    assert daily
    assert weekly
    assert (daily.by_weekday, weekly.by_weekday) == (True, True)
    assert daily.ceiling < 1_000
    assert (weekly.middle, weekly.runs) == (10_800, 8)
    young = Runs(by_instance={"in-1": mine[: 4 * WEEK]})
    few = usual_of(young, "in-1", 6)
    assert few
    assert not few.by_weekday
    assert not few.exceeded_by(10_000)


# ---- what is left ----


def test_what_is_left_follows_from_what_is_usual() -> None:
    found = usual(*REGULAR)
    at_once = remaining(found, 0)
    assert at_once
    assert at_once.low == pytest.approx(found.low, rel=0.02)
    assert at_once.high == pytest.approx(found.high, rel=0.02)
    later = remaining(found, 300)
    assert later
    assert later.low == pytest.approx(found.low - 300, rel=0.05)


def test_nothing_is_foretold_of_what_exceeds_the_usual() -> None:
    found = usual(*REGULAR)
    assert remaining(found, found.ceiling + 1) is None
    assert remaining(None, 100) is None
    assert remaining(found, -1) is None


def test_progress_foretells_the_end_where_nothing_is_usual() -> None:
    assert remaining(None, 600, 2) is None
    early, late = remaining(None, 100, 10), remaining(None, 900, 90)
    assert early
    assert late
    assert early.low < 900 < early.high
    assert late.low < 100 < late.high
    assert late.high - late.low < early.high - early.low
    # Its pace said that it would have ended by now.
    assert remaining(None, 4_000, 90, progress_after=900) is None


def test_progress_corrects_what_is_usual() -> None:
    found = usual(*REGULAR)
    slow, alone = remaining(found, 300, 20), remaining(found, 300)
    assert slow
    assert alone
    assert slow.high > alone.high
    halfway = remaining(found, 4_000, 50)
    assert halfway
    assert halfway.low < 4_000 < halfway.high


@given(measured() | st.none(), st.floats(min_value=0, max_value=1e7), shares | st.none())
def test_no_time_left_is_negative(usual: Usual | None, elapsed: float, progress: float | None) -> None:
    left = remaining(usual, elapsed, progress)
    if left is not None:
        assert 0 <= left.low <= left.high
        assert math.isfinite(left.high)


@given(measured(), st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1))
def test_the_foretold_end_never_moves_forward(usual: Usual, one: float, other: float) -> None:
    sooner, later = sorted(share * usual.ceiling for share in (one, other))
    before, after = remaining(usual, sooner), remaining(usual, later)
    if before and after:
        assert later + after.low >= sooner + before.low - 1e-6 * usual.ceiling
        assert later + after.high >= sooner + before.high - 1e-6 * usual.ceiling
