"""The statements of watching over the program itself. One named method a statement."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Table, func, select, update

from notifier.core.model import CHANNEL_SUBJECT, DeliveryState
from notifier.core.watching import GivenUp
from notifier.store.polls import PollStatements
from notifier.store.schema import channels, deliveries, sources


class WatchStatements(PollStatements):
    """The part of `ports.Transaction` that watching needs."""

    def hold_channels(self) -> None:
        """Let nobody else change any channel until the transaction ends.

        Whoever changes several, or asks for the parked ones beside those that it has changed, begins with this:
        all who lock several take them in this order, so that none wait for each other.
        """
        self.connection.execute(select(channels.c.name).order_by(channels.c.name).with_for_update())

    def given_up(self, channel: str, since: datetime) -> GivenUp | None:
        """Count the dead deliveries of a channel that died later than this and are not about a channel themselves."""
        dead = (
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.DEAD,
            deliveries.c.settled_at > since,
            ~deliveries.c.lane.startswith(CHANNEL_SUBJECT),
        )
        latest = select(deliveries.c.settled_at, deliveries.c.reason).where(*dead)
        last = self.connection.execute(latest.order_by(deliveries.c.settled_at.desc()).limit(1)).one_or_none()
        if last is None:
            return None
        counted = select(func.count(), func.min(deliveries.c.settled_at)).where(*dead)
        count, first = self.connection.execute(counted).one()
        return GivenUp(count=count, first=first, last=last.settled_at, reason=last.reason)

    def announce_source(self, source: str, was: datetime | None, since: datetime | None) -> bool:
        """Note since when a source is said to be failing; return False when another replica has meanwhile."""
        return self._swap(sources, source, "announced_since", was, since)

    def announce_channel(self, channel: str, was: datetime | None, since: datetime | None) -> bool:
        """Do the same for a channel."""
        return self._swap(channels, channel, "announced_since", was, since)

    def announce_given_up(self, channel: str, was: datetime | None, until: datetime) -> bool:
        """Note up to when the dead deliveries of a channel are told; return False as the other two do."""
        return self._swap(channels, channel, "given_up_until", was, until)

    def _swap(self, table: Table, name: str, column: str, was: datetime | None, value: datetime | None) -> bool:
        """Set a column that still is what it was. Whoever comes second waits for the first, and changes nothing."""
        self.connection.execute(self._insert(table).values(name=name).on_conflict_do_nothing())
        unchanged = table.c[column].is_not_distinct_from(was)
        swap = update(table).where(table.c.name == name, unchanged).values({column: value})
        return self.connection.execute(swap).rowcount == 1
