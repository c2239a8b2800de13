"""Marks where ended tasks changed, so that statistics read only these again.

Whoever changes, records or deletes ended tasks marks the slots of time that they are in, in the same transaction. The
revisions of a source grow in the order of its commits: its row in `sources` is locked while they are given.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, func, select

from notifier.core.ended_tasks import WHOLE_SOURCE, slot_of
from notifier.core.model import TaskStatus
from notifier.store.compiled import compiled
from notifier.store.schema import sources, task_changes, tasks
from notifier.store.session import Session
from notifier.store.statements import recorded

MARKS_KEPT = timedelta(days=400)
"""How long marks are kept: longer than any period that statistics are about, twice."""

_ENDED = tuple(str(status) for status in TaskStatus if status.terminal)
LATEST_REVISION = compiled(
    select(func.max(task_changes.c.revision)).where(task_changes.c.source == bindparam("source"))
)
_insert = recorded(task_changes)
MARK_CHANGED = compiled(
    _insert.on_conflict_do_update(index_elements=["source", "slot"], set_={"revision": _insert.excluded.revision})
)
_LOCK_SOURCE = select(sources.c.name).where(sources.c.name == bindparam("of_source")).with_for_update()


class TaskChanges:
    """Writes of the marks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def mark(self, source: str, times: Iterable[datetime]) -> None:
        """Mark where ended tasks of a source have, or had, these times of change. Its row is locked already."""
        self._mark(source, {slot_of(at) for at in times})

    def mark_whole(self, source: str) -> None:
        """Mark all tasks of a source."""
        self._session.execute(_LOCK_SOURCE, {"of_source": source})
        self._mark(source, {WHOLE_SOURCE})

    def mark_deleted(self, source: str, job_ids: Collection[str]) -> None:
        """Mark where tasks of a source are that are about to be deleted."""
        ended = (tasks.c.source == source, tasks.c.job_id.in_(job_ids), tasks.c.status.in_(_ENDED))
        times = list(self._session.execute(select(tasks.c.changed_at).where(*ended)).scalars())
        if times:
            self._session.execute(_LOCK_SOURCE, {"of_source": source})
            self.mark(source, times)

    def _mark(self, source: str, slots: Collection[int]) -> None:
        if not slots:
            return
        revision = 1 + (self._session.execute(LATEST_REVISION, {"source": source}).scalar() or 0)
        marks = [{"source": source, "slot": slot, "revision": revision} for slot in sorted(slots)]
        self._session.execute(MARK_CHANGED, marks)

    def prune(self, now: datetime) -> int:
        """Delete marks that are older than anybody asks for. The latest of a source stays, and is counted on from."""
        same = task_changes.alias()
        latest = select(func.max(same.c.revision)).where(same.c.source == task_changes.c.source).scalar_subquery()
        old = (task_changes.c.slot > WHOLE_SOURCE, task_changes.c.slot < slot_of(now - MARKS_KEPT))
        return self._session.execute(delete(task_changes).where(*old, task_changes.c.revision < latest)).rowcount
