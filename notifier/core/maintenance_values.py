"""What the cloud plans to do to instances: values that are recorded, and frozen in events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from notifier.core.alarms import AlarmLevel
from notifier.core.severity import Severity

RESTART_NODE = "RESTART_NODE"
"""The one documented type of maintenance. The SDK spells it RESTAT_NODE."""
MAINTENANCE_KINDS = frozenset({RESTART_NODE})
"""Types of maintenance that have phrases: `operation.RESTART_NODE`. The set is open."""


class MaintenanceStatus(StrEnum):
    """Status of a maintenance, in lower case. The values are stored."""

    WAITING = "waiting"
    """It is planned, and not scheduled yet."""
    INQUIRING = "inquiring"
    """Somebody has to authorise it."""
    SCHEDULED = "scheduled"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"
    """A word that no official description has; `PlannedMaintenance.raw_status` keeps it."""


class Phase(StrEnum):
    """What a status means to people."""

    AHEAD = "ahead"
    ASKING = "asking"
    """It waits for somebody's authorisation."""
    RUNNING = "running"
    OVER = "over"


_PHASES: Mapping[MaintenanceStatus, Phase] = MappingProxyType(
    {
        MaintenanceStatus.WAITING: Phase.AHEAD,
        MaintenanceStatus.INQUIRING: Phase.ASKING,
        MaintenanceStatus.SCHEDULED: Phase.AHEAD,
        MaintenanceStatus.EXECUTING: Phase.RUNNING,
        MaintenanceStatus.COMPLETED: Phase.OVER,
        MaintenanceStatus.FAILED: Phase.OVER,
        MaintenanceStatus.CANCELED: Phase.OVER,
        MaintenanceStatus.UNKNOWN: Phase.AHEAD,
    }
)

