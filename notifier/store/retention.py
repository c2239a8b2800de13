"""The deletions of retention. One named method a statement, each bounded and led by an index."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Row, case, delete, exists, func, literal, select, tuple_, update

from notifier.core.delivery import DeliveryState
from notifier.core.model import TaskStatus
from notifier.core.retry import CLOCK_TOLERANCE
from notifier.ports import EventCursor, EventsPruned
from notifier.store.polls import PollStatements
from notifier.store.queries import chunks
from notifier.store.schema import UtcDateTime, deliveries, delivery_events, events, sources, tasks

_OVER = (DeliveryState.DELIVERED, DeliveryState.SUPPRESSED, DeliveryState.SUPERSEDED)
"""States that nothing leads out of. A dead delivery can be sent again by hand."""


class RetentionStatements(PollStatements):
    """The part of `ports.Transaction` that pruning needs."""

    def pruning_time(self) -> datetime | None:
        """Return the time that age is counted back from; None while nobody knows how old anything is."""
        now, states = self.now(), self.source_states()
        if not states:
            return now
        good = [(state.last_poll_at, state) for state in states if state.last_poll_at and state.last_error is None]
        if not good:
            return None
        polled_at, newest = max(good, key=itemgetter(0))
        if newest.clock_skew is not None and abs(newest.clock_skew) > CLOCK_TOLERANCE.total_seconds():
            return None
        return min(now, polled_at)

    def prune_events(
        self, before: datetime, dead_before: datetime | None, after: EventCursor | None, limit: int
    ) -> EventsPruned:
        """Look at the next events that are old enough, and delete those whose accounts are all closed.

        A delivery goes with the last of its events. An event that lacks an account stays, for the audit to show.
        """
        old = self._old_events(before, after, limit)
        ids = [row.id for row in old]
        of: dict[str, list[str]] = {event_id: [] for event_id in ids}
        for event_id, delivery_id in self._accounts(ids):
            of[event_id].append(delivery_id)
        closed = self._lock_closed(
            {delivery_id for accounts in of.values() for delivery_id in accounts}, before, dead_before
        )
        going = [row.id for row in old if len(of[row.id]) == row.channel_count and closed.issuperset(of[row.id])]
        gone = set(going)
        self._note_pruned((row.source, row.job_id) for row in old if row.id in gone)
        self._delete_accounts(going)
        emptied = self._delete_emptied({delivery_id for event_id in going for delivery_id in of[event_id]})
        return EventsPruned(
            events=self._delete_events(going),
            deliveries=emptied,
            last=EventCursor(old[-1].observed_at, old[-1].seq) if len(old) == limit else None,
        )

    def _old_events(self, before: datetime, after: EventCursor | None, limit: int) -> Sequence[Row[*tuple[Any, ...]]]:
        place = (events.c.observed_at, events.c.seq)
        further = [] if after is None else [tuple_(*place) > tuple_(*after)]
        # Of a task that goes on the events stay: they say what has been told of it.
        goes_on = exists().where(
            tasks.c.source == events.c.source,
            tasks.c.job_id == events.c.job_id,
            tasks.c.status == TaskStatus.RUNNING,
            ~tasks.c.unlisted,
        )
        aged = (events.c.observed_at < before, ~goes_on, *further)
        columns = (events.c.id, events.c.source, events.c.job_id, events.c.channel_count, *place)
        statement = select(*columns).where(*aged)
        return self.connection.execute(statement.order_by(*place).limit(limit)).all()

    def _accounts(self, event_ids: Collection[str]) -> Sequence[tuple[str, str]]:
        pairs = select(delivery_events.c.event_id, delivery_events.c.delivery_id)
        return [
            (event_id, delivery_id)
            for some in chunks(event_ids)
            for event_id, delivery_id in self.connection.execute(pairs.where(delivery_events.c.event_id.in_(some)))
        ]

    def _lock_closed(self, delivery_ids: Collection[str], before: datetime, dead_before: datetime | None) -> set[str]:
        """Return those that may go; until the transaction ends nobody sends one of them again."""
        closed = select(deliveries.c.id).where(_closed(before, dead_before)).with_for_update(skip_locked=True)
        return {
            delivery_id
            for some in chunks(delivery_ids)
            for delivery_id in self.connection.execute(closed.where(deliveries.c.id.in_(some))).scalars()
        }

    def _delete_accounts(self, event_ids: Collection[str]) -> None:
        for some in chunks(event_ids):
            self.connection.execute(delete(delivery_events).where(delivery_events.c.event_id.in_(some)))

    def _note_pruned(self, subjects: Iterable[tuple[str, str]]) -> None:
        """Let tasks, named by source and job id, remember that they had events, which are about to be deleted."""
        of: dict[str, list[str]] = {}
        for source, job_id in subjects:
            of.setdefault(source, []).append(job_id)
        for source, job_ids in of.items():
            for some in chunks(job_ids):
                mine = (tasks.c.source == source, tasks.c.job_id.in_(some))
                self.connection.execute(update(tasks).where(*mine).values(events_pruned=True))

    def _delete_emptied(self, delivery_ids: Collection[str]) -> int:
        """Delete those of the deliveries that carry no event any more, with their attempts."""
        carries = exists().where(delivery_events.c.delivery_id == deliveries.c.id)
        return sum(
            self.connection.execute(delete(deliveries).where(deliveries.c.id.in_(some), ~carries)).rowcount
            for some in chunks(delivery_ids)
        )

    def _delete_events(self, event_ids: Collection[str]) -> int:
        return sum(
            self.connection.execute(delete(events).where(events.c.id.in_(some))).rowcount for some in chunks(event_ids)
        )

    def prune_tasks(self, keep: timedelta, limit: int) -> int:
        """Delete tasks that are over and that the list cannot name any more; return how many.

        Age is counted back from the last complete look at the task's source: while nobody looks, nothing grows old.
        The source notes how far it has forgotten, so that a task that is listed again all the same is no news.
        """
        pruned = 0
        for source in self._lock_seen_whole():
            if pruned < limit:
                pruned += self._prune_tasks_of(source, source.last_full_at - keep, limit - pruned)
        return pruned

    def prune_sources(self, configured: Collection[str], before: datetime, limit: int) -> int:
        """Delete tasks of sources that are not configured any more; see `ports.Transaction`."""
        pruned = 0
        for state in self.source_states():
            polled_at = state.last_poll_at or before
            if state.name in configured or polled_at > before or pruned >= limit:
                continue
            mine = tasks.c.source == state.name
            some = self.connection.execute(select(tasks.c.job_id).where(mine).limit(limit - pruned)).scalars().all()
            for few in chunks(some):
                self.connection.execute(delete(tasks).where(mine, tasks.c.job_id.in_(few)))
            pruned += len(some)
            if pruned < limit:
                self.connection.execute(delete(sources).where(sources.c.name == state.name))
            self.after_commit.append(partial(self._memory.forget, state.name))
        return pruned

    def _lock_seen_whole(self) -> Sequence[Row[*tuple[Any, ...]]]:
        """Return the sources that were seen whole and that no poll is being recorded of; none begins until the end."""
        columns = (sources.c.name, sources.c.last_full_at, sources.c.forgotten_to)
        whole = select(*columns).where(sources.c.last_full_at.is_not(None)).order_by(sources.c.name)
        return self.connection.execute(whole.with_for_update(skip_locked=True)).all()

    def _prune_tasks_of(self, source: Row[*tuple[Any, ...]], before: datetime, limit: int) -> int:
        old = self._old_tasks(source.name, before, limit)
        if not old:
            return 0
        for some in chunks([row.job_id for row in old]):
            self.connection.execute(delete(tasks).where(tasks.c.source == source.name, tasks.c.job_id.in_(some)))
        latest = max(row.last_word for row in old)
        forgotten_to = latest if source.forgotten_to is None else max(latest, source.forgotten_to)
        mine = sources.c.name == source.name
        self.connection.execute(update(sources).where(mine).values(forgotten_to=forgotten_to))
        self.after_commit.append(partial(self._memory.forget, source.name))
        return len(old)

    def _old_tasks(self, source: str, before: datetime, limit: int) -> Sequence[Row[*tuple[Any, ...]]]:
        # A task that tells no time of its own is kept: nothing would say that it is an old one if it came again.
        last_word = func.coalesce(tasks.c.ended_at, tasks.c.created_at)
        moments = (tasks.c.changed_at, tasks.c.first_seen_at, last_word)
        statement = select(tasks.c.job_id, last_word.label("last_word")).where(
            tasks.c.source == source,
            tasks.c.status != TaskStatus.RUNNING,
            *(moment < before for moment in moments),
        )
        return self.connection.execute(statement.order_by(tasks.c.changed_at).limit(limit)).all()


def _closed(before: datetime, dead_before: datetime | None) -> ColumnElement[bool]:
    """Return the condition that a delivery has been settled for long enough."""
    # One comparison: of alternatives by state SQLite would read every delivery in these states.
    limit = case(
        (deliveries.c.state.in_(_OVER), literal(before, UtcDateTime)),
        (deliveries.c.state == DeliveryState.DEAD, literal(dead_before, UtcDateTime)),
    )
    # What was never to be sent was settled when it was made.
    return func.coalesce(deliveries.c.settled_at, deliveries.c.created_at) < limit
