"""The reads. One named method a statement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, func, or_, select, tuple_

from notifier.core.delivery import Attempt, Delivery, DeliveryState
from notifier.core.diff import RecordedTask
from notifier.core.events import NEEDS_CARE
from notifier.core.health import HealthFacts
from notifier.core.model import ChannelState, Event, SourceState, TaskStatus
from notifier.core.people import Acknowledgement
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter, EventFilter, Ledger, StoredTask, TaskFilter
from notifier.store import health, rows
from notifier.store.lookups import LookupQueries
from notifier.store.schema import (
    acknowledgements,
    attempts,
    channels,
    deliveries,
    delivery_events,
    events,
    sources,
    tasks,
)

T = TypeVar("T")

UNSETTLED = (DeliveryState.PENDING, DeliveryState.PARKED)

CHUNK = 500
"""Values in one IN list; SQLite allows 32,766 parameters, a plan for so many helps nobody."""


def chunks(values: Collection[T]) -> Iterator[list[T]]:
    """Cut values into lists short enough for one statement."""
    listed = list(values)
    return (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))


# Built once, for every poll asks it. In a state that we do not know a task may have ended: an end says so. Of a row
# without a status nothing is known.
_OPEN_TASKS = rows.select_tasks().where(
    tasks.c.source == bindparam("of"),
    or_(
        tasks.c.status == TaskStatus.RUNNING,
        and_(tasks.c.status == TaskStatus.UNKNOWN, tasks.c.ended_at.is_(None), tasks.c.raw_status != ""),
    ),
)


class SqlQueries(LookupQueries):
    """`ports.Queries` on one connection."""

    def __init__(self, connection: Connection, time: Callable[[Connection], datetime]) -> None:
        """Read through `connection`, whose transaction belongs to the caller."""
        self.connection = connection
        self._time = time

    def now(self) -> datetime:
        """Return the time by which all that share this database agree on leases and waits."""
        return self._time(self.connection)

    def due_sources(self) -> Sequence[str]:
        """Return the sources whose time to be polled has come and that nobody holds, the most overdue first."""
        now = self.now()
        due = or_(sources.c.next_poll_at.is_(None), sources.c.next_poll_at <= now)
        free = or_(sources.c.claimed_until.is_(None), sources.c.claimed_until <= now)
        statement = select(sources.c.name).where(due, free).order_by(sources.c.next_poll_at, sources.c.name)
        return list(self.connection.execute(statement).scalars())

    def sources(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name."""
        running = func.count(tasks.c.job_id).filter(*_RUNNING)
        counted = select(tasks.c.source, func.count().label("tasks"), running.label("running")).group_by(tasks.c.source)
        counts = counted.subquery()
        statement = (
            select(
                sources,
                func.coalesce(counts.c.tasks, 0).label("tasks"),
                func.coalesce(counts.c.running, 0).label("running"),
            )
            .join(counts, counts.c.source == sources.c.name, isouter=True)
            .order_by(sources.c.name)
        )
        return [rows.source_of(row) for row in self.connection.execute(statement)]

    def source_states(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name, without the counts of its tasks: they take a while."""
        return [rows.source_of(row) for row in self.connection.execute(select(sources).order_by(sources.c.name))]

    def health_facts(self) -> HealthFacts:
        """Return everything that health is judged by, and when that was asked."""
        return HealthFacts(
            at=self.now(),
            sources=self.source_states(),
            channels=self.channels(),
            backlogs=health.backlogs(self.connection),
            replicas=health.reported(self.connection),
        )

    def channels(self) -> Sequence[ChannelState]:
        """Return what is recorded about channels, by name."""
        return [rows.channel_of(row) for row in self.connection.execute(select(channels).order_by(channels.c.name))]

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        """Return tasks, the most recently changed first."""
        latest = tasks.c.changed_at.desc()
        statement = (
            rows.select_tasks()
            .where(*_task_conditions(wanted, self.connection.dialect.name))
            .order_by(latest, tasks.c.job_id)
        )
        found = self.connection.execute(statement.limit(wanted.limit).offset(wanted.offset)).all()
        cared_for = self.acknowledgements([(row.source, row.job_id) for row in found])
        now = self.now()
        mutes = self.mutes(now)
        return [
            StoredTask(
                task=(task := rows.task_of(row)),
                first_seen_at=row.first_seen_at,
                changed_at=row.changed_at,
                listed=not row.unlisted,
                events_pruned=row.events_pruned,
                acknowledged=cared_for.get((row.source, row.job_id)),
                muted=next((mute for mute in mutes if mute.covers(task, now)), None),
            )
            for row in found
        ]

    def count_tasks(self, wanted: TaskFilter) -> int:
        """Count the tasks that fit, whatever the limit and the offset."""
        counted = select(func.count()).select_from(tasks).where(*_task_conditions(wanted, self.connection.dialect.name))
        return self.connection.execute(counted).scalar_one()

    def events(self, wanted: EventFilter) -> Sequence[RoutedEvent]:
        """Return events, the newest first."""
        statement = select(events).where(*_event_conditions(wanted)).order_by(events.c.seq.desc()).limit(wanted.limit)
        return [rows.routed_of(row) for row in self.connection.execute(statement)]

    def deliveries(self, wanted: DeliveryFilter) -> Sequence[Delivery]:
        """Return deliveries, the newest first."""
        found = select(deliveries, health.LAST_REPLY).where(*_delivery_conditions(wanted))
        statement = found.order_by(deliveries.c.seq.desc())
        return self._with_events(self.connection.execute(statement.limit(wanted.limit)).all())

    def delivery_ids(self, wanted: DeliveryFilter) -> Sequence[str]:
        """Return the ids of all deliveries that fit, whatever the limit, the oldest first."""
        statement = select(deliveries.c.id).where(*_delivery_conditions(wanted)).order_by(deliveries.c.seq)
        return list(self.connection.execute(statement).scalars())

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        """Return the attempts of a delivery in order."""
        statement = select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number)
        return [rows.attempt_of(row) for row in self.connection.execute(statement)]

    def acknowledgements(self, subjects: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Acknowledgement]:
        """Return who acknowledged the newest event of tasks, by source and job id."""
        found: dict[tuple[str, str], Acknowledgement] = {}
        for some in chunks(subjects):
            pair = (events.c.source, events.c.job_id)
            latest = select(func.max(events.c.seq)).where(tuple_(*pair).in_(some)).group_by(*pair)
            joined = select(*pair, acknowledgements).join(events, events.c.id == acknowledgements.c.event_id)
            for row in self.connection.execute(joined.where(events.c.seq.in_(latest))):
                found[row.source, row.job_id] = rows.acknowledgement_of(row)
        return found

    def live(self, source: str) -> Mapping[str, RecordedTask]:
        """Return every recorded task of the source that has not ended."""
        return {row.job_id: rows.recorded_of(row) for row in self.connection.execute(_OPEN_TASKS, {"of": source})}

    def ledger(self) -> Ledger:
        """Count every pair of event and channel."""
        count, pairs, unrouted = self.connection.execute(
            select(
                func.count(),
                func.coalesce(func.sum(events.c.channel_count), 0),
                func.count().filter(events.c.channel_count == 0),
            ).select_from(events)
        ).one()
        return Ledger(
            events=count,
            unrouted=unrouted,
            pairs=int(pairs),
            by_state=self._pairs_by_state(),
            unaccounted=tuple(self._unaccounted()),
            dead=tuple(self.deliveries(DeliveryFilter(state=DeliveryState.DEAD))),
            oldest_pending=self._oldest_pending(),
        )

    def _pairs_by_state(self) -> dict[DeliveryState, int]:
        statement = (
            select(deliveries.c.state, func.count())
            .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
            .group_by(deliveries.c.state)
        )
        counted = {DeliveryState(state): count for state, count in self.connection.execute(statement)}
        return {state: counted.get(state, 0) for state in DeliveryState}

    def _oldest_pending(self) -> Any:  # noqa: ANN401 - a column's value
        pending = deliveries.c.state == DeliveryState.PENDING
        return self.connection.execute(select(func.min(deliveries.c.created_at)).where(pending)).scalar()

    def _unaccounted(self) -> Iterator[tuple[str, str]]:
        """Find the pairs that routing asked for and that have no delivery, or that nobody asked for."""
        accounts = select(func.count()).where(delivery_events.c.event_id == events.c.id).scalar_subquery()
        for row in self.connection.execute(select(events).where(events.c.channel_count != accounts)):
            planned = select(delivery_events.c.channel).where(delivery_events.c.event_id == row.id)
            accounted = set(self.connection.execute(planned).scalars())
            yield from ((row.id, channel) for channel in sorted(accounted ^ set(rows.routed_of(row).channels)))
        yield from self._uncalled_for()

    def _uncalled_for(self) -> Iterator[tuple[str, str]]:
        named = events.c.channels.contains(func.concat('"', delivery_events.c.channel, '"'))
        accounts = select(events.c.id, delivery_events.c.channel)
        joined = accounts.join(delivery_events, delivery_events.c.event_id == events.c.id)
        yield from ((event_id, channel) for event_id, channel in self.connection.execute(joined.where(~named)))

    def _with_events(self, found: Sequence[Row[Any]]) -> list[Delivery]:
        of = self._events_of([row.id for row in found])
        return [rows.delivery_of(row, tuple(of.get(row.id, ()))) for row in found]

    def _events_of(self, delivery_ids: Collection[str]) -> Mapping[str, list[Event]]:
        of: dict[str, list[Event]] = {}
        for some in chunks(delivery_ids):
            for delivery_id, facts in self.connection.execute(_EVENTS_OF, {"ids": some}):
                of.setdefault(delivery_id, []).append(rows.event_of(facts))
        return of


# Built once: every claim asks it.
_EVENTS_OF = (
    select(delivery_events.c.delivery_id, events.c.facts)
    .join(events, events.c.id == delivery_events.c.event_id)
    .where(delivery_events.c.delivery_id.in_(bindparam("ids", expanding=True)))
    .order_by(delivery_events.c.delivery_id, delivery_events.c.position)
)


_RUNNING = (
    tasks.c.status == TaskStatus.RUNNING,
    ~exists().where(sources.c.name == tasks.c.source, sources.c.retired_at.is_not(None)),
)
"""Of a task of a source that nobody polls any more it is not known whether it runs."""


def _begins(column: ColumnElement[str], beginning: str) -> ColumnElement[bool]:
    return column.startswith(beginning, autoescape=True)


def _task_conditions(wanted: TaskFilter, dialect: str) -> Iterable[ColumnElement[bool]]:
    if wanted.status is TaskStatus.RUNNING:
        yield from _RUNNING
    elif wanted.status is not None:
        yield tasks.c.status == wanted.status
    if wanted.since is not None:
        moments = (tasks.c.created_at, tasks.c.ended_at, tasks.c.changed_at)
        yield or_(*(moment >= wanted.since for moment in moments))
    yield from _instance_conditions(wanted)
    if wanted.source is not None:
        yield tasks.c.source == wanted.source
    if wanted.unacknowledged:
        yield _nobody_takes_care()
    if wanted.job_id is not None:
        yield _begins(tasks.c.job_id, wanted.job_id)
        if dialect == "sqlite":  # whose LIKE reads every row, but whose order is that of the characters
            yield tasks.c.job_id.between(wanted.job_id, f"{wanted.job_id}\U0010ffff")


def _instance_conditions(wanted: TaskFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.instance is not None:
        named = func.lower(tasks.c.instance_name).contains(wanted.instance.lower(), autoescape=True)
        yield or_(tasks.c.instance_id == wanted.instance, named)
    if wanted.instance_id is not None:
        yield tasks.c.instance_id == wanted.instance_id
    if wanted.instance_name is not None:
        yield tasks.c.instance_name == wanted.instance_name


def _nobody_takes_care() -> ColumnElement[bool]:
    """Return the condition that the newest event of a task asks for care and that nobody has acknowledged it."""
    of = events.alias("of")
    mine = (of.c.source == tasks.c.source, of.c.job_id == tasks.c.job_id)
    newest = select(func.max(of.c.seq)).where(*mine).correlate(tasks).scalar_subquery()
    cared_for = exists().where(acknowledgements.c.event_id == events.c.id)
    return exists().where(events.c.seq == newest, events.c.type.in_(NEEDS_CARE), ~cared_for)


def _event_conditions(wanted: EventFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.type is not None:
        yield events.c.type == wanted.type
    if wanted.since is not None:
        yield events.c.observed_at >= wanted.since
    if wanted.source is not None:
        yield events.c.source == wanted.source
    if wanted.job_id is not None:
        yield events.c.job_id == wanted.job_id if wanted.exact else _begins(events.c.job_id, wanted.job_id)


def _delivery_conditions(wanted: DeliveryFilter) -> Iterable[ColumnElement[bool]]:
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


_older = deliveries.alias("older")


def blocked() -> ColumnElement[bool]:
    """Return the condition that a delivery is not due because of an older one about one of the same subjects.

    An older one that only some recipients still lack blocks no first attempt, which is then for the others.
    """
    in_its_way = or_(_older.c.recipients.is_(None), deliveries.c.recipients.is_not(None))
    return exists(_older_unsettled(select(1)).where(in_its_way).correlate(deliveries))


def waited_for(delivery_ids: Collection[str]) -> Select[Any]:
    """Select these deliveries' ids, each with the recipients of an older one about one of the same subjects."""
    columns = select(deliveries.c.id, _older.c.recipients)
    return _older_unsettled(columns).where(deliveries.c.id.in_(delivery_ids), _older.c.recipients.is_not(None))


def _older_unsettled(columns: Select[Any]) -> Select[Any]:
    mine, theirs = delivery_events.alias("mine"), delivery_events.alias("theirs")
    return (
        columns.select_from(mine)
        .join(theirs, and_(theirs.c.channel == mine.c.channel, theirs.c.subject == mine.c.subject))
        .join(_older, _older.c.id == theirs.c.delivery_id)
        .where(
            mine.c.delivery_id == deliveries.c.id,
            _older.c.seq < deliveries.c.seq,
            or_(*(_older.c.state == state for state in UNSETTLED)),
        )
    )
