"""Live messages: what each is to show, and which are to be edited."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, case, delete, select, update

from notifier.core import dispatch
from notifier.core.delivery import Thread, ThreadUpdate
from notifier.core.events import EditUrgency, EventType
from notifier.core.identity import Subject
from notifier.core.model import Event, RepeatedFailure
from notifier.core.mutes import Mute, MutesInForce
from notifier.core.pacing import ChannelHealth
from notifier.core.storms import Storm
from notifier.store import rows, statements
from notifier.store.delivery_rows import load_storms
from notifier.store.queries import Queries
from notifier.store.schema import edit_budgets, events, threads
from notifier.store.session import Session

PROGRESS_EVERY = timedelta(seconds=20)
"""Minimum time between two edits of a message that show nothing but progress."""
TOUCHED = 50
"""Maximum number of messages about one instance, the latest ones, that change when it is muted."""
TOUCHED_BY_MATCHERS = 200
"""Maximum number of messages, the latest ones, that are compared with the matchers of a mute."""
TOUCHED_WITHIN = timedelta(days=1)
"""Age of the oldest message that changes when its instance is muted."""

_PERSON, _PROGRESS, _FAILURE = (int(one) for one in (EditUrgency.PERSON, EditUrgency.PROGRESS, EditUrgency.FAILURE))

_OF_TASKS = ~threads.c.subject.startswith(Subject.STORM_PREFIX)
"""Which threads are about tasks. That of a storm has the event of the first failure and shows nothing of it alone."""


class _Stored(NamedTuple):
    id: str
    seq: int
    type: str
    facts: bytes


_STORED = (events.c.id, events.c.seq, events.c.type, events.c.facts)


class Threads:
    """Writes of what live messages show."""

    def __init__(self, session: Session, queries: Queries) -> None:
        self._session = session
        self._queries = queries

    def update(self, channel: str, updates: Sequence[ThreadUpdate], now: datetime) -> None:
        """Record new threads, and the events that threads are to show; a thread shows no older one than before."""
        known = self._queries.thread_refs(channel, [one.subject for one in updates])
        # Ordered, as everywhere here: two transactions that lock the same rows in different orders deadlock.
        concerned = sorted((one for one in updates if one.thread or one.subject in known), key=_locking_order)
        found = self._events_by_id([one.event_id for one in concerned])
        for one in concerned:
            if one.event_id not in found:
                continue
            event, routing = found[one.event_id], rows.routing_text(one.routing)
            if one.thread:
                self._begin(channel, one.subject, one.thread, event, now, routing)
            else:
                self._show(event, now, threads.c.channel == channel, subject=one.subject, routing=routing)
                if not one.follows_up:
                    self._reroute(channel, one.subject, event, routing, now)
            if one.copy:
                self._add_copy(channel, one.subject, one.copy, now, stays=one.follows_up)
            if one.loud is not None:
                own = (threads.c.channel == channel, threads.c.subject == one.subject, threads.c.loud != one.loud)
                self._session.execute(update(threads).where(*own).values(loud=one.loud))

    def refresh(self, notified: Mapping[Event, Collection[str]], now: datetime) -> None:
        """Let the threads about the subjects of these events show them, except on the channels notified of each.

        Those channels show an event once it has been delivered to them.
        """
        subjects = {event.subject for event in notified}
        begun = set(self._session.execute(statements.SUBJECTS_WITH_THREADS, {"subjects": subjects}).scalars())
        concerned = sorted((event for event in notified if event.subject in begun), key=attrgetter("subject"))
        stored = self._events_by_id([event.id for event in concerned])
        for event in concerned:
            if event.id in stored:
                self._show(stored[event.id], now, threads.c.channel.not_in(notified[event]), subject=event.subject)

    def _events_by_id(self, ids: Collection[str]) -> Mapping[str, _Stored]:
        statement = select(*_STORED).where(events.c.id.in_(statements.list_parameter("ids")))
        return {row.id: _Stored(*row) for found in self._session.execute_chunks(statement, ids) for row in found}

    def _begin(  # noqa: PLR0917 - the columns of a thread
        self, channel: str, subject: str, ref: str, event: _Stored, now: datetime, routing: str | None
    ) -> None:
        storm = Subject.parse(subject).storm
        shows = _shows(event) | {"ref": ref, "shown_at": now, "due_at": None, "routing": routing}
        if storm:
            shows |= {"instance_id": None, "instance_name": None}
        self._session.execute(
            self._session.insert(threads)
            .values(channel=channel, subject=subject, **shows)
            .on_conflict_do_update(
                index_elements=["channel", "subject"],
                set_=shows | {"revision": threads.c.revision + 1, "shown": threads.c.revision + 1},
                where=None if storm else threads.c.event_seq <= event.seq,
            )
        )
        own = (threads.c.channel == channel, threads.c.subject == subject)
        if storm:  # it may have grown since the message was rendered
            self._touch(now, _FAILURE, *own)
            return
        if later := self._later(event):  # it happened while the first message was on its way
            self._show(later, now, threads.c.channel == channel, subject=subject)
        # Where the message replaces one that is gone, copies of that one still show what was before.
        self._touch(now, _FAILURE, *own, threads.c.copies.is_not(None))

    def _later(self, event: _Stored) -> _Stored | None:
        about = rows.event_of(event.facts)
        later = (events.c.source == about.source, events.c.job_id == about.job_id, events.c.seq > event.seq)
        latest = select(*_STORED).where(*later).order_by(events.c.seq.desc()).limit(1)
        row = self._session.execute(latest).one_or_none()
        return None if row is None else _Stored(*row)

    def _show(self, event: _Stored, now: datetime, *which: ColumnElement[bool], subject: str, **more: object) -> None:
        older = (threads.c.subject == subject, threads.c.event_seq < event.seq)
        self._touch(now, int(EventType(event.type).traits.urgency), *which, *older, **_shows(event), **more)

    def _reroute(self, channel: str, subject: str, event: _Stored, routing: str | None, now: datetime) -> None:
        """Record the routing of a delivery whose event is shown already: it happened before the thread began."""
        own = (threads.c.channel == channel, threads.c.subject == subject, threads.c.event_seq == event.seq)
        urgency = int(EventType(event.type).traits.urgency)
        self._touch(now, urgency, *own, threads.c.routing.is_distinct_from(routing), routing=routing)

    def _add_copy(self, channel: str, subject: str, ref: str, now: datetime, *, stays: bool) -> None:
        """Record a copy of a thread's message, and let it change: something may have happened since it was posted.

        One that `stays`, a reminder, keeps its words until something else about the failure is to be shown.
        """
        own = {"channel": channel, "subject": subject}
        copies = rows.copies_of(self._session.execute(statements.COPIES, own).scalar())
        if stays:
            kept = rows.copies_text(dispatch.with_copy(copies, ref))
            is_own = (threads.c.channel == channel, threads.c.subject == subject)
            self._session.execute(update(threads).where(*is_own).values(copies=kept))
            return
        self._touch(
            now,
            int(EditUrgency.FAILURE),
            threads.c.channel == channel,
            threads.c.subject == subject,
            copies=rows.copies_text(dispatch.with_copy(copies, ref)),
        )

    def drop_copies(self, thread: Thread, refs: Collection[str]) -> None:
        """Delete the references of copies that are gone."""
        own = {"channel": thread.channel, "subject": thread.subject}
        copies = rows.copies_of(self._session.execute(statements.COPIES, own).scalar())
        kept = rows.copies_text([copy for copy in copies if copy not in refs])
        self._session.execute(update(threads).where(_is(thread)).values(copies=kept))

    def touch_event(self, event_id: str, now: datetime) -> None:
        """Let the messages about its task that show an event change: something else about it is to be shown."""
        self._touch(now, _PERSON, threads.c.event_id == event_id, _OF_TASKS)

    def touch_events(self, event_ids: Collection[str], now: datetime) -> None:
        """Let the messages about tasks that show any of these events change.

        They are locked in the order of their subjects.
        """
        shown = (threads.c.event_id.in_(list(event_ids)), _OF_TASKS)
        found = select(threads.c.subject).where(*shown).order_by(threads.c.subject, threads.c.channel)
        if self._session.execute(found.with_for_update()).all():
            self._touch(now, _PERSON, *shown)

    def show_repeats(self, counted: Mapping[str, RepeatedFailure], now: datetime) -> None:
        """Let the messages about tasks that show these failures, by event id, show how often they have repeated.

        A message that shows something later of its task stays as it is.
        """
        shown = (threads.c.event_id.in_(list(counted)), _OF_TASKS)
        columns = (threads.c.channel, threads.c.subject, threads.c.event_id, threads.c.facts)
        found = select(*columns).where(*shown).order_by(threads.c.subject, threads.c.channel).with_for_update()
        for row in self._session.execute(found).all():
            facts = rows.event_facts(replace(rows.event_of(row.facts), repeats=counted[row.event_id]))
            own = (threads.c.channel == row.channel, threads.c.subject == row.subject)
            self._touch(now, _PERSON, *own, facts=facts)

    def touch_subjects(self, subjects: Collection[str], now: datetime) -> None:
        """Let the messages about these subjects change, on all channels: something else about them is to be shown."""
        for subject in sorted(subjects):
            self._touch(now, _PERSON, threads.c.subject == subject)

    def touch_storm(self, storm: Storm, now: datetime) -> None:
        """Let the message about a storm change."""
        subject = str(Subject(storm=storm.id))
        self._touch(now, _FAILURE, threads.c.channel == storm.channel, threads.c.subject == subject)

    def touch_instance(self, instance: str, now: datetime) -> None:
        """Let the latest messages about an instance change."""
        wanted = {"instance": instance, "after": now - TOUCHED_WITHIN, "limit": TOUCHED}
        found = self._session.execute(statements.RECENT_THREADS, wanted)
        for subject, channel in sorted((row.subject, row.channel) for row in found):
            self._touch(now, _PERSON, threads.c.channel == channel, threads.c.subject == subject)

    def touch_matching(self, mute: Mute, now: datetime) -> None:
        """Let the latest messages change that show an event of what a mute covers."""
        wanted = {"after": now - TOUCHED_WITHIN, "limit": TOUCHED_BY_MATCHERS}
        found = self._session.execute(statements.SHOWN_SINCE, wanted).all()
        shown = [row for row in found if mute.matches(rows.event_of(row.facts))]
        for subject, channel in sorted((row.subject, row.channel) for row in shown):
            self._touch(now, _PERSON, threads.c.channel == channel, threads.c.subject == subject, _OF_TASKS)

    def _touch(self, now: datetime, urgency: int, *which: ColumnElement[bool], **shows: object) -> None:
        """Let messages change; one that is to show mere progress is claimed some time after its last change."""
        urgency_now = case((threads.c.urgency > urgency, threads.c.urgency), else_=urgency)
        changed = self._session.execute(
            update(threads)
            .where(*which)
            .values(revision=threads.c.revision + 1, due_at=now, urgency=urgency_now, **shows)
        ).rowcount
        if changed:
            self._session.notify_listeners()

    def claim_edits(self, channel: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Thread]:
        """Claim threads whose message is out of date, the most urgent first, until the lease ends.

        A failure comes before another end, an end before an acknowledgement, and progress last. The same message is
        claimed for mere progress at most every twenty seconds. All that are claimed take at most `limit` edits, unless
        the first alone takes more.
        """
        due = {"channel": channel, "now": now, "progress_before": now - PROGRESS_EVERY, "limit": limit}
        found = self._session.execute(statements.DUE_EDITS, due).all()
        if not found:
            return []
        mutes = MutesInForce(self._queries.mutes(now), now)
        storms = load_storms(self._session, [id_ for row in found if (id_ := Subject.parse(row.subject).storm)])
        threads_due = [self._thread(row, mutes, storms) for row in found]
        claimed = threads_due[: dispatch.affordable((thread.edits for thread in threads_due), limit)]
        claim = {"of_channel": channel, "subjects": [thread.subject for thread in claimed], "until": now + lease}
        self._session.execute(statements.CLAIM_EDITS, claim)
        return claimed

    def _thread(
        self,
        row: Any,  # noqa: ANN401 - a row
        mutes: MutesInForce,
        storms: Mapping[str, Storm],
    ) -> Thread:
        event = rows.event_of(row.facts)
        if storm_id := Subject.parse(row.subject).storm:
            storm = storms.get(storm_id)
            return Thread(
                channel=row.channel,
                subject=row.subject,
                ref=row.ref,
                event=event,
                revision=row.revision,
                acknowledged=storm.acknowledged if storm else None,
                routing=rows.routing_of(row.routing),
                storm=storm,
            )
        return Thread(
            channel=row.channel,
            subject=row.subject,
            ref=row.ref,
            event=event,
            revision=row.revision,
            acknowledged=self._queries.acknowledgement(row.event_id),
            mute=mutes.covering(event),
            copies=rows.copies_of(row.copies) if row.urgency > _PROGRESS else (),
            routing=rows.routing_of(row.routing),
        )

    def mark_rendered(self, thread: Thread, now: datetime, ref: str | None = None) -> None:
        """Record that a thread's message shows its revision; `ref` is that of a new message."""
        current = threads.c.revision == thread.revision
        changed = self._session.execute(
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
        if not changed:  # another replica has shown a newer state since: nobody knows which of the two arrived last
            self._touch(now, _PERSON, _is(thread))

    def postpone_edit(self, thread: Thread, at: datetime, ref: str | None = None) -> None:
        """Postpone the edit of a thread of which a message could not be changed; `ref` is that of a new message."""
        self._session.execute(update(threads).where(_is(thread)).values({"due_at": at} | ({"ref": ref} if ref else {})))

    def edit_budget(self, name: str) -> ChannelHealth:
        """Return the budget of edits that all channels of a token share; nobody else can change it until the end."""
        return rows.health_of(self._session.lock_named(edit_budgets, statements.EDIT_BUDGET, name))

    def save_edit_budget(self, name: str, health: ChannelHealth) -> None:
        """Record a budget of edits."""
        self._session.execute(update(edit_budgets).where(edit_budgets.c.name == name).values(asdict(health)))

    def prune(self, before: datetime) -> int:
        """Delete threads that were last shown before a time and are up to date; return how many."""
        old = (threads.c.shown_at < before, threads.c.due_at.is_(None))
        return self._session.execute(delete(threads).where(*old)).rowcount


def _locking_order(one: ThreadUpdate) -> tuple[bool, str]:
    """Return a key that sorts by subject, storms last: a poll knows what becomes of them once it knows its tasks."""
    return bool(Subject.parse(one.subject).storm), one.subject


def _is(thread: Thread) -> ColumnElement[bool]:
    return and_(threads.c.channel == thread.channel, threads.c.subject == thread.subject)


def _shows(event: _Stored) -> dict[str, object]:
    task = rows.event_of(event.facts).task
    return {
        "event_id": event.id,
        "event_seq": event.seq,
        "facts": event.facts,
        "instance_id": task and task.instance_id,
        "instance_name": task and task.instance_name,
    }
