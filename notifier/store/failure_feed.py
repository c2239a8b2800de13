"""The failures that changed last, over or not, for feeds."""

from collections.abc import Sequence
from heapq import nlargest

from sqlalchemy import select

from notifier.core.failures import FailureState, OpenFailure
from notifier.store import rows
from notifier.store.schema import failures
from notifier.store.session import Session


class FailureFeed:
    """Reads failures by the time of their last change."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def latest(self, limit: int) -> Sequence[OpenFailure]:
        """Return the failures that changed last, the latest first."""
        # The index holds those of each state in order.
        found = [one for state in FailureState for one in self._of(state, limit)]
        return nlargest(limit, found, key=lambda one: (one.changed_at, one.id))

    def _of(self, state: FailureState, limit: int) -> Sequence[OpenFailure]:
        statement = select(failures.c.facts).where(failures.c.state == state.value)
        ordered = statement.order_by(failures.c.changed_at.desc()).limit(limit)
        return [rows.failure_of(facts) for facts in self._session.execute(ordered).scalars()]
