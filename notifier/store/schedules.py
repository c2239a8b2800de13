"""When something that recurs is due next: reports, and the hand-overs of rotas."""

from collections.abc import Collection, Mapping
from dataclasses import asdict

from sqlalchemy import bindparam, delete, select, update

from notifier.core.schedules import ScheduleState
from notifier.store.rows import NamedRow
from notifier.store.schema import schedules
from notifier.store.session import Session

_LOCK = select(schedules).where(schedules.c.name == bindparam("of_name")).with_for_update()


class Schedules:
    """Reads with a lock, and writes, of schedules."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self) -> Mapping[str, ScheduleState]:
        """Return what is recorded of every schedule, by name."""
        return {row.name: _state_of(row) for row in self._session.execute(select(schedules))}

    def lock(self, name: str) -> ScheduleState:
        """Return what is recorded of a schedule, which nobody else changes until the transaction ends."""
        return _state_of(self._session.lock_named(schedules, _LOCK, name))

    def save(self, state: ScheduleState) -> None:
        """Record a schedule that was locked."""
        self._session.execute(update(schedules).where(schedules.c.name == state.name).values(asdict(state)))

    def keep(self, names: Collection[str]) -> None:
        """Delete the schedules that are no longer configured: one that comes back begins again."""
        self._session.execute(delete(schedules).where(schedules.c.name.not_in(list(names))))


def _state_of(row: NamedRow) -> ScheduleState:
    return ScheduleState(
        name=row.name, expression=row.expression, next_at=row.next_at, last_at=row.last_at, detail=row.detail
    )
