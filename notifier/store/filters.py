"""The filters of queries as conditions of SQL."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, exists, func, or_, select, tuple_

from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.store.schema import acknowledgements, deliveries, delivery_events, events, sources, tasks
from notifier.store.session import Session

RUNNING = (
    tasks.c.status == TaskStatus.RUNNING,
    ~exists().where(sources.c.name == tasks.c.source, sources.c.retired_at.is_not(None)),
)
"""A task of a source that is no longer polled does not count: it may have ended."""


def _begins(column: ColumnElement[str], beginning: str) -> ColumnElement[bool]:
    return column.startswith(beginning, autoescape=True)


def task_conditions(session: Session, wanted: TaskFilter) -> Iterable[ColumnElement[bool]]:
    """Return the conditions that a task matches a filter."""
    if wanted.status is TaskStatus.RUNNING:
        yield from RUNNING
    elif wanted.status is not None:
        yield tasks.c.status == wanted.status
    if wanted.since is not None:
        moments = (tasks.c.created_at, tasks.c.ended_at, tasks.c.changed_at)
        yield or_(*(moment >= wanted.since for moment in moments))
    yield from _instance_conditions(wanted)
    if wanted.source is not None:
        yield tasks.c.source == wanted.source
    if wanted.storm is not None:
        failed = (
            select(events.c.source, events.c.job_id)
            .join(delivery_events, delivery_events.c.event_id == events.c.id)
            .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
            .where(deliveries.c.storm == wanted.storm)
        )
        yield tuple_(tasks.c.source, tasks.c.job_id).in_(failed)
    if wanted.unacknowledged:
        yield _lacks_acknowledgement()
    if wanted.job_id is not None:
        yield _begins(tasks.c.job_id, wanted.job_id)
        if not session.is_postgresql:  # SQLite's LIKE reads every row; a range of text is found by the index
            yield tasks.c.job_id.between(wanted.job_id, f"{wanted.job_id}\U0010ffff")


def _instance_conditions(wanted: TaskFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.instance is not None:
        named = func.lower(tasks.c.instance_name).contains(wanted.instance.lower(), autoescape=True)
        yield or_(tasks.c.instance_id == wanted.instance, named)
    if wanted.instance_id is not None:
        yield tasks.c.instance_id == wanted.instance_id
    if wanted.instance_name is not None:
        yield tasks.c.instance_name == wanted.instance_name


def _lacks_acknowledgement() -> ColumnElement[bool]:
    """Return the condition that the newest event of a task needs care and is not acknowledged."""
    of = events.alias("of")
    mine = (of.c.source == tasks.c.source, of.c.job_id == tasks.c.job_id)
    newest = select(func.max(of.c.seq)).where(*mine).correlate(tasks).scalar_subquery()
    acknowledged = exists().where(acknowledgements.c.event_id == events.c.id)
    needs_care = events.c.type.in_([kind for kind in EventType if kind.traits.needs_care])
    return exists().where(events.c.seq == newest, needs_care, ~acknowledged)


def event_conditions(wanted: EventFilter) -> Iterable[ColumnElement[bool]]:
    """Return the conditions that an event matches a filter."""
    if wanted.type is not None:
        yield events.c.type == wanted.type
    if wanted.since is not None:
        yield events.c.observed_at >= wanted.since
    if wanted.source is not None:
        yield events.c.source == wanted.source
    if wanted.job_id is not None:
        yield events.c.job_id == wanted.job_id if wanted.exact else _begins(events.c.job_id, wanted.job_id)


def delivery_conditions(wanted: DeliveryFilter) -> Iterable[ColumnElement[bool]]:
    """Return the conditions that a delivery matches a filter."""
    if wanted.state is not None:
        yield deliveries.c.state == wanted.state
    if wanted.channel is not None:
        yield deliveries.c.channel == wanted.channel
    if wanted.dismissed is not None:
        yield deliveries.c.dismissed_at.is_not(None) if wanted.dismissed else deliveries.c.dismissed_at.is_(None)
    if wanted.ids is not None:
        yield or_(*(_begins(deliveries.c.id, beginning) for beginning in wanted.ids))
    if wanted.event_ids is not None:
        of = select(delivery_events.c.delivery_id).where(delivery_events.c.event_id.in_(list(wanted.event_ids)))
        yield deliveries.c.id.in_(of)
