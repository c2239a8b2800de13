"""What a scheduled report says, computed from what is recorded, and frozen in its event. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from notifier.core.events import EventType
from notifier.core.fields import fields_of, operation_kind
from notifier.core.maintenance import maintenance_event
from notifier.core.maintenance_values import MaintenanceNotice, MaintenanceRecord
from notifier.core.matchers import Matcher, first_misfit
from notifier.core.model import Event, SourceOrigin, Task, TaskStatus
from notifier.core.report_values import (
    MAX_LISTED,
    ListedMaintenance,
    ListedTask,
    OperationCount,
    OverdueBackup,
    Report,
    ReportBar,
    ReportCounts,
    SlowTask,
)
from notifier.core.usual import Runs, usual_of
from notifier.core.wall_time import day_begins, instant_of, wall_time

BACKUP_OVERDUE_AFTER = timedelta(hours=26)
"""Age of the last successful backup of an instance from which a report names it: a day, and room for a late one."""
MAX_OPERATIONS = 8
"""Maximum number of operations that a report counts one by one."""
HOURLY_UP_TO = timedelta(hours=36)
"""Length of a period up to which its failures are counted by parts of a day, else by days."""
PART_OF_DAY = timedelta(hours=3)
MAX_BARS = 14
"""Maximum number of bars of a chart. Longer periods are counted by weeks, or by longer times."""
COUNTED_TYPES = (
    *(kind for kind in EventType if kind.traits.ends_task and kind is not EventType.ALARM_CLEARED),
    EventType.TASK_UNLISTED,
    EventType.ALARM_RAISED,
)
"""Types of the events that a report counts."""
_CLONE = "CloneGaussDBV5NewInstance"
NOTABLY_SLOW = 1.25
"""How many times the usual duration a task takes at least that counts as slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportScope:
    """What a report is about."""

    sources: frozenset[str] = frozenset()
    """Names of the sources; empty for all."""
    match: tuple[Matcher, ...] = ()
    """What all tasks fit."""

    def covers(self, event: Event) -> bool:
        """Return whether an event about a task is in the scope."""
        if self.sources and event.source not in self.sources:
            return False
        return (
            not self.match
            or first_misfit(self.match, fields_of(event, {one.field for one in self.match if "." not in one.field}))
            is None
        )

    def covers_own(self, event: Event) -> bool:
        """Return whether an event is about a task in the scope."""
        return event.task is not None and self.covers(event)

    def covers_task(self, task: Task, origin: SourceOrigin) -> bool:
        """Return whether a task of a source is in the scope."""
        return self.covers(_seen(task, origin))


def _seen(task: Task, origin: SourceOrigin) -> Event:
    return Event(
        id="",
        type=EventType.TASK_STARTED,
        source=origin.source,
        region=origin.region,
        project_id=origin.project_id,
        occurrence="",
        observed_at=task.created_at or datetime.max,  # noqa: DTZ901 - never shown
        occurred_at=None,
        task=task,
        environment=origin.environment,
        labels=origin.labels,
    )


class LastSuccess(NamedTuple):
    """When tasks of one name last completed on an instance."""

    source: str
    instance_id: str | None
    instance_name: str | None
    name: str
    at: datetime | None
    """None where none has completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What a report is computed from."""

    events: Sequence[Event] = ()
    """Events about tasks that were detected in the period or in the one before, in order."""
    first_at: datetime | None = None
    """Time of the first event of all that are recorded."""
    running: Sequence[Task] = ()
    open: Sequence[ListedTask] = ()
    successes: Sequence[LastSuccess] = ()
    runs: Mapping[tuple[str, str], Runs] = field(default_factory=dict)
    """The latest completed runs by source and name of the task."""
    maintenance: Sequence[MaintenanceRecord] = ()
    """What is not over."""
    suppressed: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRules:
    """One configured report."""

    name: str
    zone: ZoneInfo
    channels: tuple[str, ...]
    period: timedelta | None = None
    """Length of the period; None reaches back to the time of the report before."""
    scope: ReportScope = ReportScope()
    backup_after: timedelta = BACKUP_OVERDUE_AFTER


