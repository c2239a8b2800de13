"""Events in the order of their numbers, for readers that must miss none."""

from collections.abc import Collection, Sequence

from notifier.core.routing import RoutedEvent
from notifier.ports import EventHorizon
from notifier.store import rows, statements
from notifier.store.session import Session


class EventStream:
    """Reads of events by number.

    PostgreSQL numbers an event before its transaction commits, so that one with a larger number may be seen first. A
    reader takes the `horizon`, waits until the transactions that it names are over, and then reads up to it in another
    view of the database: no smaller number can appear afterwards. SQLite has one writer, which numbers in order.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def horizon(self) -> EventHorizon:
        """Return the largest number that has been given, and the transactions that may still commit a smaller one."""
        if not self._session.is_postgresql:
            return EventHorizon(number=self._session.execute(statements.LATEST_NUMBER).scalar() or 0)
        number = self._session.execute(statements.LATEST_SEQUENCE_NUMBER).scalar() or 0
        return EventHorizon(number=number, writers=self.writers())

    def writers(self) -> Collection[str]:
        """Return the transactions that may be writing events."""
        if not self._session.is_postgresql:
            return frozenset()
        return frozenset(self._session.execute(statements.WRITERS_OF_EVENTS).scalars())

    def events(self, after: int, until: int, limit: int) -> Sequence[tuple[int, RoutedEvent]]:
        """Return the events with larger numbers than `after`, up to `until`, in order."""
        found = self._session.execute(statements.NUMBERED_EVENTS, {"after": after, "until": until, "limit": limit})
        return [(row.seq, rows.routed_of(row)) for row in found]
