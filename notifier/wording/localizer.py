"""Text, times, durations and names in one language and time zone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.wording.phrases import Language, phrases, templates
from notifier.wording.reasons import localized_reason
from notifier.wording.sanitize import one_line

_SECOND = timedelta(seconds=1)
_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1), ("s", 1, "", 1))
"""The units of durations with the next smaller ones, and their lengths in seconds."""
_WINDOW_HOURS = 48
"""Windows shorter than this are written in hours, in hours."""
_ESTIMATE_STEPS = ((120, 10), (1_200, 60), (7_200, 300), (86_400, 1_800))
"""Steps to which estimates are rounded: of those shorter than the first number, in seconds."""
_LONG_ESTIMATE_STEP = 3_600
_ANY_MOMENT = 0.15
"""Share of the longest time left below which the shortest one is as good as nothing."""
_NUMBER_AND_UNIT = 2
"""Number of words of a duration in one unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Localizer:
    """Formats for readers of one language in one time zone."""

    language: Language
    timezone: ZoneInfo

    def text(self, key: str, **values: object) -> str:
        """Return a phrase with its placeholders filled. Raises KeyError for an unknown key or a missing value."""
        return templates(self.language)[key] % values

    def counted(self, key: str, n: int, **values: object) -> str:
        """Return the phrase `key.one` or `key.other`, whichever goes with the number."""
        return self.text(f"{key}.{'one' if n == 1 else 'other'}", n=n, **values)

    def task_label(self, name: str) -> str:
        """Return the name of an operation or an alarm; an undocumented one as the API writes it."""
        return self.known_label(name) or one_line(name) or self.text("unnamed_task")

    def known_label(self, name: str) -> str | None:
        """Return the name of a documented operation or alarm; None for any other."""
        ours = phrases(self.language)
        return ours.get(f"operation.{name}") or ours.get(f"alarm.{name}.label")

    def status_label(self, status: str) -> str:
        """Return the name of a task's status; an unknown one as the API writes it."""
        return phrases(self.language).get(f"status.{status.lower()}") or one_line(status)

    def instance_status(self, status: str) -> str:
        """Return the name of an instance's status; an unknown one as the API writes it, which the caller quotes."""
        return phrases(self.language).get(_instance_status_key(status)) or one_line(status)

    def knows_instance_status(self, status: str) -> bool:
        """Return whether `instance_status` has a name of its own for this status."""
        return _instance_status_key(status) in phrases(self.language)

    def reason(self, text: str) -> str:
        """Return a reason of the notifier's own in the reader's language; any other text as it is."""
        return localized_reason(text, self.language)

    # -- times --

    def when(self, moment: datetime) -> str:
        """Return a time of day with its date and zone: `14 Nov 09:22:05 (UTC+8)`."""
        local = self._local(moment)
        if local is None:
            return moment.isoformat()
        return self.text("pattern.zoned", time=self._day_and_time(local), zone=_offset(local))

    def day_and_time(self, moment: datetime) -> str:
        """Return a time of day with its date: `14 Nov 09:22:05`. For readers whose time zone is ours."""
        local = self._local(moment)
        return moment.isoformat() if local is None else self._day_and_time(local)

    def clock(self, moment: datetime, *, seconds: bool = True) -> str:
        """Return a time of day: `09:22:05`, or `09:22` without seconds."""
        return str(self._local(moment) or moment)[11 : 19 if seconds else 16]

    def offset(self, moment: datetime) -> str:
        """Return the zone of a time: `UTC+8`, `UTC+5:30`, `UTC`. An abbreviation such as CST names several zones."""
        return _offset(self._local(moment) or moment)

    def _local(self, moment: datetime) -> datetime | None:
        """Return a time in the reader's zone; None for the first or last day of the calendar, which the zone leaves."""
        try:
            return moment.astimezone(self.timezone)
        except OverflowError:
            return None

    def _day_and_time(self, local: datetime) -> str:
        month = self.text(f"pattern.month.{local.month}")
        return self.text("pattern.when", day=local.day, month=month, clock=str(local)[11:19])

    # -- lengths --

    def duration(self, length: timedelta) -> str:
        """Return a duration in its two largest units: `12 min 4 s`. A negative one counts as none."""
        left = length // _SECOND
        if left < 1:
            return self.text("duration.moment")
        unit, seconds, smaller, fraction = next(row for row in _UNITS if left >= row[1])
        count, left = divmod(left, seconds)
        rest = left // fraction
        if not rest:  # Chinese writes 10 分钟 and 12 分 4 秒
            return self.text(f"duration.{unit}.alone", n=count)
        return f"{self.text(f'duration.{unit}.part', n=count)} {self.text(f'duration.{smaller}.part', n=rest)}"

    def window(self, length: timedelta) -> str:
        """Return how far back a query reaches: `24 h` where a duration is `1 d`."""
        hours, rest = divmod(length, timedelta(hours=1))
        if 0 < hours < _WINDOW_HOURS and not rest:
            return self.text("duration.h.alone", n=hours)
        return self.duration(length)

    def estimate(self, length: timedelta) -> str:
        """Return a duration rounded to a step that fits its length: `about 40 min`."""
        return self.span(length, length)

    def span(self, low: timedelta, high: timedelta) -> str:
        """Return a duration between two estimates, in steps that fit the longer one: `8 to 12 min`, `about 8 min`."""
        step = _step(high)
        first, last = (max(round(length / step), 1) * step for length in (low, high))
        if first == last:
            return self.text("duration.about", length=self.duration(last))
        shorter, longer = self.duration(first), self.duration(last)
        number, _, unit = shorter.partition(" ")
        # `8 to 12 min`, but `50 min to 1 h 10 min`
        same = unit and longer.endswith(f" {unit}") and len(longer.split()) == len(shorter.split()) == _NUMBER_AND_UNIT
        return self.text("duration.span", low=number if same else shorter, high=longer)

    def period(self, length: timedelta) -> str:
        """Return the time after which something recurs, rounded: `24 h`, `7 d`."""
        step = _step(length)
        return self.window(max(round(length / step), 1) * step)

    def left(self, low: timedelta, high: timedelta) -> str:
        """Return how much longer something takes: `about 4 to 8 min`, or `up to 8 min` where it may end any moment."""
        if low < high * _ANY_MOMENT:
            return self.text("duration.up_to", length=self.span(high, high))
        span = self.span(low, high)
        return span if span == self.span(high, high) else self.text("duration.about", length=span)

    def age(self, moment: datetime | None, now: datetime) -> str:
        """Return how long ago, or how far ahead, a time is: `12 s ago`, `just now`, `in 5 min`, `never`."""
        if moment is None:
            return self.text("age.never")
        length = abs(now - moment)
        if length < _SECOND:
            return self.text("age.now")
        return self.text("age.past" if moment <= now else "age.future", length=self.duration(length))

    # -- numbers --

    def progress(self, percent: float) -> str:
        """Return a percentage: `60%`."""
        return f"{percent:.1f}".removesuffix(".0") + "%"

    def share(self, part: int, whole: int) -> str:
        """Return a part of a positive whole in percent: `33%`. Only nothing is `0%`, and only the whole is `100%`."""
        percent = round(100 * part / whole)
        if percent == 0 < part:
            return "<1%"
        if percent == 100 and part < whole:  # noqa: PLR2004 - percent
            return ">99%"
        return f"{percent}%"


def _step(length: timedelta) -> timedelta:
    """Return the step to which an estimate of this length is rounded."""
    seconds = max(length.total_seconds(), 0)
    return timedelta(seconds=next((step for below, step in _ESTIMATE_STEPS if seconds < below), _LONG_ESTIMATE_STEP))


def capitalised(text: str) -> str:
    """Return text that begins a sentence. A first word that is a name or in another script stays as it is."""
    word = text.partition(" ")[0]
    plain_word = word.isascii() and word.isalpha() and word.islower()
    return text[:1].upper() + text[1:] if plain_word else text


def _offset(moment: datetime) -> str:
    """Return the offset of a time from UTC: `UTC-3:30`."""
    minutes = (moment.utcoffset() or timedelta()) // timedelta(minutes=1)
    if minutes == 0:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")


def _instance_status_key(status: str) -> str:
    return f"instance_status.{'_'.join(status.lower().split())}"
