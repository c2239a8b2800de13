"""What a scheduled report says, and what a hand-over does: values that are frozen in their events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from notifier.core.maintenance_values import MaintenanceStatus

MAX_LISTED = 10
"""Maximum number of entries in each list of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCounts:
    """How tasks ended in a period."""

    completed: int = 0
    failed: int = 0
    unlisted: int = 0
    """Tasks that vanished from the list before they ended."""
    alarms: int = 0
    """Alarms that were raised. They count as no task."""

    @property
    def ended(self) -> int:
        """Number of tasks that completed or failed."""
        return self.completed + self.failed

    @property
    def failure_rate(self) -> float | None:
        """Share of failures, from 0 to 1; None where nothing ended."""
        return self.failed / self.ended if self.ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCount:
    """How the tasks of one operation ended."""

    name: str
    """As the API names it."""
    completed: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportBar:
    """The failures of a part of a period."""

    start: datetime
    end: datetime
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowTask:
    """A completed task that took longer than usual."""

    source: str
    job_id: str
    name: str
    instance: str
    seconds: float
    usual_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTask:
    """A task, or an operation that fails, in a list."""

    source: str
    job_id: str
    name: str
    instance: str
    since: datetime | None
    failures: int = 0
    """How often it has failed; 0 for a task that runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMaintenance:
    """A maintenance that is under way or lies ahead."""

    source: str
    name: str
    """Its type as the API names it."""
    instance: str
    status: MaintenanceStatus
    begins_at: datetime | None
    ends_at: datetime | None
    latest_at: datetime | None
    """It is done by then in any case; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueBackup:
    """An instance without a recent backup."""

    source: str
    instance: str
    last: datetime | None
    """End of its last successful backup; None where none is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says. Lists are cut to MAX_LISTED; their totals are not."""

    name: str
    since: datetime
    until: datetime
    timezone: str
    """Time zone of its days."""
    counts: ReportCounts
    before: ReportCounts | None = None
    """Those of the period of the same length before; None where nothing was recorded at its beginning."""
    operations: tuple[OperationCount, ...] = ()
    """Those with the most failures first, then those with the most tasks."""
    other_operations: int = 0
    """Number of operations that are not among them."""
    bars: tuple[ReportBar, ...] = ()
    slowest: tuple[SlowTask, ...] = ()
    """Those that exceeded their usual duration the most first."""
    running: tuple[ListedTask, ...] = ()
    """Those that run the longest first."""
    running_total: int = 0
    open: tuple[ListedTask, ...] = ()
    """Open failures, the oldest first."""
    open_total: int = 0
    backups: tuple[OverdueBackup, ...] = ()
    """Those without any first, then those whose last one is the oldest."""
    backups_total: int = 0
    backup_seconds: float = 0
    """Age of a last successful backup beyond which it is named, in seconds."""
    maintenance: tuple[ListedMaintenance, ...] = ()
    """What is under way or lies ahead, what begins first first."""
    maintenance_total: int = 0
    suppressed: int = 0
    """Number of messages about events of the period that a rule kept back."""
    dead: int = 0
    """Number of messages about events of the period that were given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """Who takes over by a rota."""

    rota: str
    person: str | None
    """Name of who is on duty now; None for nobody."""
    former: str | None
    """Name of who was before."""
    until: datetime | None
    """When somebody else is on duty, or nobody; None where that is not known."""
    following: str | None = None
    """Name of who is on duty then; None for nobody."""
    open: tuple[ListedTask, ...] = ()
    """Open failures, the oldest first."""
    open_total: int = 0
