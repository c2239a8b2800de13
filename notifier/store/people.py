"""What people do about tasks: acknowledgements, subscriptions, and the record of their actions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from sqlalchemy import Executable, delete

from notifier.core.people import Acknowledgement, Action, EventSubscription, TaskSubscription
from notifier.store import rows, statements
from notifier.store.queries import Queries
from notifier.store.schema import acknowledgements, subscriptions
from notifier.store.session import Session, chunks
from notifier.store.threads import Threads

REPLAYABLE = timedelta(minutes=10)
"""How long a request is remembered: twice as long as its signature is accepted."""


class People:
    """Writes of what people do. Threads that show it change with it."""

    def __init__(self, session: Session, queries: Queries, threads: Threads) -> None:
        self._session = session
        self._queries = queries
        self._threads = threads

    def acknowledge(self, acknowledgement: Acknowledgement) -> Acknowledgement:
        """Record who acknowledged an event, unless somebody has; return the recorded acknowledgement."""
        insert = self._session.insert(acknowledgements).values(asdict(acknowledgement))
        self._session.execute(insert.on_conflict_do_nothing())
        recorded = self._queries.acknowledgement(acknowledgement.event_id)
        if recorded == acknowledgement:
            self._threads.touch_event(acknowledgement.event_id, acknowledgement.at)
        return recorded or acknowledgement

    def acknowledge_latest(self, storm_id: str, by: Acknowledgement) -> int:
        """Acknowledge the failures of a storm that nothing followed and nobody has acknowledged; return how many.

        `by` has who does it and when; its event is not used. The messages of these tasks change.
        """
        found = list(self._session.execute(statements.UNCLAIMED_FAILURES, {"storm": storm_id}).scalars())
        count = 0
        for some in chunks(found):
            values = [asdict(replace(by, event_id=event_id)) for event_id in some]
            insert = self._session.insert(acknowledgements).values(values).on_conflict_do_nothing()
            count += len(self._session.execute(insert.returning(acknowledgements.c.event_id)).all())
            self._threads.touch_events(some, by.at)
        return count

    def unacknowledge(self, event_id: str, now: datetime) -> Acknowledgement | None:
        """Delete the acknowledgement of an event and return it; None when there is none."""
        deleted = delete(acknowledgements).where(acknowledgements.c.event_id == event_id)
        row = self._session.execute(deleted.returning(*acknowledgements.columns)).one_or_none()
        if row is None:
            return None
        self._threads.touch_event(event_id, now)
        return rows.acknowledgement_of(row)

    def subscribe(self, subscription: TaskSubscription) -> bool:
        """Record a subscription; return False when it was there already."""
        insert = self._session.insert(subscriptions).values(asdict(subscription)).on_conflict_do_nothing()
        return self._session.execute(insert.returning(subscriptions.c.job_id)).first() is not None

    def subscribers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who subscribed to the end of tasks, by job id."""
        return self._by_job_id(statements.SUBSCRIBERS, source, job_ids)

    def pop_subscribers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Delete the subscriptions to tasks, and return who subscribed, by job id."""
        return self._by_job_id(statements.POP_SUBSCRIBERS, source, job_ids)

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        """Return the subscriptions to events of all people and channels, the oldest first."""
        return [rows.event_subscription_of(row) for row in self._session.execute(statements.EVENT_SUBSCRIPTIONS)]

    def subscribe_to_events(self, subscription: EventSubscription) -> bool:
        """Record a subscription to events; return False when it was there already."""
        found = self._session.execute(statements.RECORD_EVENT_SUBSCRIPTION, asdict(subscription))
        return found.first() is not None

    def end_subscriptions(self, ids: Collection[str]) -> Sequence[EventSubscription]:
        """Delete subscriptions to events; return those that were there, the oldest first."""
        ended = self._session.execute(statements.END_EVENT_SUBSCRIPTIONS, {"ids": list(ids)}) if ids else ()
        return sorted(map(rows.event_subscription_of, ended), key=lambda one: (one.created_at, one.id))

    def _by_job_id(self, statement: Executable, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        if not job_ids:
            return {}
        people: dict[str, list[str]] = {}
        for job_id, person in self._session.execute(statement, {"source": source, "ids": job_ids}):
            people.setdefault(job_id, []).append(person)
        return {job_id: sorted(people[job_id]) for job_id in sorted(people)}

    def record_action(self, action: Action) -> None:
        """Record what a person did."""
        self._session.execute(statements.RECORD_ACTION, rows.action_values(action))

    def record_request(self, key: str, now: datetime) -> bool:
        """Record a request that changes something; return False when it was recorded within the last ten minutes."""
        self._session.execute(statements.DROP_REQUESTS, {"before": now - REPLAYABLE})
        return bool(self._session.execute(statements.RECORD_REQUEST, {"key": key, "seen_at": now}).all())
