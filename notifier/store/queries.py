"""The reads of the service and of the queries that people make."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, or_, select, tuple_

from notifier.core.delivery import Attempt, Delivery, DeliveryState
from notifier.core.diff import RecordedTask
from notifier.core.events import EventType
from notifier.core.health import FUTURE_TOLERANCE
from notifier.core.health_facts import HealthFacts
from notifier.core.model import ChannelState, SourceState, TaskStatus
from notifier.core.people import Acknowledgement, Action, Mute
from notifier.core.routing import RoutedEvent
from notifier.core.storms import Storm
from notifier.ports import DeliveryFilter, EventFilter, Ledger, StoredTask, TaskFilter, TaskStatistics
from notifier.store import health, rows, statements
from notifier.store.delivery_rows import load_deliveries, load_storms
from notifier.store.filters import RUNNING, delivery_conditions, event_conditions, task_conditions
from notifier.store.ledger import read_ledger
from notifier.store.schema import (
    acknowledgements,
    actions,
    attempts,
    deliveries,
    events,
    sources,
    tasks,
    threads,
)
from notifier.store.session import Session, chunks


class Queries:
    """Indexed reads. Each method runs one statement, or a few."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.now = session.now

    def due_sources(self) -> Sequence[str]:
        """Return the sources whose time to be polled has come and that no process holds, the most overdue first."""
        return list(self._session.execute(statements.DUE_SOURCES, {"now": self.now()}).scalars())

    def sources(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name."""
        running = func.count(tasks.c.job_id).filter(*RUNNING)
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
        return [rows.source_of(row) for row in self._session.execute(statement)]

    def source_names(self) -> frozenset[str]:
        """Return the name of every source ever polled."""
        return frozenset(self._session.execute(statements.SOURCE_NAMES).scalars())

    def source_states(self, names: Collection[str] | None = None) -> Sequence[SourceState]:
        """Return every source ever polled, or those of these names, without the counts of tasks: they take a while."""
        wanted = select(sources).order_by(sources.c.name)
        several = [wanted] if names is None else [wanted.where(sources.c.name.in_(some)) for some in chunks(names)]
        return [rows.source_of(row) for statement in several for row in self._session.execute(statement)]

    def health_facts(self, *, quiet_for: timedelta | None = None) -> HealthFacts:
        """Return what health is judged by, and when that was asked; see `monitor.MonitorReads.health_facts`."""
        facts = self.channel_facts()
        if quiet_for is None:
            return replace(facts, sources=self.source_states())
        times = {"before": facts.at - quiet_for, "ahead": facts.at + FUTURE_TOLERANCE}
        states = [rows.source_of(row) for row in self._session.execute(statements.SOURCES_TO_JUDGE, times)]
        return replace(facts, sources=states, quiet=self.source_names() - {state.name for state in states})

    def channel_facts(self) -> HealthFacts:
        """Return what health is judged by apart from sources, and when that was asked."""
        return HealthFacts(
            at=self.now(),
            channels=self.channels(),
            backlogs=health.backlogs(self._session),
            replicas=health.reported(self._session),
        )

    def channels(self) -> Sequence[ChannelState]:
        """Return what is recorded about channels, by name."""
        return [rows.channel_of(row) for row in self._session.execute(statements.CHANNELS)]

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        """Return tasks, the most recently changed first."""
        latest = tasks.c.changed_at.desc()
        statement = statements.TASKS.where(*task_conditions(self._session, wanted)).order_by(latest, tasks.c.job_id)
        found = self._session.execute(statement.limit(wanted.limit).offset(wanted.offset)).all()
        subjects = [(row.source, row.job_id) for row in found]
        acknowledged, newest = self.acknowledgements(subjects), self._newest_types(subjects)
        now = self.now()
        mutes = self.mutes(now)
        return [
            StoredTask(
                task=(task := rows.task_of(row)),
                first_seen_at=row.first_seen_at,
                changed_at=row.changed_at,
                listed=not row.unlisted,
                events_pruned=row.events_pruned,
                acknowledged=acknowledged.get((row.source, row.job_id)),
                muted=next((mute for mute in mutes if mute.covers(task, now)), None),
                newest=newest.get((row.source, row.job_id)),
            )
            for row in found
        ]

    def _newest_types(self, subjects: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], EventType]:
        """Return the types of the newest events of tasks, by source and job id."""
        pair = (events.c.source, events.c.job_id)
        types: dict[tuple[str, str], EventType] = {}
        for some in chunks(subjects):
            latest = select(func.max(events.c.seq)).where(tuple_(*pair).in_(some)).group_by(*pair)
            for row in self._session.execute(select(*pair, events.c.type).where(events.c.seq.in_(latest))):
                types[row.source, row.job_id] = EventType(row.type)
        return types

    def count_by_source(self, wanted: TaskFilter) -> Mapping[str, int]:
        """Count the tasks that fit by source, whatever the limit and the offset."""
        counted = select(tasks.c.source, func.count()).where(*task_conditions(self._session, wanted))
        return {source: count for source, count in self._session.execute(counted.group_by(tasks.c.source))}  # noqa: C416 - dict() of rows

    def fail_reasons(self, wanted: TaskFilter) -> Sequence[str]:
        """Return the reasons of the tasks that fit, as many as the limit, the most recently changed first."""
        reasons = select(tasks.c.fail_reason).where(*task_conditions(self._session, wanted))
        latest = reasons.order_by(tasks.c.changed_at.desc()).limit(wanted.limit)
        return [reason for reason in self._session.execute(latest).scalars() if reason]

    def count_tasks(self, wanted: TaskFilter) -> int:
        """Count the tasks that fit, whatever the limit and the offset."""
        counted = select(func.count()).select_from(tasks).where(*task_conditions(self._session, wanted))
        return int(self._session.execute(counted).scalar_one())

    def events(self, wanted: EventFilter) -> Sequence[RoutedEvent]:
        """Return events, the newest first."""
        statement = select(events).where(*event_conditions(wanted)).order_by(events.c.seq.desc()).limit(wanted.limit)
        return [rows.routed_of(row) for row in self._session.execute(statement)]

    def deliveries(self, wanted: DeliveryFilter) -> Sequence[Delivery]:
        """Return deliveries, the newest first."""
        found = select(deliveries, health.LAST_REPLY).where(*delivery_conditions(wanted))
        statement = found.order_by(deliveries.c.seq.desc())
        return load_deliveries(self._session, self._session.execute(statement.limit(wanted.limit)).all())

    def delivery_ids(self, wanted: DeliveryFilter) -> Sequence[str]:
        """Return the ids of all deliveries that fit, whatever the limit, the oldest first."""
        statement = select(deliveries.c.id).where(*delivery_conditions(wanted)).order_by(deliveries.c.seq)
        return list(self._session.execute(statement).scalars())

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        """Return the attempts of a delivery in order."""
        statement = select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number)
        return [rows.attempt_of(row) for row in self._session.execute(statement)]

    def acknowledgements(self, subjects: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Acknowledgement]:
        """Return who acknowledged the newest event of tasks, by source and job id."""
        found: dict[tuple[str, str], Acknowledgement] = {}
        for some in chunks(subjects):
            pair = (events.c.source, events.c.job_id)
            latest = select(func.max(events.c.seq)).where(tuple_(*pair).in_(some)).group_by(*pair)
            joined = select(*pair, acknowledgements).join(events, events.c.id == acknowledgements.c.event_id)
            for row in self._session.execute(joined.where(events.c.seq.in_(latest))):
                found[row.source, row.job_id] = rows.acknowledgement_of(row)
        return found

    def running_tasks(self, source: str) -> Mapping[str, RecordedTask]:
        """Return every recorded task of the source that has not ended."""
        return {
            row.job_id: rows.recorded_of(row)
            for row in self._session.execute(statements.RUNNING_TASKS, {"source": source})
        }

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""
        row = self._session.execute(select(events).where(events.c.id == event_id)).one_or_none()
        return None if row is None else rows.routed_of(row)

    def latest_event(self, source: str, job_id: str) -> RoutedEvent | None:
        """Return the newest event of a task."""
        of = select(events).where(events.c.source == source, events.c.job_id == job_id)
        row = self._session.execute(of.order_by(events.c.seq.desc()).limit(1)).one_or_none()
        return None if row is None else rows.routed_of(row)

    def statistics(self, since: datetime) -> Sequence[TaskStatistics]:
        """Count the tasks that changed at or after this time, by name, the most frequent first."""
        statement = (
            select(tasks.c.name, tasks.c.status, func.count(), func.sum(tasks.c.seconds), func.max(tasks.c.seconds))
            .where(tasks.c.changed_at >= since)
            .group_by(tasks.c.name, tasks.c.status)
        )
        by_name: dict[str, dict[str, _Fared]] = {}
        for name, status, count, total, longest in self._session.execute(statement):
            by_name.setdefault(name, {})[status] = _Fared(count, total, longest)
        found = (_statistics(name, fared) for name, fared in by_name.items())
        return sorted(found, key=lambda one: (-one.count, one.name))

    def instances(self, wanted: str, limit: int) -> Sequence[tuple[str | None, str | None]]:
        """Return ids and names of instances of recorded tasks with this id or name, the latest name first."""
        pair = (tasks.c.instance_id, tasks.c.instance_name)
        exact = select(*pair).where((tasks.c.instance_id == wanted) | (tasks.c.instance_name == wanted))
        latest = exact.group_by(*pair).order_by(func.max(tasks.c.changed_at).desc(), tasks.c.instance_name)
        return [(id_, name) for id_, name in self._session.execute(latest.limit(limit))]

    def recent_instance_names(self, limit: int) -> Sequence[str]:
        """Return the names of the instances of this many recorded tasks, those that changed last first, each once."""
        recent = select(tasks.c.instance_name).order_by(tasks.c.changed_at.desc()).limit(limit)
        return list(dict.fromkeys(name for name in self._session.execute(recent).scalars() if name))

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force, those that end first first."""
        return [rows.mute_of(row) for row in self._session.execute(statements.MUTES, {"now": now})]

    def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """Return who acknowledged an event."""
        statement = select(acknowledgements).where(acknowledgements.c.event_id == event_id)
        row = self._session.execute(statement).one_or_none()
        return None if row is None else rows.acknowledgement_of(row)

    def actions(self, limit: int) -> Sequence[Action]:
        """Return what people did, the newest first."""
        statement = select(actions).order_by(actions.c.seq.desc()).limit(limit)
        return [rows.action_of(row) for row in self._session.execute(statement)]

    def is_live_message(self, ref: str, event_id: str, channels: Collection[str]) -> bool:
        """Return whether a message with a button about this event is edited when people act on its task.

        That is the message of a thread, or one of its copies while the thread shows the event. `channels` are those
        whose messages are edited at all.
        """
        about = or_(threads.c.ref == ref, threads.c.event_id == event_id)
        found = self._session.execute(select(threads.c.channel, threads.c.ref, threads.c.copies).where(about))
        return any(row.channel in channels and ref in (row.ref, *rows.copies_of(row.copies)) for row in found)

    def thread_refs(self, channel: str, subjects: Collection[str]) -> Mapping[str, str]:
        """Return the references of a channel's threads by subject."""
        found = self._session.execute(statements.THREAD_REFS, {"channel": channel, "subjects": list(subjects)})
        return {row.subject: row.ref for row in found}

    def storm(self, storm_id: str) -> Storm | None:
        """Return one storm."""
        return load_storms(self._session, [storm_id]).get(storm_id)

    def loud_threads(self, channel: str, subjects: Collection[str]) -> Collection[str]:
        """Return those of the subjects of which a loud message of the channel reported something bad that lasts."""
        found = self._session.execute(statements.LOUD_THREADS, {"channel": channel, "subjects": list(subjects)})
        return set(found.scalars())

    def direct_channels(self) -> Sequence[str]:
        """Return the names of channels to one person that have something to send."""
        return list(self._session.execute(statements.DIRECT_CHANNELS).scalars())

    def ledger(self) -> Ledger:
        """Count every pair of event and channel."""
        return read_ledger(self._session, self.deliveries(DeliveryFilter(state=DeliveryState.DEAD)))


class _Fared(NamedTuple):
    number: int = 0
    total: float | None = None
    longest: float | None = None


def _statistics(name: str, fared: Mapping[str, _Fared]) -> TaskStatistics:
    completed = fared.get(TaskStatus.COMPLETED, _Fared())
    known = {status: fared.get(status, _Fared()).number for status in (TaskStatus.RUNNING, TaskStatus.FAILED)}
    return TaskStatistics(
        name=name,
        running=known[TaskStatus.RUNNING],
        completed=completed.number,
        failed=known[TaskStatus.FAILED],
        other=sum(one.number for one in fared.values()) - sum(known.values()) - completed.number,
        mean=None if completed.total is None else timedelta(seconds=completed.total / completed.number),
        longest=None if completed.longest is None else timedelta(seconds=completed.longest),
    )
