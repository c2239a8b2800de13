"""What a timeline shows: the tasks of a period, or how many there were, and when nobody looked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Integer, Select, String, func, literal, or_, select, true, union_all

from notifier.core.events import EventType
from notifier.core.model import Event, TaskStatus
from notifier.ports import FailedAt, RowKey, TimelineTask
from notifier.store import rows
from notifier.store.schema import IS_BLIND, UtcDateTime, events, sources, tasks
from notifier.store.session import Session

MAX_BLIND: Final = 200
_RUNS_AT_MOST = timedelta(days=2)
"""How long after the end of a past period a task may have ended that is shown as running there."""


class TimelineReads:
    """Indexed reads of a period."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def tasks(
        self, since: datetime, until: datetime, limit: int, statuses: Collection[TaskStatus] | None = None
    ) -> Sequence[TimelineTask]:
        """Return tasks that ended or last changed in a period, or had begun in it, those that changed last first.

        `statuses` narrows them; None means any.
        """
        period = (tasks.c.changed_at >= since, tasks.c.changed_at < until + _RUNS_AT_MOST)
        begun = or_(tasks.c.created_at < until, tasks.c.created_at.is_(None))
        found = _SHOWN.where(*period, begun)
        if statuses is not None:
            found = found.where(tasks.c.status.in_([status.value for status in statuses]))
        return self._tasks(found.order_by(tasks.c.changed_at.desc()).limit(limit))

    def running(self, until: datetime, limit: int) -> Sequence[TimelineTask]:
        """Return the tasks that run, and had begun at a time, those that changed last first."""
        begun = or_(tasks.c.created_at < until, tasks.c.created_at.is_(None))
        found = _SHOWN.where(tasks.c.status == TaskStatus.RUNNING.value, begun)
        return self._tasks(found.order_by(tasks.c.changed_at.desc()).limit(limit))

    def _tasks(self, statement: Select[Any]) -> Sequence[TimelineTask]:
        return [
            TimelineTask(
                source=row.source,
                job_id=row.job_id,
                name=row.name,
                instance_id=row.instance_id,
                instance_name=row.instance_name,
                status=TaskStatus(row.status),
                start=row.created_at or row.first_seen_at,
                end=row.ended_at or row.changed_at,
            )
            for row in self._session.execute(statement)
        ]

    def stuck(self, running: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Return those of some running tasks, by source and id, whose newest event says that they do not go on."""
        found = set()
        for source in {source for source, _ in running}:
            ids = [job_id for of, job_id in running if of == source]
            newest = (
                select(func.max(events.c.seq))
                .where(events.c.source == source, events.c.job_id.in_(ids))
                .group_by(events.c.job_id)
            )
            wanted = select(events.c.job_id).where(events.c.seq.in_(newest), events.c.type.in_(_STUCK))
            found |= {(source, job_id) for job_id in self._session.execute(wanted).scalars()}
        return found

    def failed_at(self, since: datetime, until: datetime, by: RowKey, limit: int) -> Sequence[FailedAt]:
        """Return when tasks failed in a period, the latest first."""
        key = _KEYS[by]
        found = select(tasks.c.source, key.label("key"), tasks.c.instance_name, tasks.c.changed_at)
        failed = (tasks.c.status == TaskStatus.FAILED.value, tasks.c.changed_at >= since, tasks.c.changed_at < until)
        ordered = found.where(*failed).order_by(tasks.c.changed_at.desc()).limit(limit)
        return [FailedAt(*row) for row in self._session.execute(ordered)]

    def ended_by_source(self, slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each source ended or last changed in each slot.

        Slots begin at the given times; the last one only ends the slot before it. Likewise below.
        """
        keys = select(sources.c.name.label("key")).cte("keys")
        return self._counted(slots, keys, tasks.c.source == keys.c.key)

    def completed_by_instance(self, ids: Collection[str], slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each instance completed in each slot, by its id."""
        keys = _listed(ids)
        completed = tasks.c.status == TaskStatus.COMPLETED.value
        return self._counted(slots, keys, tasks.c.instance_id == keys.c.key, completed)

    def completed_by_name(
        self, source: str, names: Collection[str], slots: Sequence[datetime]
    ) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each name of a source completed in each slot, as far as their duration is known."""
        keys = _listed(names)
        completed = (tasks.c.status == TaskStatus.COMPLETED.value, tasks.c.seconds.is_not(None))
        return self._counted(slots, keys, tasks.c.source == source, tasks.c.name == keys.c.key, *completed)

    def _counted(
        self, slots: Sequence[datetime], keys: CTE, *which: ColumnElement[bool]
    ) -> Mapping[str, Sequence[int]]:
        """Count by a range of an index for each key and slot."""
        numbered = _numbered(slots)
        within = (tasks.c.changed_at >= numbered.c.since, tasks.c.changed_at < numbered.c.until)
        number = select(func.count()).select_from(tasks).where(*which, *within).correlate(keys, numbered)
        found: dict[str, list[int]] = {}
        for row in self._session.execute(
            select(keys.c.key, numbered.c.number, number.scalar_subquery().label("count")).select_from(
                keys.join(numbered, true())
            )
        ):
            found.setdefault(row.key, [0] * (len(slots) - 1))[row.number] = row.count
        return found

    def blind(self, since: datetime) -> Sequence[Event]:
        """Return the events, detected from a time on, that name a time in which a source was not observed."""
        found = select(events.c.facts).where(IS_BLIND, events.c.observed_at >= since)
        ordered = found.order_by(events.c.observed_at).limit(MAX_BLIND)
        return [rows.event_of(facts) for facts in self._session.execute(ordered).scalars()]


_STUCK = [EventType.TASK_STALLED.value, EventType.TASK_OVERDUE.value]
_KEYS: Mapping[RowKey, ColumnElement[str]] = {
    "instance": func.coalesce(tasks.c.instance_id, tasks.c.instance_name, ""),
    "type": tasks.c.name,
    "source": literal("", String),
}
_SHOWN = select(
    *(tasks.c.source, tasks.c.job_id, tasks.c.name, tasks.c.instance_id, tasks.c.instance_name),
    *(tasks.c.status, tasks.c.created_at, tasks.c.ended_at, tasks.c.first_seen_at, tasks.c.changed_at),
)


def _numbered(slots: Sequence[datetime]) -> CTE:
    """Return slots as a table."""
    listed = (
        select(
            literal(number, Integer).label("number"),
            literal(since, UtcDateTime).label("since"),
            literal(until, UtcDateTime).label("until"),
        )
        for number, (since, until) in enumerate(pairwise(slots))
    )
    return union_all(*listed).cte("slots")


def _listed(keys: Collection[str]) -> CTE:
    """Return keys as a table. There is at least one."""
    return union_all(*(select(literal(key, String).label("key")) for key in keys)).cte("keys")
