"""What a list of tasks for people is asked for, and one page of it. Pure.

The list is in the order of the last changes, the newest first: what failed just now comes first, however long it ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from notifier.core.delivery import DeliveryState
from notifier.core.model import Event, Task
from notifier.core.people import Acknowledgement
from notifier.core.row_counts import RowCount
from notifier.core.started_by import StartedBy

SCANNED = 5_000
"""Maximum number of tasks that are read one after the other for one answer, where no index finds those that fit."""


class TaskGroup(StrEnum):
    """What has become of a task, as people ask for it. Each task is in exactly one group."""

    FAILED = "failed"
    STUCK = "stuck"
    """It runs, and has stalled or is overdue: it has an open failure of its own."""
    RUNNING = "running"
    COMPLETED = "completed"
    RAISED = "raised"
    """An alarm; whether it is still there, its open failure says."""
    CLEARED = "cleared"
    OTHER = "other"
    """Its status is unknown to us; or it ran when it was last seen, and is no longer listed or its source polled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskListFilter:
    """The tasks that a list shows. None means any, and so does an empty text or tuple."""

    groups: tuple[TaskGroup, ...] = ()
    since: datetime | None = None
    """Last changed at or after this time."""
    until: datetime | None = None
    """Last changed before this time."""
    source: str = ""
    name: str = ""
    """Name of the operation, as the API has it."""
    instance: str = ""
    """Id or whole name of an instance."""
    code: str = ""
    """A part of the reason of a failure, as its error code is one."""
    text: str = ""
    """A part of the name of the instance or of the reason of a failure, or the beginning of a job id or instance id."""
    storm: str = ""
    """Id of a storm that they failed in."""
    unacknowledged: bool = False
    """True for those whose open failure nobody has acknowledged."""
    oldest_first: bool = False
    """True where the list begins with the oldest change."""


class TaskPlace(NamedTuple):
    """A place in the list: behind a task, or behind all that changed at a time where no task is named."""

    changed_at: datetime
    job_id: str | None = None
    source: str = ""


class ToldShare(NamedTuple):
    """On how many of the channels that an event was planned for it arrived."""

    delivered: int
    planned: int
    worst: DeliveryState = DeliveryState.DELIVERED
    """The state that needs somebody most, of all channels."""
    muted: bool = False
    """Whether mutes suppressed it wherever it was suppressed."""


_BADNESS = (
    DeliveryState.DEAD,
    DeliveryState.PARKED,
    DeliveryState.PENDING,
    DeliveryState.SUPPRESSED,
    DeliveryState.SUPERSEDED,
    DeliveryState.DELIVERED,
)
"""The states of deliveries, the one that needs somebody most first."""
_MUTE_RULE = "mute:"


def told_share(accounts: Iterable[tuple[DeliveryState, str | None]], planned: int) -> ToldShare:
    """Sum up what became of an event on its channels: states, with the rule that decided them."""
    found = list(accounts)
    suppressed = [rule for state, rule in found if state is DeliveryState.SUPPRESSED]
    return ToldShare(
        delivered=sum(state is DeliveryState.DELIVERED for state, _ in found),
        planned=max(planned, len(found)),
        worst=min((state for state, _ in found), key=_BADNESS.index, default=DeliveryState.DELIVERED),
        muted=bool(suppressed) and all((rule or "").startswith(_MUTE_RULE) for rule in suppressed),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskListEntry:
    """A row of the list."""

    task: Task
    group: TaskGroup
    first_seen_at: datetime
    changed_at: datetime
    listed: bool
    newest: Event | None
    """Its newest event, where it has not ended; None where none is recorded."""
    told: ToldShare | None
    """What became of its newest event; None where none is recorded."""
    acknowledged: Acknowledgement | None
    """Who has acknowledged that event."""
    started_by: StartedBy | None = None
    """Who started it; None where that is not known."""

    @property
    def place(self) -> TaskPlace:
        """Where it is in the list."""
        return TaskPlace(self.changed_at, self.task.job_id, self.task.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskListPage:
    """A part of the list."""

    rows: tuple[TaskListEntry, ...] = ()
    following: TaskPlace | None = None
    """Where the next page begins; None at the end."""
    searched_to: datetime | None = None
    """Time of the last change of the last task that was read; None where all were read that might fit."""


GroupCounts = Mapping[TaskGroup, RowCount]


def total(counts: GroupCounts) -> RowCount:
    """Return the number of all groups together."""
    return sum(counts.values(), RowCount())