def make_report(
    rules: ReportRules,
    since: datetime,
    until: datetime,
    facts: ReportFacts,
    origins: Mapping[str, SourceOrigin],
) -> Report:
    """Return the report of a period, from its beginning up to but without its end. `origins` are by source."""
    wanted = [event for event in facts.events if rules.scope.covers_own(event)]
    mine = [event for event in wanted if since <= event.observed_at < until and not _is_older(event, since)]
    earlier = [event for event in wanted if since - (until - since) <= event.observed_at < since]
    known_before = facts.first_at is not None and facts.first_at <= since - (until - since)
    operations = _operations(mine)
    running = [one for one in facts.running if _in_scope(one, rules.scope, origins)]
    running.sort(key=lambda task: (task.created_at is None, task.created_at, task.job_id))
    backups = overdue_backups(facts.successes, rules, until, origins)
    planned = [one for one in facts.maintenance if _is_planned(one, rules.scope, origins)]
    return Report(
        name=rules.name,
        since=since,
        until=until,
        timezone=str(rules.zone),
        counts=count(mine),
        before=count(earlier) if known_before else None,
        operations=tuple(operations[:MAX_OPERATIONS]),
        other_operations=max(len(operations) - MAX_OPERATIONS, 0),
        bars=bars_of(mine, since, until, rules.zone),
        slowest=_slowest(mine, facts.runs),
        running=tuple(_listed(task) for task in running[:MAX_LISTED]),
        running_total=len(running),
        open=tuple(facts.open[:MAX_LISTED]),
        open_total=len(facts.open),
        backups=tuple(backups[:MAX_LISTED]),
        backups_total=len(backups),
        backup_seconds=rules.backup_after.total_seconds(),
        maintenance=tuple(_listed_maintenance(one) for one in planned[:MAX_LISTED]),
        maintenance_total=len(planned),
        suppressed=facts.suppressed,
        dead=facts.dead,
    )


def _is_planned(one: MaintenanceRecord, scope: ReportScope, origins: Mapping[str, SourceOrigin]) -> bool:
    origin = origins.get(one.source)
    if origin is None or one.over:
        return False
    notice = MaintenanceNotice.of(one.planned)
    return scope.covers(maintenance_event(origin, EventType.MAINTENANCE_ANNOUNCED, notice, "", one.changed_at))


def _listed_maintenance(one: MaintenanceRecord) -> ListedMaintenance:
    planned = one.planned
    return ListedMaintenance(
        source=one.source,
        name=planned.name,
        instance=planned.instance_name or planned.instance_id or "",
        status=planned.status,
        begins_at=planned.begins_at,
        ends_at=planned.ends_at,
        latest_at=planned.latest_at,
    )


def _is_older(event: Event, since: datetime) -> bool:
    """Return whether an alarm was raised before the period: a source that is new finds the alarms of a week."""
    return event.type is EventType.ALARM_RAISED and event.occurred_at is not None and event.occurred_at < since


def count(events: Iterable[Event]) -> ReportCounts:
    """Count how tasks ended, and alarms."""
    by_type = Counter(event.type for event in events)
    return ReportCounts(
        completed=by_type[EventType.TASK_COMPLETED],
        failed=by_type[EventType.TASK_FAILED],
        unlisted=by_type[EventType.TASK_UNLISTED],
        alarms=by_type[EventType.ALARM_RAISED],
    )


def _operations(events: Iterable[Event]) -> list[OperationCount]:
    counted = (event for event in events if event.type is not EventType.ALARM_CLEARED)
    ended = Counter((event.task.name, event.type) for event in counted if event.task and event.type.traits.ends_task)
    names = {name for name, _ in ended}
    found = (
        OperationCount(
            name=name,
            completed=ended[name, EventType.TASK_COMPLETED],
            failed=ended[name, EventType.TASK_FAILED],
        )
        for name in names
    )
    return sorted(found, key=lambda one: (-one.failed, -one.completed, one.name))


def bars_of(events: Iterable[Event], since: datetime, until: datetime, zone: ZoneInfo) -> tuple[ReportBar, ...]:
    """Return the failures of a period by days of a zone, or by parts of a day where it is short. The bars cover it."""
    failed = sorted(event.observed_at for event in events if event.type is EventType.TASK_FAILED)
    edges = _edges(since, until, zone)
    return tuple(
        ReportBar(start=start, end=end, failed=sum(start <= at < end for at in failed))
        for start, end in pairwise(edges)
    )


