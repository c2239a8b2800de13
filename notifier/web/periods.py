"""The tasks of a period as a chart: the rows of each source, storms over them, and when nobody looked."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from notifier.core.events import EventType
from notifier.core.health import FindingKind, HealthReport
from notifier.core.model import Event, TaskStatus
from notifier.core.storms import Storm
from notifier.ports import FailedRow, RowKey, TimelineTask
from notifier.web.charts.rows import (
    MAX_LANES,
    ChartColumn,
    ChartRow,
    ChartSlot,
    ChartSpan,
    MarkKind,
    columns_of,
    lay_out,
    with_levels,
)
from notifier.web.charts.scales import TimeScale, TimeTick, day_bounds, time_ticks
from notifier.web.maintenance_windows import PlannedWindow
from notifier.wording.links import list_path, task_path
from notifier.wording.message import gap_bounds

MAX_MARKS = 300
"""Number of tasks of a period above which what completed is counted in slots. More would be too large a page."""
MAX_FAILED_MARKS = 100
"""Number of failures above which these are counted, too."""
MAX_FAILED = 20_000
"""Maximum number of failures of a period that are counted, the latest ones."""
MAX_RUNNING_MARKS = 300
"""Maximum number of running tasks that are drawn."""
MAX_NAMED_ROWS = 60
"""Maximum number of rows that have a name of their own. The others of a source share one."""
MAX_COUNTS = 280
"""Maximum number of counts in all of these rows: the more slots there are, the fewer rows have a name."""
MAX_SLOTS = 31
MANY_ROWS, LANES_OF_MANY = 12, 2
"""Number of rows of a source above which each has fewer lanes, and how many."""
MOST_DAYS_SINGLE = 31
"""Length of a period in days up to which completed tasks are drawn by themselves."""
_MARGIN = 0.015
"""Part of the period that the chart goes on after now: the sign of what runs is drawn there."""
_SHORT = timedelta(days=3)
"""Length of a period up to which slots are hours."""
_HOURS_OF_SLOT = 2


class PeriodReads(Protocol):
    """Reads of the tasks of a period; see `store.timeline`."""

    def tasks(
        self, since: datetime, until: datetime, limit: int, *, failed_only: bool = False
    ) -> Sequence[TimelineTask]:
        """Return tasks that overlap a period, those that changed last first."""

    def running(self, until: datetime, limit: int) -> Sequence[TimelineTask]:
        """Return the tasks that run, and had begun at a time, those that changed last first."""

    def stuck(self, running: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Return those of some running tasks, by source and id, that do not go on."""

    def failed_by_row(
        self, since: datetime, until: datetime, by: RowKey, slots: Sequence[datetime], limit: int
    ) -> Sequence[FailedRow]:
        """Return how many tasks of each row failed in each slot, of the latest ones in a period."""

    def ended_by_source(self, slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each source ended or last changed in each slot. Alarms are none."""

    def completed_by_instance(self, ids: Collection[str], slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each instance completed in each slot, by its id."""

    def completed_by_name(
        self, source: str, names: Collection[str], slots: Sequence[datetime]
    ) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each name of a source completed in each slot."""

    def blind(self, since: datetime) -> Sequence[Event]:
        """Return the events, detected from a time on, that name a time in which a source was not observed."""


class StormReads(Protocol):
    """Reads of storms."""

    def storms(self, since: datetime, until: datetime) -> Sequence[Storm]:
        """Return the storms that lasted at some time between two, the latest first, one of each source at a time."""


class RowsBy(StrEnum):
    """What the rows of a chart are about. The values are in addresses."""

    INSTANCE = "instance"
    TYPE = "type"
    SOURCE = "source"

    def key(self, task: TimelineTask) -> str:
        """Return what tells the row of a task from the others of its source."""
        if self is RowsBy.INSTANCE:
            return task.instance_id or task.instance_name or ""
        return task.name if self is RowsBy.TYPE else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What is to be drawn."""

    since: datetime
    until: datetime
    """Not after `now`."""
    now: datetime
    """In whole minutes, so that the chart stays the same for as long."""
    by: RowsBy = RowsBy.INSTANCE
    failed_only: bool = False
    zone: ZoneInfo

    @property
    def ends_now(self) -> bool:
        """Whether it goes on until the present."""
        return self.until >= self.now

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters with which the list of tasks shows the same time."""
        since = {"since": written_time(self.since)}
        return since if self.ends_now else since | {"until": written_time(self.until)}

    @property
    def scale(self) -> TimeScale:
        """The axis, with room for the sign of what runs."""
        margin = (self.until - self.since) * _MARGIN if self.ends_now else timedelta()
        return TimeScale(self.since, self.until + margin)

    @property
    def slots(self) -> Sequence[datetime]:
        """The times at which slots begin, in which completed tasks are counted, and the end of the last."""
        days = day_bounds(self.since, self.until, self.zone)
        if self.until - self.since > _SHORT:
            step = -(-(len(days) - 1) // MAX_SLOTS)
            return [*days[: (len(days) - 1) % step and 1], *days[-1::-step][::-1]]
        length = timedelta(hours=_HOURS_OF_SLOT)
        found = [at for day, following in pairwise(days) for at in _steps(day, following, length)]
        return [at for at in (*found, days[-1]) if self.since - length < at < self.until + length]


def written_time(moment: datetime) -> str:
    """Return a time as addresses have it: `2026-11-26T02:30Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _steps(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    at = start
    while at < end:
        yield at
        at += step


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodFacts:
    """What is recorded of a period."""

    tasks: Sequence[TimelineTask] = ()
    """Those that are drawn by themselves, each once."""
    stuck: Collection[tuple[str, str]] = ()
    slots: Sequence[datetime] = ()
    """Empty where all tasks are drawn by themselves."""
    completed: Mapping[tuple[str, str], Sequence[int]] = field(default_factory=dict)
    """Number of completed tasks in each slot, by source and key of the row."""
    ended: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Number of tasks in each slot, by source, whatever their status."""
    failed: Mapping[tuple[str, str], Sequence[int]] = field(default_factory=dict)
    """Number of failed tasks in each slot, by row. Empty where failures are drawn by themselves."""
    named: Collection[tuple[str, str]] = ()
    """The rows that have a name of their own, by source and key."""
    names: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Names of instances by source and key of the row, as far as they are known."""
    blind: Sequence[Event] = ()
    storms: Sequence[Storm] = ()
    alarms: bool = False
    """Whether there are alarms that are left out, because what completed is counted."""
    windows: Sequence[PlannedWindow] = ()
    """Those of maintenance that overlap the period, the earliest first."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """The source of the tasks of an instance, by the key of its row: alarms of the instance are drawn there."""

    def home_of(self, task: TimelineTask, by: RowsBy) -> str:
        """Return the source in whose rows a task or an alarm is drawn."""
        return self.homes.get(by.key(task), task.source) if task.status.of_alarm else task.source


def read_period(reads: PeriodReads, storms: StormReads, period: Period) -> PeriodFacts:
    """Read what is to be drawn."""
    since, until = period.since, period.until
    latest = reads.tasks(since, until, MAX_MARKS + 1, failed_only=period.failed_only)
    running = () if period.failed_only else reads.running(until, MAX_RUNNING_MARKS)
    many = len(latest) > MAX_MARKS
    facts = PeriodFacts(
        tasks=_each_once((*running, *latest)),
        names={(one.source, period.by.key(one)): one.instance_name for one in (*latest, *running) if one.instance_name},
        stuck=reads.stuck([(task.source, task.job_id) for task in running]) if running else (),
        blind=reads.blind(since),
        storms=storms.storms(since, until),
    )
    if not many and (period.failed_only or until - since <= timedelta(days=MOST_DAYS_SINGLE)):
        facts = replace(facts, homes=_homes(facts.tasks) if period.by is RowsBy.INSTANCE else {})
        return replace(facts, named=_named_rows(facts, latest, period.by, MAX_NAMED_ROWS))
    facts = replace(facts, alarms=any(task.status.of_alarm for task in latest))
    latest = [task for task in latest if not task.status.of_alarm]
    slots = period.slots
    failed = reads.tasks(since, until, MAX_FAILED_MARKS + 1, failed_only=True)
    if len(failed) <= MAX_FAILED_MARKS:
        names = {(one.source, period.by.key(one)): one.instance_name for one in failed if one.instance_name}
        facts = replace(facts, tasks=_each_once((*running, *failed)), names={**names, **facts.names})
    else:
        rows = reads.failed_by_row(since, until, period.by.value, slots, MAX_FAILED)
        names = {(one.source, one.key): one.instance_name for one in rows if one.instance_name}
        counted = {(one.source, one.key): one.counts for one in rows if any(one.counts)}
        facts = replace(facts, tasks=running, failed=counted, names={**names, **facts.names})
    # A count with failures is a link, which takes twice the room.
    counts = MAX_COUNTS // 2 if facts.failed else MAX_COUNTS
    most = max(min(MAX_NAMED_ROWS, counts // len(slots)), 1)
    named = _named_rows(facts, latest, period.by, most)
    return replace(
        facts,
        slots=slots,
        named=named,
        completed={} if period.failed_only else _completed(reads, named, period.by, slots),
        ended={} if period.failed_only else reads.ended_by_source(slots),
    )


def _each_once(tasks: Iterable[TimelineTask]) -> Sequence[TimelineTask]:
    return list({(task.source, task.job_id): task for task in tasks}.values())


def _homes(tasks: Iterable[TimelineTask]) -> Mapping[str, str]:
    keyed = ((RowsBy.INSTANCE.key(task), task.source) for task in tasks if not task.status.of_alarm)
    return {key: source for key, source in keyed if key}


def _named_rows(facts: PeriodFacts, latest: Iterable[TimelineTask], by: RowsBy, most: int) -> Sequence[tuple[str, str]]:
    """Return the rows that have a name of their own: those with most failures, then those of the latest tasks.

    Each source has its share of them.
    """
    failed = Counter[tuple[str, str]]({row: sum(counts) for row, counts in facts.failed.items()})
    for task in facts.tasks:
        failed[facts.home_of(task, by), by.key(task)] += task.status is TaskStatus.FAILED
    for task in latest:
        failed[facts.home_of(task, by), by.key(task)] += 0
    ranked: list[tuple[int, int, tuple[str, str]]] = []
    ranks = Counter[str]()
    for row, count in failed.most_common():
        ranked.append((ranks[row[0]], -count, row))
        ranks[row[0]] += 1
    return [row for _, _, row in sorted(ranked)[:most]]


def _completed(
    reads: PeriodReads, named: Sequence[tuple[str, str]], by: RowsBy, slots: Sequence[datetime]
) -> Mapping[tuple[str, str], Sequence[int]]:
    if by is RowsBy.SOURCE:
        return {}
    if by is RowsBy.INSTANCE:
        ids = {key for _, key in named if key}
        counted = reads.completed_by_instance(ids, slots) if ids else {}
        return {(source, key): counted.get(key, ()) for source, key in named}
    found: dict[tuple[str, str], Sequence[int]] = {}
    for source in {source for source, _ in named}:
        names = {key for of, key in named if of == source}
        found |= {(source, name): counts for name, counts in reads.completed_by_name(source, names, slots).items()}
    return found


# ---- the chart ----


class ShownTask(NamedTuple):
    """A task, as a mark names it."""

    source: str
    job_id: str
    name: str
    instance: str
    kind: MarkKind
    start: datetime
    end: datetime | None
    """None for one that runs."""

    @property
    def url(self) -> str:
        """The page of the task."""
        return task_path(self.source, self.job_id)


class BlindTime(NamedTuple):
    """A time in which a source was not observed."""

    source: str
    start: datetime
    end: datetime | None
    """None where it lasts."""


class ShownStorm(NamedTuple):
    """A storm, as its column names it."""

    id: str
    source: str
    start: datetime
    end: datetime
    total: int

    @property
    def url(self) -> str:
        """The list of its tasks."""
        return list_path("/tasks", storm=self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartLane:
    """A row of a chart."""

    source: str
    key: str
    """See `RowsBy.key`."""
    label: str
    """Name of the instance, the API's name of the operation, or the source; empty where it has none."""
    rest: bool = False
    """True for the row of all that have no row of their own."""
    row: ChartRow[ShownTask]
    windows: tuple[ChartColumn[PlannedWindow], ...] = ()
    """Planned maintenance of its instance, or of its source where rows are of sources."""
    failed: int
    tasks: int
    url: str
    """The list of its tasks."""
    failed_url: str
    """The list of those that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartGroup:
    """The rows of a source."""

    source: str
    region: str
    lanes: tuple[ChartLane, ...]
    gaps: tuple[ChartColumn[BlindTime], ...]
    storms: tuple[ChartColumn[ShownStorm], ...]
    windows: tuple[PlannedWindow, ...] = ()
    """Planned maintenance of its instances, the earliest first."""

    @property
    def tasks(self) -> int:
        """The number of its tasks."""
        return sum(lane.tasks for lane in self.lanes)

    @property
    def failed(self) -> int:
        """The number of those that failed."""
        return sum(lane.failed for lane in self.lanes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodChart:
    """A timeline."""

    period: Period
    ticks: tuple[TimeTick, ...]
    now_x: float | None
    """Where the present is, in per cent; None where it is not shown."""
    groups: tuple[ChartGroup, ...]
    counted: bool
    """Whether completed tasks are counted in slots."""
    counts_failed: bool
    """Whether failures are counted in slots, too."""
    leaves_out_alarms: bool = False
    """Whether alarms are not drawn, because tasks are counted."""
    quiet: int = 0
    """Number of further sources, which have no task in the period and are not drawn."""

    @property
    def tasks(self) -> int:
        """The number of tasks of the period."""
        return sum(group.tasks for group in self.groups)

    @property
    def failed(self) -> int:
        """The number of those that failed."""
        return sum(group.failed for group in self.groups)

    @property
    def has_windows(self) -> bool:
        """Whether planned maintenance is drawn."""
        return any(lane.windows for group in self.groups for lane in group.lanes)

    @property
    def marks(self) -> int:
        """The number of tasks that are drawn by themselves."""
        return sum(len(lane.row.marks) for group in self.groups for lane in group.lanes)


def chart_of(
    facts: PeriodFacts,
    period: Period,
    report: HealthReport,
    regions: Mapping[str, str],
    label: Callable[[str], str] = str,
) -> PeriodChart:
    """Return the timeline of a period.

    Args:
        facts: what is recorded.
        period: what is to be drawn.
        report: says which sources are not observed now.
        regions: region by source, in the order in which sources are shown. Others that have tasks follow.
        label: the name of an operation for people, by which rows of operations are ordered.
    """
    scale = period.scale
    blind = blind_times(facts.blind, report, period.now)
    storms = [_shown_storm(storm) for storm in facts.storms]
    others = {facts.home_of(task, period.by) for task in facts.tasks} | {
        source for source, ended in facts.ended.items() if any(ended)
    }
    # Only those without a task are left out, so that the totals of the chart are those of its rows.
    others |= {window.source for window in facts.windows}
    active = others | {source for source, _ in (*facts.failed, *facts.completed)}
    idle = [source for source in regions if source not in active]
    drawn = max(MAX_NAMED_ROWS - len(active), 0)
    undrawn = frozenset(idle[drawn:])
    sources = [one for one in (*regions, *sorted(others - regions.keys())) if one not in undrawn]
    lanes = {source: _SourceRows(source, facts, period, scale).lanes(label) for source in sources}
    levelled = iter(with_levels([lane.row for some in lanes.values() for lane in some]))
    lanes = {source: [replace(lane, row=next(levelled)) for lane in some] for source, some in lanes.items()}

    groups = [
        ChartGroup(
            source=source,
            region=regions.get(source, ""),
            lanes=tuple(some),
            gaps=columns_of(
                [(one.start, one.end or period.until, one) for one in blind if one.source == source], scale
            ),
            storms=columns_of([(one.start, one.end, one) for one in storms if one.source == source], scale),
            windows=tuple(one for one in facts.windows if one.source == source),
        )
        for source, some in lanes.items()
    ]
    return PeriodChart(
        period=period,
        ticks=time_ticks(scale, period.zone),
        now_x=scale.x(period.now) if period.ends_now else None,
        groups=tuple(groups),
        counted=bool(facts.slots),
        counts_failed=bool(facts.failed),
        leaves_out_alarms=facts.alarms,
        quiet=len(undrawn),
    )


@dataclass(frozen=True, slots=True)
class _SourceRows:
    """The rows of one source in the making."""

    source: str
    facts: PeriodFacts
    period: Period
    scale: TimeScale

    def lanes(self, label: Callable[[str], str]) -> Sequence[ChartLane]:
        """Return the rows in the order of their names; what has none of its own is in the last one."""
        rows, by_source = self._tasks(), self.period.by is RowsBy.SOURCE
        planned = self._planned(rows)
        named = [key for key in rows if by_source or (self.source, key) in self.facts.named]
        rows, named = {**rows, **dict.fromkeys(planned, ())}, [*named, *planned]
        names = {key: planned.get(key) or self._name(key, label) for key in named}
        others = self._others(rows, named)
        most = LANES_OF_MANY if len(named) > MANY_ROWS else MAX_LANES
        found = [
            self._lane(
                key, names[key], rows[key], (others if by_source else self._completed(key), self._failed(key)), most
            )
            for key in sorted(named, key=lambda key: (names[key].casefold(), key))
        ]
        rest = [task for key, some in rows.items() if key not in names for task in some]
        failed = [counts for (of, key), counts in self.facts.failed.items() if of == self.source and key not in names]
        if not by_source and (rest or failed or any(others)):
            lane = self._lane("", "", rest, (others, list(map(sum, zip(*failed, strict=True)))), most)
            found.append(replace(lane, rest=True))
        return found

    def _tasks(self) -> Mapping[str, Sequence[TimelineTask]]:
        """Return the tasks that are drawn by themselves, by row; some rows have nothing but counts."""
        rows: dict[str, list[TimelineTask]] = {"": []} if self.period.by is RowsBy.SOURCE else {}
        for task in self.facts.tasks:
            home = self.facts.home_of(task, self.period.by)
            if home == self.source and self.scale.shows(task.start, max(task.end, task.start)):
                rows.setdefault(self.period.by.key(task), []).append(task)
        for counted in (self.facts.failed, self.facts.completed):
            for source, key in counted:
                if source == self.source and any(counted[source, key]):
                    rows.setdefault(key, [])
        return rows

    def _planned(self, rows: Mapping[str, Sequence[TimelineTask]]) -> Mapping[str, str]:
        """Return the names of instances with planned maintenance and without a task, by the keys of their rows.

        Where tasks are counted, not all instances with tasks are known, so that none counts as idle.
        """
        if self.period.by is not RowsBy.INSTANCE or self.facts.slots:
            return {}
        known = [(key, self._name(key, str)) for key in rows]
        return {
            window.key: window.instance
            for window in self._windows
            if window.key and not any(window.is_of(key, name) for key, name in known)
        }

    @property
    def _windows(self) -> Sequence[PlannedWindow]:
        return [window for window in self.facts.windows if window.source == self.source]

    def _windows_of(self, key: str, name: str) -> tuple[ChartColumn[PlannedWindow], ...]:
        """Return the planned maintenance to draw in a row."""
        by = self.period.by
        if by is RowsBy.TYPE:
            return ()
        shown = [one for one in self._windows if by is RowsBy.SOURCE or one.is_of(key, name)]
        return columns_of([(one.start, one.end, one) for one in shown], self.scale)

    def _completed(self, key: str) -> Sequence[int]:
        return self.facts.completed.get((self.source, key), ())

    def _failed(self, key: str) -> Sequence[int]:
        return self.facts.failed.get((self.source, key), ())

    def _others(self, rows: Mapping[str, Sequence[TimelineTask]], named: Sequence[str]) -> Sequence[int]:
        """Return how many tasks completed in each slot that no named row counts."""
        left = list(self.facts.ended.get(self.source, ()))
        counted = [self._completed(key) for key in named]
        failed = [counts for (source, _), counts in self.facts.failed.items() if source == self.source]
        counted.append(list(map(sum, zip(*failed, strict=True))))
        for number, count in (pair for counts in counted if left for pair in enumerate(counts)):
            left[number] -= count
        ends = sorted(task.end for some in rows.values() for task in some)
        for number, (since, until) in enumerate(pairwise(self.facts.slots)) if left else ():
            left[number] -= bisect_left(ends, until) - bisect_left(ends, since)
        return [max(count, 0) for count in left]

    def _name(self, key: str, label: Callable[[str], str]) -> str:
        if self.period.by is RowsBy.SOURCE:
            return self.source
        return label(key) if self.period.by is RowsBy.TYPE else self.facts.names.get((self.source, key), key)

    def _lane(
        self,
        key: str,
        name: str,
        tasks: Sequence[TimelineTask],
        counts: tuple[Sequence[int], Sequence[int]],
        most: int,
    ) -> ChartLane:
        """Return a row. `counts` are of completed and of failed tasks, by slot."""
        completed, failed = counts
        zeros = [0] * max(len(self.facts.slots) - 1, 0)
        slots = [
            ChartSlot(*bounds, *pair)
            for bounds, *pair in zip(pairwise(self.facts.slots), completed or zeros, failed or zeros, strict=True)
        ]
        wanted = {"source": self.source, _PARAMETERS[self.period.by]: key or name, **self.period.query}
        return ChartLane(
            source=self.source,
            key=key,
            label=name,
            row=lay_out([self._span(task) for task in tasks], self.scale, slots, most),
            windows=self._windows_of(key, name),
            failed=sum(map(_is_failed, tasks)) + sum(failed),
            tasks=sum(not task.status.of_alarm for task in tasks) + sum(completed) + sum(failed),
            url=list_path("/tasks", **wanted),
            failed_url=list_path("/tasks", **wanted, status="failed"),
        )

    def _span(self, task: TimelineTask) -> ChartSpan[ShownTask]:
        is_stuck = (task.source, task.job_id) in self.facts.stuck
        kind = MarkKind.STUCK if is_stuck else _KINDS[task.status]
        runs = task.status is TaskStatus.RUNNING
        end = max(self.period.now if runs else task.end, task.start)
        about = ShownTask(
            source=task.source,
            job_id=task.job_id,
            name=task.name,
            instance=task.instance_name or task.instance_id or "",
            kind=kind,
            start=task.start,
            end=None if runs else end,
        )
        return ChartSpan(start=task.start, end=end, kind=kind, about=about)


_PARAMETERS: Mapping[RowsBy, str] = {RowsBy.INSTANCE: "instance", RowsBy.TYPE: "type", RowsBy.SOURCE: "source"}
"""Parameters of the list of tasks that narrow it to a row."""


def _is_failed(task: TimelineTask) -> bool:
    return task.status is TaskStatus.FAILED


_KINDS: Mapping[TaskStatus, MarkKind] = {
    TaskStatus.COMPLETED: MarkKind.COMPLETED,
    TaskStatus.FAILED: MarkKind.FAILED,
    TaskStatus.RUNNING: MarkKind.RUNNING,
    TaskStatus.UNKNOWN: MarkKind.OTHER,
    TaskStatus.RAISED: MarkKind.RAISED,
    TaskStatus.CLEARED: MarkKind.CLEARED,
}


def _shown_storm(storm: Storm) -> ShownStorm:
    return ShownStorm(id=storm.id, source=storm.source, start=storm.started_at, end=storm.updated_at, total=storm.total)


# ---- when nobody looked ----


def blind_times(events: Iterable[Event], report: HealthReport, now: datetime) -> Sequence[BlindTime]:
    """Return when sources were not observed, each time once.

    What happened in such a time was found afterwards, if it was still listed.
    """
    found = [one for event in events if (one := _blind_time(event)) is not None]
    unpolled = {one.about: one.since for one in report.findings if one.kind is FindingKind.SOURCE_NOT_POLLED}
    for source in report.sources:
        start = source.failing_since or unpolled.get(source.name)
        if start is not None and start < now:
            found.append(BlindTime(source.name, start, None))
    joined: list[BlindTime] = []
    for one in sorted(found, key=lambda one: (one.source, one.start)):
        last = joined[-1] if joined and joined[-1].source == one.source else None
        if last is not None and (last.end is None or one.start <= last.end):
            end = None if last.end is None or one.end is None else max(last.end, one.end)
            joined[-1] = last._replace(end=end)
        else:
            joined.append(one)
    return joined


def _blind_time(event: Event) -> BlindTime | None:
    if event.type is EventType.SOURCE_GAP:
        bounds = gap_bounds(event.detail)
        return BlindTime(event.source, *bounds) if bounds else None
    return BlindTime(event.source, event.since, event.observed_at) if event.since else None
