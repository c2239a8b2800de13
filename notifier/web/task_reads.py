"""What the pages of tasks read of the store."""

from typing import Protocol

from notifier import lookup
from notifier.core.row_counts import RowCount
from notifier.core.storms import Storm
from notifier.core.task_lists import GroupCounts, TaskListEntry, TaskListFilter, TaskListPage, TaskPlace


class TaskListReader(Protocol):
    """One list of tasks."""

    def page(self, limit: int, after: TaskPlace | None = None) -> TaskListPage:
        """Return the tasks behind a place, as many as the limit."""

    def counts(self) -> GroupCounts:
        """Count the tasks of each group, whatever groups are asked for."""


class TaskListReads(Protocol):
    """Lists of tasks."""

    def listing(self, wanted: TaskListFilter) -> TaskListReader:
        """Return the list that a filter asks for."""

    def find(self, source: str, job_id: str) -> TaskListEntry | None:
        """Return one task as lists show it; None where it is not recorded."""

    def count_unacknowledged(self) -> RowCount:
        """Count the tasks whose open failure nobody has acknowledged."""


class TasksReads(lookup.Lookup, Protocol):
    """What the page reads."""

    @property
    def task_list(self) -> TaskListReads:
        """Lists of tasks."""

    def storm(self, storm_id: str) -> Storm | None:
        """Return one storm."""
