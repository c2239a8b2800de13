"""What a process remembers of completed runs, so that an unchanged poll reads none of them. Pure.

What is usual changes over weeks, so that runs which were read a quarter of an hour ago are as good as new.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.core.model import Task
from notifier.core.outbox import UNSTORABLE
from notifier.core.routing import RoutedEvent
from notifier.core.usual import Runs, Usual, usual_of

REMEMBERED_FOR = timedelta(minutes=15)
"""Age from which runs are read again."""
MAX_REMEMBERED = 256
"""Maximum number of operations of sources that are remembered: about 20 MB where each has its 2,000 runs."""
MAX_ANNOUNCED = 10_000
"""Maximum number of recorded occurrences that are remembered; beyond it all are forgotten, and read again."""
MAX_READ = 30
"""Maximum number of operations that are read for one batch of a poll. The documented ones are fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    runs: Runs
    read_at: datetime
    usual: dict[tuple[str | None, int], Usual | None] = field(default_factory=dict)
    """By instance and day of the week."""


class UsualMemory:
    """Completed runs of operations by source. All polls of a process share one, whatever thread they run in."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Remembered] = {}
        self._announced: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()

    def unknown(self, tasks: Iterable[Task], now: datetime) -> Sequence[tuple[str, str]]:
        """Return the sources and names of operations to read, those of most tasks first: see MAX_READ."""
        # What the database cannot hold is not recorded either, and asking for it would fail.
        counts = Counter((task.source, task.name) for task in tasks if not UNSTORABLE.search(task.name))
        old = [key for key, _ in counts.most_common() if not self._is_fresh(key, now)]
        return old[:MAX_READ]

    def _is_fresh(self, key: tuple[str, str], now: datetime) -> bool:
        known = self._known.get(key)
        # In the future where the clock was set back since.
        return known is not None and timedelta() <= now - known.read_at < REMEMBERED_FOR

    def remember(self, source: str, name: str, runs: Runs, now: datetime) -> None:
        """Take what was read of an operation."""
        with self._lock:
            self._known.pop((source, name), None)
            while len(self._known) >= MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[source, name] = _Remembered(runs=runs, read_at=now)

    def usual(self, task: Task) -> Usual | None:
        """Return how long a task usually takes; None where too few runs are known, or none were read."""
        known = self._known.get((task.source, task.name))
        if known is None:
            return None
        key = (task.instance_id, task.created_at.weekday() if task.created_at else -1)
        if key not in known.usual:
            known.usual[key] = usual_of(known.runs, *key)
        return known.usual[key]

    def is_announced(self, source: str, job_id: str, occurrence: str) -> bool:
        """Return whether an event of a task was seen to be recorded; False where that has to be read."""
        return (source, job_id, occurrence) in self._announced

    def announced(self, source: str, occurrences: Mapping[str, Collection[str]]) -> None:
        """Take the recorded occurrences of tasks that are overdue, by job id."""
        with self._lock:
            if len(self._announced) > MAX_ANNOUNCED:
                self._announced.clear()
            self._announced.update((source, job_id, one) for job_id, found in occurrences.items() for one in found)

    def with_usual(self, routed: Iterable[RoutedEvent]) -> tuple[RoutedEvent, ...]:
        """Freeze into the events of tasks how long these usually take."""
        return tuple(
            replace(item, event=replace(item.event, usual=found))
            if item.event.task and (found := self.usual(item.event.task))
            else item
            for item in routed
        )
