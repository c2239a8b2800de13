"""When a running task counts as overdue: by configured limits, or beyond what is usual. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from notifier.core.fields import fields_of
from notifier.core.foreseen import OverdueLimit
from notifier.core.matchers import Matcher, first_misfit
from notifier.core.model import Event
from notifier.core.usual import Usual

FACTOR = 2.5
"""Default of how many times longer than usual a task may take."""
AT_LEAST = timedelta(minutes=10)
"""Default of how much longer than usual a task may take in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLimit:
    """A configured limit for the tasks that a matcher fits."""

    match: Matcher
    limit: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueRules:
    """Which tasks are judged, and how. The first fixed limit that fits counts; else what is usual."""

    limits: tuple[FixedLimit, ...] = ()
    usual: bool = True
    """Whether tasks without a fixed limit are judged by what is usual."""
    factor: float = FACTOR
    at_least: timedelta = AT_LEAST
    ignore: tuple[Matcher, ...] = ()
    """Tasks that any of these fits are never overdue."""

    @property
    def shortest(self) -> timedelta:
        """No task is overdue before."""
        fixed = [one.limit for one in self.limits]
        return min([*fixed, self.at_least] if self.usual else fixed, default=timedelta.max)


def usual_limit(usual: Usual, factor: float = FACTOR, at_least: timedelta = AT_LEAST) -> timedelta:
    """Return how long a task may run.

    That is what is usual times a factor, slow runs that recur times half of it, and some minutes more in any case.
    """
    seconds = max(usual.high * factor, usual.slow * factor / 2, usual.ceiling + at_least.total_seconds())
    return timedelta(seconds=seconds)


def limit_of(running: Event, usual: Usual | None, rules: OverdueRules) -> OverdueLimit | None:
    """Return how long a task may run; None where nothing limits it, or too little is known.

    Args:
        running: an event of the task as it is now, which matchers are compared with.
        usual: how long such tasks take.
        rules: what is configured.
    """
    fields = fields_of(running)
    if any(first_misfit((matcher,), fields) is None for matcher in rules.ignore):
        return None
    for fixed in rules.limits:
        if first_misfit((fixed.match,), fields) is None:
            return OverdueLimit(seconds=fixed.limit.total_seconds(), matcher=str(fixed.match))
    if usual is None or not rules.usual:
        return None
    return OverdueLimit(seconds=usual_limit(usual, rules.factor, rules.at_least).total_seconds())
