"""What the doorbell records: when the next poll of a source is due, and the state of subscriptions to topics."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, or_

from notifier.core.doorbell import Ring, RungSource, answer_ring
from notifier.store.schema import doorbell_topics
from notifier.store.session import Session, chunks
from notifier.store.statements import RING, RING_AS_PLANNED, RUNG_SOURCES


class Doorbell:
    """Rings for sources, and subscriptions to topics."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def ring(self, names: Collection[str], now: datetime, min_interval: timedelta) -> Sequence[Ring]:
        """Make sources due. Locks their rows, in the order of their names, until the transaction ends.

        A source that was never polled is due anyway, and nothing is recorded of it.
        """
        recorded = {found.name: found for some in chunks(sorted(names)) for found in self._lock(some, now)}
        rings = [answer_ring(recorded.get(name, RungSource(name=name)), now, min_interval) for name in sorted(names)]
        self._write([ring for ring in rings if ring.source in recorded], now, recorded)
        return rings

    def _write(self, rings: Sequence[Ring], now: datetime, recorded: Mapping[str, RungSource]) -> None:
        """Record rings, those that make sources due at the same time in one statement."""
        due: dict[datetime | None, list[str]] = defaultdict(list)
        planned: list[str] = []
        for ring in rings:
            as_planned = ring.next_poll_at == recorded[ring.source].next_poll_at
            (planned if as_planned else due[ring.next_poll_at]).append(ring.source)
        for some in chunks(planned):
            self._session.execute(RING_AS_PLANNED, {"names": some, "new_rung_at": now})
        for at, names in due.items():
            for some in chunks(names):
                self._session.execute(RING, {"names": some, "new_rung_at": now, "new_next_poll_at": at})

    def _lock(self, names: Sequence[str], now: datetime) -> Sequence[RungSource]:
        return [
            RungSource(
                name=row.name,
                last_poll_at=row.last_poll_at,
                next_poll_at=row.next_poll_at,
                failures=row.failures,
                claimed=row.claimed_until is not None and row.claimed_until > now,
                rung=row.rung_epoch == row.epoch,
            )
            for row in self._session.execute(RUNG_SOURCES, {"names": names})
        ]

    def heard(self, topic: str, at: datetime) -> None:
        """Record that the subscription to a topic was in force at a time: a message of it came.

        Nothing is written where it is known to be, nor by a message that is older than its end.
        """
        insert = self._session.insert(doorbell_topics).values(urn=topic, confirmed_at=at)
        ended, failed = doorbell_topics.c.ended_at, doorbell_topics.c.failed_at
        known_otherwise = or_(ended < at, and_(ended.is_(None), failed.is_not(None)))
        in_force = {"confirmed_at": at, "ended_at": None, "failed_at": None, "error": None}
        self._session.execute(
            insert.on_conflict_do_update(index_elements=["urn"], set_=in_force, where=known_otherwise)
        )

    def subscribed(self, topic: str, now: datetime) -> None:
        """Record that the subscription to a topic was confirmed."""
        self._save(topic, confirmed_at=now, ended_at=None, failed_at=None, error=None)

    def not_subscribed(self, topic: str, now: datetime, error: str) -> None:
        """Record why a subscription could not be confirmed."""
        self._save(topic, failed_at=now, error=error)

    def ended(self, topic: str, at: datetime) -> None:
        """Record that the subscription to a topic was ended."""
        self._save(topic, ended_at=at, failed_at=None, error=None)

    def _save(self, topic: str, **values: datetime | str | None) -> None:
        insert = self._session.insert(doorbell_topics).values(urn=topic, **values)
        self._session.execute(insert.on_conflict_do_update(index_elements=["urn"], set_=values))
