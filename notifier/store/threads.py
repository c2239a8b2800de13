"""The statements of live messages: what each shows, and which are to be changed. One named method a statement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, case, delete, or_, select, update

from notifier.core.delivery import Thread
from notifier.core.events import EditUrgency, EventType
from notifier.core.model import Event
from notifier.core.people import Mute
from notifier.ports import ThreadUpdate
from notifier.store import rows
from notifier.store.queries import chunks
from notifier.store.schema import events, threads
from notifier.store.watch import WatchStatements

PROGRESS_EVERY = timedelta(seconds=20)
"""The time between two changes of a message that show nothing but progress."""
TOUCHED = 50
"""Messages about one instance, the latest ones, that change when it is muted."""
TOUCHED_WITHIN = timedelta(days=1)

_PERSON, _PROGRESS = int(EditUrgency.PERSON), int(EditUrgency.PROGRESS)


class _Stored(NamedTuple):
    id: str
    seq: int
    type: str
    facts: bytes


_STORED = (events.c.id, events.c.seq, events.c.type, events.c.facts)


class ThreadStatements(WatchStatements):
    """The part of `ports.Transaction` that live messages need."""

    def tell_threads(self, channel: str, told: Sequence[ThreadUpdate], now: datetime) -> None:
        """Note new threads, and that threads are to show these events; a thread shows no older one than before."""
        known = self.threads(channel, [one.subject for one in told])
        # By subject, as everywhere here: two that locked the same rows in different orders would wait for each other.
        concerned = sorted((one for one in told if one.thread or one.subject in known), key=attrgetter("subject"))
        found = self._events_by_id([one.event_id for one in concerned])
        for one in concerned:
            if one.event_id not in found:
                continue
            if one.thread:
                self._begin_thread(channel, one.subject, one.thread, found[one.event_id], now)
            else:
                self._show_event(found[one.event_id], now, threads.c.channel == channel, subject=one.subject)

    def spare_threads(self, spared: Mapping[Event, Collection[str]], now: datetime) -> None:
        """Let the threads about the subjects of these events show them, but on the channels that are told of each."""
        begun = self._begun(event.subject for event in spared)
        concerned = sorted((event for event in spared if event.subject in begun), key=attrgetter("subject"))
        found = self._events_by_id([event.id for event in concerned])
        for event in concerned:
            if event.id in found:
                self._show_event(found[event.id], now, threads.c.channel.not_in(spared[event]), subject=event.subject)

    def _begun(self, subjects: Iterable[str]) -> frozenset[str]:
        """Return the subjects that have a thread on any channel."""
        return frozenset(
            subject
            for some in chunks(set(subjects))
            for subject in self.connection.execute(
                select(threads.c.subject).where(threads.c.subject.in_(some)).distinct()
            ).scalars()
        )

    def _events_by_id(self, ids: Collection[str]) -> Mapping[str, _Stored]:
        return {
            row.id: _Stored(*row)
            for some in chunks(ids)
            for row in self.connection.execute(select(*_STORED).where(events.c.id.in_(some)))
        }

    def _begin_thread(self, channel: str, subject: str, ref: str, event: _Stored, now: datetime) -> None:
        shows = _shows(event) | {"ref": ref, "shown_at": now, "due_at": None}
        self.connection.execute(
            self._insert(threads)
            .values(channel=channel, subject=subject, **shows)
            .on_conflict_do_update(
                index_elements=["channel", "subject"],
                set_=shows | {"revision": threads.c.revision + 1, "shown": threads.c.revision + 1},
                where=threads.c.event_seq <= event.seq,
            )
        )
        if later := self._later(event):  # it happened while the first message was on its way
            self._show_event(later, now, threads.c.channel == channel, subject=subject)

    def _later(self, event: _Stored) -> _Stored | None:
        about = rows.event_of(event.facts)
        later = (events.c.source == about.source, events.c.job_id == about.job_id, events.c.seq > event.seq)
        latest = select(*_STORED).where(*later).order_by(events.c.seq.desc()).limit(1)
        row = self.connection.execute(latest).one_or_none()
        return None if row is None else _Stored(*row)

    def _show_event(self, event: _Stored, now: datetime, *which: ColumnElement[bool], subject: str) -> None:
        older = (threads.c.subject == subject, threads.c.event_seq < event.seq)
        self._touch(now, int(EventType(event.type).traits.urgency), *which, *older, **_shows(event))

    def _show_event_anew(self, event_id: str, now: datetime) -> None:
        """Change the messages that show an event, for something else about it is to be shown."""
        self._touch(now, _PERSON, threads.c.event_id == event_id)

    def _show_instance_anew(self, instance: str, now: datetime) -> None:
        """Change the latest messages about an instance."""
        about = or_(threads.c.instance_id == instance, threads.c.instance_name == instance)
        latest = select(threads.c.channel, threads.c.subject).where(about, threads.c.shown_at > now - TOUCHED_WITHIN)
        found = self.connection.execute(latest.order_by(threads.c.shown_at.desc()).limit(TOUCHED))
        for subject, channel in sorted((row.subject, row.channel) for row in found):
            self._touch(now, _PERSON, threads.c.channel == channel, threads.c.subject == subject)

    def _touch(self, now: datetime, urgency: int, *which: ColumnElement[bool], **shows: object) -> None:
        """Let messages change; one that is to show mere progress is claimed some time after it changed last."""
        changed = self.connection.execute(
            update(threads)
            .where(*which)
            .values(revision=threads.c.revision + 1, due_at=now, urgency=_the_higher(urgency), **shows)
        ).rowcount
        if changed:
            self._tell_others()

    def claim_edits(self, channel: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Thread]:
        """Claim threads whose message does not look as it should, the most urgent first, until the lease ends."""
        settled = threads.c.shown_at <= now - PROGRESS_EVERY
        due = (
            select(threads)
            .where(
                threads.c.channel == channel,
                threads.c.due_at <= now,
                or_(threads.c.urgency > _PROGRESS, settled),
            )
            .order_by(threads.c.urgency.desc(), threads.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = self.connection.execute(due).all()
        if not found:
            return []
        claimed = threads.c.subject.in_([row.subject for row in found])
        self.connection.execute(update(threads).where(threads.c.channel == channel, claimed).values(due_at=now + lease))
        mutes = self.mutes(now)
        return [self._thread(row, mutes, now) for row in found]

    def _thread(self, row: Row[Any], mutes: Sequence[Mute], now: datetime) -> Thread:
        event = rows.event_of(row.facts)
        return Thread(
            channel=row.channel,
            subject=row.subject,
            ref=row.ref,
            event=event,
            revision=row.revision,
            acknowledged=self.acknowledgement(row.event_id),
            mute=next((mute for mute in mutes if mute.covers(event.task, now)), None),
        )

    def shown(self, thread: Thread, now: datetime, ref: str | None = None) -> None:
        """Note that a thread's message looks as its revision asks for; `ref` is that of a new message."""
        current = threads.c.revision == thread.revision
        noted = self.connection.execute(
            update(threads)
            .where(_is(thread), threads.c.shown < thread.revision)
            .values(
                shown=thread.revision,
                shown_at=now,
                due_at=case((current, None), else_=now),
                urgency=case((current, _PROGRESS), else_=threads.c.urgency),
                **({"ref": ref} if ref else {}),
            )
        ).rowcount
        if not noted:  # another replica has shown a newer state meanwhile: which of the two arrived last, nobody knows
            self._touch(now, _PERSON, _is(thread))

    def show_later(self, thread: Thread, at: datetime) -> None:
        """Let a message that could not be changed wait."""
        self.connection.execute(update(threads).where(_is(thread)).values(due_at=at))

    def _forget_threads(self, before: datetime) -> int:
        old = (threads.c.shown_at < before, threads.c.due_at.is_(None))
        return self.connection.execute(delete(threads).where(*old)).rowcount


def _is(thread: Thread) -> ColumnElement[bool]:
    return and_(threads.c.channel == thread.channel, threads.c.subject == thread.subject)


def _the_higher(urgency: int) -> ColumnElement[int]:
    return case((threads.c.urgency > urgency, threads.c.urgency), else_=urgency)


def _shows(event: _Stored) -> dict[str, object]:
    task = rows.event_of(event.facts).task
    return {
        "event_id": event.id,
        "event_seq": event.seq,
        "facts": event.facts,
        "instance_id": task and task.instance_id,
        "instance_name": task and task.instance_name,
    }
