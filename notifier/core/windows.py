"""Times of the week at which something is active: `weekdays 09:00-18:00 Asia/Shanghai`. Pure.

A window opens and closes when the clocks of its time zone first show the hour that it names, or a later one of that
day. So an hour that the clocks skip opens the window when they skip it, an hour that they show twice does so once, and
windows that adjoin leave no time between them.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from notifier.core.wall_time import instant_of, is_zone

_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEK = frozenset(range(7))
_DAY_WORDS: dict[str, frozenset[int]] = {
    "daily": _WEEK,
    "weekdays": frozenset(range(5)),
    "weekday": frozenset(range(5)),
    "weekend": frozenset({5, 6}),
    "weekends": frozenset({5, 6}),
    "holidays": frozenset(),
    **{name: frozenset({n}) for n, name in enumerate(_DAY_NAMES)},
    **{name[:3]: frozenset({n}) for n, name in enumerate(_DAY_NAMES)},
}
_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_LAST_MINUTE = 59
_MINUTES = 24 * 60
_WHOLE_DAY = ((0, _MINUTES),)

_CYCLE = 16
"""Days after which a week repeats, though a change of clocks may have left out a part of one."""

_EXAMPLE = "weekdays 09:00-18:00 Asia/Shanghai"
_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPart:
    """Hours on some days of the week."""

    days: frozenset[int] = _WEEK
    """0 for Monday to 6 for Sunday: the days on which the hours begin."""
    holidays: bool = False
    """True where the hours begin on holidays as well. A part that is for days of the week is closed on holidays."""
    hours: tuple[tuple[int, int], ...] = _WHOLE_DAY
    """First minute of the day, and the minute at which it ends; an end beyond 1440 is on the next day."""
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The times at which something is active: those of all its parts together. Read it with `parse_window`."""

    parts: tuple[WindowPart, ...]
    holidays: frozenset[date] = frozenset()
    """Dates on which only the parts for holidays are open, each from 00:00 to 24:00 in the time zone of the part."""
    calendar: str | None = None
    """Name of the calendar whose days are holidays besides; see `with_holidays`."""
    text: str = ""
    """As it was written, for people to read."""

    def __str__(self) -> str:
        return self.text

    def with_holidays(self, days: Mapping[str, Collection[date]]) -> Window:
        """Return the same with the days of its calendar, of those given by name, as holidays."""
        found = days.get(self.calendar or "")
        return replace(self, holidays=self.holidays.union(found)) if found else self

    def is_open(self, at: datetime) -> bool:
        """Return whether it is active at this time, which has a time zone."""
        return any(self._part_is_open(part, at) for part in self.parts)

    def next_change(self, at: datetime) -> datetime | None:
        """Return the first time after this one at which it opens or closes, in UTC. None where it never does."""
        state = self.is_open(at)
        for day in self._days_from(at.astimezone(UTC).date()):
            for edge in self._edges_on(day):
                if edge > at and self.is_open(edge) is not state:
                    return edge
        return None

    def next_opening(self, at: datetime) -> datetime | None:
        """Return this time where it is open, else the time at which it opens next; None where it never does."""
        return at if self.is_open(at) else self.next_change(at)

    def _part_is_open(self, part: WindowPart, at: datetime) -> bool:
        today = at.astimezone(ZoneInfo(part.timezone)).date()
        near = (today - _DAY, today, today + _DAY)
        if not part.holidays and any(
            _reached(day, 0, part.timezone) <= at < _reached(day + _DAY, 0, part.timezone)
            for day in near
            if day in self.holidays
        ):
            return False
        return any(
            _reached(day, first, part.timezone) <= at < _reached(day, end, part.timezone)
            for day in near
            if self._begins_on(part, day)
            for first, end in part.hours
        )

    def _begins_on(self, part: WindowPart, day: date) -> bool:
        return day.weekday() in part.days or (part.holidays and day in self.holidays)

    def _days_from(self, first: date) -> Iterator[date]:
        """Yield the days on which it may change: those of the next weeks, and those around each holiday, in order."""
        done = first
        for start in (first, *sorted(day - _DAY for day in self.holidays if day > first)):
            for day in (max(start, first) + n * _DAY for n in range(_CYCLE)):
                if day >= done:
                    done = day + _DAY
                    yield day

    def _edges_on(self, day: date) -> Sequence[datetime]:
        """Return the times on a day of UTC at which a part may open or close, in order."""
        start = datetime.combine(day, time(), UTC)
        # A day of another time zone begins up to 14 hours before or 12 hours after that of UTC, and hours that begin
        # on it last until the end of the next one.
        days = [day + n * _DAY for n in (-3, -2, -1, 0, 1)]
        edges = {edge for part in self.parts for one in days for edge in self._edges(part, one)}
        return sorted(edge for edge in edges if start <= edge < start + _DAY)

    def _edges(self, part: WindowPart, day: date) -> Iterator[datetime]:
        """Yield the times at which a part may open or close because of a day."""
        if day in self.holidays:
            yield _reached(day, 0, part.timezone)
            yield _reached(day + _DAY, 0, part.timezone)
        if self._begins_on(part, day):
            for first, end in part.hours:
                yield _reached(day, first, part.timezone)
                yield _reached(day, end, part.timezone)


