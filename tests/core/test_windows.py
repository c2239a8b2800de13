"""Windows: the hours of the week, through changes of clocks and over holidays."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.windows import Window, WindowPart, parse_window

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


# 2026-11-27 is a Friday.
@pytest.mark.parametrize(
    ("window", "opened", "closed"),
    [
        ("weekdays 09:00-18:00", ["2026-11-27 09:00", "2026-11-27 17:59"], ["2026-11-27 18:00", "2026-11-28 12:00"]),
        ("weekend", ["2026-11-28 00:00", "2026-11-29 23:59"], ["2026-11-27 23:59", "2026-11-30 00:00"]),
        ("daily 09:00-12:00,13:00-18:00", ["2026-11-27 11:59", "2026-11-29 13:00"], ["2026-11-27 12:30"]),
        ("mon-fri 22:00-06:00", ["2026-11-27 22:00", "2026-11-28 05:59"], ["2026-11-28 22:00", "2026-11-30 05:00"]),
        ("fri-mon", ["2026-11-27 00:00", "2026-11-30 12:00"], ["2026-12-01 00:00"]),
        ("sat,sun 10:00-12:00", ["2026-11-28 10:00"], ["2026-11-27 10:00"]),
        ("Saturday 9:00-10:00; Wed", ["2026-11-28 09:30", "2026-11-25 23:00"], ["2026-11-28 10:00"]),
        ("09:00-18:00 Asia/Shanghai", ["2026-11-28 01:00", "2026-11-28 09:59"], ["2026-11-28 10:00"]),
        ("weekdays 09:00 \u2013 18:00", ["2026-11-27 09:00"], ["2026-11-27 18:00"]),
        ("weekdays, sat 09:00-10:00", ["2026-11-28 09:00"], ["2026-11-29 09:00"]),
        ("Asia/Shanghai", ["2026-11-28 01:00"], []),
        ("00:00-24:00", ["2026-11-28 00:00", "2026-11-28 23:59"], []),
        ("holidays 10:00-12:00; weekdays 09:00-18:00", ["2026-12-25 10:00"], ["2026-12-25 09:00", "2026-12-25 13:00"]),
        ("holidays 22:00-06:00", ["2026-12-25 23:00", "2026-12-26 05:00"], ["2026-12-25 05:00"]),
        ("daily 22:00-06:00", ["2026-12-24 23:59", "2026-12-26 00:00"], ["2026-12-25 00:00", "2026-12-25 23:00"]),
    ],
)
def test_a_window_is_open_when_a_reader_expects(window: str, opened: list[str], closed: list[str]) -> None:
    """25 December is a holiday; it is a Friday."""
    found = parse_window(window, holidays=[date(2026, 12, 25)])
    assert [text for text in (*opened, *closed) if found.is_open(at(text))] == opened


def test_a_window_without_a_zone_has_that_of_the_configuration() -> None:
    found = parse_window(["weekdays 09:00-18:00", "sat 10:00-12:00 Europe/Berlin"], "Asia/Shanghai")
    assert [part.timezone for part in found.parts] == ["Asia/Shanghai", "Europe/Berlin"]
    assert str(found) == "weekdays 09:00-18:00; sat 10:00-12:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a window is empty; write for example weekdays 09:00-18:00 Asia/Shanghai"),
        ("weekdays;", "a window is empty"),
        ("wekdays 09:00-18:00", "no day is called 'wekdays', did you mean 'weekdays'?"),
        ("mon-frei", "no day is called 'frei', did you mean 'fri'?"),
        ("weekdays-sun", "'weekdays-sun' is not a range of days; write for example mon-fri"),
        ("mon-tue-wed", "'mon-tue-wed' is not a range of days"),
        ("weekdays 9-18", "'9-18' are no hours of a day; write them as 09:00-18:00"),
        ("weekdays 09:00-25:00", "'09:00-25:00' are no hours of a day; it has the hours 00:00 to 24:00"),
        ("weekdays 24:00-25:00", "'24:00-25:00' are no hours of a day"),
        ("09:60-10:00", "'09:60-10:00' are no hours of a day"),
        ("09:00-24:30", "'09:00-24:30' are no hours of a day"),
        ("09:00-09:00", "'09:00-09:00' is no time at all; write 00:00-24:00 for the whole day"),
        ("weekdays 09:00-18:00 Asia/Shanghia", "'Asia/Shanghia' is no day and no time zone"),
        ("weekdays 09:00-18:00 ../../etc/passwd", "'../../etc/passwd' is no day and no time zone"),
        ("09:00-18:00 weekdays", "'09:00-18:00 weekdays' is not a window; write DAYS HOURS ZONE"),
        ("mon 09:00-18:00 sat 10:00-12:00", "'mon 09:00-18:00 sat 10:00-12:00' is not a window; write DAYS HOURS ZONE"),
        ("mon tue", "'mon tue' is not a window; write DAYS HOURS ZONE"),
    ],
)
def test_a_wrong_window_gets_an_error_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse_window(text)


@given(st.text(alphabet="monfriwekdays,-;:0129 /UTC", max_size=30))
def test_any_text_is_a_window_or_a_value_error(text: str) -> None:
    try:
        found = parse_window(text)
    except ValueError:
        return
    now = at("2026-11-27 12:00")
    assert found.is_open(now) in (True, False)
    assert found.next_change(now) is None or found.next_change(now) > now  # type: ignore[operator]


# ---- changes of clocks ----

# (zone, a day around a change of its clocks): hours that are skipped, shown twice, at midnight, half an hour, a day.
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("America/Santiago", date(2026, 4, 5)),
    ("America/Santiago", date(2026, 9, 6)),
    ("Pacific/Apia", date(2011, 12, 30)),
    ("Asia/Shanghai", date(2026, 10, 1)),
]


@pytest.mark.parametrize(
    ("window", "changes"),
    [
        # 02:00 to 03:00 is skipped: 02:30 is when the clocks show 03:00.
        ("02:30-05:00", ["2026-03-29 01:00", "2026-03-29 03:00"]),
        ("00:00-02:30", ["2026-03-28 23:00", "2026-03-29 01:00"]),
        ("02:10-02:50", ["2026-03-30 00:10", "2026-03-30 00:50"]),
        # 02:00 to 03:00 is shown twice: once is enough.
        ("02:30-05:00", ["2026-10-25 00:30", "2026-10-25 04:00"]),
        ("00:00-02:30", ["2026-10-24 22:00", "2026-10-25 00:30"]),
        ("02:10-02:50", ["2026-10-25 00:10", "2026-10-25 00:50"]),
        ("22:00-06:00", ["2026-10-24 20:00", "2026-10-25 05:00"]),
    ],
)
def test_clocks_that_change_open_and_close_a_window_once(window: str, changes: list[str]) -> None:
    found = parse_window(window, "Europe/Berlin")
    opening, closing = (at(text) for text in changes)
    start = opening - MINUTE
    assert not found.is_open(start)
    assert (found.next_change(start), found.next_change(opening)) == (opening, closing)


def parts() -> st.SearchStrategy[str]:
    minutes = st.integers(0, 24 * 12 - 1).map(lambda n: f"{n // 12:02}:{n % 12 * 5:02}")
    hours = st.tuples(minutes, minutes).filter(lambda p: p[0] != p[1]).map("-".join)
    days = st.sampled_from(["daily", "weekdays", "weekend", "sat,sun", "sat-mon", "holidays", "holidays,sun", "fri"])
    return st.tuples(days, st.one_of(st.just(""), hours)).map(" ".join)


def shown_since(start: datetime, zone: str) -> Iterator[tuple[datetime, datetime]]:
    """Yield each minute, and the latest that clocks of the zone have shown until then."""
    latest = datetime.min  # noqa: DTZ901 - what clocks show
    moment = start
    while True:
        latest = max(latest, moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        yield moment, latest
        moment += MINUTE


def expected_open(part: WindowPart, holidays: frozenset[date], shown: datetime) -> bool:
    """Say the same as a window by what clocks have shown, with nothing but the definition."""
    if shown.date() in holidays and not part.holidays:
        return False
    for day in (shown.date() - DAY, shown.date()):
        minute = (shown - datetime(day.year, day.month, day.day)) / MINUTE  # noqa: DTZ001 - what clocks show
        begins = day.weekday() in part.days or (part.holidays and day in holidays)
        if begins and any(first <= minute < end for first, end in part.hours):
            return True
    return False


@settings(max_examples=25, deadline=None)
@given(
    where=st.sampled_from(CHANGES),
    texts=st.lists(parts(), min_size=1, max_size=3),
    holidays=st.frozensets(st.integers(-3, 3), max_size=3),
)
def test_a_window_is_open_at_the_minutes_that_the_definition_says(
    where: tuple[str, date], texts: list[str], holidays: frozenset[int]
) -> None:
    zone, day = where
    dates = frozenset(day + n * DAY for n in holidays)
    window = parse_window(texts, zone, dates)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - 3 * DAY
    expected: list[tuple[datetime, bool]] = []
    for moment, shown in shown_since(start, zone):
        if moment > start + 5 * DAY:
            break
        if moment >= start + DAY:  # by then the clocks have shown a whole day
            expected.append((moment, any(expected_open(part, dates, shown) for part in window.parts)))
    step = expected[::7]
    assert [(moment, window.is_open(moment)) for moment, _ in step] == step
    edges = [moment for (_, before), (moment, after) in itertools.pairwise(expected) if before is not after]
    found, moment = [], expected[0][0]
    while (change := window.next_change(moment)) and change <= expected[-1][0]:
        found.append(change)
        moment = change
    assert found == edges


@given(where=st.sampled_from(CHANGES), minute=st.integers(1, 24 * 60 - 1), hour=st.integers(-48, 48))
def test_windows_that_adjoin_leave_no_time_between_them(where: tuple[str, date], minute: int, hour: int) -> None:
    zone, day = where
    clock = f"{minute // 60:02}:{minute % 60:02}"
    first, second = parse_window(f"00:00-{clock}", zone), parse_window(f"{clock}-24:00", zone)
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour)
    assert first.is_open(moment) is not second.is_open(moment)


@pytest.mark.parametrize(
    ("window", "holidays", "change"),
    [
        ("00:00-24:00", [], None),
        ("weekdays; weekend", [], None),
        ("00:00-24:00", [date(2031, 5, 1)], "2031-05-01 00:00"),
        ("holidays", [], None),
        ("holidays", [date(2031, 5, 1)], "2031-05-01 00:00"),
        ("holidays", [date(2011, 5, 1)], None),
        ("sun 10:00-11:00", [date(2026, 11, 29) + n * DAY for n in range(60)], "2027-01-31 10:00"),
    ],
)
def test_the_next_change_may_be_far_away_or_never(window: str, holidays: list[date], change: str | None) -> None:
    found = parse_window(window, holidays=holidays).next_change(at("2026-11-28 12:00"))
    assert found == (at(change) if change else None)


def test_the_next_opening_is_now_where_it_is_open() -> None:
    window, now = parse_window("weekdays 09:00-18:00"), at("2026-11-27 12:00")
    assert window.next_opening(now) == now
    assert window.next_opening(now + DAY) == at("2026-11-30 09:00")
    assert parse_window("holidays").next_opening(now) is None


def test_a_skipped_hour_once_a_week_does_not_end_the_search() -> None:
    """New York skips 02:00 to 03:00 on 8 March 2026, a Sunday."""
    window = parse_window("sun 02:15-02:45 America/New_York")
    assert window.next_change(at("2026-03-02 00:00")) == at("2026-03-15 06:15")


def test_a_window_without_parts_is_never_open() -> None:
    moment = at("2026-11-27 12:00")
    assert not Window(parts=()).is_open(moment)
    assert Window(parts=()).next_change(moment) is None
