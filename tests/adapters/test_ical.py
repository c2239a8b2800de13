"""Calendars from outside: what they say, and what they cannot do to us."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.calendars import MAX_ENTRIES, CalendarEntry, CalendarUnreadable, days_of
from notifier.ical import read_calendar

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def calendar(*events: str, before: str = "") -> bytes:
    body = "".join(f"BEGIN:VEVENT\r\nUID:{n}@example.com\r\n{event}END:VEVENT\r\n" for n, event in enumerate(events))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//example//EN\r\n{before}{body}END:VCALENDAR\r\n".encode()


def lines(*texts: str) -> str:
    return "".join(f"{text}\r\n" for text in texts)


def read(content: bytes) -> tuple[CalendarEntry, ...]:
    return read_calendar(content, NOW, SHANGHAI)


def test_times_are_read_with_their_zone_or_ours() -> None:
    entries = read(
        calendar(
            lines("SUMMARY:utc", "DTSTART:20261201T010000Z", "DTEND:20261201T020000Z"),
            lines("SUMMARY:ours", "DTSTART:20261202T090000", "DTEND:20261202T100000"),
            lines("SUMMARY:Berlin", "DTSTART;TZID=Europe/Berlin:20261203T090000", "DURATION:PT1H"),
            lines("SUMMARY:gone", "STATUS:CANCELLED", "DTSTART:20261204T010000Z", "DTEND:20261204T020000Z"),
        )
    )
    assert [(entry.summary, entry.starts_at, entry.ends_at) for entry in entries] == [
        ("utc", datetime(2026, 12, 1, 1, tzinfo=UTC), datetime(2026, 12, 1, 2, tzinfo=UTC)),
        ("ours", datetime(2026, 12, 2, 1, tzinfo=UTC), datetime(2026, 12, 2, 2, tzinfo=UTC)),
        ("Berlin", datetime(2026, 12, 3, 8, tzinfo=UTC), datetime(2026, 12, 3, 9, tzinfo=UTC)),
    ]


def test_a_zone_that_the_calendar_defines_is_understood() -> None:
    zone = lines(
        "BEGIN:VTIMEZONE",
        "TZID:Office",
        "BEGIN:STANDARD",
        "DTSTART:16010101T000000",
        "TZOFFSETFROM:+0330",
        "TZOFFSETTO:+0330",
        "END:STANDARD",
        "END:VTIMEZONE",
    )
    (entry,) = read(calendar(lines("SUMMARY:x", "DTSTART;TZID=Office:20261201T090000", "DURATION:PT1H"), before=zone))
    assert entry.starts_at == datetime(2026, 12, 1, 5, 30, tzinfo=UTC)


def test_entries_recur_with_exceptions_and_changes() -> None:
    weekly = lines(
        "SUMMARY:Li Wei",
        "DTSTART;TZID=Asia/Shanghai:20260105T090000",
        "DTEND;TZID=Asia/Shanghai:20260112T090000",
        "RRULE:FREQ=WEEKLY;INTERVAL=2",
        "EXDATE;TZID=Asia/Shanghai:20261207T090000",
    )
    entries = read(calendar(weekly))
    starts = [entry.starts_at.date() for entry in entries if entry.starts_at]
    assert date(2026, 11, 23) in starts
    assert date(2026, 12, 7) not in starts
    assert date(2026, 12, 21) in starts
    assert all(entry.summary == "Li Wei" for entry in entries)


def test_whole_days_are_days_in_any_zone() -> None:
    entries = read(
        calendar(
            lines("SUMMARY:Spring Festival", "DTSTART;VALUE=DATE:20270205", "DTEND;VALUE=DATE:20270208"),
            lines("SUMMARY:One day", "DTSTART;VALUE=DATE:20270101"),
        )
    )
    days = {date(2027, 1, 1), date(2027, 2, 5), date(2027, 2, 6), date(2027, 2, 7)}
    assert days_of(entries) == days


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not begin with BEGIN:VCALENDAR"),
        (b"<!doctype html><title>Sign in</title>", "does not begin with BEGIN:VCALENDAR"),
        (b"BEGIN:VCALENDAR\r\n" * 30, "entries within entries"),
        (b"BEGIN:VCALENDAR\r\n" + b"x" * (5 << 20), "larger than 4 MiB"),
        (b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\nEND:VEVENT\r\n" * 20_001, "more than 20,000 entries"),
        (calendar(lines("DTSTART:20260101T000000Z", "RRULE:FREQ=SECONDLY")), "several times a day"),
        (calendar(lines("DTSTART:20260101T000000Z", "RRULE:FREQ=MINUT", " ELY")), "several times a day"),
        (calendar(lines("DTSTART:20260101T000000Z", "RRULE:FREQ=DAILY;BYHOUR=1,2,3")), "several times a day"),
        (calendar(lines("DTSTART:00010101T000000Z", "RRULE:FREQ=DAILY")), "begins before 1970"),
        (calendar(*[lines("DTSTART:19700101T000000Z", "RRULE:FREQ=DAILY")] * 60), "occur too often"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VTODO\r\n", "not a valid calendar"),
    ],
)
def test_what_is_no_calendar_or_too_much_is_refused_in_one_sentence(content: bytes, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(CalendarUnreadable, match=why) as refused:
        read(content)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - began < 10


def test_of_too_many_entries_the_first_count() -> None:
    daily = lines("SUMMARY:x", "DTSTART:20260101T000000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY")
    assert len(read(calendar(*[daily] * 10))) == MAX_ENTRIES


@given(
    st.lists(
        st.sampled_from([*"\r\n:;=,", "BEGIN:VEVENT\r\n", "END:VEVENT\r\n", "DTSTART:2026", "RRULE:FREQ=DAILY\r\n"])
    )
)
def test_no_text_does_more_than_be_refused(parts: list[str]) -> None:
    with suppress(CalendarUnreadable):
        read(b"BEGIN:VCALENDAR\r\n" + "".join(parts).encode())
