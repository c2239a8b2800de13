"""What people type to mute: `prod-* 2h resizing`, `source=staging sat 22:00 4h but failures`, `every day 02:00 1h`.

The chat and the command line read the same words. What a time means depends on the present and on a time zone, so that
reading the words and resolving their times are two steps.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from notifier.core.cron import Cron
from notifier.core.durations import parse_duration
from notifier.core.fields import CLOSED_FIELDS, OPERATION_KINDS
from notifier.core.mutes import MAX_MUTE_REASON, MuteTimes, WrongMute
from notifier.core.wall_time import instant_of, wall_time

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = re.compile(r"(mon|tue|wed|thu|fri|sat|sun)[a-z]*", re.ASCII)
_CRON_DAYS = {"day": "*", "daily": "*", "weekday": "1-5", "weekdays": "1-5", "weekend": "6,0", "weekends": "6,0"}
_CRON_DAY = {day: str((number + 1) % 7) for number, day in enumerate(_DAYS)}
_CLOCK = re.compile(r"([01]?\d|2[0-3])[:：]([0-5]\d)", re.ASCII)
DATE_PATTERN = r"\d{4}-\d{2}-\d{2}"
"""How a date is written."""
_DATE = re.compile(DATE_PATTERN, re.ASCII)
_MOMENT = re.compile(rf"({_DATE.pattern})[t ]({_CLOCK.pattern})", re.ASCII)
_RELATIVE_DAYS = {"today": 0, "tomorrow": 1}
_BUT = ("but", "except")
_FAILURES = ("failures", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenTime:
    """A time as a person writes it: a day, a time of day, or both."""

    day: str = ""
    """`sat`, `tomorrow` or `2026-12-05`; the empty string for the next day that fits."""
    clock: str = "00:00"

    def resolve(self, after: datetime, zone: ZoneInfo) -> datetime:
        """Return the first time after a moment that it can mean in a time zone. A date means that date alone."""
        hour, minute = map(int, self.clock.split(":"))
        clock = time(hour, minute)
        today = wall_time(after, zone).date()
        if _DATE.fullmatch(self.day):
            days: Iterable[date] = [date.fromisoformat(self.day)]
        elif self.day in _RELATIVE_DAYS:
            days = [today + timedelta(days=_RELATIVE_DAYS[self.day])]
        else:
            ahead = (_DAYS.index(self.day) - today.weekday()) % 7 if self.day else 0
            days = [today + timedelta(days=ahead), today + timedelta(days=ahead + (7 if self.day else 1))]
        instants = [instant_of(datetime.combine(day, clock), zone) for day in days]
        return next((instant for instant in instants if instant > after), instants[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteWords:
    """The words of a mute, taken apart."""

    covers: tuple[str, ...] = ()
    """Words for what it covers: the name of an instance, or matchers."""
    length: timedelta | None = None
    start: WrittenTime | None = None
    """When it begins; None for now."""
    end: WrittenTime | None = None
    """When it ends, instead of `length`."""
    cron: str | None = None
    """When it begins again and again."""
    except_failures: bool = False
    reason: str | None = None

    @property
    def scheduled(self) -> bool:
        """Whether the words say when the mute ends."""
        return self.length is not None or self.end is not None

    def times(self, now: datetime, zone: ZoneInfo) -> MuteTimes:
        """Return when the mute is to be in force. Raises WrongMute."""
        cron = None if self.cron is None else _parsed_cron(self.cron, zone)
        if cron is not None:
            if self.length is None:
                raise WrongMute("length", "a mute that recurs needs the length of each window, for example 4h")
            last = None if self.end is None else self.end.resolve(now, zone)
            return MuteTimes(length=self.length, cron=cron, last=last)
        since = None if self.start is None else _resolved(self.start, now, zone)
        if self.length is not None and self.end is not None:
            raise WrongMute("both", "give a length or an end, not both")
        if self.length is not None:
            return MuteTimes(length=self.length, since=since)
        if self.end is None:
            raise WrongMute("length", "say for how long, for example 2h, or until when, for example until 18:00")
        until = _resolved(self.end, since or now, zone)
        if until <= (since or now):
            raise WrongMute("past", "it would end before it begins")
        return MuteTimes(length=until - (since or now), since=since, until=until)


def _resolved(written: WrittenTime, after: datetime, zone: ZoneInfo) -> datetime:
    try:
        return written.resolve(after, zone)
    except (OverflowError, ValueError):
        raise WrongMute("time", f"there is no day {written.day!r}", written.day) from None


def _parsed_cron(text: str, zone: ZoneInfo) -> Cron:
    try:
        return Cron.parse(text, zone)
    except ValueError as error:
        raise WrongMute("cron", str(error), text) from None


def read_mute_words(words: Sequence[str], shown: Sequence[str] | None = None) -> MuteWords:
    """Take the words of a mute apart: what it covers, when, whether failures are excepted, and why.

    `shown` has the same words as they were typed, for the reason. Raises WrongMute for a time that cannot be read.
    Words that say no end are left to the caller: see `MuteWords.scheduled`.
    """
    covers = _covering(words)
    reader = _TimeReader(words[len(covers) :])
    found = reader.read()
    rest, excepted = _without_exception((shown or words)[len(words) - len(reader.left) :])
    reason = " ".join(rest)[:MAX_MUTE_REASON] or None
    return MuteWords(covers=covers, reason=reason, except_failures=excepted, **found._asdict())


def parse_written_time(text: str) -> WrittenTime:
    """Read `22:00`, `sat 22:00`, `tomorrow 06:30`, `2026-12-05` or `2026-12-05 22:00`. Raises WrongMute."""
    reader = _TimeReader(text.split())
    found = reader.written_time()
    if found is None or reader.left:
        raise _no_time(text)
    return found


def _no_time(text: str) -> WrongMute:
    return WrongMute("time", f"{text!r} is no time such as 22:00, sat 22:00 or 2026-12-05 22:00", text)


class _Times(NamedTuple):
    """The fields of `MuteWords` that are about time."""

    length: timedelta | None = None
    start: WrittenTime | None = None
    end: WrittenTime | None = None
    cron: str | None = None


def _covering(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words for what the mute covers: the first one, and matchers that follow it."""
    count = 1
    in_list = False
    while count < len(words) and (in_list or _is_matcher(words, count)):
        word = words[count]
        in_list = (in_list or "[" in word) and "]" not in word
        count += 1
    return tuple(words[:count])


