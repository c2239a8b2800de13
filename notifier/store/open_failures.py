"""Open failures. Their rows are locked before all others but those of sources."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select

from notifier.core.failures import OpenFailure, OpenFailures, renamed
from notifier.store import rows, statements
from notifier.store.compiled import Result
from notifier.store.schema import failures
from notifier.store.session import Session


class Failures:
    """Reads with a lock, and writes, of open failures."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self, operations: Collection[str]) -> OpenFailures:
        """Return the failures of operations that are not resolved; nobody else changes them until the end."""
        chunked = self._session.execute_chunks(statements.LOCK_FAILURES, sorted(operations), "operations")
        return {(one.operation, one.job_id): one for found in chunked for one in _read(found)}

    def lock_storm(self, storm_id: str) -> Sequence[OpenFailure]:
        """Return the open failures whose latest event is part of a storm; nobody else changes them until the end."""
        return _read(self._session.execute(statements.LOCK_FAILURES_OF_STORM, {"storm": storm_id}))

    def due(self, before: datetime, limit: int) -> Sequence[OpenFailure]:
        """Return failures that are due before a time, the earliest first, but those that somebody else has locked.

        Nobody else changes them until the transaction ends.
        """
        return _read(self._session.execute(statements.DUE_FAILURES, {"before": before, "limit": limit}))

    def save(self, changed: Sequence[OpenFailure]) -> None:
        """Record failures: new ones, and ones that this transaction has locked."""
        # One that is resolved makes room for the next of its operation.
        for some in ([one for one in changed if one.over], [one for one in changed if not one.over]):
            if some:
                self._session.execute_columns(statements.SAVE_FAILURE, rows.failure_columns(some))

    def rename(self, former: str, name: str) -> None:
        """Give the failures of a source its new name: its operations are other ones from now on."""
        found = _read(self._session.execute(select(failures.c.facts).where(failures.c.source == former)))
        self.save([renamed(one, name) for one in found])

    def prune(self, before: datetime) -> int:
        """Delete failures that were resolved or acknowledged, and have not changed since a time; return how many."""
        return self._session.execute(statements.PRUNE_FAILURES, {"before": before}).rowcount


def _read(found: Result) -> Sequence[OpenFailure]:
    return [rows.failure_of(row.facts) for row in found]
