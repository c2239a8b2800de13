"""Scales and their ticks: times, durations on a logarithmic axis, and shares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from notifier.core.wall_time import day_begins, instant_of, wall_time

DIGITS = 3
"""Decimals of a position in per cent: a hundredth of a pixel on a wall screen."""

_DAY = timedelta(days=1)
_HOUR_STEPS = ((timedelta(hours=9), 1), (timedelta(hours=30), 3), (timedelta(hours=48), 6))
"""Hours between two ticks, for scales up to a length."""
_DAY_STEPS = (1, 2, 5, 7, 14, 28, 56, 91, 182, 364)
_MAX_DAY_TICKS = 8
_LEAST_DAY_ROOM = 4.0
"""Width in per cent of the visible part of a day below which it has no label."""


class Position(NamedTuple):
    """Where a mark begins and how wide it is, in per cent of the chart. No mark leaves the chart."""

    x: float
    width: float

    @property
    def end(self) -> float:
        """Where it ends, in per cent."""
        return min(round(self.x + self.width, DIGITS), 100.0)

    @property
    def middle(self) -> float:
        """The middle of it, in per cent."""
        return round(self.x + self.width / 2, DIGITS)


def clamped(percent: float) -> float:
    """Return a position within the chart, rounded."""
    return round(min(max(percent, 0.0), 100.0), DIGITS)


def between(start: float, end: float) -> Position:
    """Return the position from one place of the chart to another, within it."""
    first, last = clamped(start), clamped(end)
    return Position(first, round(max(last - first, 0.0), DIGITS))


@dataclass(frozen=True, slots=True)
class TimeScale:
    """A time axis from `since` to `until`, which must be later."""

    since: datetime
    until: datetime

    def x(self, at: datetime) -> float:
        """Return where a time is, in per cent. Times outside are moved to the edge."""
        return clamped(100 * ((at - self.since) / (self.until - self.since)))

    def span(self, start: datetime, end: datetime) -> Position:
        """Return the position of a period."""
        return between(self.x(start), self.x(end))

    def shows(self, start: datetime, end: datetime) -> bool:
        """Return whether any of a period is on the axis."""
        return start <= self.until and end >= self.since


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeTick:
    """A line of a time axis."""

    x: float
    at: datetime
    label_x: float | None
    """Where its label is centred: at the line for an hour, within the day for a day. None without room for one."""
    day: bool
    """Whether it is the beginning of a day and its label names the day."""


def time_ticks(scale: TimeScale, zone: ZoneInfo) -> tuple[TimeTick, ...]:
    """Return the lines of a time axis: round hours, or beginnings of days, by the clock of the reader's zone.

    On days on which the clock is changed the lines are nearer together, or further apart, as the hours are.
    """
    length = scale.until - scale.since
    for limit, hours in _HOUR_STEPS:
        if length <= limit:
            return tuple(
                TimeTick(x=(x := scale.x(at)), at=at, label_x=x, day=False) for at in _hours(scale, zone, hours)
            )
    return tuple(_day_ticks(scale, zone))[::-1]


def _hours(scale: TimeScale, zone: ZoneInfo, step: int) -> Iterator[datetime]:
    first = wall_time(scale.since, zone).replace(minute=0, second=0, microsecond=0)
    wall = first.replace(hour=first.hour // step * step)
    while True:
        at = instant_of(wall, zone)
        if at > scale.until:
            return
        # A clock that is set forward skips some of the hours: these have no line.
        if at >= scale.since and wall_time(at, zone) == wall:
            yield at
        wall += timedelta(hours=step)


def _day_ticks(scale: TimeScale, zone: ZoneInfo) -> Iterator[TimeTick]:
    """Yield the lines of days, the last one first."""
    begins = day_bounds(scale.since, scale.until, zone)
    step = next((one for one in _DAY_STEPS if (len(begins) - 1) / one <= _MAX_DAY_TICKS), _DAY_STEPS[-1])
    # The newest days are the ones that people look for, so lines are counted from there.
    for number in range(len(begins) - 2, -1, -1):
        if (len(begins) - 2 - number) % step:
            continue
        at, following = begins[number], begins[number + 1]
        visible = scale.span(at, following)
        is_cut = at < scale.since
        label_x = visible.middle if step > 1 or visible.width >= _LEAST_DAY_ROOM else None
        if not is_cut or label_x is not None:
            yield TimeTick(x=visible.x, at=at, label_x=label_x, day=True)


def day_bounds(since: datetime, until: datetime, zone: ZoneInfo) -> Sequence[datetime]:
    """Return in UTC when each day of the reader's zone begins, from the one of `since`; the last is after `until`."""
    day = since.astimezone(zone).date()
    bounds = [day_begins(day, zone)]
    while bounds[-1] <= until:
        day += _DAY
        begins = day_begins(day, zone)
        if begins > bounds[-1]:  # a zone that crosses the date line leaves out a day
            bounds.append(begins)
    return bounds


# ---- durations and shares ----

_ROUND_SECONDS = (
    *(1, 2, 5, 10, 20, 30),
    *(60, 120, 300, 600, 1_200, 1_800),
    *(3_600, 7_200, 18_000, 36_000, 86_400, 172_800, 432_000, 864_000, 2_592_000),
)
"""Durations in seconds that have a name short enough for an axis."""
_LEAST_TICK_ROOM = 12.0
"""Distance between two labels of a logarithmic axis, in per cent."""


@dataclass(frozen=True, slots=True)
class LogScale:
    """A logarithmic axis of durations from `low` to `high` seconds, which must be more."""

    low: float
    high: float

    def x(self, seconds: float) -> float:
        """Return where a duration is, in per cent. Durations outside are moved to the edge."""
        return clamped(100 * math.log(max(seconds, self.low) / self.low) / math.log(self.high / self.low))


class LogTick(NamedTuple):
    """A line of a logarithmic axis."""

    x: float
    length: timedelta


def log_scale(durations: Sequence[float]) -> LogScale:
    """Return an axis that shows all durations, in seconds: from a round one to a round one.

    It reaches from one minute to one hour without any.
    """
    shortest, longest = min(durations, default=60.0), max(durations, default=3_600.0)
    low = max((one for one in _ROUND_SECONDS if one <= shortest), default=1)
    high = min((one for one in _ROUND_SECONDS if one >= longest and one > low), default=longest)
    return LogScale(float(low), float(high))


def log_ticks(scale: LogScale) -> tuple[LogTick, ...]:
    """Return the lines of a logarithmic axis: round durations, both ends among them, with room for their labels."""
    inner = [seconds for seconds in _ROUND_SECONDS if scale.low < seconds < scale.high]
    found = [scale.low]
    for seconds in inner:
        if min(scale.x(seconds) - scale.x(found[-1]), 100 - scale.x(seconds)) >= _LEAST_TICK_ROOM:
            found.append(float(seconds))
    return tuple(LogTick(scale.x(seconds), timedelta(seconds=seconds)) for seconds in (*found, scale.high))


_ROUND_SHARES = (0.1, 0.25, 0.5, 1.0)


def share_limit(shares: Sequence[float]) -> float:
    """Return the end of an axis of shares that shows all of these: 0.1, 0.25, 0.5 or 1."""
    return next(limit for limit in _ROUND_SHARES if limit >= min(max(shares, default=0.0), 1.0))
