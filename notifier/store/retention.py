"""The deletions of retention: each is bounded and served by an index."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Delete, Row, delete, exists, select, update

from notifier.core.retry import CLOCK_TOLERANCE
from notifier.ports import EventCursor, EventsPruned
from notifier.store import statements
from notifier.store.polls import FingerprintCache
from notifier.store.queries import Queries
from notifier.store.schema import acknowledgements, actions, events, origins, sources, subscriptions, tasks
from notifier.store.session import Session, chunks
from notifier.store.task_changes import TaskChanges


class _Aging(Protocol):
    """A part of the store whose rows grow old."""

    def prune(self, before: datetime) -> int:
        """Delete rows that have not changed since before a time, and that nothing needs; return how many."""


class Retention:
    """Deletes what is past retention, one batch at a time."""

    def __init__(self, session: Session, cache: FingerprintCache, queries: Queries, aging: Sequence[_Aging]) -> None:
        self._session = session
        self._cache = cache
        self._queries = queries
        self._aging = aging

    def pruning_time(self) -> datetime | None:
        """Return the time that age is counted back from: that of the newest good poll, while a source has any.

        None while the last poll of every source failed, or where the newest good one was recorded by a clock that
        disagrees with the cloud's: nobody knows then how old anything is.
        """
        now, states = self._session.now(), self._queries.source_states()
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
        """Read the next events that are old enough, and delete those whose deliveries are all closed.

        A delivery goes with the last of its events. An event that lacks a delivery record stays, for the audit to show.

        Args:
            before: when an event must have been seen at the latest, and each of its deliveries settled.
            dead_before: the same for dead deliveries; None keeps them.
            after: where to continue; None for the oldest.
            limit: maximum number of events to read.
        """
        old = self._old_events(before, after, limit)
        carriers: dict[str, list[str]] = {row.id: [] for row in old}
        for found in self._session.execute_chunks(statements.DELIVERIES_OF_EVENTS, carriers):
            for event_id, delivery_id in found:
                carriers[event_id].append(delivery_id)
        delivery_ids = {delivery_id for ids in carriers.values() for delivery_id in ids}
        closed = self._lock_closed(delivery_ids, before, dead_before)
        pruned = [
            row for row in old if len(carriers[row.id]) == row.channel_count and closed.issuperset(carriers[row.id])
        ]
        event_ids = [row.id for row in pruned]
        self._mark_events_pruned((row.source, row.job_id) for row in pruned)
        self._delete(statements.DELETE_DELIVERY_RECORDS, event_ids)
        emptied = {delivery_id for event_id in event_ids for delivery_id in carriers[event_id]}
        deleted = self._delete(statements.DELETE_EMPTY_DELIVERIES, emptied)
        return EventsPruned(
            events=self._delete(statements.DELETE_EVENTS, event_ids),
            deliveries=deleted,
            last=EventCursor(old[-1].observed_at, old[-1].seq) if len(old) == limit else None,
        )

    def _old_events(self, before: datetime, after: EventCursor | None, limit: int) -> Sequence[Row[*tuple[Any, ...]]]:
        parameters: dict[str, object] = {"before": before, "limit": limit}
        if after is None:
            return self._session.execute(statements.OLD_EVENTS, parameters).all()
        cursor = {"after": after.observed_at, "after_seq": after.seq}
        return self._session.execute(statements.OLD_EVENTS_AFTER, parameters | cursor).all()

    def _lock_closed(self, delivery_ids: Collection[str], before: datetime, dead_before: datetime | None) -> set[str]:
        """Return those that may go; until the transaction ends nobody sends one of them again."""
        chunked = self._session.execute_chunks(
            statements.CLOSED_DELIVERIES, delivery_ids, before=before, dead_before=dead_before
        )
        return {delivery_id for found in chunked for delivery_id in found.scalars()}

    def _mark_events_pruned(self, subjects: Iterable[tuple[str, str]]) -> None:
        """Record that tasks, named by source and job id, had events, which are about to be deleted."""
        by_source: dict[str, list[str]] = {}
        for source, job_id in subjects:
            by_source.setdefault(source, []).append(job_id)
        for source, job_ids in by_source.items():
            for some in chunks(job_ids):
                self._session.execute(statements.MARK_EVENTS_PRUNED, {"of_source": source, "ids": some})

    def _delete(self, statement: Delete, ids: Collection[str]) -> int:
        return sum(result.rowcount for result in self._session.execute_chunks(statement, ids))

    def prune_tasks(self, keep: timedelta, limit: int) -> int:
        """Delete tasks that are over and that the list cannot name any more; return how many.

        Age is counted back from the last complete scan of the task's source: while nobody polls it, nothing grows old.
        The source records how far it is pruned, so that a task that is listed again all the same is not new.
        """
        pruned = 0
        for source in self._lock_scanned():
            if pruned < limit:
                pruned += self._prune_tasks_of(source, source.last_full_at - keep, limit - pruned)
        return pruned

    def prune_sources(self, configured: Collection[str], before: datetime, limit: int) -> int:
        """Delete tasks of sources that are no longer configured and were last polled before this time.

        Return how many were deleted. A source is deleted with the last of its tasks.
        """
        pruned = 0
        for state in self._queries.source_states():
            polled_at = state.last_poll_at or before
            if state.name in configured or polled_at > before or pruned >= limit:
                continue
            some = select(tasks.c.job_id).where(tasks.c.source == state.name).limit(limit - pruned)
            pruned += self._delete_tasks(state.name, list(self._session.execute(some).scalars()))
            if pruned < limit:
                self._session.execute(delete(sources).where(sources.c.name == state.name))
        return pruned

    def _lock_scanned(self) -> Sequence[Row[*tuple[Any, ...]]]:
        """Return the sources with a complete scan that no poll is being recorded of; none begins until the end."""
        columns = (sources.c.name, sources.c.last_full_at, sources.c.pruned_to)
        whole = select(*columns).where(sources.c.last_full_at.is_not(None)).order_by(sources.c.name)
        return self._session.execute(whole.with_for_update(skip_locked=True)).all()

    def _prune_tasks_of(self, source: Row[*tuple[Any, ...]], before: datetime, limit: int) -> int:
        wanted = {"source": source.name, "before": before, "limit": limit}
        old = self._session.execute(statements.OLD_TASKS, wanted).all()
        if not old:
            return 0
        latest = max(row.latest_time for row in old)
        pruned_to = latest if source.pruned_to is None else max(latest, source.pruned_to)
        self._session.execute(update(sources).where(sources.c.name == source.name).values(pruned_to=pruned_to))
        return self._delete_tasks(source.name, [row.job_id for row in old])

    def _delete_tasks(self, source: str, job_ids: Collection[str]) -> int:
        for some in chunks(job_ids):
            TaskChanges(self._session).mark_deleted(source, some)
            self._session.execute(statements.DELETE_TASKS, {"source": source, "ids": some})
            self._session.execute(delete(origins).where(origins.c.source == source, origins.c.job_id.in_(some)))
        self._session.after_commit.append(partial(self._cache.drop, source))
        return len(job_ids)

    def prune_people(self, now: datetime, keep: timedelta) -> int:
        """Delete threads, storms, tickets, mutes and what people asked for, older than `keep`, that nothing needs.

        Return how many rows were deleted.
        """
        before = now - keep
        unknown = ~exists().where(events.c.id == acknowledgements.c.event_id)
        old = (
            delete(acknowledgements).where(acknowledgements.c.at < before, unknown),
            delete(actions).where(actions.c.at < before),
            delete(subscriptions).where(subscriptions.c.created_at < before),
        )
        deleted = sum(self._session.execute(statement).rowcount for statement in old)
        deleted += TaskChanges(self._session).prune(now)
        return deleted + sum(part.prune(before) for part in self._aging)
