"""The reads of look-ups in the chat. One named method a statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from notifier.core.delivery import DeliveryState
from notifier.core.identity import DirectChannel
from notifier.core.model import TaskStatus
from notifier.core.people import Acknowledgement, Action, Mute
from notifier.core.routing import RoutedEvent
from notifier.ports import TaskStatistics
from notifier.store import rows
from notifier.store.schema import acknowledgements, actions, deliveries, events, mutes, tasks, threads


class LookupQueries:
    """The part of `ports.Queries` that is asked from the chat."""

    connection: Connection

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""
        row = self.connection.execute(select(events).where(events.c.id == event_id)).one_or_none()
        return None if row is None else rows.routed_of(row)

    def latest_event(self, source: str, job_id: str) -> RoutedEvent | None:
        """Return the newest event of a task."""
        of = select(events).where(events.c.source == source, events.c.job_id == job_id)
        row = self.connection.execute(of.order_by(events.c.seq.desc()).limit(1)).one_or_none()
        return None if row is None else rows.routed_of(row)

    def statistics(self, since: datetime) -> Sequence[TaskStatistics]:
        """Count the tasks that changed at or after this time, by name, the most frequent first."""
        statement = (
            select(tasks.c.name, tasks.c.status, func.count(), func.sum(tasks.c.seconds), func.max(tasks.c.seconds))
            .where(tasks.c.changed_at >= since)
            .group_by(tasks.c.name, tasks.c.status)
        )
        by_name: dict[str, dict[str, _Fared]] = {}
        for name, status, count, total, longest in self.connection.execute(statement):
            by_name.setdefault(name, {})[status] = _Fared(count, total, longest)
        found = (_statistics(name, fared) for name, fared in by_name.items())
        return sorted(found, key=lambda one: (-one.count, one.name))

    def instances(self, wanted: str, limit: int) -> Sequence[tuple[str | None, str | None]]:
        """Return ids and names of instances of recorded tasks with this id or name."""
        pair = (tasks.c.instance_id, tasks.c.instance_name)
        exact = select(*pair).where((tasks.c.instance_id == wanted) | (tasks.c.instance_name == wanted))
        return [(id_, name) for id_, name in self.connection.execute(exact.distinct().limit(limit))]

    def recent_instance_names(self, limit: int) -> Sequence[str]:
        """Return the names of the instances of this many recorded tasks, those that changed last first, each once."""
        recent = select(tasks.c.instance_name).order_by(tasks.c.changed_at.desc()).limit(limit)
        return list(dict.fromkeys(name for name in self.connection.execute(recent).scalars() if name))

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force, those that end first first."""
        statement = select(mutes).where(mutes.c.until > now).order_by(mutes.c.until, mutes.c.instance)
        return [rows.mute_of(row) for row in self.connection.execute(statement)]

    def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """Return who acknowledged an event."""
        statement = select(acknowledgements).where(acknowledgements.c.event_id == event_id)
        row = self.connection.execute(statement).one_or_none()
        return None if row is None else rows.acknowledgement_of(row)

    def actions(self, limit: int) -> Sequence[Action]:
        """Return what people did, the newest first."""
        statement = select(actions).order_by(actions.c.seq.desc()).limit(limit)
        return [rows.action_of(row) for row in self.connection.execute(statement)]

    def is_live(self, ref: str) -> bool:
        """Tell whether a message is a thread's, so that it shows by itself what people do."""
        return self.connection.execute(select(threads.c.ref).where(threads.c.ref == ref).limit(1)).first() is not None

    def threads(self, channel: str, subjects: Collection[str]) -> Mapping[str, str]:
        """Return the references of a channel's threads by subject."""
        mine = (threads.c.channel == channel, threads.c.subject.in_(set(subjects)))
        return {
            row.subject: row.ref
            for row in self.connection.execute(select(threads.c.subject, threads.c.ref).where(*mine))
        }

    def direct_channels(self) -> Sequence[str]:
        """Return the names of channels to one person that have something to send."""
        pending = (deliveries.c.state == DeliveryState.PENDING, deliveries.c.channel.startswith(DirectChannel.PREFIX))
        statement = select(deliveries.c.channel).where(*pending).distinct().order_by(deliveries.c.channel)
        return list(self.connection.execute(statement).scalars())


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
