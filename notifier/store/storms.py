"""Storms: what each channel reports of many failures at once."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete

from notifier.core.storms import Storm
from notifier.core.storms import end as end_storm
from notifier.store import rows, statements
from notifier.store.queries import Queries
from notifier.store.schema import storms
from notifier.store.session import Session
from notifier.store.threads import Threads


class Storms:
    """Reads with a lock, and writes, of storms."""

    def __init__(self, session: Session, queries: Queries, threads: Threads) -> None:
        self._session = session
        self._queries = queries
        self._threads = threads

    def lasting(self, source: str) -> Sequence[Storm]:
        """Return the storms of a source that have not ended; nobody else changes them until the transaction ends."""
        return [rows.storm_of(row) for row in self._session.execute(statements.LASTING_STORMS, {"source": source})]

    def lock(self, storm_id: str) -> Storm | None:
        """Return a storm, which nobody else changes until the transaction ends; None where it is unknown."""
        row = self._session.execute(statements.LOCK_STORM, {"id": storm_id}).one_or_none()
        return None if row is None else rows.storm_of(row)

    def save(self, storm: Storm, now: datetime) -> None:
        """Record a storm, and let the message about it show what is recorded now."""
        values = rows.storm_values(storm)
        insert = self._session.insert(storms).values(values)
        self._session.execute(insert.on_conflict_do_update(index_elements=["id"], set_=values))
        self._threads.touch_storm(storm, now)

    def end(self, sources: Collection[str], now: datetime) -> None:
        """End the storms of sources that nobody polls any more."""
        for source in sources:
            for storm in self.lasting(source):
                self.save(end_storm(storm, now), now)

    def prune(self, before: datetime) -> int:
        """Delete storms that have not grown since a time; return how many."""
        return self._session.execute(delete(storms).where(storms.c.updated_at < before)).rowcount
