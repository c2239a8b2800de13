"""The state of channels: health, parking, and which failures were announced."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update

from notifier.core.alerts import DeadLetters
from notifier.core.delivery import DeliveryState
from notifier.core.identity import Subject
from notifier.core.model import ChannelState
from notifier.core.pacing import ChannelHealth
from notifier.store import rows, statements
from notifier.store.delivery_rows import change_deliveries, make_due
from notifier.store.schema import channels, deliveries
from notifier.store.session import Session
from notifier.store.statements import new_values


class Channels:
    """Reads with a lock, and writes, of the state of channels."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self) -> None:
        """Prevent any other change of any channel until the transaction ends.

        A transaction that changes several channels, or reads the parked ones beside those that it has changed, begins
        with this: all who lock several take them in this order, so that none wait for each other.
        """
        self._session.execute(statements.LOCK_CHANNELS)

    def parked(self) -> Mapping[str, ChannelState]:
        """Return the channels that are parked, by name; none of them can be unparked until the transaction ends."""
        return {row.name: rows.channel_of(row) for row in self._session.execute(statements.PARKED_CHANNELS)}

    def health(self, channel: str) -> ChannelHealth:
        """Return the health of a channel; nobody else can change it until the transaction ends."""
        return rows.health_of(self._session.lock_named(channels, statements.CHANNEL, channel))

    def save_health(self, channel: str, health: ChannelHealth) -> None:
        """Record the health of a channel."""
        self._session.execute(statements.SAVE_HEALTH, new_values(rows.health_values(health)) | {"of_name": channel})

    def park(self, channel: str, reason: str | None, wait: timedelta | None, now: datetime) -> None:
        """Park a channel with its waiting deliveries; it is probed after `wait`, or never.

        What a rule holds stays pending: when its hold ends it waits with the others.
        """
        changed = {"reason": reason, "probe_at": None if wait is None else now + wait}
        self._session.execute(
            self._session.insert(channels)
            .values(name=channel, parked_since=now, **changed)
            .on_conflict_do_update(
                index_elements=["name"], set_=changed | {"parked_since": func.coalesce(channels.c.parked_since, now)}
            )
        )
        change_deliveries(
            self._session,
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.claimed_by.is_(None),
            deliveries.c.rule.is_(None),
            state=DeliveryState.PARKED,
            reason=reason,
        )

    def unpark(self, channel: str, now: datetime) -> int:
        """Make the parked deliveries of a channel pending again, in order, and return how many."""
        self._session.execute(
            update(channels).where(channels.c.name == channel).values(parked_since=None, reason=None, probe_at=None)
        )
        return make_due(
            self._session,
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PARKED,
            state=DeliveryState.PENDING,
            available_at=now,
            retried_at=now,
            earlier_attempts=deliveries.c.attempt,
        )

    def unpark_due(self, now: datetime) -> Sequence[str]:
        """Unpark every channel whose probe time has come and return their names."""
        names = list(self._session.execute(statements.DUE_PROBES, {"now": now}).scalars())
        for name in names:
            self.unpark(name, now)
        return names

    def sync(self, digests: Mapping[str, str], now: datetime) -> Sequence[str]:
        """Record each configured channel's settings digest; unpark and return those whose settings changed."""
        known = {row.name: row.settings_digest for row in self._session.execute(select(channels))}
        changed = sorted(name for name, digest in digests.items() if known.get(name) != digest)
        for name in changed:
            insert = self._session.insert(channels).values(name=name, settings_digest=digests[name])
            self._session.execute(
                insert.on_conflict_do_update(index_elements=["name"], set_={"settings_digest": digests[name]})
            )
        return [name for name in changed if known.get(name) is not None and self.unpark(name, now)]

    def dead_letters(self, channel: str, since: datetime) -> DeadLetters | None:
        """Count the dead deliveries of a channel that died later than this and are not about a channel themselves."""
        dead = (
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.DEAD,
            deliveries.c.dismissed_at.is_(None),
            deliveries.c.settled_at > since,
            ~deliveries.c.subject.startswith(Subject.CHANNEL_PREFIX),
        )
        latest = select(deliveries.c.settled_at, deliveries.c.reason).where(*dead)
        last = self._session.execute(latest.order_by(deliveries.c.settled_at.desc()).limit(1)).one_or_none()
        if last is None:
            return None
        counted = select(func.count(), func.min(deliveries.c.settled_at)).where(*dead)
        count, first = self._session.execute(counted).one()
        return DeadLetters(count=count, first=first, last=last.settled_at, reason=last.reason)

    def announce(self, channel: str, was: datetime | None, since: datetime | None) -> bool:
        """Record since when a channel is announced as failing, where that is still `was`; return whether it is."""
        return self._session.swap(channels, channel, "announced_since", was, since)

    def announce_dead_letters(self, channel: str, was: datetime | None, until: datetime) -> bool:
        """Record up to when dead deliveries of a channel were announced; return False as `announce` does."""
        return self._session.swap(channels, channel, "given_up_until", was, until)
