"""What is recorded about the instances and the operations of tasks that need care."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from notifier.core.flapping import ResultKey, TaskResult
from notifier.core.history import HistoryFacts, HistoryQuery, InstanceKey
from notifier.core.model import TaskStatus
from notifier.store import statements
from notifier.store.session import Session, chunks

_BY_INSTANCE = (
    (statements.FAILURES_BY_ID, statements.RECOVERIES_BY_ID, False),
    (statements.FAILURES_BY_NAME, statements.RECOVERIES_BY_NAME, True),
)
"""Statements for instances with an id, and for those that have nothing but a name."""


class Histories:
    """Indexed reads of recorded tasks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def results(self, instance_ids: Collection[str], since: datetime) -> Mapping[ResultKey, Sequence[TaskResult]]:
        """Return how the tasks of instances have ended since a time, by operation."""
        found: dict[ResultKey, list[TaskResult]] = {}
        for rows in self._session.execute_chunks(
            statements.RESULTS_OF_INSTANCES, instance_ids, "instances", since=since
        ):
            for row in rows:
                result = TaskResult(at=row.changed_at, job_id=row.job_id, failed=row.status == TaskStatus.FAILED)
                found.setdefault((row.source, row.instance_id, row.name), []).append(result)
        return found

    def read(self, query: HistoryQuery) -> HistoryFacts:
        """Return the facts that a query asks for."""
        failures: dict[InstanceKey, int] = {}
        recoveries: dict[tuple[InstanceKey, str], float | None] = {}
        for failed, recovered, named in _BY_INSTANCE:
            for some in chunks([key for key in query.instances if bool(key[0]) is not named]):
                instances = {id_ or name: (id_, name) for id_, name in some}
                common = {"source": query.source, "instances": list(instances), "apart_from": list(query.apart_from)}
                counted = self._session.execute(failed, common | {"since": query.since})
                failures |= {instances[row.instance]: row.failures for row in counted}
                tried = [(id_ or name, operation) for (id_, name), operation in query.tried if (id_, name) in some]
                found = self._session.execute(recovered, common | {"operations": tried})
                recoveries |= {
                    (instances[row.instance], row.name): _seconds(row.failed_at, row.succeeded_at) for row in found
                }
        return HistoryFacts(failures=failures, recoveries=recoveries)


def _seconds(failed_at: datetime, succeeded_at: datetime | None) -> float | None:
    return (succeeded_at - failed_at).total_seconds() if succeeded_at else None