def _is_matcher(words: Sequence[str], place: int) -> bool:
    word = words[place].lower()
    if word in ("in", "not") or (words[place - 1].lower() == "in" and word.startswith("[")):
        return True
    known = (*CLOSED_FIELDS["status"], *CLOSED_FIELDS["severity"], *CLOSED_FIELDS["type"], *OPERATION_KINDS)
    named = word in known and not (word in _FAILURES and words[place - 1].lower() in _BUT)
    if named or "*" in word:
        return True
    # `label.team in [a, b]` begins with a bare word.
    follows = [one.lower() for one in words[place + 1 : place + 3]]
    return any(op in word for op in "=~<>") or follows[:1] == ["in"] or follows == ["not", "in"]


class _TimeReader:
    """Takes the words that say when, from the left."""

    def __init__(self, words: Sequence[str]) -> None:
        self.left = list(words)

    def read(self) -> _Times:
        """Take all of them."""
        cron, start = self._cron(), None
        if cron is None:
            named = self._take("from", "at")
            start = self.written_time()
            if named and start is None:
                raise _no_time(self._shown)
        self._take("for")
        length, end = self._length(), None
        if self._take("until"):
            end = self.written_time()
            if end is None:
                raise _no_time(self._shown)
        return _Times(length=length, start=start, end=end, cron=cron)

    def _cron(self) -> str | None:
        if self._take("every"):
            return self._every()
        if len(self.left) > 1 and self._take("cron"):
            return self.left.pop(0)
        return None

    def _take(self, *words: str) -> bool:
        """Take the next word where it is one of these."""
        taken = self._next in words
        if taken:
            self.left.pop(0)
        return taken

    @property
    def _next(self) -> str:
        return self.left[0].lower() if self.left else ""

    @property
    def _shown(self) -> str:
        return self.left[0] if self.left else ""

    def _length(self) -> timedelta | None:
        try:
            length = parse_duration(self._next)
        except ValueError:
            return None
        self.left.pop(0)
        return length

    def written_time(self) -> WrittenTime | None:
        """Take a day, a time of day, or both; return None where the next word is neither."""
        if both := _MOMENT.fullmatch(self._next):
            self.left.pop(0)
            return WrittenTime(day=both[1], clock=_clock(both[2]))
        day = self._day()
        if clock := _CLOCK.fullmatch(self._next):
            self.left.pop(0)
            return WrittenTime(day=day, clock=_clock(clock[0]))
        return WrittenTime(day=day) if day else None

    def _day(self) -> str:
        word = self._next
        named = _DAY.fullmatch(word)
        if named and _is_day_name(word):
            self.left.pop(0)
            return named[1]
        if word in _RELATIVE_DAYS or _DATE.fullmatch(word):
            self.left.pop(0)
            return word
        return ""

    def _every(self) -> str:
        """Take the days and the time of day on which windows begin; return the schedule."""
        days = _cron_days(self._next)
        if days is None:
            raise WrongMute("every", f"{self._shown!r} is no day; write for example every sat 22:00 4h", self._shown)
        self.left.pop(0)
        self._take("at")
        clock = _CLOCK.fullmatch(self._next)
        if clock is None:
            raise _no_time(self._shown)
        self.left.pop(0)
        return f"{int(clock[2])} {int(clock[1])} * * {days}"


def _clock(text: str) -> str:
    return text.replace("：", ":")


def _is_day_name(word: str) -> bool:
    """Return whether a word is the name of a day, in short or whole: `sat`, `saturday`, not `satellite`."""
    whole = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return word in (*_DAYS, "tues", "thur", "thurs", *whole)


def _cron_days(word: str) -> str | None:
    """Return days of the week as a schedule has them: `sat`, `mon,wed`, `mon-fri`, `weekdays`. None for other words."""
    if word in _CRON_DAYS:
        return _CRON_DAYS[word]
    parts = []
    for part in word.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not all(map(_is_day_name, ends)):  # noqa: PLR2004 - a range has two ends
            return None
        first, *last = (_CRON_DAY[end[:3]] for end in ends)
        parts.append("-".join([first, *("7" if day == "0" else day for day in last)]))
    return ",".join(parts)


def _without_exception(words: Sequence[str]) -> tuple[Sequence[str], bool]:
    """Return words without `but failures` at their beginning or end, and whether that was there."""
    lowered = [word.lower() for word in words]
    if lowered[:1] and lowered[0] in _BUT and lowered[1:2] and lowered[1] in _FAILURES:
        return words[2:], True
    if len(words) > 1 and lowered[-2] in _BUT and lowered[-1] in _FAILURES:
        return words[:-2], True
    return words, False
