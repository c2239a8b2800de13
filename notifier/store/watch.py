"""The statements of watching over the program itself. One named method a statement."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Table, and_, delete, false, func, or_, select, update

from notifier.core.alerts import DeadLetters
from notifier.core.delivery import DeliveryState
from notifier.core.health import Replica
from notifier.core.identity import Subject
from notifier.store import rows
from notifier.store.polls import PollStatements
from notifier.store.schema import channels, deliveries, replicas, sources

STOPPED_KEPT = timedelta(hours=1)
"""How long a process that stopped in order stays recorded once another has begun."""

SILENT_KEPT = timedelta(days=7)
"""The same for one that fell silent."""


class WatchStatements(PollStatements):
    """The part of `ports.Transaction` that watching needs."""

    def hold_channels(self) -> None:
        """Let nobody else change any channel until the transaction ends.

        Whoever changes several, or asks for the parked ones beside those that it has changed, begins with this:
        all who lock several take them in this order, so that none wait for each other.
        """
        self.connection.execute(select(channels.c.name).order_by(channels.c.name).with_for_update())

    def given_up(self, channel: str, since: datetime) -> DeadLetters | None:
        """Count the dead deliveries of a channel that died later than this and are not about a channel themselves."""
        dead = (
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.DEAD,
            deliveries.c.dismissed_at.is_(None),
            deliveries.c.settled_at > since,
            ~deliveries.c.lane.startswith(Subject.CHANNEL_PREFIX),
        )
        latest = select(deliveries.c.settled_at, deliveries.c.reason).where(*dead)
        last = self.connection.execute(latest.order_by(deliveries.c.settled_at.desc()).limit(1)).one_or_none()
        if last is None:
            return None
        counted = select(func.count(), func.min(deliveries.c.settled_at)).where(*dead)
        count, first = self.connection.execute(counted).one()
        return DeadLetters(count=count, first=first, last=last.settled_at, reason=last.reason)

    def announce_source(self, source: str, was: datetime | None, since: datetime | None) -> bool:
        """Note since when a source is said to be failing; return False when another replica has meanwhile."""
        return self._swap(sources, source, "announced_since", was, since)

    def announce_channel(self, channel: str, was: datetime | None, since: datetime | None) -> bool:
        """Do the same for a channel."""
        return self._swap(channels, channel, "announced_since", was, since)

    def announce_given_up(self, channel: str, was: datetime | None, until: datetime) -> bool:
        """Note up to when the dead deliveries of a channel are told; return False as the other two do."""
        return self._swap(channels, channel, "given_up_until", was, until)

    def report_replica(self, replica: Replica) -> None:
        """Record how a process is. A new one takes the place of others that ended long ago."""
        values = rows.replica_values(replica)
        if replica.seen_at == replica.started_at:
            stopped = and_(replicas.c.stopped_at.is_not(None), replicas.c.seen_at < replica.seen_at - STOPPED_KEPT)
            old = or_(stopped, replicas.c.seen_at < replica.seen_at - SILENT_KEPT)
            self.connection.execute(delete(replicas).where(old))
        insert = self._insert(replicas).values(values)
        self.connection.execute(insert.on_conflict_do_update(index_elements=["owner"], set_=values))

    def prove_writable(self) -> None:
        """Write something that changes nothing. Raises StoreError where the database cannot be written."""
        if self.connection.dialect.name == "sqlite":  # a page is written, so that a full disk shows
            version = self.connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            self.connection.exec_driver_sql(f"PRAGMA user_version = {int(version)}")
        else:
            self.connection.execute(update(sources).where(false()).values(failures=0))

    def _swap(self, table: Table, name: str, column: str, was: datetime | None, value: datetime | None) -> bool:
        """Set a column that still is what it was. Whoever comes second waits for the first, and changes nothing."""
        self.connection.execute(self._insert(table).values(name=name).on_conflict_do_nothing())
        unchanged = table.c[column].is_not_distinct_from(was)
        swap = update(table).where(table.c.name == name, unchanged).values({column: value})
        return self.connection.execute(swap).rowcount == 1
