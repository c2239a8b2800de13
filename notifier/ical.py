"""Reads calendars in the format iCalendar (RFC 5545): bytes from outside become a bounded number of entries.

The libraries are an extra of the package. They are imported when a calendar is read, so nothing else pays for them.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from typing import Any
from zoneinfo import ZoneInfo

from notifier.core.calendars import AHEAD, BEHIND, MAX_ENTRIES, MAX_SUMMARY, CalendarEntry, CalendarUnreadable
from notifier.wording.sanitize import one_line

MAX_CALENDAR_BYTES = 4 << 20
"""Maximum size of a calendar, in bytes."""
MAX_COMPONENTS = 20_000
"""Maximum number of components of a calendar: entries, alarms, time zones."""
MAX_NESTING = 8
"""Maximum number of components that are one within the other. A real calendar has three."""
MAX_SCANNED_DAYS = 1_000_000
"""Maximum number of days for which the rules of recurring entries are evaluated, all together: seconds of work."""
EARLIEST_RULE = date(1970, 1, 1)
"""Recurring entries begin no earlier."""

CALENDAR_LIBRARIES = ("icalendar", "recurring_ical_events")
CALENDAR_EXTRA = "install the extra calendar: make extras, or pip install 'gaussdb-notifier[calendar]'"

_FINE = re.compile(r"FREQ=(SECONDLY|MINUTELY|HOURLY)|BY(SECOND|MINUTE|HOUR)=[^;:]*,", re.IGNORECASE)
_FOLD = re.compile(r"\r?\n[ \t]")


def calendar_libraries_missing() -> bool:
    """Return whether the libraries that read calendars are not installed."""
    return not all(map(find_spec, CALENDAR_LIBRARIES))


def read_calendar(content: bytes, now: datetime, zone: ZoneInfo) -> tuple[CalendarEntry, ...]:
    """Return the entries of a calendar around a time, the earliest first, recurring ones as often as they occur.

    Args:
        content: of the file; anything at all.
        now: the entries reach from BEHIND before it to AHEAD after it. The first MAX_ENTRIES are returned.
        zone: of times that name none.

    Raises:
        CalendarUnreadable: where it is no calendar, or larger than it may be, or the libraries are missing.
    """
    if calendar_libraries_missing():
        raise CalendarUnreadable(f"calendars cannot be read: {CALENDAR_EXTRA}")
    _check_size(content)
    try:
        found = sorted(_entries(content, now, zone), key=lambda entry: _start(entry, zone))
    except CalendarUnreadable:
        raise
    except Exception as error:  # noqa: BLE001 - the libraries raise what they like at a text that is no calendar
        raise CalendarUnreadable(f"it is not a valid calendar ({type(error).__name__})") from None
    return tuple(found[:MAX_ENTRIES])


def _check_size(content: bytes) -> None:
    """Refuse what would take the libraries long, before they see it."""
    if len(content) > MAX_CALENDAR_BYTES:
        raise CalendarUnreadable(f"it is larger than {MAX_CALENDAR_BYTES >> 20} MiB")
    text = _FOLD.sub("", content.decode("utf-8", "replace"))
    if "BEGIN:VCALENDAR" not in text[:10_000].upper():
        raise CalendarUnreadable("it is not a calendar: it does not begin with BEGIN:VCALENDAR")
    if _FINE.search(text):
        raise CalendarUnreadable("it has an entry that recurs several times a day")
    depth = components = 0
    for line in text.splitlines():
        if line[:6].upper() == "BEGIN:":
            components, depth = components + 1, depth + 1
        elif line[:4].upper() == "END:":
            depth -= 1
        if components > MAX_COMPONENTS or depth > MAX_NESTING:
            raise CalendarUnreadable(f"it has more than {MAX_COMPONENTS:,} entries, or entries within entries")


def _entries(content: bytes, now: datetime, zone: ZoneInfo) -> Iterator[CalendarEntry]:
    from icalendar import Calendar  # noqa: PLC0415 - see the head of the module
    from recurring_ical_events import of  # noqa: PLC0415 - as above

    calendar = Calendar.from_ical(content)
    since, until = now - BEHIND, now + AHEAD
    if sum(_scanned_days(event, until.date()) for event in calendar.walk("VEVENT")) > MAX_SCANNED_DAYS:
        raise CalendarUnreadable("its recurring entries occur too often")
    for event in of(calendar, skip_bad_series=True).between(since, until):
        if str(event.get("STATUS", "")).upper() != "CANCELLED":
            yield _entry(event, zone)


def _scanned_days(event: Any, until: date) -> int:  # noqa: ANN401 - the library has no type for it that we could name
    """Return for how many days the rule of an entry is evaluated."""
    rules = event.get("RRULE")
    if not rules:
        return 0
    start = event.decoded("DTSTART")
    first = start.date() if isinstance(start, datetime) else start
    if first < EARLIEST_RULE:
        raise CalendarUnreadable(f"it has a recurring entry that begins before {EARLIEST_RULE.year}")
    return max((until - first).days, 0) * (len(rules) if isinstance(rules, list) else 1)


def _entry(event: Any, zone: ZoneInfo) -> CalendarEntry:  # noqa: ANN401 - as above
    summary = one_line(str(event.get("SUMMARY", "")), MAX_SUMMARY)
    start, end = event.start, event.end
    if isinstance(start, datetime):
        begins = _instant(start, zone)
        return CalendarEntry(summary=summary, starts_at=begins, ends_at=max(_instant(end, zone), begins))
    # The end of an entry of whole days is the day after its last one.
    last = (end.date() if isinstance(end, datetime) else end) - timedelta(days=1)
    return CalendarEntry(summary=summary, first_day=start, last_day=max(last, start))


def _instant(moment: datetime, zone: ZoneInfo) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _start(entry: CalendarEntry, zone: ZoneInfo) -> datetime:
    bounds = entry.bounds(zone)
    return bounds[0] if bounds else datetime.min.replace(tzinfo=UTC)
