"""Rhythms of operations that recur."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.rhythm import LONGEST_PERIOD, MIN_INTERVALS, Rhythm, learn_rhythm

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
START = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)  # a Monday


def daily(days: int, *, spread: timedelta = 10 * MINUTE, keep: Callable[[datetime], bool] = bool) -> Sequence[datetime]:
    rng = random.Random(days)
    nights = [START + day * DAY for day in range(days)]
    return [night + rng.uniform(-1, 1) * spread for night in nights if keep(night)]


def learned(times: Sequence[datetime]) -> Rhythm:
    found = learn_rhythm(times)
    assert found
    return found


def test_five_intervals_are_enough() -> None:
    assert learn_rhythm(daily(MIN_INTERVALS)) is None
    found = learned(daily(MIN_INTERVALS + 1))
    assert found.intervals == MIN_INTERVALS
    assert abs(found.period - DAY) < 20 * MINUTE
    assert abs(found.expected_at - (START + 6 * DAY)) < 30 * MINUTE
    assert found.expected_at + HOUR < found.overdue_at < found.expected_at + 6 * HOUR


def test_what_recurs_at_random_has_no_rhythm() -> None:
    rng = random.Random(7)
    times = sorted(START + rng.uniform(0, 30) * DAY for _ in range(25))
    assert learn_rhythm(times) is None


def test_missing_runs_in_between_do_not_disturb() -> None:
    found = learned(daily(30, keep=lambda night: night.day not in {9, 10, 20}))
    assert abs(found.period - DAY) < 20 * MINUTE
    assert abs(found.expected_at - (START + 30 * DAY)) < 30 * MINUTE


def test_extra_runs_by_hand_do_not_disturb() -> None:
    extra = [START + day * DAY + 9 * HOUR + day * 5 * MINUTE for day in (3, 8, 13, 20, 29)]
    found = learned(sorted([*daily(30), *extra]))
    assert abs(found.expected_at - (START + 30 * DAY)) < 30 * MINUTE
    assert found.satisfied_from > extra[-1]


def test_weekends_without_runs_are_expected_to_have_none() -> None:
    friday = daily(26, keep=lambda night: night.weekday() < 5)
    assert friday[-1].weekday() == 4
    assert learned(friday).expected_at.weekday() == 0
    assert learned(friday[:-1]).expected_at.weekday() == 4


def test_the_second_weekend_is_known_already() -> None:
    times = daily(12, keep=lambda night: night.weekday() < 5)
    assert times[-1].weekday() == 4
    assert learned(times).expected_at.weekday() == 0


def test_a_weekly_rhythm_is_learned_from_six_weeks() -> None:
    found = learned([START + week * 7 * DAY for week in range(6)])
    assert found.period == 7 * DAY
    assert found.expected_at == START + 42 * DAY


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai"])
@pytest.mark.parametrize("first", ["2026-03-01T04:00", "2026-10-01T04:00"])
def test_a_change_of_clocks_is_no_absence(zone: str, first: str) -> None:
    local = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone))
    nights = [(local + day * DAY).astimezone(UTC) for day in range(50)]
    for count in range(MIN_INTERVALS + 1, len(nights)):
        assert nights[count] < learned(nights[:count]).overdue_at


def test_a_schedule_that_drifts_is_followed() -> None:
    times = [START + run * (DAY + 12 * MINUTE) for run in range(30)]
    assert abs(learned(times).expected_at - times[-1] - DAY - 12 * MINUTE) < MINUTE


def test_a_schedule_that_was_moved_is_followed() -> None:
    before = daily(20)
    after = [START + day * DAY + 9 * HOUR for day in range(20, 32)]
    found = learned([*before, *after])
    assert abs(found.expected_at - START - 32 * DAY - 9 * HOUR) < HOUR


def test_what_is_rarer_than_the_list_reaches_has_no_rhythm() -> None:
    period = LONGEST_PERIOD + DAY
    assert learn_rhythm([START + run * period for run in range(8)]) is None


@given(st.lists(st.integers(0, 60 * 24 * 40), max_size=70))
def test_nothing_is_expected_before_the_last_run(minutes: list[int]) -> None:
    times = sorted(START + minute * MINUTE for minute in minutes)
    found = learn_rhythm(times)
    if found:
        assert found.last in times
        assert found.last < found.expected_at < found.overdue_at
        assert found.intervals >= MIN_INTERVALS


@given(st.integers(1, 48), st.integers(6, 40), st.integers(-(10**6), 10**6))
def test_when_it_was_does_not_matter(hours: int, runs: int, shift: int) -> None:
    times = [START + run * hours * HOUR for run in range(runs)]
    found, moved = learned(times), learned([one + shift * MINUTE for one in times])
    assert moved.overdue_at - found.overdue_at == shift * MINUTE
    assert found.expected_at == times[-1] + hours * HOUR
