"""When the next run of an operation that recurs should have appeared. Pure.

A rhythm is learned from the times at which runs began: the middle of the intervals between them, and how far runs are
from where that puts them. Gaps in between and extra runs by hand do not disturb it. A run is not expected at a time of
the week at which there was none in earlier weeks, such as on Saturdays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from notifier.core.usual import middle_of

MIN_INTERVALS = 5
"""Number of whole intervals from which a rhythm is learned."""
MAX_TIMES = 60
"""Number of the latest runs that are looked at."""
LONGEST_PERIOD = timedelta(days=10)
"""Longest period that is learned: the list of tasks reaches back one month."""
SHORTEST_PERIOD = timedelta(minutes=30)
"""Shortest one: what runs more often is not one run that people wait for."""

_WEEK = timedelta(days=7)
_WEEKS = 4
"""Number of earlier weeks that are asked whether there is a run at a time of the week."""
_SPREADS = 4.0
"""Distance from where a run should be up to which it is in rhythm, in median distances."""
_LEAST_SHARE, _MOST_SHARE = 0.05, 0.25
"""Least and most distance that is in rhythm, as a share of the period."""
_HALF_LIFE = 8
"""A run counts half as much as the one this many runs later, where runs form several series."""
_COVERED = 0.7
"""Share of the expected runs that were there, from which it is a rhythm; and of the weeks with a run."""
_TURN = 0.45
"""Distance from its time, as a share of the period, up to which a run counts as the one of that turn."""
_GRACE_SHARE = 0.1
_CLOCK_CHANGE = timedelta(hours=1)
"""What a schedule in local time moves by when clocks change."""
_CLOCKED = timedelta(hours=6)
"""Period from which a schedule is likely to be one of local time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How regularly an operation recurs, and when its next run should have appeared."""

    period: timedelta
    spread: timedelta
    """How far from the rhythm runs usually are, at most."""
    intervals: int
    """Number of whole periods between neighbouring runs that it was learned from."""
    last: datetime
    """The latest run, in rhythm or not."""
    expected_at: datetime
    """When the next run should begin."""
    overdue_at: datetime
    """When it counts as missing: later by the spread, and by a tenth of the period or the change of a clock."""

    @property
    def satisfied_from(self) -> datetime:
        """Time from which any run counts as the expected one."""
        return self.expected_at - self.period / 2


def learn_rhythm(times: Sequence[datetime]) -> Rhythm | None:
    """Return the rhythm of runs; None where they have none, or too few of them are known.

    Args:
        times: when runs began, the earliest first. Of more than MAX_TIMES the latest count.
    """
    latest = sorted(times)[-MAX_TIMES:]
    gaps = [after - before for before, after in pairwise(latest)]
    if len(gaps) < MIN_INTERVALS:
        return None
    return next((found for period in _periods(gaps) if (found := _with_period(latest, period))), None)


def _periods(gaps: Sequence[timedelta]) -> Iterator[timedelta]:
    """Yield the periods that may be that of a rhythm: that of most intervals, and those that people schedule by."""
    regular = timedelta(seconds=middle_of(gap.total_seconds() for gap in gaps))
    near = [gap for gap in gaps if abs(gap - regular) <= _MOST_SHARE * regular]
    yield timedelta(seconds=middle_of(gap.total_seconds() for gap in near)) if near else regular
    yield from (timedelta(days=1), _WEEK)


def _with_period(times: Sequence[datetime], period: timedelta) -> Rhythm | None:
    """Return the rhythm of this period; None where the runs do not have it."""
    if not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        return None
    in_rhythm = _in_rhythm(times, period)
    gaps = [after - before for before, after in pairwise(in_rhythm)]
    whole = [gap for gap in gaps if abs(gap - period) <= _MOST_SHARE * period]
    if len(whole) < MIN_INTERVALS:
        return None
    # Of the same length as most intervals, so that a schedule that drifts is followed.
    steps = [gap / max(round(gap / period), 1) for gap in gaps]
    deviations = [abs(step - period).total_seconds() for step in steps]
    spread = min(
        max(timedelta(seconds=_SPREADS * middle_of(deviations)), _LEAST_SHARE * period),
        _MOST_SHARE * period,
    )
    slots = round((in_rhythm[-1] - in_rhythm[0]) / period) + 1
    weekly = _has_weekly_pauses(in_rhythm, period, spread)
    if not weekly and len(in_rhythm) < _COVERED * slots and len(whole) < 2 * MIN_INTERVALS:
        return None
    expected = _next_expected(times, in_rhythm, period, spread)
    if expected is None:
        return None
    grace = max(_GRACE_SHARE * period, _CLOCK_CHANGE) if period >= _CLOCKED else _MOST_SHARE * period
    return Rhythm(
        period=period,
        spread=spread,
        intervals=len(whole),
        last=times[-1],
        expected_at=expected,
        overdue_at=expected + spread + grace,
    )


def _in_rhythm(times: Sequence[datetime], period: timedelta) -> Sequence[datetime]:
    """Return the runs that follow each other at whole periods, without extra runs. Of several series the newest one."""
    every = period.total_seconds()
    tolerance = 1.5 * max(_LEAST_SHARE * every, min(_CLOCK_CHANGE.total_seconds(), _MOST_SHARE * every))
    stamps = [moment.timestamp() for moment in times]
    best: list[tuple[float, int | None]] = []
    for index, stamp in enumerate(stamps):
        followed: tuple[float, int | None] = (0.0, None)
        for earlier in range(index):
            gap = stamp - stamps[earlier]
            count = round(gap / every)
            if count and best[earlier][0] > followed[0] and abs(gap - count * every) <= tolerance:
                followed = best[earlier][0], earlier
        best.append((followed[0] + 0.5 ** ((len(times) - index) / _HALF_LIFE), followed[1]))
    at: int | None = max(range(len(best)), key=lambda index: best[index][0])
    found: list[datetime] = []
    while at is not None:
        found.append(times[at])
        at = best[at][1]
    return found[::-1]


def _is_weekly(period: timedelta, spread: timedelta) -> bool:
    """Return whether a whole number of periods is a week, so that runs recur at the same times of the week."""
    count = round(_WEEK / period)
    return count >= 2 and abs(count * period - _WEEK) <= spread  # noqa: PLR2004 - one run a week has no pauses


def _has_weekly_pauses(times: Sequence[datetime], period: timedelta, spread: timedelta) -> bool:
    """Return whether the runs of the last week are those of the week before it."""
    if not _is_weekly(period, spread) or times[-1] - times[0] < _WEEK:
        return False
    known = [one for moment in times if moment > times[-1] - _WEEK and (one := moment - _WEEK) >= times[0] - spread]
    return bool(known) and sum(_has_run(times, one, period) for one in known) >= _COVERED * len(known)


def _has_run(times: Sequence[datetime], at: datetime, period: timedelta) -> bool:
    """Return whether there was a run in this turn. Its hour may have changed since."""
    return any(abs(moment - at) <= _TURN * period for moment in times)


def _next_expected(
    times: Sequence[datetime], in_rhythm: Sequence[datetime], period: timedelta, spread: timedelta
) -> datetime | None:
    """Return the first moment after the last run at which earlier weeks have a run too; None within a fortnight."""
    last = times[-1]
    turns = max(round((last - in_rhythm[-1]) / period), 0)
    expected = _first_turn(times, in_rhythm[-1] + (turns + 1) * period, period, spread)
    if expected is None or last <= in_rhythm[-1] + period / 2:
        return expected
    # A later run out of rhythm means that the schedule was moved, or that somebody was faster: the period still holds.
    moved = _first_turn(times, last + period, period, _TURN * period)
    return None if moved is None else max(expected, moved)


def _first_turn(times: Sequence[datetime], begin: datetime, period: timedelta, near: timedelta) -> datetime | None:
    """Return the first turn from `begin` on that has runs in earlier weeks, as far back as they are known."""
    expected = begin
    while expected <= begin + max(2 * _WEEK, period):
        asked = [at for week in range(1, _WEEKS + 1) if (at := expected - week * _WEEK) >= times[0] - near]
        if not _is_weekly(period, near) or not asked:
            return expected
        if sum(_has_run(times, at, period) for at in asked) >= _COVERED * len(asked):
            return expected
        expected += period
    return None
