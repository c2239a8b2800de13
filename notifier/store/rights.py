"""Rights that parts of sources lack, for all replicas."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select, update

from notifier.core.rights import MissingRight, SourcePart, refused
from notifier.store import rows
from notifier.store.schema import missing_rights
from notifier.store.session import Session


class MissingRights:
    """Reads and writes of missing rights; `notifier.core.rights` says how a part uses them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lack(self, source: str, part: SourcePart, action: str, now: datetime) -> MissingRight:
        """Record that the service refused a part of a source for want of a right, and return when it is tried again."""
        one = (missing_rights.c.source == source, missing_rights.c.part == str(part))
        row = self._session.execute(select(missing_rights).where(*one).with_for_update()).one_or_none()
        found = MissingRight(source=source, part=part, action=action, since=now, retry_at=now)
        right = refused(rows.right_of(row) if row else None, found, now)
        values = rows.right_values(right)
        self._session.execute(
            self._session.insert(missing_rights)
            .values(values)
            .on_conflict_do_update(index_elements=["source", "part"], set_=values)
        )
        return right

    def have(self, source: str, part: SourcePart) -> None:
        """Record that a part of a source has its right: it has made a call that worked."""
        one = (missing_rights.c.source == source, missing_rights.c.part == str(part))
        self._session.execute(delete(missing_rights).where(*one))

    def lacking(self, part: SourcePart) -> Collection[str]:
        """Return the sources whose part lacks a right, whether its pause has ended or not."""
        found = select(missing_rights.c.source).where(missing_rights.c.part == str(part))
        return frozenset(self._session.execute(found).scalars())

    def paused(self, part: SourcePart, now: datetime) -> Collection[str]:
        """Return the sources whose part is not to be tried now."""
        ahead = (missing_rights.c.part == str(part), missing_rights.c.retry_at > now)
        return frozenset(self._session.execute(select(missing_rights.c.source).where(*ahead)).scalars())

    def retry(self, part: SourcePart, now: datetime) -> None:
        """End the pauses of a part: somebody may have granted what was missing."""
        self._session.execute(update(missing_rights).where(missing_rights.c.part == str(part)).values(retry_at=now))

    def keep(self, part: SourcePart, sources: Collection[str]) -> None:
        """Delete what a part of sources lacks that are not among these: it is no longer configured there."""
        others = (missing_rights.c.part == str(part), missing_rights.c.source.not_in(list(sources)))
        self._session.execute(delete(missing_rights).where(*others))
