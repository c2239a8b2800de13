"""The events: what happened to tasks, sources and channels, each stored once."""

from collections.abc import Collection, Mapping, Sequence

from notifier.core.routing import RoutedEvent
from notifier.ports import EventsRecorded
from notifier.store import rows, statements
from notifier.store.session import Session


class Events:
    """Writes of events."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def record(self, routed: Sequence[RoutedEvent]) -> EventsRecorded:
        """Insert events; an id that is already there is left as it is."""
        if not routed:
            return EventsRecorded(new=(), refused=())
        ids = [item.event.id for item in routed]
        known = set(self._session.execute(statements.KNOWN_EVENTS, {"ids": ids}).scalars())
        fresh = [item for item in routed if item.event.id not in known]
        refused = {item.event.id for item in self._session.insert_isolated(fresh, self._insert)}
        return EventsRecorded(
            new=tuple(item for item in fresh if item.event.id not in refused),
            refused=tuple(item.event for item in fresh if item.event.id in refused),
        )

    def _insert(self, routed: Sequence[RoutedEvent]) -> None:
        self._session.execute_columns(statements.RECORD_EVENT, rows.event_columns(routed))

    def occurrences(self, source: str, job_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the occurrences of the recorded events of tasks, by job id."""
        if not job_ids:
            return {}
        occurrences: dict[str, set[str]] = {}
        for job_id, occurrence in self._session.execute(statements.OCCURRENCES, {"source": source, "ids": job_ids}):
            occurrences.setdefault(job_id, set()).add(occurrence)
        return occurrences
