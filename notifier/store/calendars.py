"""Calendars that are read from files and addresses: the last good copy of each, for all replicas."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, bindparam, delete, select, update

from notifier.core.calendars import CalendarEntry, StoredCalendar
from notifier.store import rows
from notifier.store.schema import calendars
from notifier.store.session import Session

_LOCK = select(calendars).where(calendars.c.name == bindparam("of_name")).with_for_update()


class Calendars:
    """Reads and writes of calendars."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, names: Collection[str]) -> Mapping[str, StoredCalendar]:
        """Return what is recorded of calendars, by name."""
        if not names:
            return {}
        found = self._session.execute(select(calendars).where(calendars.c.name.in_(names)))
        return {row.name: rows.calendar_of(row) for row in found}

    def claim_due(self, origins: Mapping[str, str], now: datetime, until: datetime) -> Sequence[str]:
        """Return the calendars to read now, by name, and let nobody else read them until a time.

        A calendar is due when its time has come, when it was never read, or when it is read from elsewhere than before.
        `origins` has a digest of where each one is read from.
        """
        due = []
        for name, origin in sorted(origins.items()):
            row = self._session.lock_named(calendars, _LOCK, name)
            moved = row.origin != origin
            if moved or row.next_at is None or row.next_at <= now:
                # What another origin said does not count, and neither does its error.
                gone: dict[str, object] = (
                    {"origin": origin, "entries": None, "fetched_at": None, "error": None} if moved else {}
                )
                self._update({"next_at": until} | gone, calendars.c.name == name)
                due.append(name)
        return due

    def keep(self, names: Collection[str]) -> None:
        """Delete the calendars that are no longer configured."""
        self._session.execute(delete(calendars).where(calendars.c.name.not_in(list(names))))

    def save_copy(
        self, name: str, origin: str, entries: Sequence[CalendarEntry], now: datetime, next_at: datetime
    ) -> None:
        """Record a good copy, unless the calendar is read from elsewhere by now."""
        values = {
            "entries": rows.entries_text(entries),
            "fetched_at": now,
            "tried_at": now,
            "error": None,
            "next_at": next_at,
        }
        self._update(values, calendars.c.name == name, calendars.c.origin == origin)

    def save_failure(self, name: str, origin: str, error: str, now: datetime, next_at: datetime) -> None:
        """Record that a calendar could not be read. The last good copy stays."""
        values = {"tried_at": now, "error": error, "next_at": next_at}
        self._update(values, calendars.c.name == name, calendars.c.origin == origin)

    def _update(self, values: Mapping[str, object], *which: ColumnElement[bool]) -> None:
        self._session.execute(update(calendars).where(*which).values(values))
