"""The reads of statistics: how tasks ended, and what became of failures."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, bindparam, case, func, or_, select

from notifier.core.delivery import DeliveryState
from notifier.core.ended_tasks import EndedTask, FailureFacts
from notifier.core.events import EventType
from notifier.core.failures import FailureState
from notifier.core.model import TaskStatus
from notifier.statistics import OngoingRun, SourceRevision
from notifier.store.compiled import compiled, is_in
from notifier.store.schema import (
    UtcDateTime,
    acknowledgements,
    deliveries,
    delivery_events,
    events,
    failures,
    sources,
    task_changes,
    tasks,
)
from notifier.store.session import Session

MAX_RUNNING_DRAWN = 200
"""Maximum number of running tasks that statistics show, the latest ones."""

_latest_revision = (
    select(func.max(task_changes.c.revision))
    .where(task_changes.c.source == sources.c.name)
    .correlate(sources)
    .scalar_subquery()
)
REVISIONS = compiled(
    select(sources.c.name, func.coalesce(_latest_revision, 0).label("revision"), sources.c.pruned_to).order_by(
        sources.c.name
    )
)
CHANGED_SLOTS = compiled(
    select(task_changes.c.slot).where(
        task_changes.c.source == bindparam("source"), task_changes.c.revision > bindparam("after")
    )
)


def _of_failed(column: Column[Any]) -> ColumnElement[Any]:
    return case((tasks.c.status == TaskStatus.FAILED, column)).label(column.name)


ENDED_TASKS = compiled(
    select(
        tasks.c.name,
        tasks.c.status,
        tasks.c.changed_at,
        tasks.c.seconds,
        *map(_of_failed, (tasks.c.job_id, tasks.c.instance_id, tasks.c.instance_name, tasks.c.fail_reason)),
        tasks.c.ended_at,
    ).where(
        tasks.c.source == bindparam("source"),
        tasks.c.changed_at >= bindparam("since", type_=UtcDateTime),
        tasks.c.changed_at < bindparam("until", type_=UtcDateTime),
        or_(tasks.c.status == TaskStatus.COMPLETED, tasks.c.status == TaskStatus.FAILED),
    )
)
_is_waiting = or_(
    *(deliveries.c.state == state for state in (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD))
)
FAILURE_FACTS = compiled(
    select(
        events.c.job_id,
        func.min(
            case((deliveries.c.state == DeliveryState.DELIVERED, deliveries.c.settled_at)), type_=UtcDateTime
        ).label("told_at"),
        func.max(deliveries.c.storm).label("storm"),
        func.max(case((_is_waiting, 1), else_=0)).label("waiting"),
    )
    .select_from(events)
    .join(delivery_events, delivery_events.c.event_id == events.c.id)
    .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
    .where(
        events.c.source == bindparam("source"),
        is_in(events.c.job_id, "ids"),
        events.c.type == EventType.TASK_FAILED,
    )
    .group_by(events.c.job_id, events.c.seq)
    .order_by(events.c.seq)
)
ACKNOWLEDGED = compiled(
    select(events.c.source, events.c.job_id, func.min(acknowledgements.c.at, type_=UtcDateTime).label("at"))
    .select_from(acknowledgements)
    .join(events, events.c.id == acknowledgements.c.event_id)
    .where(acknowledgements.c.at >= bindparam("since", type_=UtcDateTime))
    .group_by(events.c.source, events.c.job_id)
)
OPENED = compiled(
    select(failures.c.operation, failures.c.opened_at).where(
        failures.c.state == FailureState.OPEN, failures.c.job_id == ""
    )
)
STUCK = compiled(
    select(failures.c.source, failures.c.job_id).where(
        or_(*(failures.c.state == state for state in FailureState if state is not FailureState.RESOLVED)),
        failures.c.job_id != "",
    )
)
RUNNING_NOW = compiled(
    select(tasks.c.source, tasks.c.job_id, tasks.c.name, tasks.c.instance_name, tasks.c.instance_id, tasks.c.created_at)
    .join(sources, and_(sources.c.name == tasks.c.source, sources.c.retired_at.is_(None)))
    .where(tasks.c.status == TaskStatus.RUNNING, tasks.c.created_at.is_not(None), ~tasks.c.unlisted)
    .order_by(tasks.c.changed_at.desc())
    .limit(MAX_RUNNING_DRAWN)
)


class EndedTasks:
    """Indexed reads; see `notifier.statistics.EndedTaskReads`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def revisions(self) -> Sequence[SourceRevision]:
        """Return the revision of the ended tasks of each source."""
        return [SourceRevision(*row) for row in self._session.execute(REVISIONS)]

    def changed_slots(self, source: str, after: int) -> Collection[int]:
        """Return the slots of a source that changed after a revision."""
        return list(self._session.execute(CHANGED_SLOTS, {"source": source, "after": after}).scalars())

    def ended(self, source: str, since: datetime, until: datetime) -> Iterator[EndedTask]:
        """Yield the tasks of a source that ended from one time up to another."""
        wanted = {"source": source, "since": since, "until": until}
        for name, status, at, seconds, job_id, instance_id, instance_name, reason, ended_at in self._session.execute(
            ENDED_TASKS, wanted
        ).tuples():
            if status == TaskStatus.FAILED:
                yield EndedTask(name, True, at, seconds, job_id, instance_id, instance_name, reason, ended_at)  # noqa: FBT003 - by position: there are many
            else:
                yield EndedTask(name, False, at, seconds)  # noqa: FBT003 - as above

    def failure_facts(self, source: str, job_ids: Collection[str]) -> Mapping[str, FailureFacts]:
        """Return what became of the messages about failed tasks of a source, by job id; the latest failure counts."""
        found: dict[str, FailureFacts] = {}
        for result in self._session.execute_chunks(FAILURE_FACTS, job_ids, source=source):
            for job_id, told_at, storm, waiting in result:
                found[job_id] = FailureFacts(told_at, storm, bool(waiting) and told_at is None)
        return found

    def acknowledged(self, since: datetime) -> Mapping[tuple[str, str], datetime]:
        """Return when tasks were acknowledged, since a time, by source and job id."""
        return {(source, job_id): at for source, job_id, at in self._session.execute(ACKNOWLEDGED, {"since": since})}

    def opened(self) -> Mapping[str, datetime]:
        """Return since when operations have open failures that nobody has acknowledged."""
        return dict(self._session.execute(OPENED).tuples())

    def running(self) -> Sequence[OngoingRun]:
        """Return the running tasks whose beginning is known, at most MAX_RUNNING_DRAWN of them."""
        stuck = set(self._session.execute(STUCK).tuples())
        return [
            OngoingRun(source, job_id, name, named or instance_id or "", began, (source, job_id) in stuck)
            for source, job_id, name, named, instance_id, began in self._session.execute(RUNNING_NOW).tuples()
        ]
