"""How long operations usually take, and when a running task is likely to end. Pure.

The usual time of an operation is measured on a logarithmic scale, because durations vary by factors and not by minutes.
Recent runs count more than old ones, so that it follows a database that grows. The middle is a weighted median, and the
bounds are median distances from it on each side: neither moves when a few runs hang for hours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from statistics import NormalDist

MIN_RUNS = 8
"""Number of completed runs below which nothing is called usual."""
MAX_RUNS = 60
"""Number of the latest runs that are measured."""
HALF_LIFE = 10
"""A run counts half as much as the one this many runs later."""
MIN_DURATION = 1.0
"""Shortest duration that is told apart, in seconds: the API gives times in whole seconds."""

_BOUND = 0.1
"""Share of runs below `Usual.low`, and above `Usual.high`."""
_Z = 1.2815515655446004
"""Distance of a bound from the middle of a normal distribution, in standard deviations."""
_DEVIATIONS = _Z / 0.6744897501960817
"""The same in median distances."""
_SLOW = 0.95
_MIN_DAYS = 3
"""Number of runs on a day of the week from which it may be called slow."""
_FAR = 2.0
"""How many times longer runs of a slow day take than nearly all others."""
_MIN_SPREAD = 0.02
"""Smallest spread of durations that is believed, as a difference of logarithms: 2 percent."""
_WEIGHTS = tuple(0.5 ** (age / HALF_LIFE) for age in range(MAX_RUNS))


class UsualBasis(StrEnum):
    """Which runs a usual duration was measured on. The values are stored."""

    INSTANCE = "instance"
    """Runs of the operation on the same instance."""
    SOURCE = "source"
    """Runs of the operation on any instance of the source."""
    EVERYWHERE = "everywhere"
    """Runs of the operation in all sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """How long completed runs of an operation took, in seconds. Most runs are between `low` and `high`."""

    low: float
    middle: float
    high: float
    runs: int
    """Number of runs that were measured, at most MAX_RUNS."""
    basis: UsualBasis = UsualBasis.SOURCE
    slow: float = 0.0
    """What about one run in twenty exceeds, in seconds: more than `high` where slow runs recur, such as weekly full
    backups. 0 where it was not measured."""
    by_weekday: bool = False
    """Whether only runs of the same days of the week were measured, because others take far longer or shorter."""

    @property
    def ceiling(self) -> float:
        """The longest duration that is not remarkable, in seconds."""
        return max(self.high, self.slow)

    def exceeded_by(self, seconds: float) -> bool:
        """Return whether a run of this length took longer than usual."""
        return seconds > self.ceiling


def measure(durations: Iterable[float], basis: UsualBasis = UsualBasis.SOURCE) -> Usual | None:
    """Return the usual duration; None where there are too few runs to say.

    Args:
        durations: how long completed runs took, in seconds, the latest first. Of more than MAX_RUNS the latest count.
        basis: which runs these are.
    """
    latest = [max(seconds, MIN_DURATION) for seconds in islice(durations, MAX_RUNS)]
    if len(latest) < MIN_RUNS:
        return None
    runs = [(math.log(seconds), weight) for seconds, weight in zip(latest, _WEIGHTS, strict=False)]
    shortest, longest = math.log(min(latest)), math.log(max(latest))
    middle = _quantile(runs, 0.5)
    below, above = (
        _quantile([(sign * (log - middle), weight) for log, weight in runs if sign * (log - middle) >= 0], 0.5)
        for sign in (-1, 1)
    )
    return Usual(
        low=_seconds(max(middle - _DEVIATIONS * below, shortest)),
        middle=_seconds(middle),
        high=_seconds(min(middle + _DEVIATIONS * above, longest)),
        runs=len(latest),
        basis=basis,
        slow=_seconds(_quantile(runs, _SLOW)),
    )


def _seconds(log: float) -> float:
    return round(math.exp(log), 3)


