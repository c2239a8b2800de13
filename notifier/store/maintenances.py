"""What the cloud plans to do to instances, and the claims of the lists that say so, for all replicas."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, or_, select, update

from notifier.core.maintenance_values import MaintenanceListState, MaintenanceRecord
from notifier.store import rows, statements
from notifier.store.schema import maintenance_lists, maintenances
from notifier.store.session import Session, chunks

LONGEST_READ_WAIT = timedelta(hours=25)
"""A wait longer than this is left over from a clock that has since been set back."""

_LOCK = select(maintenance_lists).where(maintenance_lists.c.name == bindparam("of_name")).with_for_update()


class Maintenances:
    """Reads and writes of planned maintenance. The row of its list is locked before those of its maintenance."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def claim_due(self, names: Collection[str], now: datetime, until: datetime, limit: int) -> Mapping[str, int]:
        """Return the lists to read now with the numbers of their claims; nobody else reads them until a time.

        A list is due when its time has come, or when it was never read. Those that have waited longest come first.
        """
        for some in chunks(sorted(names)):
            recorded = select(maintenance_lists.c.name).where(maintenance_lists.c.name.in_(some))
            known = set(self._session.execute(recorded).scalars())
            if unknown := [{"name": name} for name in some if name not in known]:
                self._session.execute(self._session.insert(maintenance_lists).values(unknown).on_conflict_do_nothing())
        own, found = maintenance_lists.c, dict[str, int]()
        is_due = or_(own.next_at.is_(None), own.next_at <= now, own.next_at > now + LONGEST_READ_WAIT)
        for some in chunks(sorted(names)):
            statement = (
                select(own.name, own.epoch)
                .where(own.name.in_(some), is_due)
                .order_by(own.next_at.is_not(None), own.next_at, own.name)
                .limit(limit - len(found))
                .with_for_update(skip_locked=True)
            )
            found |= {row.name: row.epoch + 1 for row in self._session.execute(statement)}
            if len(found) >= limit:
                break
        for name, epoch in found.items():
            claimed = update(maintenance_lists).where(own.name == name)
            self._session.execute(claimed.values(epoch=epoch, next_at=until))
        return found

    def lock(self, name: str, epoch: int) -> MaintenanceListState | None:
        """Return what is recorded of a list, which nobody else changes until the end; None for an older claim."""
        row = self._session.execute(_LOCK, {"of_name": name}).one_or_none()
        if row is None or row.epoch != epoch:
            return None
        return rows.maintenance_list_of(row)

    def save_list(self, state: MaintenanceListState) -> None:
        """Record what is known of a list that was locked."""
        own = maintenance_lists.c.name == state.name
        self._session.execute(update(maintenance_lists).where(own).values(asdict(state)))

    def lists(self) -> Sequence[MaintenanceListState]:
        """Return what is recorded of all lists, by name."""
        found = self._session.execute(select(maintenance_lists).order_by(maintenance_lists.c.name))
        return [rows.maintenance_list_of(row) for row in found]

    def of_source(self, name: str) -> Mapping[str, MaintenanceRecord]:
        """Return what is recorded of the maintenance of a source, by id. Its rows are locked until the end."""
        statement = (
            select(maintenances.c.facts)
            .where(maintenances.c.source == name)
            .order_by(maintenances.c.id)
            .with_for_update()
        )
        found = [rows.maintenance_of(row.facts) for row in self._session.execute(statement)]
        return {record.planned.id: record for record in found}

    def due(self, now: datetime, limit: int) -> Sequence[MaintenanceRecord]:
        """Return what is due for a reminder, but not what somebody else has locked.

        Nobody else changes it until the transaction ends.
        """
        statement = (
            select(maintenances.c.facts)
            .where(maintenances.c.due_at <= now)
            .order_by(maintenances.c.due_at, maintenances.c.source, maintenances.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        return [rows.maintenance_of(row.facts) for row in self._session.execute(statement)]

    def save(self, records: Sequence[MaintenanceRecord]) -> None:
        """Record maintenance: new one, and such as this transaction has locked."""
        for some in chunks(records):
            self._session.execute_columns(statements.SAVE_MAINTENANCE, rows.maintenance_columns(some))

    def delete(self, source: str, ids: Collection[str]) -> None:
        """Delete maintenance of a source."""
        for some in chunks(ids):
            own = (maintenances.c.source == source, maintenances.c.id.in_(some))
            self._session.execute(delete(maintenances).where(*own))

    def keep(self, names: Collection[str]) -> None:
        """Delete what is recorded of sources whose maintenance is no longer read."""
        self._session.execute(delete(maintenance_lists).where(maintenance_lists.c.name.not_in(list(names))))
        self._session.execute(delete(maintenances).where(maintenances.c.source.not_in(list(names))))

    def drop(self, source: str) -> None:
        """Delete what is recorded of a source: it reads another project from now on."""
        self._session.execute(delete(maintenance_lists).where(maintenance_lists.c.name == source))
        self._session.execute(delete(maintenances).where(maintenances.c.source == source))

    def rename(self, former: str, name: str) -> None:
        """Give the maintenance of a source its new name."""
        self._session.execute(delete(maintenance_lists).where(maintenance_lists.c.name == name))
        moved = update(maintenance_lists).where(maintenance_lists.c.name == former)
        self._session.execute(moved.values(name=name))
        found = self.of_source(former)
        self.delete(former, found)
        self.save([replace(record, source=name) for record in found.values()])