def _edges(since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    if until - since <= HOURLY_UP_TO:
        first = wall_time(since, zone).replace(minute=0, second=0, microsecond=0)
        inner = (instant_of(first + n * PART_OF_DAY, zone) for n in range(1, 14))
    else:
        day = wall_time(since, zone).date()
        days = max(-(-(until - since) // timedelta(days=MAX_BARS)), 1)
        inner = (day_begins(day + timedelta(days=days * n), zone) for n in range(1, MAX_BARS + 1))
    return [since, *sorted({moment for moment in inner if since < moment < until}), until]


def _slowest(events: Iterable[Event], runs: Mapping[tuple[str, str], Runs]) -> tuple[SlowTask, ...]:
    found = (_slow(event.task, runs) for event in events if event.type is EventType.TASK_COMPLETED and event.task)
    slow = [one for one in found if one]
    return tuple(sorted(slow, key=lambda one: (-one.seconds / one.usual_seconds, one.job_id))[:MAX_LISTED])


def _slow(task: Task, runs: Mapping[tuple[str, str], Runs]) -> SlowTask | None:
    """Return a completed task that took longer than usual."""
    known = runs.get((task.source, task.name))
    if known is None or task.created_at is None or task.ended_at is None:
        return None
    usual = usual_of(known, task.instance_id, task.created_at.weekday())
    seconds = (task.ended_at - task.created_at).total_seconds()
    if usual is None or not usual.exceeded_by(seconds) or seconds < usual.middle * NOTABLY_SLOW:
        return None
    return SlowTask(
        source=task.source,
        job_id=task.job_id,
        name=task.name,
        instance=_instance(task),
        seconds=seconds,
        usual_seconds=usual.middle,
    )


def _in_scope(task: Task, scope: ReportScope, origins: Mapping[str, SourceOrigin]) -> bool:
    origin = origins.get(task.source)
    return origin is not None and scope.covers_task(task, origin)


def _listed(task: Task) -> ListedTask:
    return ListedTask(
        source=task.source, job_id=task.job_id, name=task.name, instance=_instance(task), since=task.created_at
    )


def _instance(task: Task) -> str:
    return task.instance_name or task.instance_id or ""


def overdue_backups(
    successes: Iterable[LastSuccess], rules: ReportRules, now: datetime, origins: Mapping[str, SourceOrigin]
) -> list[OverdueBackup]:
    """Return the instances whose last successful backup is older than it may be, or that have none.

    An instance is known by its tasks. One that was deleted since its last other task is gone.
    """
    instances: dict[tuple[str, str], list[LastSuccess]] = {}
    for one in successes:
        if key := one.instance_id or one.instance_name:
            instances.setdefault((one.source, key), []).append(one)
    found = []
    for (source, key), known in instances.items():
        name = next((one.instance_name for one in known if one.instance_name), None) or key
        if (
            _is_gone(known)
            or _was_never_made(known)
            or not _instance_in_scope(source, known[0], name, rules.scope, origins)
        ):
            continue
        last = max((one.at for one in known if one.at and operation_kind(one.name) == "backup"), default=None)
        if last is None or now - last > rules.backup_after:
            found.append(OverdueBackup(source=source, instance=name, last=last))
    return sorted(found, key=lambda one: (one.last is not None, one.last, one.source, one.instance))


def _is_gone(known: Sequence[LastSuccess]) -> bool:
    deleted = max((one.at for one in known if one.at and operation_kind(one.name) == "delete"), default=None)
    others = max((one.at for one in known if one.at and operation_kind(one.name) != "delete"), default=None)
    return deleted is not None and (others is None or deleted >= others)


def _was_never_made(known: Sequence[LastSuccess]) -> bool:
    """Return whether all that is known of an instance is that it could not be created."""
    return all(one.at is None and (operation_kind(one.name) == "create" or one.name == _CLONE) for one in known)


def _instance_in_scope(
    source: str, known: LastSuccess, name: str, scope: ReportScope, origins: Mapping[str, SourceOrigin]
) -> bool:
    task = Task(
        source=source,
        job_id="",
        name=known.name,
        status=TaskStatus.COMPLETED,
        raw_status="",
        instance_id=known.instance_id,
        instance_name=name,
    )
    by_instance = tuple(one for one in scope.match if one.field not in ("name", "operation"))
    return _in_scope(task, ReportScope(sources=scope.sources, match=by_instance), origins)
