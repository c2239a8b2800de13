"""The sections `calendars` and `rotas`: days and times that a calendar keeps, and who is on duty when."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from notifier.config.timezones import Timezone
from notifier.core.calendars import AHEAD, CalendarEntry
from notifier.core.rota import DutyPerson, Override, Rota, Rotation
from notifier.core.wall_time import instant_of
from notifier.ical import CALENDAR_EXTRA, calendar_libraries_missing
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, HttpUrl, MentionText, Name, PemFile, PlainText
from notifier.settings.words import FixedMessageError, did_you_mean

_DATES = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\s*\.\.\s*(\d{4}-\d{2}-\d{2}))?")
_DATES_EXAMPLE = "Write a day as 2027-01-01, or several as 2027-02-05..2027-02-11."


def _days(value: object) -> CalendarEntry:
    if isinstance(value, CalendarEntry):
        return value
    found = _DATES.fullmatch(value) if isinstance(value, str) else None
    try:
        first = date.fromisoformat(found[1]) if found else None
        last = date.fromisoformat(found[2]) if found and found[2] else first
    except ValueError:
        first = last = None
    if first is None or last is None or not timedelta() <= last - first <= AHEAD:
        raise FixedMessageError(f"is no day, or no days in order. {_DATES_EXAMPLE}")
    return CalendarEntry(first_day=first, last_day=last)


def _written_days(entry: CalendarEntry) -> str:
    return str(entry.first_day) if entry.first_day == entry.last_day else f"{entry.first_day}..{entry.last_day}"


DaysEntry = Annotated[
    CalendarEntry,
    PlainValidator(_days),
    PlainSerializer(_written_days, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["2027-01-01", "2027-02-05..2027-02-11"]}),
]
"""A day, or several in a row."""

MIN_REFRESH = timedelta(minutes=5)
"""Shortest time between two looks at a calendar."""


class CalendarSettings(Settings):
    """A calendar: a list of days, an iCalendar file, or the address of one."""

    name: Name
    dates: tuple[DaysEntry, ...] = Field(default=(), max_length=1000)
    """Days, for holidays: `2027-01-01`, or several in a row: `2027-02-05..2027-02-11`."""
    file: PemFile = None
    """An iCalendar file (.ics). A relative path starts at the folder of the configuration file."""
    url: HttpUrl | None = None
    """Address of an iCalendar file, as calendar programs show it for sharing. It counts as a secret."""
    refresh: Duration = Field(default=timedelta(hours=1), ge=MIN_REFRESH, le=timedelta(days=7))
    """How often the file or the address is read. While it cannot be read, the last good copy counts."""

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        given = [name for name in ("dates", "file", "url") if getattr(self, name)]
        if len(given) != 1:
            raise setting_error("name", "needs exactly one of dates, file and url.")
        if given[0] != "dates" and calendar_libraries_missing():
            raise setting_error(given[0], f"calendars cannot be read: {CALENDAR_EXTRA}.")
        return self

    @property
    def origin(self) -> str:
        """A digest of where it is read from; the empty string for a list of days."""
        place = f"file:{self.file}" if self.file else f"url:{self.url.get_secret_value()}" if self.url else ""
        return hashlib.sha256(place.encode()).hexdigest() if place else ""


class RotaPersonSettings(Settings):
    """Somebody who takes turns."""

    name: PlainText
    """How messages name the person, and how the summary of an entry in a calendar does."""
    mention: tuple[MentionText, ...] = Field(default=(), max_length=10)
    """The person in the forms of your channels, as in `mention` of a route: `[U0123ABCD, "@li", li@example.com]`."""


@dataclass(frozen=True, slots=True)
class WallMoment:
    """A time of the rota's clock."""

    at: datetime


def _moment(value: object) -> WallMoment:
    if isinstance(value, WallMoment):
        return value
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo:
        raise FixedMessageError("must be a day or a time such as 2026-12-24 or 2026-12-24 18:00.")
    return WallMoment(moment)


WallTime = Annotated[
    WallMoment,
    PlainValidator(_moment),
    PlainSerializer(lambda moment: f"{moment.at:%Y-%m-%d %H:%M}", when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["2026-12-24", "2026-12-24 18:00"]}),
]


