"""What was recorded about the instance and the operation of a task that needs care. Pure.

`notifier.poll` reads the facts that a query asks for, once for all events of a batch, and the history of each event is
recorded with it: a message never depends on when it is rendered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from notifier.core.events import EventType
from notifier.core.model import Event, Task, TaskHistory
from notifier.core.outbox import UNSTORABLE
from notifier.core.routing import RoutedEvent

FAILURES_WITHIN = timedelta(days=1)
"""Age of the oldest failure that counts."""

InstanceKey: TypeAlias = "tuple[str, str]"
"""The id of an instance and the empty string; where it has no id, the empty string and its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """What to read about the events of one batch."""

    source: str
    since: datetime
    """Time of the oldest failure that counts."""
    instances: Collection[InstanceKey]
    tried: Collection[tuple[InstanceKey, str]]
    """Instances with names of their tasks: the operations whose last failure is of interest."""
    apart_from: Collection[str]
    """Ids of the failed tasks of the batch itself, which are counted in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFacts:
    """What is recorded."""

    failures: Mapping[InstanceKey, int] = field(default_factory=dict)
    """Number of failed tasks since the time of the query."""
    recoveries: Mapping[tuple[InstanceKey, str], float | None] = field(default_factory=dict)
    """By instance and name of the task: seconds from its last failure to its next success; None where it had none."""


def instance_key(task: Task) -> InstanceKey | None:
    """Return how the instance of a task is looked up; None where the task names none."""
    if task.instance_id:
        return task.instance_id, ""
    return ("", task.instance_name) if task.instance_name else None


def query_for(routed: Sequence[RoutedEvent], now: datetime) -> HistoryQuery | None:
    """Return what to read about those of the events that need care; None where none of them does."""
    events = [item.event for item in routed if item.event.type.traits.needs_care]
    tasks = [event.task for event in events if event.task]
    if not tasks:
        return None
    # What the database cannot hold is not recorded either, and asking for it would fail.
    tried = {
        (key, task.name)
        for task in tasks
        if (key := instance_key(task)) and not UNSTORABLE.search("".join((*key, task.name)))
    }
    return HistoryQuery(
        source=tasks[0].source,
        since=now - FAILURES_WITHIN,
        instances={key for key, _ in tried},
        tried=tried,
        apart_from={
            event.job_id
            for event in events
            if event.type is EventType.TASK_FAILED and not UNSTORABLE.search(event.job_id)
        },
    )


def with_history(routed: Sequence[RoutedEvent], query: HistoryQuery, facts: HistoryFacts) -> tuple[RoutedEvent, ...]:
    """Add their history to the events that need care. Failures of one batch count in the order of its events."""
    return tuple(_with_history(routed, query, facts))


def _with_history(routed: Sequence[RoutedEvent], query: HistoryQuery, facts: HistoryFacts) -> Iterator[RoutedEvent]:
    failures = Counter(facts.failures)
    failed: set[tuple[InstanceKey, str]] = set()
    for item in routed:
        event, task = item.event, _task_in_need(item.event)
        if task is None:
            yield item
            continue
        key = instance_key(task)
        recovered_after = facts.recoveries.get((key, task.name)) if key and (key, task.name) not in failed else None
        recent = (event.occurred_at or event.observed_at) >= query.since
        own = int(event.type is EventType.TASK_FAILED)
        count = failures[key] + own if key else 0
        if key and own:
            failed.add((key, task.name))
            failures[key] += int(recent)
        history = TaskHistory(failures=count, recovered_after=recovered_after)
        yield replace(item, event=replace(event, history=history))


def _task_in_need(event: Event) -> Task | None:
    return event.task if event.type.traits.needs_care else None
