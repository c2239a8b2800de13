"""The reads of the service."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import case, func, or_, select

from notifier.core.delivery import DeliveryState
from notifier.core.diff import RecordedTask
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.health import FUTURE_TOLERANCE
from notifier.core.health_facts import HealthFacts
from notifier.core.model import Event, SourceState, TaskStatus
from notifier.core.people import Acknowledgement
from notifier.core.reports import LastSuccess
from notifier.core.routing import RoutedEvent
from notifier.core.schedules import ScheduleState
from notifier.core.storms import Storm
from notifier.store import rows, statements
from notifier.store.access import StoredAccess
from notifier.store.delivery_list import DeliveryList
from notifier.store.ended_tasks import EndedTasks
from notifier.store.event_stream import EventStream
from notifier.store.failure_feed import FailureFeed
from notifier.store.figures import Figures
from notifier.store.lookups import Lookups
from notifier.store.mute_list import MuteList
from notifier.store.now_page import NowQueries
from notifier.store.origins import LONGEST_SEARCH_WAIT
from notifier.store.schedules import Schedules
from notifier.store.schema import (
    UtcDateTime,
    deliveries,
    delivery_events,
    events,
    failures,
    sources,
    tasks,
    threads,
)
from notifier.store.session import Session, chunks
from notifier.store.task_list import TaskList
from notifier.store.timeline import TimelineReads


class Queries(Lookups):
    """The reads of look-ups, and those that only the service needs."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.access = StoredAccess(session)
        self.event_stream = EventStream(session)
        self.failure_feed = FailureFeed(session)
        self.now_page = NowQueries(session)
        self.task_list = TaskList(session)
        self.timeline = TimelineReads(session)
        self.figures = Figures(session)
        self.delivery_list = DeliveryList(session)
        self.mute_list = MuteList(session)

    @property
    def ended_tasks(self) -> EndedTasks:
        """The reads of statistics."""
        return EndedTasks(self._session)

    def due_sources(self) -> Sequence[str]:
        """Return the sources whose time to be polled has come and that no process holds, the most overdue first."""
        return list(self._session.execute(statements.DUE_SOURCES, {"now": self.now()}).scalars())

    def due_mutes(self) -> Sequence[str]:
        """Return the ids of the mutes of which a step is due, the earliest first."""
        return list(self._session.execute(statements.DUE_MUTES, {"now": self.now()}).scalars())

    def instance_sources(self, instance: str) -> Collection[str]:
        """Return the names of the sources of the recorded tasks of an instance, by its id or its whole name."""
        return set(self._session.execute(statements.INSTANCE_SOURCES, {"instance": instance}).scalars())

    def source_names(self) -> frozenset[str]:
        """Return the name of every source ever polled."""
        return frozenset(self._session.execute(statements.SOURCE_NAMES).scalars())

    def source_states(self, names: Collection[str] | None = None) -> Sequence[SourceState]:
        """Return every source ever polled, or those of these names, without the counts of tasks: they take a while."""
        if names is None:
            return super().source_states()
        wanted = (select(sources).where(sources.c.name.in_(some)).order_by(sources.c.name) for some in chunks(names))
        return [rows.source_of(row) for statement in wanted for row in self._session.execute(statement)]

    def health_facts(self, *, quiet_for: timedelta | None = None) -> HealthFacts:
        """Return what health is judged by, and when that was asked; see `monitor.MonitorReads.health_facts`."""
        if quiet_for is None:
            return super().health_facts()
        facts = self.channel_facts()
        times = {"before": facts.at - quiet_for, "ahead": facts.at + FUTURE_TOLERANCE}
        states = [rows.source_of(row) for row in self._session.execute(statements.SOURCES_TO_JUDGE, times)]
        return replace(facts, sources=states, quiet=self.source_names() - {state.name for state in states})

    def running_tasks(self, source: str) -> Mapping[str, RecordedTask]:
        """Return every recorded task of the source that has not ended."""
        return {
            row.job_id: rows.recorded_of(row)
            for row in self._session.execute(statements.RUNNING_TASKS, {"source": source})
        }

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""
        row = self._session.execute(statements.EVENT, {"event_id": event_id}).one_or_none()
        return None if row is None else rows.routed_of(row)

    def latest_event(self, source: str, job_id: str) -> RoutedEvent | None:
        """Return the newest event of a task."""
        row = self._session.execute(statements.LATEST_EVENT, {"source": source, "job_id": job_id}).one_or_none()
        return None if row is None else rows.routed_of(row)

    def any_due_failure(self) -> bool:
        """Return whether an open failure is due."""
        return self._session.execute(statements.ANY_DUE_FAILURE, {"before": self.now()}).first() is not None

    def any_due_maintenance(self) -> bool:
        """Return whether a reminder of a maintenance is due."""
        return self._session.execute(statements.ANY_DUE_MAINTENANCE, {"now": self.now()}).first() is not None

    def any_due_origin(self) -> bool:
        """Return whether any search for who started a task is due."""
        now = self.now()
        times = {"before": now, "ahead": now + LONGEST_SEARCH_WAIT}
        return self._session.execute(statements.ANY_DUE_ORIGIN, times).first() is not None

    def next_due_mute(self) -> datetime | None:
        """Return when a step of a mute is due next; None where none will be."""
        found: datetime | None = self._session.execute(statements.NEXT_DUE_MUTE).scalar()
        return found

    def next_due_failure(self) -> datetime | None:
        """Return when an open failure is due next; None where none will be."""
        found: datetime | None = self._session.execute(statements.NEXT_DUE_FAILURE).scalar()
        return found

    def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """Return who acknowledged an event."""
        row = self._session.execute(statements.ACKNOWLEDGEMENT, {"event_id": event_id}).one_or_none()
        return None if row is None else rows.acknowledgement_of(row)

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
        return self.storms([storm_id]).get(storm_id)

    def loud_threads(self, channel: str, subjects: Collection[str]) -> Collection[str]:
        """Return those of the subjects of which a loud message of the channel reported something bad that lasts."""
        found = self._session.execute(statements.LOUD_THREADS, {"channel": channel, "subjects": list(subjects)})
        return set(found.scalars())

    def pending_channels(self, now: datetime) -> Sequence[str]:
        """Return the channels that have something to send that has become available, by name."""
        return list(self._session.execute(statements.PENDING_CHANNELS, {"now": now}).scalars())

    def next_pending(self, now: datetime) -> datetime | None:
        """Return the first time after this one at which something to send becomes available."""
        found: datetime | None = self._session.execute(statements.NEXT_PENDING, {"now": now}).scalar()
        return found

    def schedules(self) -> Mapping[str, ScheduleState]:
        """Return what is recorded of every schedule, by name."""
        return Schedules(self._session).read()

    def unresolved_failures(self) -> Sequence[OpenFailure]:
        """Return the failures that are not resolved, the oldest first."""
        found = select(failures.c.facts).where(failures.c.state != FailureState.RESOLVED)
        ordered = found.order_by(failures.c.opened_at, failures.c.id)
        return [rows.failure_of(facts) for facts in self._session.execute(ordered).scalars()]

    def events_of_types(self, types: Collection[EventType], since: datetime, until: datetime) -> Sequence[Event]:
        """Return the events of some types that were detected from one time up to another, in order."""
        wanted = (events.c.observed_at >= since, events.c.observed_at < until, events.c.type.in_(list(map(str, types))))
        found = select(events.c.facts).where(*wanted).order_by(events.c.observed_at, events.c.seq)
        return [rows.event_of(facts) for facts in self._session.execute(found).scalars()]

    def first_event_at(self) -> datetime | None:
        """Return when the first of all recorded events was detected."""
        return self._session.execute(select(func.min(events.c.observed_at, type_=UtcDateTime))).scalar()

    def unsent(self, since: datetime, until: datetime) -> Sequence[tuple[Event, DeliveryState]]:
        """Return the messages that rules suppressed or that died; see `schedules.ReportReads.unsent`."""
        found = (
            select(events.c.facts, deliveries.c.state)
            .join(delivery_events, delivery_events.c.event_id == events.c.id)
            .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
            .where(events.c.observed_at >= since, events.c.observed_at < until)
            .where(deliveries.c.state.in_([str(DeliveryState.SUPPRESSED), str(DeliveryState.DEAD)]))
        )
        return [(rows.event_of(facts), DeliveryState(state)) for facts, state in self._session.execute(found)]

    def last_successes(self) -> Sequence[LastSuccess]:
        """Return when tasks of each name last completed on each instance."""
        of = (tasks.c.source, tasks.c.instance_id, tasks.c.instance_name, tasks.c.name)
        completed = case((tasks.c.status == TaskStatus.COMPLETED, func.coalesce(tasks.c.ended_at, tasks.c.changed_at)))
        found = select(*of, func.max(completed, type_=UtcDateTime).label("at")).where(tasks.c.alarm.is_(None))
        return [LastSuccess(*row) for row in self._session.execute(found.group_by(*of))]

    def direct_channels(self) -> Sequence[str]:
        """Return the names of channels to one person that have something to send."""
        return list(self._session.execute(statements.DIRECT_CHANNELS).scalars())


class ViewQueries(Queries):
    """The same on one consistent view of the database, in which nothing changes: what several ask for is read once."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._health: HealthFacts | None = None

    def health_facts(self, *, quiet_for: timedelta | None = None) -> HealthFacts:
        """Return what health is judged by, and when that was asked first."""
        if quiet_for is not None:
            return super().health_facts(quiet_for=quiet_for)
        if self._health is None:
            self._health = super().health_facts()
        return self._health
