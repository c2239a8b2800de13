"""Who is on duty: a rota of its own, or one that a calendar keeps, and what overrides it. Pure.

A hand-over is a time of the wall clock in the rota's zone, so it stays at 09:00 where clocks are changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from notifier.core.calendars import CalendarEntry
from notifier.core.wall_time import instant_of, wall_time

ROTA_PREFIX = "@rota:"
"""How a mention begins that stands for whoever is on duty: `@rota:dba`."""
MAX_HANDOVERS = 200
"""Maximum number of boundaries of shifts that are searched for the next hand-over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyPerson:
    """Somebody who may be on duty."""

    name: str
    mention: tuple[str, ...] = ()
    """Entries as of `routes[].mention`: each kind of channel takes those that it understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Shifts of equal length, one person after the other."""

    first: date
    """Day of the first hand-over, to the first person."""
    at: time
    """Time of day of each hand-over."""
    days: int
    """Length of a shift, in days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A time during which somebody else is on duty."""

    start: datetime
    end: datetime
    person: str
    """Name of one of the people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A time during which the same person is on duty, or nobody."""

    start: datetime
    end: datetime
    person: DutyPerson


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """Who is on duty at a time, and who is next."""

    person: DutyPerson | None
    """None where nobody is."""
    until: datetime | None = None
    """When somebody else is on duty, or nobody; None where that is not known."""
    following: DutyPerson | None = None
    """Who is on duty then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """People who take turns."""

    name: str
    zone: ZoneInfo
    people: tuple[DutyPerson, ...]
    rotation: Rotation | None = None
    """None where a calendar says who is on duty."""
    calendar: str | None = None
    """Name of that calendar. The summary of an entry names the person."""
    overrides: tuple[Override, ...] = ()
    """Where two cover a time, the later one in this order counts."""
    fallback: tuple[str, ...] = ()
    """Whom to mention where nobody is on duty."""
    announce: tuple[str, ...] = ()
    """Channels that are told of a hand-over."""

    def on_duty(self, at: datetime, entries: Sequence[CalendarEntry] = ()) -> DutyPerson | None:
        """Return who is on duty at an aware time. `entries` are those of its calendar."""
        for override in reversed(self.overrides):
            if override.start <= at < override.end:
                return self.named(override.person)
        if self.rotation:
            return self._turn(self.rotation, at)
        # Of several, the one who began last: a shift that somebody takes within a longer one.
        shifts = [shift for shift in self._shifts(entries) if shift.start <= at < shift.end]
        return max(shifts, key=lambda shift: shift.start).person if shifts else None

    def duty(self, at: datetime, entries: Sequence[CalendarEntry] = ()) -> Duty:
        """Return who is on duty at a time, until when, and who follows."""
        now = self.on_duty(at, entries)
        for moment in self._boundaries(at, entries):
            following = self.on_duty(moment, entries)
            if following != now:
                return Duty(person=now, until=moment, following=following)
        return Duty(person=now)

    def since(self, at: datetime, entries: Sequence[CalendarEntry] = ()) -> datetime | None:
        """Return when the shift or the override at a time began; None before the first of them."""
        begun = [moment for one in self.overrides for moment in (one.start, one.end)]
        if self.rotation and (number := self._turn_number(self.rotation, at)) >= 0:
            begun.append(self._begins(self.rotation, number))
        begun += [moment for shift in self._shifts(entries) for moment in (shift.start, shift.end)]
        return max((moment for moment in begun if moment <= at), default=None)

    def gaps(
        self, since: datetime, until: datetime, entries: Sequence[CalendarEntry] = ()
    ) -> Iterator[tuple[datetime, datetime]]:
        """Yield the times between two times during which nobody is on duty."""
        moments = [since, *(moment for moment in self._boundaries(since, entries) if moment < until), until]
        empty: datetime | None = None
        for start, end in pairwise(moments):
            if self.on_duty(start, entries) is None:
                empty = empty or start
                if end == until:
                    yield empty, end
            elif empty:
                yield empty, start
                empty = None

    def hand_overs(
        self, since: datetime, until: datetime, entries: Sequence[CalendarEntry] = ()
    ) -> Iterator[tuple[datetime, DutyPerson | None]]:
        """Yield when between two times somebody else is on duty than before, and who: None for nobody."""
        before = self.on_duty(since, entries)
        for moment in self._boundaries(since, entries):
            if moment >= until:
                return
            person = self.on_duty(moment, entries)
            if person != before:
                yield moment, person
                before = person

    def strangers(self, since: datetime, entries: Sequence[CalendarEntry]) -> frozenset[str]:
        """Return the names in the calendar, in shifts that have not ended by a time, that none of the people has."""
        names = {person.name for person in self.people}
        return frozenset(shift.person.name for shift in self._shifts(entries) if shift.end > since) - names

    def mentions(self, at: datetime, entries: Sequence[CalendarEntry] = ()) -> tuple[str, ...]:
        """Return whom a message mentions for this rota: whoever is on duty, else the fallback."""
        person = self.on_duty(at, entries)
        return (person.mention if person else ()) or self.fallback

    def named(self, text: str) -> DutyPerson:
        """Return the person whom a text names, or whose name stands in it; a stranger without mentions otherwise."""
        folded = text.casefold().strip()
        for person in self.people:
            if person.name.casefold() == folded:
                return person
        inside = [one for one in self.people if re.search(rf"(?<!\w){re.escape(one.name.casefold())}(?!\w)", folded)]
        return max(inside, key=lambda one: len(one.name)) if inside else DutyPerson(name=text.strip())

    # ---- shifts ----

    def _turn(self, rotation: Rotation, at: datetime) -> DutyPerson | None:
        number = self._turn_number(rotation, at)
        return self.people[number % len(self.people)] if number >= 0 and self.people else None

    def _turn_number(self, rotation: Rotation, at: datetime) -> int:
        """Return the number of the shift at a time, from 0; a negative one before the first."""
        # The day tells the shift but for the hours before its hand-over.
        guess = (wall_time(at, self.zone).date() - rotation.first).days // rotation.days
        return guess if self._begins(rotation, guess) <= at else guess - 1

    def _begins(self, rotation: Rotation, number: int) -> datetime:
        day = rotation.first + timedelta(days=number * rotation.days)
        return instant_of(datetime.combine(day, rotation.at), self.zone)

    def _shifts(self, entries: Iterable[CalendarEntry]) -> Iterator[Shift]:
        for entry in entries:
            if (bounds := entry.bounds(self.zone)) and entry.summary:
                yield Shift(start=bounds[0], end=bounds[1], person=self.named(entry.summary))

    def _boundaries(self, after: datetime, entries: Sequence[CalendarEntry]) -> Iterator[datetime]:
        """Yield in order the times after one at which another person may be on duty."""
        found = {moment for one in self.overrides for moment in (one.start, one.end)}
        if self.rotation:
            number = self._turn_number(self.rotation, after)
            turns = range(max(number + 1, 0), max(number + 1, 0) + MAX_HANDOVERS)
            found.update(self._begins(self.rotation, turn) for turn in turns)
        else:
            found.update(moment for shift in self._shifts(entries) for moment in (shift.start, shift.end))
        return iter(sorted(moment for moment in found if moment > after))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotas:
    """The rotas of a configuration, with what their calendars said last."""

    by_name: Mapping[str, Rota] = field(default_factory=dict)
    entries: Mapping[str, Sequence[CalendarEntry]] = field(default_factory=dict)
    """Entries by name of the calendar."""

    @property
    def calendars(self) -> frozenset[str]:
        """Names of the calendars that say who is on duty."""
        return frozenset(rota.calendar for rota in self.by_name.values() if rota.calendar)

    def entries_of(self, rota: Rota) -> Sequence[CalendarEntry]:
        """Return the entries of the calendar of a rota."""
        return self.entries.get(rota.calendar, ()) if rota.calendar else ()

    def mentions(self, mention: Sequence[str], at: datetime) -> tuple[str, ...]:
        """Return a list of mentions with whoever is on duty in place of each rota, everybody once."""
        return tuple(dict.fromkeys(who for entry in mention for who in self._mentions(entry, at)))

    def _mentions(self, entry: str, at: datetime) -> Sequence[str]:
        name = rota_named(entry)
        if name is None:
            return (entry,)
        rota = self.by_name.get(name)
        return rota.mentions(at, self.entries_of(rota)) if rota else ()


def rota_named(entry: str) -> str | None:
    """Return the name of the rota that a mention stands for; None where it stands for itself."""
    return entry.removeprefix(ROTA_PREFIX) if entry.startswith(ROTA_PREFIX) else None