def _reached(day: date, minute: int, timezone: str) -> datetime:
    """Return the time in UTC at which the clocks first show a minute of a day, or a later one."""
    return instant_of(datetime.combine(day, time()) + minute * _MINUTE, ZoneInfo(timezone))


# ---- reading ----


def parse_window(
    text: str | Iterable[str],
    timezone: str = "UTC",
    holidays: Collection[date] = (),
    calendar: str | None = None,
) -> Window:
    """Read `DAYS HOURS ZONE`, each of which may be left out; several with `;` between them, or as several texts.

    DAYS are `daily`, `weekdays`, `weekend`, `holidays`, `mon-fri` or `sat,sun`; HOURS are `09:00-18:00`, or several
    with commas; 22:00-06:00 ends on the next day. Without hours they are whole days, without a zone those of
    `timezone`. On the dates of `holidays` only the parts for holidays are open; `calendar` names a calendar whose days
    are holidays too. Raises ValueError with what would be right.
    """
    texts = [part.strip() for one in ([text] if isinstance(text, str) else text) for part in one.split(";")]
    return Window(
        parts=tuple(_part(one, timezone) for one in texts),
        holidays=frozenset(holidays),
        calendar=calendar,
        text="; ".join(texts),
    )


def _part(text: str, timezone: str) -> WindowPart:
    plain = unicodedata.normalize("NFKC", text).replace("\u2013", "-")
    words = re.sub(r"\s*([,-])\s*", r"\1", plain).split()
    found: dict[str, str] = {}
    for word in words:
        kind = _kind_of(word)
        if kind in found or kind < max(found, default=""):
            raise ValueError(
                f"{text!r} is not a window; write DAYS HOURS ZONE, several with ; between them: {_EXAMPLE}"
            )
        found[kind] = word
    if not found:
        raise ValueError(f"a window is empty; write for example {_EXAMPLE}")
    days, with_holidays = _days(found["days"]) if "days" in found else (_WEEK, False)
    return WindowPart(
        days=days,
        holidays=with_holidays,
        hours=tuple(_hours(one) for one in found["hours"].split(",")) if "hours" in found else _WHOLE_DAY,
        timezone=found.get("zone", timezone),
    )


def _kind_of(word: str) -> str:
    """Return what a word of a window is: days, hours, or the zone. Raises ValueError where it is none of them."""
    if word[0].isdigit():
        return "hours"
    unknown = [day for day in re.split("[,-]", word.lower()) if day not in _DAY_WORDS]
    if not unknown:
        return "days"
    if is_zone(word):
        return "zone"
    near = difflib.get_close_matches(unknown[0], _DAY_WORDS, n=1)
    if near and "/" not in word:
        raise ValueError(f"no day is called {unknown[0]!r}, did you mean {near[0]!r}?")
    raise ValueError(f"{word!r} is no day and no time zone; write for example {_EXAMPLE}")


def _days(text: str) -> tuple[frozenset[int], bool]:
    """Return the days of the week, and whether holidays are meant."""
    days: frozenset[int] = frozenset()
    with_holidays = False
    for one in text.lower().split(","):
        first, dash, last = one.partition("-")
        if not dash:
            days |= _DAY_WORDS[first]
            with_holidays |= first == "holidays"
            continue
        begin, end = _DAY_WORDS[first], _DAY_WORDS.get(last, frozenset())
        if len(begin) != 1 or len(end) != 1:
            raise ValueError(f"{one!r} is not a range of days; write for example mon-fri")
        (start,), (stop,) = begin, end
        days |= {(start + n) % 7 for n in range((stop - start) % 7 + 1)}
    return days, with_holidays


def _hours(text: str) -> tuple[int, int]:
    """Return the first minute and the end of hours of a day."""
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} are no hours of a day; write them as 09:00-18:00")
    first, end = (int(found[hour]) * 60 + int(found[hour + 1]) for hour in (1, 3))
    if int(found[2]) > _LAST_MINUTE or int(found[4]) > _LAST_MINUTE or first >= _MINUTES or end > _MINUTES:
        raise ValueError(f"{text!r} are no hours of a day; it has the hours 00:00 to 24:00")
    if first == end:
        raise ValueError(f"{text!r} is no time at all; write 00:00-24:00 for the whole day")
    return first, end if end > first else end + _MINUTES
