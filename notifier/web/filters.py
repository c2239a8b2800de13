"""Filters of templates: facts become text in the reader's language. Ages are counted up to the `now` of the page."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from babel.dates import format_date
from babel.numbers import format_decimal
from jinja2 import pass_context
from jinja2.runtime import Context

from notifier.core.row_counts import COUNTED
from notifier.core.usual import Usual
from notifier.wording.localizer import Localizer
from notifier.wording.message import time_left, usual_span
from notifier.wording.sanitize import one_line

_LOCALES = {"en": "en_GB", "zh": "zh_Hans_CN"}
_DAYS = {"en": "EEE d MMM", "zh": "M月d日 EEE"}
_DAYS_OF_YEAR = {"en": "EEE d MMM y", "zh": "y年M月d日 EEE"}
_COARSE = ((90, "s", 1), (5_400, "m", 60), (172_800, "h", 3_600))
"""Lengths below the first number, in seconds, are written in this unit alone; app.js counts on by the same rule."""
_DAY = 86_400
_MINUTES_ALONE = 600
"""Measured lengths from this number of seconds on are written without seconds."""
_TENTHS_BELOW = 10
"""Seconds below which tenths matter."""


def tick_words(localizer: Localizer) -> Mapping[str, str]:
    """Return the phrases with which app.js counts ages on, with `{n}` and `{length}` in them."""
    units = {unit: localizer.text(f"duration.{unit}.alone", n="{n}") for unit in "smhd"}
    parts = {f"{unit}_part": localizer.text(f"duration.{unit}.part", n="{n}") for unit in "smhd"}
    ages = {"past": localizer.text("age.past", length="{length}"), "now": localizer.text("age.now")}
    return units | parts | ages | {"moment": localizer.text("duration.moment")}


class PageFilters:
    """The filters for readers of one language. Those that depend on the time of the page take its context."""

    def __init__(self, localizer: Localizer) -> None:
        self._localizer = localizer
        self._language = localizer.language

    def by_name(self) -> Mapping[str, Callable[..., Any]]:
        """Return the filters by the names that templates use."""
        localizer = self._localizer
        return {
            "ago": self.ago,
            "lasting": self.lasting,
            "until": self.until,
            "left": self.left,
            "usual": self.usual,
            "moment": self.moment,
            "day": self.day,
            "clock": localizer.clock,
            "full": localizer.when,
            "iso": iso,
            "duration": localizer.duration,
            "seconds": self.seconds,
            "coarse": self.coarse,
            "brief": self.brief,
            "window": localizer.window,
            "number": self.number,
            "capped": self.capped,
            "progress": localizer.progress,
            "operation": localizer.task_label,
            "reason": localizer.reason,
            "one_line": one_line,
        }

    @pass_context
    def ago(self, context: Context, moment: datetime | None) -> str:
        """Return an age in one unit: `20 min ago`."""
        if moment is None:
            return self._localizer.text("age.never")
        length = context["now"] - moment
        if length < timedelta(seconds=1):
            return self._localizer.text("age.now")
        return self._localizer.text("age.past", length=self.coarse(length))

    @pass_context
    def lasting(self, context: Context, moment: datetime) -> str:
        """Return the time since a moment: `1 h 40 min`."""
        return _rough(self._localizer, context["now"] - moment)

    @pass_context
    def until(self, context: Context, moment: datetime) -> str:
        """Return the time up to a moment: `1 h 18 min`."""
        return _rough(self._localizer, moment - context["now"])

    @pass_context
    def left(self, context: Context, usual: Usual | None, began: datetime, progress: float | None) -> str:
        """Return how much longer a running task takes: `about 4 to 8 min left`. Empty where that is not known."""
        return time_left(usual, context["now"] - began, progress, self._localizer)

    def usual(self, usual: Usual) -> str:
        """Return how long tasks usually take: `8 to 12 min`."""
        return usual_span(usual, self._localizer)

    @pass_context
    def moment(self, context: Context, moment: datetime, *, seconds: bool = True) -> str:
        """Return a time of day, with its date unless that is today's: `09:22:31`, `26 Nov 02:12:09`."""
        if self._local(moment).date() == self._local(context["now"]).date():
            return self._localizer.clock(moment, seconds=seconds)
        text = self._localizer.day_and_time(moment)
        return text if seconds else text[:-3]

    @pass_context
    def day(self, context: Context, moment: datetime) -> str:
        """Return a date with its day of the week, and with its year unless that is this one: `Sat 28 Nov`."""
        local = self._local(moment)
        patterns = _DAYS if local.year == self._local(context["now"]).year else _DAYS_OF_YEAR
        return _date_text(local.date(), patterns[self._language], _LOCALES[self._language])

    def coarse(self, length: timedelta) -> str:
        """Return a length in one unit: `48 s`, `71 min`, `7 h`, `3 d`. A negative one counts as none."""
        seconds = max(int(length.total_seconds()), 0)
        unit, size = next(((unit, size) for below, unit, size in _COARSE if seconds < below), ("d", _DAY))
        return self._localizer.text(f"duration.{unit}.alone", n=seconds // size)

    def seconds(self, number: float) -> str:
        """Return a measured length, as exact as it matters: `10 s`, `5 min 42 s`, `17 min`, `1 h 12 min`."""
        step = 60 if number >= _MINUTES_ALONE else 1
        return self._localizer.duration(timedelta(seconds=round(number / step) * step))

    def brief(self, length: timedelta) -> str:
        """Return how long something took, with tenths where it is short: `1.3 s`, `51 s`, `6 h 5 min`."""
        seconds = max(length.total_seconds(), 0)
        if seconds < _TENTHS_BELOW:
            return self._localizer.text("duration.s.alone", n=f"{seconds:.1f}")
        return self._localizer.duration(length)

    def number(self, value: float) -> str:
        """Return a number with separators: `1,440`."""
        # Both languages write whole numbers alike, and pages have hundreds of them.
        return f"{value:,}" if isinstance(value, int) else format_decimal(value, locale=_LOCALES[self._language])

    def capped(self, count: int) -> str:
        """Return a number of rows, of which there may be more than were counted: `1,000+`."""
        return f"{self.number(COUNTED)}+" if count > COUNTED else self.number(count)

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self._localizer.timezone)


@lru_cache(maxsize=512)
def _date_text(day: date, pattern: str, locale: str) -> str:
    return format_date(day, pattern, locale=locale)


def _rough(localizer: Localizer, length: timedelta) -> str:
    """Return a length without the seconds that do not matter: `48 s`, `6 min`, `1 h 40 min`, `2 d 6 h`."""
    minute = timedelta(minutes=1)
    return localizer.duration(length // minute * minute if length >= minute else length)


def iso(moment: datetime) -> str:
    """Return a time for machines: `2026-11-28T01:42:16Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
