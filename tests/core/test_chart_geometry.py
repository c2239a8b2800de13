"""The geometry of charts: no mark leaves its chart, no two in a lane overlap, lines are at the reader's hours."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.wall_time import wall_time
from notifier.web.charts.lanes import Extent, lanes_of, merged
from notifier.web.charts.measures import (
    DOWN_HEIGHT,
    LEAST_BAR,
    MIN_FOR_BOX,
    UP_HEIGHT,
    DayCount,
    box_marks,
    box_values,
    day_bars,
    rate_bar,
    wilson,
)
from notifier.web.charts.rows import (
    LEVELS,
    MAX_LANES,
    ChartRow,
    ChartSlot,
    ChartSpan,
    MarkKind,
    columns_of,
    lay_out,
    with_levels,
)
from notifier.web.charts.scales import (
    LogScale,
    TimeScale,
    day_bounds,
    log_scale,
    log_ticks,
    share_limit,
    time_ticks,
)

NOW = datetime(2026, 11, 28, 1, 42, 16, tzinfo=UTC)
SHANGHAI, BERLIN, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
WEEK = TimeScale(NOW - timedelta(days=7), NOW)

moments = st.datetimes(datetime(2026, 10, 1), datetime(2027, 1, 31), timezones=st.just(UTC))  # noqa: DTZ001 - given one
lengths = st.timedeltas(timedelta(), timedelta(days=3))
spans = st.builds(
    lambda start, length, kind: ChartSpan(start=start, end=start + length, kind=kind, about="x"),
    st.datetimes(datetime(2026, 11, 18), datetime(2026, 11, 30), timezones=st.just(UTC)),  # noqa: DTZ001 - given one
    lengths,
    st.sampled_from(MarkKind),
)


# ---- lanes ----


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0.5, 40))), st.integers(1, 8))
def test_no_two_marks_of_a_lane_overlap(found: list[tuple[float, float]], most: int) -> None:
    extents = [Extent(start, start + width) for start, width in found]
    lanes = lanes_of(extents, most)
    assert all(lane is None or 0 <= lane < most for lane in lanes)
    for lane in range(most):
        mine = sorted(extent for extent, of in zip(extents, lanes, strict=True) if of == lane)
        assert all(before.end <= after.start for before, after in pairwise(mine))


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0.5, 40)), min_size=1))
def test_marks_take_as_few_lanes_as_overlap_at_once(found: list[tuple[float, float]]) -> None:
    extents = [Extent(start, start + width) for start, width in found]
    deepest = max(sum(one.start <= at.start < one.end for one in extents) for at in extents)
    lanes = [lane for lane in lanes_of(extents, len(extents)) if lane is not None]
    assert len(lanes) == len(extents)
    assert max(lanes) + 1 == deepest


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0.5, 10))))
def test_merged_extents_cover_each_mark_once_and_never_overlap(found: list[tuple[float, float]]) -> None:
    extents = [Extent(start, start + width) for start, width in found]
    joined = merged(extents)
    assert sorted(number for _, numbers in joined for number in numbers) == list(range(len(extents)))
    assert all(one[0].end <= other[0].start for one, other in pairwise(joined))


# ---- rows ----


def check_row(row: ChartRow[str]) -> None:
    for mark in row.marks:
        assert 0 <= mark.x <= 100
        assert 0 <= mark.end <= 100
        assert mark.x + mark.width <= 100.001
        assert mark.y + 9 < row.height
    for cluster in row.clusters:
        assert cluster.x >= 0
        assert cluster.x + cluster.width <= 100.001
        assert cluster.y + 9 < row.height
        assert 1 <= cluster.level <= LEVELS
    for lane in {cluster.lane for cluster in row.clusters}:
        mine = sorted((one.x, one.x + one.width) for one in row.clusters if one.lane == lane)
        assert all(before[1] <= after[0] + 0.002 for before, after in pairwise(mine))


@given(st.lists(spans, max_size=40))
def test_every_span_that_is_shown_is_drawn_or_counted_once(found: list[ChartSpan[str]]) -> None:
    (row,) = with_levels([lay_out(found, WEEK)])
    check_row(row)
    shown = sum(WEEK.shows(span.start, span.end) for span in found)
    assert len(row.marks) + sum(one.count for one in row.clusters) == shown


@given(st.lists(spans, max_size=40), st.lists(st.integers(0, 9), min_size=8, max_size=8))
def test_what_is_counted_takes_a_lane_of_its_own(found: list[ChartSpan[str]], counts: list[int]) -> None:
    days = day_bounds(WEEK.since, WEEK.until, BERLIN)
    slots = [ChartSlot(*bounds, count) for bounds, count in zip(pairwise(days), counts, strict=False)]
    (row,) = with_levels([lay_out(found, WEEK, slots)])
    check_row(row)
    counted = [one for one in row.clusters if one.lane == 0]
    assert [one.count for one in counted] == [one.completed for one in slots if one.completed]
    assert all(mark.lane > 0 for mark in row.marks)


def test_a_crowd_becomes_one_cluster_below_the_lanes() -> None:
    storm = [
        ChartSpan(start=NOW - timedelta(hours=2), end=NOW - timedelta(hours=1), kind=MarkKind.FAILED, about=str(number))
        for number in range(1_000)
    ]
    row = lay_out(storm, WEEK)
    assert len(row.marks) == MAX_LANES
    (cluster,) = row.clusters
    assert (cluster.count, cluster.failed, cluster.lane) == (1_000 - MAX_LANES,) * 2 + (MAX_LANES,)


def test_a_second_of_a_week_keeps_its_place() -> None:
    at = NOW - timedelta(days=3, hours=12)
    (mark,) = lay_out(
        [ChartSpan(start=at, end=at + timedelta(seconds=1), kind=MarkKind.COMPLETED, about="")], WEEK
    ).marks
    assert (mark.x, mark.end) == (50.0, 50.0)
    assert 0 < mark.width < 0.1


@given(st.lists(st.tuples(moments, lengths, st.integers())))
def test_columns_stay_within_the_chart_and_are_seen(found: list[tuple[datetime, timedelta, int]]) -> None:
    periods = [(start, start + length, number) for start, length, number in found]
    columns = columns_of(periods, WEEK)
    assert len(columns) == sum(WEEK.shows(start, end) for start, end, _ in periods)
    for column in columns:
        assert column.x >= 0
        assert column.x + column.width <= 100.001
        assert column.width >= 0.15
    labels = [column.label_x for column in columns if column.label_x is not None]
    assert all(after - before >= 14 for before, after in pairwise(labels))


# ---- time ----


@given(moments, st.integers(1, 24 * 400), st.sampled_from([SHANGHAI, BERLIN, NEW_YORK, ZoneInfo("Asia/Kathmandu")]))
def test_lines_are_in_order_and_at_round_times_of_the_reader(until: datetime, hours: int, zone: ZoneInfo) -> None:
    scale = TimeScale(until - timedelta(hours=hours), until)
    ticks = time_ticks(scale, zone)
    assert len(ticks) <= 14
    assert all(before.at < after.at and before.x <= after.x for before, after in pairwise(ticks))
    for tick in ticks:
        assert 0 <= tick.x <= 100
        assert tick.label_x is None or 0 <= tick.label_x <= 100
        wall = wall_time(tick.at, zone)
        assert (wall.minute, wall.second) == (0, 0)
        assert wall.hour == 0 or not tick.day


def clocks(scale: TimeScale, zone: ZoneInfo) -> list[str]:
    return [wall_time(tick.at, zone).strftime("%H:%M") for tick in time_ticks(scale, zone)]


def test_lines_of_a_day_on_which_clocks_go_forward() -> None:
    """In Berlin 02:00 became 03:00 on 29 March 2026: the day has 23 hours, and the lines stay at 00:00, 03:00, …"""
    midnight = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    scale = TimeScale(midnight, midnight + timedelta(hours=23))
    assert clocks(scale, BERLIN) == ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]
    first, second, third = (tick.at for tick in time_ticks(scale, BERLIN)[:3])
    assert second - first == timedelta(hours=2)
    assert third - second == timedelta(hours=3)


def test_an_hour_that_clocks_skip_has_no_line() -> None:
    midnight = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    assert clocks(TimeScale(midnight, midnight + timedelta(hours=4)), BERLIN) == [
        *("00:00", "01:00", "03:00", "04:00", "05:00")
    ]


def test_lines_of_a_day_on_which_clocks_go_back() -> None:
    midnight = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    scale = TimeScale(midnight, midnight + timedelta(hours=25))
    assert clocks(scale, BERLIN) == ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]
    first, second = (tick.at for tick in time_ticks(scale, BERLIN)[:2])
    assert second - first == timedelta(hours=4)


def test_days_are_those_of_the_reader_when_clocks_change() -> None:
    since = datetime(2026, 10, 24, 12, tzinfo=UTC)
    days = day_bounds(since, since + timedelta(days=2), BERLIN)
    assert [after - before for before, after in pairwise(days)] == [timedelta(hours=n) for n in (24, 25, 24)]
    assert all(wall_time(day, BERLIN).hour == 0 for day in days)


def test_a_day_that_a_zone_leaves_out_is_no_day() -> None:
    """Samoa went from 29 to 31 December 2011."""
    zone = ZoneInfo("Pacific/Apia")
    days = day_bounds(datetime(2011, 12, 29, 12, tzinfo=UTC), datetime(2011, 12, 31, 12, tzinfo=UTC), zone)
    assert [wall_time(day, zone).day for day in days] == [29, 31, 1, 2]


def test_days_of_a_week_are_named_in_their_middle() -> None:
    ticks = time_ticks(WEEK, SHANGHAI)
    assert [wall_time(tick.at, SHANGHAI).day for tick in ticks] == [21, 22, 23, 24, 25, 26, 27, 28]
    assert [tick.day for tick in ticks] == [True] * 8
    sunday = ticks[1]
    assert sunday.label_x is not None
    assert math.isclose(sunday.label_x - sunday.x, 100 / 14, abs_tol=0.01)


# ---- durations ----


@given(st.lists(st.floats(0, 40 * 86_400)))
def test_an_axis_of_durations_shows_them_all_between_its_ends(durations: list[float]) -> None:
    scale = log_scale(durations)
    assert 0 < scale.low < scale.high
    assert all(scale.high >= seconds for seconds in durations)
    ticks = log_ticks(scale)
    assert (ticks[0].x, ticks[-1].x) == (0, 100)
    assert all(after.x - before.x >= 5 for before, after in pairwise(ticks))


def test_labels_of_an_axis_of_durations_are_round() -> None:
    lengths = [tick.length.total_seconds() / 60 for tick in log_ticks(LogScale(60, 7_200))]
    assert lengths == [1, 2, 5, 10, 20, 60, 120]


@given(st.lists(st.floats(0.1, 10**6), min_size=MIN_FOR_BOX))
def test_a_box_is_in_order_within_its_axis(durations: list[float]) -> None:
    values = box_values(durations)
    marks = box_marks(values, log_scale(durations), dots=[(seconds, "") for seconds in durations])
    assert marks.whisker is not None
    assert marks.box is not None
    assert marks.median is not None
    assert 0 <= marks.whisker.x <= marks.box.x <= marks.median <= marks.box.end + 0.001
    assert marks.box.end <= marks.whisker.end + 0.001 <= 100.001
    assert all(0 <= dot.x <= 100 for dot in marks.dots)


def test_few_durations_have_no_box() -> None:
    assert box_values([60.0] * (MIN_FOR_BOX - 1)) is None
    marks = box_marks(None, LogScale(60, 3_600), dots=[(60.0, "a"), (3_600.0, "b")], stuck=[(7_200.0, "c")])
    assert (marks.box, marks.whisker, marks.median) == (None, None, None)
    assert [dot.x for dot in (*marks.dots, *marks.stuck)] == [0, 100, 100]


# ---- rates ----


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(12, 96, 0.0729, 0.2058), (0, 4, 0.0, 0.4899), (4, 4, 0.5101, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_the_interval_of_a_rate_is_that_of_wilson(part: int, whole: int, low: float, high: float) -> None:
    assert wilson(part, whole) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_a_rate_lies_within_its_interval(one: int, other: int, limit: float) -> None:
    part, whole = min(one, other), max(one, other)
    interval = wilson(part, whole)
    assert 0 <= interval.low <= (part / whole if whole else 0.5) <= interval.high <= 1
    bar = rate_bar(part, whole, limit)
    assert 0 <= bar.low <= bar.high <= 100
    assert 0 <= bar.width <= 100
    assert bar.has_rate is (whole >= 20)


def test_an_axis_of_rates_ends_at_a_round_share() -> None:
    assert [share_limit(found) for found in ([], [0.04, 0.1], [0.11], [0.49], [0.51], [1.0])] == [
        *(0.1, 0.1, 0.25, 0.5, 1.0, 1.0)
    ]


# ---- days ----


@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)), max_size=120))
def test_bars_of_days_stay_within_the_chart_side_by_side(counts: list[tuple[int, int]]) -> None:
    days = [DayCount(NOW + timedelta(days=number), *count) for number, count in enumerate(counts)]
    bars = day_bars(days)
    assert [bar.day for bar in bars] == days
    for bar in bars:
        assert 0 <= bar.x < bar.x + bar.width <= 100.001
        assert bar.up <= UP_HEIGHT
        assert bar.down <= DOWN_HEIGHT
        assert (bar.up >= LEAST_BAR) is (bar.day.completed > 0)
        assert (bar.down >= LEAST_BAR) is (bar.day.failed > 0)
    assert all(before.x + before.width < after.x for before, after in pairwise(bars))
    assert sum(bar.label for bar in bars) <= 7
