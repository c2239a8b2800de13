"""Entries of a calendar, as they are kept: what begins and ends when, or which days it covers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.core.wall_time import day_begins

MAX_ENTRIES = 2_000
"""Maximum number of entries of one calendar that are kept, the first ones."""
MAX_SUMMARY = 200
"""Maximum length of the summary of an entry, in characters."""
BEHIND, AHEAD = timedelta(days=31), timedelta(days=400)
"""How far entries reach into the past and into the future of the time at which a calendar was read."""


class CalendarUnreadable(Exception):
    """A calendar cannot be read. The message is one sentence for the operator, with no text of the calendar in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEntry:
    """One occurrence of an entry: between two instants, or on whole days that begin with the reader's own."""

    summary: str = ""
    starts_at: datetime | None = None
    """None for an entry of whole days; likewise the next one."""
    ends_at: datetime | None = None
    first_day: date | None = None
    """None for an entry between two instants; likewise the next one."""
    last_day: date | None = None
    """The last day that it covers."""

    def bounds(self, zone: ZoneInfo) -> tuple[datetime, datetime] | None:
        """Return when it begins and ends, in UTC. `zone` is where its days begin at midnight."""
        if self.starts_at and self.ends_at:
            return self.starts_at, self.ends_at
        if self.first_day and self.last_day:
            return day_begins(self.first_day, zone), day_begins(self.last_day + timedelta(days=1), zone)
        return None


def days_of(entries: Iterable[CalendarEntry]) -> frozenset[date]:
    """Return the days that entries of whole days cover: the holidays of a calendar of holidays."""
    found: set[date] = set()
    for entry in entries:
        if entry.first_day and entry.last_day:
            length = min((entry.last_day - entry.first_day).days, (BEHIND + AHEAD).days)
            found.update(entry.first_day + timedelta(days=n) for n in range(length + 1))
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarAge:
    """How old the last good copy of a calendar is."""

    name: str
    fetched_at: datetime | None
    """None where there has been none."""
    tried_at: datetime | None
    error: str | None
    """Why the last attempt failed; None where it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCalendar:
    """What is recorded of a calendar that is read from a file or an address."""

    name: str
    entries: tuple[CalendarEntry, ...] = ()
    """Those of the last good copy, the earliest first."""
    fetched_at: datetime | None = None
    """Time of the last good copy; None where there has been none."""
    tried_at: datetime | None = None
    """Time of the last attempt to read it."""
    error: str | None = None
    """Why the last attempt failed; None where it did not."""
    origin: str = ""
    """A digest of where it is read from: entries of another origin do not count."""
