"""Rates with the interval that they leave open, boxes of durations, and bars by day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from notifier.web.charts.scales import DIGITS, LogScale, Position, between, clamped

T = TypeVar("T")

MIN_FOR_RATE = 20
"""Number of ended tasks below which no percentage is shown."""
MIN_FOR_BOX = 5
"""Number of durations below which each is drawn as a dot."""
_Z = 1.959963984540054
"""Distance of the bounds of a 95 % interval from the middle of a normal distribution, in standard deviations."""


class RateInterval(NamedTuple):
    """Where the true rate lies at 95 %, as shares."""

    low: float
    high: float


def wilson(part: int, whole: int) -> RateInterval:
    """Return the Wilson score interval of a rate at 95 %. Nothing is known of a rate of nothing: 0 to 1.

    Unlike the interval around the plain rate it is right for few cases, and for none that failed.
    """
    if not whole:
        return RateInterval(0.0, 1.0)
    rate, square = part / whole, _Z * _Z
    middle = (rate + square / (2 * whole)) / (1 + square / whole)
    reach = _Z * math.sqrt(rate * (1 - rate) / whole + square / (4 * whole * whole)) / (1 + square / whole)
    return RateInterval(max(middle - reach, 0.0) if part else 0.0, min(middle + reach, 1.0) if part < whole else 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateBar:
    """A rate, drawn as a bar with its interval as a line. Positions in per cent."""

    width: float
    low: float
    high: float
    part: int
    whole: int
    interval: RateInterval

    @property
    def has_rate(self) -> bool:
        """Whether there are enough cases for a percentage."""
        return self.whole >= MIN_FOR_RATE


def rate_bar(part: int, whole: int, limit: float = 1.0) -> RateBar:
    """Return the bar of a rate on an axis from 0 to a share, such as `scales.share_limit` returns."""
    interval = wilson(part, whole)
    return RateBar(
        width=clamped(100 * part / whole / limit) if whole else 0.0,
        low=clamped(100 * interval.low / limit),
        high=clamped(100 * interval.high / limit),
        part=part,
        whole=whole,
        interval=interval,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxValues:
    """How durations are distributed, in seconds, not decreasing."""

    low: float
    """End of the left whisker."""
    lower: float
    """A quarter of all is below."""
    median: float
    upper: float
    """A quarter of all is above."""
    high: float
    """End of the right whisker."""


def box_values(durations: Sequence[float]) -> BoxValues | None:
    """Return the quartiles of durations, and whiskers around 90 % of them; None below MIN_FOR_BOX."""
    if len(durations) < MIN_FOR_BOX:
        return None
    ordered = sorted(durations)
    low, lower, median, upper, high = (_quantile(ordered, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
    return BoxValues(low=low, lower=lower, median=median, upper=upper, high=high)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


class ChartDot(NamedTuple, Generic[T]):
    """A duration that is drawn by itself."""

    x: float
    about: T


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxMarks(Generic[T]):
    """A box with whiskers on a logarithmic axis, and what is drawn by itself. Positions in per cent."""

    whisker: Position | None
    """None, as the other two, where too few durations are known for a box."""
    box: Position | None
    median: float | None
    dots: tuple[ChartDot[T], ...]
    """Durations beyond the right whisker; all of them where there are too few for a box."""
    running: tuple[ChartDot[T], ...] = ()
    """How long tasks have run that run now."""
    stuck: tuple[ChartDot[T], ...] = ()
    """Those among them that are stuck."""


def box_marks(
    values: BoxValues | None,
    scale: LogScale,
    *,
    dots: Sequence[tuple[float, T]] = (),
    running: Sequence[tuple[float, T]] = (),
    stuck: Sequence[tuple[float, T]] = (),
) -> BoxMarks[T]:
    """Return the marks of durations in seconds, each with what it is about."""
    return BoxMarks(
        whisker=between(scale.x(values.low), scale.x(values.high)) if values else None,
        box=between(scale.x(values.lower), scale.x(values.upper)) if values else None,
        median=scale.x(values.median) if values else None,
        dots=_dots(dots, scale),
        running=_dots(running, scale),
        stuck=_dots(stuck, scale),
    )


def _dots(found: Sequence[tuple[float, T]], scale: LogScale) -> tuple[ChartDot[T], ...]:
    return tuple(ChartDot(scale.x(seconds), about) for seconds, about in found)


class DayCount(NamedTuple):
    """How many tasks ended on a day."""

    begins: datetime
    completed: int
    failed: int
    storm: bool = False
    """Whether the failures were a storm, or most of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBar:
    """The bars of one day: completed above the line, failed below. Heights in pixels, the rest in per cent."""

    x: float
    width: float
    up: float
    down: float
    label: bool
    """Whether the day is named above its bar."""
    day: DayCount

    @property
    def middle(self) -> float:
        """The middle of the day, in per cent."""
        return round(self.x + self.width / 2, DIGITS)


UP_HEIGHT = 46
"""Height of the highest bar of completed tasks, in pixels."""
DOWN_HEIGHT = 38
"""Height of the highest bar of failed tasks, in pixels."""
LEAST_BAR = 3
"""Height of the bar of a single task, in pixels, so that it is seen."""
_BAR_SHARE = 0.74
"""Share of its day that a bar takes."""
_DAY_LABELS = 7
"""Maximum number of days that are named."""
_LABEL_STEPS = (1, 2, 5, 7, 14, 28, 56)


def day_bars(days: Sequence[DayCount]) -> tuple[DayBar, ...]:
    """Return the bars of days in order. Each direction has its own unit: one failure shows beside many successes."""
    if not days:
        return ()
    up = UP_HEIGHT / max(*(day.completed for day in days), _FULL_UP)
    down = DOWN_HEIGHT / max(*(day.failed for day in days), _FULL_DOWN)
    room = 100 / len(days)
    step = next((one for one in _LABEL_STEPS if len(days) / one <= _DAY_LABELS), _LABEL_STEPS[-1])
    return tuple(
        DayBar(
            x=clamped((number + (1 - _BAR_SHARE) / 2) * room),
            width=round(_BAR_SHARE * room, DIGITS),
            up=_bar_height(day.completed, up, UP_HEIGHT),
            down=_bar_height(day.failed, down, DOWN_HEIGHT),
            label=(len(days) - 1 - number) % step == step // 2,
            day=day,
        )
        for number, day in enumerate(days)
    )


_FULL_UP, _FULL_DOWN = 4, 8
"""Numbers of completed and of failed tasks in a day from which a bar may be as high as it can be."""


def _bar_height(count: int, unit: float, most: int) -> float:
    return round(min(max(count * unit, LEAST_BAR), most), 1) if count else 0.0
