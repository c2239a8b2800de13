"""How long a source may wait for its next poll: seconds while something happens, minutes while it is quiet.

`poll_every` is the longest interval and is never exceeded. `poll_busy_every` is the interval while a task runs or
something has just changed. After that the interval doubles step by step. It follows from what is recorded alone, so
that all replicas decide the same.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import ceil

from notifier.core.diff import RecordedTask
from notifier.core.model import TaskStatus

BUSY_AFTER_CHANGE = timedelta(minutes=3)
"""Time after the last change for which a source counts as busy: what people do to instances comes in groups."""
INTERVAL_STEP = timedelta(minutes=1)
"""Time after which the interval of a source that has become quiet doubles."""
RUN_COUNTS_FOR = timedelta(days=1)
"""Time without any change after which a running task keeps its source busy no longer: some hang for weeks."""

_MOST_DOUBLINGS = 30


def poll_interval(
    busy: timedelta | None, longest: timedelta, *, running: bool, quiet_for: timedelta | None
) -> timedelta:
    """Return the time from one poll to the next.

    Args:
        busy: the interval of a busy source; None where all polls have the same.
        longest: the interval of a quiet source.
        running: whether a task runs.
        quiet_for: time since the last change; None where none is known.
    """
    if busy is None or busy >= longest:
        return longest
    if running:
        return busy
    if quiet_for is None:
        return longest
    steps = ceil(max(quiet_for - BUSY_AFTER_CHANGE, timedelta()) / INTERVAL_STEP)
    return min(busy * float(2 ** min(steps, _MOST_DOUBLINGS)), longest)


def last_activity(before: datetime | None, now: datetime, *, changed: bool) -> datetime | None:
    """Return when something changed last. One in the future was left by a clock that has since been set back."""
    return now if changed or (before and before > now) else before


def any_runs(tasks: Iterable[RecordedTask], now: datetime) -> bool:
    """Return whether any of these tasks runs and has changed lately."""
    return any(
        task.task.status is TaskStatus.RUNNING
        and not task.unlisted
        and (task.changed_at is None or now - task.changed_at < RUN_COUNTS_FOR)
        for task in tasks
    )