class RotaOverrideSettings(Settings):
    """A time during which somebody else is on duty."""

    start: WallTime = Field(alias="from")
    """When it begins, in the rota's time zone: `2026-12-24`, or `2026-12-24 18:00`."""
    until: WallTime
    """When it ends."""
    person: PlainText
    """Name of one of the people."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until.at <= self.start.at:
            raise setting_error("until", "must be later than from.")
        return self


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _hand_over(value: object) -> "HandOver":
    if isinstance(value, HandOver):
        return value
    found = re.fullmatch(r"(?:([a-z]+)\s+)?(\d{1,2}):(\d{2})", str(value).strip().lower())
    day = found[1] if found else None
    if found and day and day not in _WEEKDAYS:
        raise ValueError(f"{day!r} is no day of the week. {did_you_mean(day, _WEEKDAYS, otherwise='Days')}")
    try:
        return HandOver(day=day, at=time(int(found[2]), int(found[3])))  # type: ignore[index]  # as the next line says
    except (TypeError, ValueError):
        raise FixedMessageError("must be a day and a time such as monday 09:00, or a time such as 09:00.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """When shifts change."""

    day: str | None
    """Day of the week; None where they change on others too."""
    at: time


HandOverTime = Annotated[
    HandOver,
    PlainValidator(_hand_over),
    PlainSerializer(lambda it: " ".join(filter(None, (it.day, f"{it.at:%H:%M}"))), when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["monday 09:00", "09:00"]}),
]

_OF_A_ROTATION = ("hands_over", "first", "every")


class RotaSettings(Settings):
    """Who is on duty when. `@rota:NAME` among the mentions of a route or of a step becomes that person."""

    name: Name
    timezone: Timezone | None = None
    """Time zone of all its times. Default: `timezone` of the configuration."""
    people: tuple[RotaPersonSettings, ...] = Field(min_length=1, max_length=100)
    """Who takes turns, in this order."""
    hands_over: HandOverTime | None = None
    """Day of the week and time of each hand-over: `monday 09:00`; only a time for shifts of other lengths: `09:00`."""
    first: date | None = None
    """Day of the first hand-over, to the first of the people."""
    every: Duration | None = None
    """Length of a shift, in whole days: `1w` (default), `1d`, `14d`."""
    calendar: str | None = None
    """Name of a calendar that says who is on duty, instead of the three above. The summary of an entry names the
    person; entries of whole days last from midnight to midnight."""
    overrides: tuple[RotaOverrideSettings, ...] = Field(default=(), max_length=500)
    """Times during which somebody else is on duty. The last one that covers a time counts."""
    fallback: tuple[MentionText, ...] = Field(default=(), max_length=10)
    """Whom to mention while nobody is on duty, or while nothing is known to mention that person by. Default: nobody."""
    announce: tuple[str, ...] = ()
    """Channels that get a message at each hand-over: who takes over, and what is open."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        given = [name for name in _OF_A_ROTATION if getattr(self, name) is not None]
        if self.calendar:
            if given:
                raise setting_error(given[0], "has no effect beside calendar. Remove one of them.")
            return self
        for name in ("hands_over", "first"):
            if getattr(self, name) is None:
                raise setting_error(name, "is missing. Give hands_over and first, or a calendar.")
        days = self._length.total_seconds() / 86_400
        if days < 1 or days % 1:
            raise setting_error("every", "must be whole days, such as 1d, 1w or 14d.")
        return self

    @model_validator(mode="after")
    def _days_agree(self) -> Self:
        if self.hands_over is None or self.first is None or self.hands_over.day is None:
            return self
        if self._length.days % 7:
            raise setting_error("hands_over", f"cannot be on {self.hands_over.day} every time: give a time alone.")
        if self.first.weekday() != _WEEKDAYS.index(self.hands_over.day):
            day = _WEEKDAYS[self.first.weekday()]
            raise setting_error("first", f"{self.first} is a {day}, and hands_over says {self.hands_over.day}.")
        return self

    @model_validator(mode="after")
    def _people_are_known(self) -> Self:
        names = [person.name for person in self.people]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise setting_error("people", f"has {repeated!r} twice. To give somebody two turns, use overrides.")
        for override in self.overrides:
            if override.person not in names:
                remedy = did_you_mean(override.person, names, otherwise="People")
                raise setting_error("overrides", f"nobody is called {override.person!r}. {remedy}")
        return self

    @property
    def _length(self) -> timedelta:
        return timedelta(weeks=1) if self.every is None else self.every

    def rota(self, timezone: str) -> Rota:
        """Return it as a value of the core. `timezone` is that of the configuration."""
        zone = ZoneInfo(self.timezone or timezone)
        return Rota(
            name=self.name,
            zone=zone,
            people=tuple(DutyPerson(name=one.name, mention=one.mention) for one in self.people),
            rotation=self._rotation,
            calendar=self.calendar,
            overrides=tuple(self._overrides(zone)),
            fallback=self.fallback,
            announce=self.announce,
        )

    @property
    def _rotation(self) -> Rotation | None:
        if self.first is None or self.hands_over is None:
            return None
        return Rotation(first=self.first, at=self.hands_over.at, days=self._length.days)

    def _overrides(self, zone: ZoneInfo) -> Iterator[Override]:
        for one in self.overrides:
            yield Override(start=instant_of(one.start.at, zone), end=instant_of(one.until.at, zone), person=one.person)