_LEVELS: Mapping[str, Severity] = MappingProxyType({str(level): level.severity for level in AlarmLevel})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMaintenance:
    """One row of the list of maintenance, sanitised: no NUL, no lone surrogate in any text."""

    id: str
    """Opaque."""
    name: str = ""
    """Its type as the API names it, in upper case: `RESTART_NODE`. An open set; empty where the row has none."""
    status: MaintenanceStatus = MaintenanceStatus.UNKNOWN
    raw_status: str = ""
    """As the API wrote it."""
    level: str = ""
    """How the cloud rates it, in lower case: `critical`, `major`, `minor` or `info`. Empty where it does not say."""
    instance_id: str | None = None
    instance_name: str | None = None
    impact: str | None = None
    """What it does to the instance, in the words of the API. Shown to people, never compared."""
    reason: str | None = None
    """Why, in the words of the API. Shown to people, never compared."""
    starts_at: datetime | None = None
    """Beginning of its window."""
    ends_at: datetime | None = None
    """End of its window."""
    planned_at: datetime | None = None
    """When it is to be done within its window."""
    latest_at: datetime | None = None
    """It is done by then, whether or not somebody authorises it."""
    executed_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    job_id: str = ""
    """The task that does it; the empty string where the row names none."""

    @property
    def phase(self) -> Phase:
        """What its status means to people."""
        return _PHASES[self.status]

    @property
    def begins_at(self) -> datetime | None:
        """When it may begin: with its window, or at the planned time where it has none."""
        return self.starts_at or self.planned_at

    @property
    def over_at(self) -> datetime | None:
        """The latest time that the plan names; None where it names none."""
        known = (self.starts_at, self.ends_at, self.planned_at, self.latest_at)
        return max((moment for moment in known if moment), default=None)

    @property
    def deadline(self) -> datetime | None:
        """What reminders count down to: until when it can be authorised, else when it may begin."""
        return (self.latest_at or self.begins_at) if self.phase is Phase.ASKING else self.begins_at

    @property
    def times(self) -> tuple[datetime | None, ...]:
        """What makes a plan another one."""
        return self.starts_at, self.ends_at, self.planned_at, self.latest_at

    def is_open(self, now: datetime) -> bool:
        """Return whether it is being done, or may be at any moment: its window is open and it is scheduled."""
        if self.phase is Phase.RUNNING:
            return True
        scheduled = self.phase is Phase.AHEAD and self.begins_at is not None and self.begins_at <= now
        return scheduled and self.ends_at is not None and now < self.ends_at

    @property
    def severity(self) -> Severity:
        """How bad the cloud rates it; a warning where it does not say."""
        return _LEVELS.get(self.level, Severity.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceNotice(PlannedMaintenance):
    """A maintenance as it was when an event about it was recorded, and what has changed."""

    former_starts_at: datetime | None = None
    """Beginning of its window before it changed; likewise the next two. None for any other event."""
    former_ends_at: datetime | None = None
    former_latest_at: datetime | None = None
    vanished: bool = False
    """True where the list no longer has it, so that how it ended is not known."""

    @classmethod
    def of(
        cls, planned: PlannedMaintenance, former: PlannedMaintenance | None = None, *, vanished: bool = False
    ) -> MaintenanceNotice:
        """Return what an event says of a maintenance. `former` is how it was, where its times have changed."""
        return cls(
            **{each.name: getattr(planned, each.name) for each in fields(PlannedMaintenance)},
            former_starts_at=former.begins_at if former else None,
            former_ends_at=former.ends_at if former else None,
            former_latest_at=former.latest_at if former else None,
            vanished=vanished,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRecord:
    """A maintenance as it is recorded."""

    source: str
    planned: PlannedMaintenance
    """As it was last listed, with the times that later rows left empty."""
    first_seen_at: datetime
    changed_at: datetime
    """When its last change was seen."""
    announced_at: datetime | None = None
    """Time of its last event; None where there was none."""
    due_at: datetime | None = None
    """When its next reminder is due; None where none follows."""
    missing: int = 0
    """Number of complete lists in a row that lacked it."""
    missing_since: datetime | None = None
    """Time of the first of them; None where the last one had it."""
    vanished: bool = False
    """Whether it counts as over because lists lack it."""

    @property
    def phase(self) -> Phase:
        """What is known of it."""
        return Phase.OVER if self.vanished else self.planned.phase

    @property
    def over(self) -> bool:
        """Whether it has ended, failed, been cancelled, or vanished."""
        return self.phase is Phase.OVER

    def is_open(self, now: datetime) -> bool:
        """Return whether it is being done, or may be at any moment."""
        return not self.vanished and self.planned.is_open(now)


_NEVER = datetime.max.replace(tzinfo=UTC)


def order_of_maintenance(record: MaintenanceRecord) -> tuple[bool, float, str, str]:
    """Return a key that sorts what is not over by when it begins, and then what is over, the latest change first."""
    if record.over:
        return True, -record.changed_at.timestamp(), record.source, record.planned.id
    begins = record.planned.begins_at or record.planned.latest_at or _NEVER
    return False, begins.timestamp(), record.source, record.planned.id


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceList:
    """The list of one source, as it was read."""

    planned: tuple[PlannedMaintenance, ...] = ()
    complete: bool = False
    """Whether the distinct rows reached the total that the API stated for the whole list."""
    unreadable: int = 0
    """Number of rows without a usable id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceListState:
    """What is recorded of reading the list of one source."""

    name: str
    """Name of the source."""
    epoch: int = 0
    """Number of the last claim to read it: what an earlier claim read is not recorded."""
    next_at: datetime | None = None
    """When it is read next; None before the first time."""
    read_at: datetime | None = None
    """When it was last read."""
    error: str | None = None
    """Why the last attempt failed; None where it worked."""
    failing_since: datetime | None = None
    failures: int = 0
    """Number of attempts in a row that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRules:
    """How maintenance is read and announced."""

    every: timedelta = timedelta(minutes=5)
    """Time between two reads of a list."""
    remind_before: tuple[timedelta, ...] = field(default=(timedelta(hours=24), timedelta(hours=1)))
    """How long before a window, or before the deadline of an authorisation, people are reminded."""