def middle_of(values: Iterable[float]) -> float:
    """Return the median of at least one value; of two in the middle the larger one."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _quantile(runs: Sequence[tuple[float, float]], share: float) -> float:
    """Return the smallest value up to which this share of the weight is.

    Not interpolated: a longer run would make a shorter duration usual where several runs are equal.
    """
    ordered = sorted(runs)
    wanted = share * sum(weight for _, weight in ordered)
    reached = accumulate(weight for _, weight in ordered)
    found = (value for (value, _), weight in zip(ordered, reached, strict=True) if weight >= wanted)
    return next(found, ordered[-1][0])


class Run(NamedTuple):
    """A completed run."""

    seconds: float
    weekday: int
    """Day of the week on which it began in UTC; 0 for Monday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What is recorded of the completed runs of one operation in a source, the latest first."""

    of_source: Sequence[Run] = ()
    by_instance: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    """By id of the instance."""
    everywhere: Sequence[Run] = ()
    """Those of all sources. Only read where the source has too few."""


def usual_of(runs: Runs, instance: str | None, weekday: int) -> Usual | None:
    """Return what is usual for the operation on an instance: from the nearest runs of which there are enough.

    Where an instance is far slower on some days of the week, as with weekly full backups, runs of such a day are
    measured apart. `weekday` is the day on which the task began, as `Run.weekday`.
    """
    mine = runs.by_instance.get(instance, ())[:MAX_RUNS] if instance else ()
    slow = _slow_days(mine)
    alike = [run.seconds for run in mine if (run.weekday in slow) is (weekday in slow)]
    if slow and (found := measure(alike, UsualBasis.INSTANCE)):
        return replace(found, by_weekday=True)
    return (
        measure((run.seconds for run in mine), UsualBasis.INSTANCE)
        or measure((run.seconds for run in runs.of_source), UsualBasis.SOURCE)
        or measure((run.seconds for run in runs.everywhere), UsualBasis.EVERYWHERE)
    )


def _slow_days(runs: Sequence[Run]) -> frozenset[int]:
    """Return the days of the week on which runs take far longer than nearly all runs of other days."""
    by_day: dict[int, list[float]] = {}
    for run in runs:
        by_day.setdefault(run.weekday, []).append(run.seconds)
    if sum(len(some) >= _MIN_DAYS for some in by_day.values()) < 2:  # noqa: PLR2004 - a slow day and others
        return frozenset()
    return frozenset(
        day
        for day, some in by_day.items()
        if len(some) >= _MIN_DAYS
        and len(rest := sorted(run.seconds for run in runs if run.weekday != day)) >= MIN_RUNS
        and middle_of(some) > _FAR * rest[int(len(rest) * (1 - _BOUND)) - 1]
    )


# ---- when a running task is likely to end ----

MIN_PROGRESS = 5.0
"""Progress in percent from which the pace of a task says something about its end."""
_PACE_SPREAD = 0.7
"""Spread of the duration that a pace at its beginning foretells, as a difference of logarithms. It falls to the next
one as the task ends: steps of a task differ in length."""
_LEAST_PACE_SPREAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """How much longer a task is likely to run, in seconds. Neither bound is negative."""

    low: float
    high: float


@cache
def _normal() -> NormalDist:
    from statistics import NormalDist  # noqa: PLC0415 - look-ups that foretell nothing do without

    return NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """A duration on a logarithmic scale, with the spread on each side of its middle."""

    middle: float
    below: float
    above: float

    def at(self, share: float) -> float:
        """Return the duration below which this share is, in seconds."""
        z = _normal().inv_cdf(share)
        return math.exp(self.middle + z * (self.above if z > 0 else self.below))

    def share_below(self, seconds: float) -> float:
        """Return the share of durations below this one."""
        distance = math.log(max(seconds, MIN_DURATION)) - self.middle
        return _normal().cdf(distance / (self.above if distance > 0 else self.below))

    def joined(self, other: _Spread) -> _Spread:
        """Return what both foretell together; the narrower one counts more."""
        above = 1 / (1 / self.above**2 + 1 / other.above**2)
        below = 1 / (1 / self.below**2 + 1 / other.below**2)
        mine, its = 1 / (self.above * self.below), 1 / (other.above * other.below)
        middle = (self.middle * mine + other.middle * its) / (mine + its)
        return _Spread(middle=middle, below=math.sqrt(below), above=math.sqrt(above))


def remaining(
    usual: Usual | None, elapsed: float, progress: float | None = None, progress_after: float | None = None
) -> Remaining | None:
    """Return how much longer a running task is likely to take; None where too little is known to say.

    That is so without a usual duration and without progress, and once the task has exceeded what is usual or what its
    progress foretold.

    Args:
        usual: how long such tasks take.
        elapsed: seconds since the task was created.
        progress: percent, as the API gives it.
        progress_after: seconds from the creation until the progress was seen; None for now.
    """
    if elapsed < 0:
        return None
    pace = _pace(progress, elapsed if progress_after is None else min(progress_after, elapsed))
    known = None if usual is None or usual.exceeded_by(elapsed) else _spread_of(usual)
    foretold = known.joined(pace) if known and pace else known or pace
    if foretold is None:
        return None
    passed = foretold.share_below(elapsed)
    if passed > 1 - _BOUND and known is None:
        return None
    low, high = (foretold.at(min(passed + share * (1 - passed), _LAST)) for share in (_BOUND, 1 - _BOUND))
    return Remaining(low=max(low - elapsed, 0.0), high=max(high - elapsed, 0.0)) if high > elapsed else None


_LAST = 1 - 1e-9
"""Largest share that has a duration."""


def _spread_of(usual: Usual) -> _Spread:
    middle = math.log(usual.middle)
    return _Spread(
        middle=middle,
        below=max((middle - math.log(usual.low)) / _Z, _MIN_SPREAD),
        above=max((math.log(usual.high) - middle) / _Z, _MIN_SPREAD),
    )


def _pace(progress: float | None, seen_after: float) -> _Spread | None:
    """Return the duration that a task will have at the pace so far; None where that says nothing."""
    if progress is None or not MIN_PROGRESS <= progress < 100 or seen_after < MIN_DURATION:  # noqa: PLR2004 - percent
        return None
    done = progress / 100
    spread = max(_PACE_SPREAD * (1 - done), _LEAST_PACE_SPREAD)
    return _Spread(middle=math.log(seen_after / done), below=spread, above=spread)
