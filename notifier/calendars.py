"""Read calendars from files and addresses into the database, from which all replicas take them.

A calendar is claimed in one transaction, read while none is open, and saved in another. A server that does not answer
does no harm: the last good copy stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from notifier.core.calendars import CalendarEntry, CalendarUnreadable
from notifier.ports import DatabaseTime, Store

CALENDAR_LEASE = timedelta(minutes=2)
"""Time for which nobody else reads a calendar that is being read. Longer than reading one takes."""
CALENDAR_RETRY = timedelta(minutes=5)
"""Wait after a calendar could not be read."""


class CalendarReader(Protocol):
    """A calendar that can be read."""

    name: str
    origin: str
    """A digest of where it is read from."""
    refresh: timedelta
    """Time from one good copy to the next attempt."""

    async def read(self, now: datetime) -> Sequence[CalendarEntry]:
        """Return its entries around a time. Raises CalendarUnreadable."""


class CalendarRecords(Protocol):
    """The calendars as they are recorded."""

    def claim_due(self, origins: Mapping[str, str], now: datetime, until: datetime) -> Sequence[str]:
        """Return the calendars to read now, and let nobody else read them until a time."""

    def save_copy(
        self, name: str, origin: str, entries: Sequence[CalendarEntry], now: datetime, next_at: datetime
    ) -> None:
        """Record a good copy."""

    def save_failure(self, name: str, origin: str, error: str, now: datetime, next_at: datetime) -> None:
        """Record that a calendar could not be read."""


class CalendarTx(DatabaseTime, Protocol):
    """What reading calendars needs of a transaction."""

    @property
    def calendars(self) -> CalendarRecords:
        """The calendars as they are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarReport:
    """What came of reading one calendar."""

    name: str
    entries: int = 0
    error: str | None = None
    """None where it was read."""


async def refresh_calendars(
    store: Store[CalendarTx, object], readers: Sequence[CalendarReader]
) -> Sequence[CalendarReport]:
    """Read the calendars that are due, one after the other. Raises StoreError."""
    origins = {reader.name: reader.origin for reader in readers}
    due = await store.transact(lambda tx: _claim(tx, origins))
    return [await _refresh(store, reader) for reader in readers if reader.name in due]


def _claim(tx: CalendarTx, origins: Mapping[str, str]) -> Sequence[str]:
    now = tx.now()
    return tx.calendars.claim_due(origins, now, now + CALENDAR_LEASE)


async def _refresh(store: Store[CalendarTx, object], reader: CalendarReader) -> CalendarReport:
    now = await store.transact(lambda tx: tx.now())
    try:
        entries = await reader.read(now)
    except CalendarUnreadable as error:
        why, wait = str(error), min(reader.refresh, CALENDAR_RETRY)
        await store.transact(
            lambda tx: tx.calendars.save_failure(reader.name, reader.origin, why, tx.now(), tx.now() + wait)
        )
        return CalendarReport(name=reader.name, error=why)
    await store.transact(
        lambda tx: tx.calendars.save_copy(reader.name, reader.origin, entries, tx.now(), tx.now() + reader.refresh)
    )
    return CalendarReport(name=reader.name, entries=len(entries))
