"""Schedules: what they mean, and what becomes of them where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.cron import Cron

ZONES = ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago")
MINUTE = timedelta(minutes=1)


def fires(text: str, zone: str, since: str, count: int) -> list[str]:
    """The next times of a schedule after a local time, as the wall clock shows them."""
    cron = Cron.parse(text, zone)
    at = datetime.fromisoformat(since).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = []
    for _ in range(count):
        at = cron.after(at)
        assert at.tzinfo is UTC
        found.append(at.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 * * 1", "2026-11-30T09:00+08:00"),
        ("0 9 * * mon", "2026-11-30T09:00+08:00"),
        ("30 22 1,15 * *", "2026-12-01T22:30+08:00"),
        ("0 6 L * *", "2026-11-30T06:00+08:00"),
        ("0 0 1 JAN *", "2027-01-01T00:00+08:00"),
        ("15 14 13 * 5", "2026-12-04T14:15+08:00"),  # the 13th or a Friday
        ("0 9 * * mon#1", "2026-12-07T09:00+08:00"),
        ("0 12 29 2 *", "2028-02-29T12:00+08:00"),
    ],
)
def test_five_fields_mean_what_they_mean_in_a_crontab(text: str, expected: str) -> None:
    assert fires(text, "Asia/Shanghai", "2026-11-29T12:00", 1) == [expected]


@pytest.mark.parametrize(
    ("zone", "since", "expected"),
    [
        ("Europe/Berlin", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:15+02:00"]),
        ("America/New_York", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]),
        ("Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        ("Asia/Shanghai", "2026-03-28T12:00", ["2026-03-29T02:15+08:00", "2026-03-30T02:15+08:00"]),
    ],
)
def test_a_fixed_time_that_is_skipped_fires_when_the_clock_has_moved_on(
    zone: str, since: str, expected: list[str]
) -> None:
    assert fires("15 2 * * *", zone, since, 2) == expected


@pytest.mark.parametrize(
    ("text", "zone", "since", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
    ],
)
def test_a_fixed_time_that_is_shown_twice_fires_once(text: str, zone: str, since: str, expected: list[str]) -> None:
    assert fires(text, zone, since, 2) == expected


def test_a_schedule_with_a_distance_keeps_it_over_a_gap_and_an_overlap() -> None:
    assert fires("*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00", 2) == [
        "2026-03-29T01:30+01:00",
        "2026-03-29T03:00+02:00",
    ]
    assert fires("*/30 * * * *", "Europe/Berlin", "2026-10-25T02:00", 4) == [
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_midnight_that_is_skipped_belongs_to_the_day_all_the_same() -> None:
    assert fires("0 0 * * *", "America/Santiago", "2026-09-05T12:00", 2) == [
        "2026-09-06T01:00-03:00",
        "2026-09-07T00:00-03:00",
    ]
    assert fires("*/30 0 * * *", "America/Santiago", "2026-09-05T12:00", 1) == ["2026-09-07T00:00-03:00"]


def test_a_fixed_time_has_fired_in_the_second_of_two_equal_hours() -> None:
    again = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    cron = Cron.parse("30 2 * * *", "Europe/Berlin")
    assert cron.previous(again) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert cron.after(again) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


EVENTFUL = [  # in each zone, days around a change of clocks, the day that Samoa left out, and one without any
    datetime(2026, 3, 28, tzinfo=UTC),
    datetime(2026, 10, 24, tzinfo=UTC),
    datetime(2026, 3, 7, tzinfo=UTC),
    datetime(2026, 10, 31, tzinfo=UTC),
    datetime(2026, 4, 3, tzinfo=UTC),
    datetime(2026, 10, 2, tzinfo=UTC),
    datetime(2026, 9, 5, tzinfo=UTC),
    datetime(2011, 12, 29, tzinfo=UTC),
    datetime(2026, 6, 10, tzinfo=UTC),
]


def by_looking_at_the_clock(cron: Cron, since: datetime, until: datetime) -> list[datetime]:
    """Every time that a schedule fires, by watching the wall clock each minute, as cron does."""
    minute, hour, day, _month, _weekday = cron.text.split()
    assert day == "*"

    def numbers(field: str, most: int) -> set[int]:
        if field.startswith("*"):
            return set(range(0, most, int(field.partition("/")[2] or 1)))
        return {int(number) for number in field.split(",")}

    fixed = not minute.startswith("*") and not hour.startswith("*")
    minutes, hours = numbers(minute, 60), numbers(hour, 24)
    found = []
    latest = datetime.min  # noqa: DTZ901 - a wall clock's
    at = since
    while at < until:
        wall = at.astimezone(cron.zone).replace(tzinfo=None, fold=0)
        shown = [wall]
        if fixed:
            before = (at - MINUTE).astimezone(cron.zone).replace(tzinfo=None, fold=0)
            skipped = (wall - before) // MINUTE
            shown = [wall - MINUTE * back for back in range(max(skipped, 1)) if wall - MINUTE * back > latest]
            latest = max(latest, wall)
        if any(time.minute in minutes and time.hour in hours for time in shown):
            found.append(at)
        at += MINUTE
    return found


@given(
    zone=st.sampled_from([*ZONES, "Pacific/Apia", "Africa/Casablanca"]),
    day=st.sampled_from(EVENTFUL),
    minute=st.sampled_from(["0", "30", "15,45", "*", "*/20"]),
    hour=st.sampled_from(["0", "1", "2", "3", "1,2", "*", "*/2"]),
    offset=st.integers(0, 3 * 86_400_000_000),
)
def test_after_and_previous_agree_with_a_clock_that_is_watched(
    zone: str, day: datetime, minute: str, hour: str, offset: int
) -> None:
    cron = Cron.parse(f"{minute} {hour} * * *", zone)
    fired = by_looking_at_the_clock(cron, day - timedelta(days=3), day + timedelta(days=6))
    at = day + timedelta(microseconds=offset)
    assert cron.after(at) == next(time for time in fired if time > at)
    assert cron.previous(at) == max(time for time in fired if time <= at)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it needs five fields"),
        ("0 9 * *", "it needs five fields"),
        ("0 0 9 * * 1", "it needs five fields"),
        ("@daily", "it needs five fields"),
        ("0 25 * * *", "its hour '25' is not valid"),
        ("61 9 * * *", "its minute '61' is not valid"),
        ("0 9 * * funday", "its day of week 'funday' is not valid"),
        ("0 9 32 * *", "its day of month '32' is not valid"),
        ("0 9 30 2 *", "its day of month '30' is not valid"),
        ("0 9 * 13 *", "its month '13' is not valid"),
        ("*/0 9 * * *", "its minute '*/0' is not valid"),
        ("0 9 LW * */6", "never fires"),
        ("0 " * 300, "it needs five fields"),
    ],
)
def test_what_is_no_schedule_is_refused_with_an_example(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match='for example "0 9 \\* \\* 1"') as refused:
        Cron.parse(text, "UTC")
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("zone", ["", "Mars/Base", "../etc/passwd", "Asia", "a" * 300])
def test_a_zone_that_there_is_not_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        Cron.parse("0 9 * * *", zone)


FIELD = st.text("0123456789*/,-#LW monTUE²", max_size=8)


@given(text=st.one_of(st.text(max_size=40), st.tuples(FIELD, FIELD, FIELD, FIELD, FIELD).map(" ".join)))
def test_any_text_is_a_schedule_that_fires_or_is_refused(text: str) -> None:
    try:
        cron = Cron.parse(text, "Europe/Berlin")
    except ValueError:
        return
    at = datetime(2026, 11, 29, tzinfo=UTC)
    assert cron.previous(at) <= at < cron.after(at)


def test_a_schedule_is_a_value() -> None:
    assert Cron.parse("0  9 * * 1", "UTC") == Cron.parse("0 9 * * 1", "UTC") != Cron.parse("0 9 * * 1", "Asia/Shanghai")
