"""When a running task counts as overdue. Pure."""

from __future__ import annotations

from datetime import timedelta

from notifier.core.usual import Usual

FACTOR = 2.5
"""Default of how many times longer than usual a task may take."""
AT_LEAST = timedelta(minutes=10)
"""Default of how much longer than usual a task may take in any case."""


def usual_limit(usual: Usual, factor: float = FACTOR, at_least: timedelta = AT_LEAST) -> timedelta:
    """Return how long a task may run.

    That is what is usual times a factor, slow runs that recur times half of it, and some minutes more in any case.
    """
    seconds = max(usual.high * factor, usual.slow * factor / 2, usual.ceiling + at_least.total_seconds())
    return timedelta(seconds=seconds)
