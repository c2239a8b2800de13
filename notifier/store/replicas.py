"""What a process records about itself when it starts, runs and stops."""

from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, or_, select, update

from notifier.core.delivery import DeliveryState
from notifier.core.health_facts import Replica
from notifier.store import rows, statements
from notifier.store.delivery_rows import make_due
from notifier.store.schema import channels, credentials, deliveries, edit_budgets, replicas, sources
from notifier.store.session import Session
from notifier.store.writable import prove_writable

STOPPED_KEPT = timedelta(hours=1)
"""How long a process that stopped in order stays recorded once another has begun."""

SILENT_KEPT = timedelta(days=7)
"""The same for a process that stopped reporting."""


class Replicas:
    """The processes that share the database, and their claims."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def report(self, replica: Replica) -> None:
        """Record the state of a process. A new process replaces others that ended long ago."""
        if replica.seen_at == replica.started_at:
            stopped = and_(replicas.c.stopped_at.is_not(None), replicas.c.seen_at < replica.seen_at - STOPPED_KEPT)
            old = or_(stopped, replicas.c.seen_at < replica.seen_at - SILENT_KEPT)
            self._session.execute(delete(replicas).where(old))
        self._session.execute(statements.REPORT_REPLICA, rows.replica_values(replica))

    def release_claims(self, owner: str | None, now: datetime) -> None:
        """Release the claims of an owner, or of anybody; the outcome of deliveries that had begun is unknown then."""
        held = {
            table: table.c.claimed_by.is_not(None) if owner is None else table.c.claimed_by == owner
            for table in (sources, deliveries)
        }
        self._session.execute(update(sources).where(held[sources]).values(claimed_by=None, claimed_until=None))
        polled = sources.c.polled_by.is_not(None) if owner is None else sources.c.polled_by == owner
        self._session.execute(update(sources).where(polled).values(polled_by=None))
        make_due(
            self._session,
            held[deliveries],
            deliveries.c.state == DeliveryState.PENDING,
            claimed_by=None,
            available_at=now,
            **statements.ABANDONED_CLAIM,
        )

    def reset_future_deadlines(self, now: datetime) -> bool:
        """Clear deadlines left by a clock that was set back since; return whether a poll was recorded in the future.

        For a database that follows a host's clock, when its only service starts. A call that this makes too early is
        refused once more; without this it would wait for as long as the clock was ahead.
        """
        latest = self._session.execute(select(func.max(sources.c.last_poll_at))).scalar()
        if latest is None or latest <= now:
            return False
        self._session.execute(update(sources).values(next_poll_at=None))
        for paced in (channels, edit_budgets):
            self._session.execute(update(paced).values(open_until=None, paused_until=None, rate_at=None))
        self._session.execute(update(credentials).values(paused_until=None, rate_at=None))
        self._session.execute(update(channels).where(channels.c.probe_at > now).values(probe_at=now))
        pending = (deliveries.c.state == DeliveryState.PENDING, deliveries.c.available_at > now)
        make_due(self._session, *pending, available_at=now)
        return True

    def prove_writable(self) -> None:
        """Write something that changes nothing. Raises StoreError where the database cannot be written."""
        self._session.on_driver(prove_writable)
