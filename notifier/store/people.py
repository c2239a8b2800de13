"""The writes of what people do about tasks. One named method a statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, exists, select, update

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.people import Acknowledgement, Action, Mute, Subscription
from notifier.store import rows
from notifier.store.queries import chunks
from notifier.store.schema import (
    acknowledgements,
    actions,
    deliveries,
    delivery_events,
    events,
    mutes,
    requests,
    watches,
)
from notifier.store.threads import ThreadStatements

REPLAYABLE = timedelta(minutes=10)
"""How long a request is remembered: twice as long as it would be taken for a fresh one."""


class PeopleStatements(ThreadStatements):
    """The part of `ports.Transaction` that people in the chat need."""

    def acknowledge(self, acknowledgement: Acknowledgement) -> Acknowledgement:
        """Record who acknowledged an event, unless somebody has; return who did. Threads that show it change."""
        values = rows.acknowledgement_values(acknowledgement)
        self.connection.execute(self._insert(acknowledgements).values(values).on_conflict_do_nothing())
        standing = self.acknowledgement(acknowledgement.event_id)
        if standing == acknowledgement:
            self._show_event_anew(acknowledgement.event_id, acknowledgement.at)
        return standing or acknowledgement

    def mute(self, mute: Mute) -> None:
        """Record a mute in place of an earlier one of the same instance. Threads about it change."""
        insert = self._insert(mutes).values(rows.mute_values(mute))
        changed = {column.name: insert.excluded[column.name] for column in mutes.columns if column.name != "instance"}
        self.connection.execute(insert.on_conflict_do_update(index_elements=["instance"], set_=changed))
        self._show_instance_anew(mute.instance, mute.created_at)

    def unmute(self, instance: str, now: datetime) -> Mute | None:
        """End the mute of an instance and return it; None when there is none in force. Threads about it change."""
        in_force = (mutes.c.instance == instance, mutes.c.until > now)
        row = self.connection.execute(delete(mutes).where(*in_force).returning(*mutes.columns)).one_or_none()
        if row is None:
            return None
        self._show_instance_anew(instance, now)
        return rows.mute_of(row)

    def watch(self, watch: Subscription) -> bool:
        """Record a wish; return False when it was there already."""
        insert = self._insert(watches).values(rows.subscription_values(watch)).on_conflict_do_nothing()
        return self.connection.execute(insert.returning(watches.c.job_id)).first() is not None

    def watchers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who wants to know how tasks end, by job id."""
        found: dict[str, list[str]] = {}
        for some in chunks(job_ids):
            of = (watches.c.source == source, watches.c.job_id.in_(some))
            wishes = select(watches.c.job_id, watches.c.person).where(*of).order_by(watches.c.job_id, watches.c.person)
            for job_id, person in self.connection.execute(wishes):
                found.setdefault(job_id, []).append(person)
        return found

    def take_watchers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who wants to know how tasks ended, by job id, and forget that they do."""
        found: dict[str, list[str]] = {}
        for some in chunks(job_ids):
            of = (watches.c.source == source, watches.c.job_id.in_(some))
            taken = delete(watches).where(*of).returning(watches.c.job_id, watches.c.person)
            for job_id, person in sorted(tuple(row) for row in self.connection.execute(taken)):
                found.setdefault(job_id, []).append(person)
        return found

    def supersede_progress(self, channel: str, by: Mapping[str, str]) -> Sequence[str]:
        """Let progress that waits to be told give way, where no attempt has been made; return its event ids.

        `by` has the id of the event that takes its place, by subject.
        """
        now = self.now()
        given_way: list[str] = []
        for some in chunks(by):
            for row in self.connection.execute(_waiting_progress(channel, some)).all():
                if row.event_id != by[row.subject]:
                    self.connection.execute(
                        update(deliveries)
                        .where(deliveries.c.id == row.id)
                        .values(
                            state=DeliveryState.SUPERSEDED,
                            reason=f"superseded by {by[row.subject]}",
                            settled_at=now,
                        )
                    )
                    given_way.append(row.event_id)
        return given_way

    def record_action(self, action: Action) -> None:
        """Record what a person did."""
        self.connection.execute(self._insert(actions).values(rows.action_values(action)))

    def once(self, key: str, now: datetime) -> bool:
        """Note a request that changes something; return False when it was noted within the last ten minutes."""
        self.connection.execute(delete(requests).where(requests.c.seen_at < now - REPLAYABLE))
        noted = self._insert(requests).values(key=key, seen_at=now).on_conflict_do_nothing()
        # Not by rowcount: of an INSERT psycopg's is lost when SQLAlchemy closes the cursor.
        return self.connection.execute(noted.returning(requests.c.key)).first() is not None

    def forget_people(self, now: datetime, keep: timedelta) -> int:
        """Delete what people did about events and instances that nothing is known of any more; return how much."""
        old = acknowledgements.c.at < now - keep
        known = exists().where(events.c.id == acknowledgements.c.event_id)
        forgotten = self.connection.execute(delete(acknowledgements).where(old, ~known)).rowcount
        forgotten += self.connection.execute(delete(mutes).where(mutes.c.until < now)).rowcount
        forgotten += self.connection.execute(delete(actions).where(actions.c.at < now - keep)).rowcount
        forgotten += self.connection.execute(delete(watches).where(watches.c.created_at < now - keep)).rowcount
        return forgotten + self._forget_threads(now - keep)


def _waiting_progress(channel: str, subjects: Collection[str]) -> Select[tuple[str, str, str]]:
    return (
        select(deliveries.c.id, delivery_events.c.event_id, delivery_events.c.subject)
        .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
        .join(events, events.c.id == delivery_events.c.event_id)
        .where(
            delivery_events.c.channel == channel,
            delivery_events.c.subject.in_(subjects),
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.attempt == 0,
            ~deliveries.c.digest,
            events.c.type == EventType.TASK_PROGRESSED,
        )
        .order_by(deliveries.c.seq)
        .with_for_update(of=deliveries, skip_locked=True)
    )
