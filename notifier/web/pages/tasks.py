"""Tasks: the list, by day, with why each failed and who was told; and the same as a file."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from notifier import lookup
from notifier.core.causes import CauseCatalogue
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.model import Task
from notifier.core.row_counts import RowCount
from notifier.core.storms import Storm
from notifier.core.task_lists import (
    TaskGroup,
    TaskListEntry,
    TaskListFilter,
    ToldShare,
    total,
)
from notifier.core.usual import Usual
from notifier.web.ports import WebReads
from notifier.web.requests import DownloadPart, DownloadRoute, Page, PageRequest, PageRoute
from notifier.web.task_queries import TasksQuery, place_of, place_text, read_query
from notifier.web.task_reads import TasksReads
from notifier.wording.links import missing_path, task_path
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import NAME_LIMIT, one_line

TASKS_SHOWN: Final = 50
"""Number of tasks on a page."""
SHOWN_REASON: Final = 300
"""Maximum length of a reason in the list, in characters; the page of the task has all of it."""
TASKS_READ: Final = 500
"""Number of tasks that are read at a time for a file."""
MAX_OFFERED_INSTANCES: Final = 60
"""Maximum number of instances that are offered while somebody types, those of the tasks that changed last."""
READ_FOR_NAMES: Final = 300
"""Number of tasks whose instances are offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """A task in the list."""

    path: str
    group: TaskGroup
    name: str
    """As the API has it."""
    instance: str
    instance_key: str
    """By which the list can be narrowed to the instance: its name, or its id where that is none or very long."""
    source: str
    reason: str
    """Why it failed, in one line."""
    status: str
    """The API's own word, where the status is unknown to us."""
    vanished: bool
    """Whether the list of the cloud does not contain it any more, although it had not ended."""
    progress: float | None
    began: datetime | None
    """When it began, where it has not ended."""
    stalled_since: datetime | None
    usual: Usual | None
    changed_at: datetime
    took: timedelta | None
    told: ToldShare | None
    taken_by: str
    """Who has acknowledged its newest event."""
    started_by: str
    """Name of who started it; empty where nobody is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOfTasks:
    """The rows of one day of the reader's time zone."""

    at: datetime
    """A time of the day."""
    rows: tuple[TaskLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRunRow:
    """A run that did not appear, which is open too and no task."""

    path: str
    name: str
    instance: str
    source: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StormNote:
    """The storm whose tasks are listed."""

    source: str
    total: int
    began: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarInstance:
    """An instance that may have been meant."""

    name: str
    tasks: RowCount


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksView:
    """What the page shows."""

    query: TasksQuery
    days: tuple[DayOfTasks, ...]
    counts: tuple[tuple[TaskGroup, RowCount], ...]
    """Of each group, whatever group is asked for."""
    total: RowCount
    """Of all groups together."""
    chosen: RowCount
    """Of the groups that are asked for."""
    open: RowCount
    """Tasks whose open failure nobody has acknowledged, whatever else is asked for."""
    shown: int
    following: str
    """The parameter `after` of the next page; empty at the end."""
    searched_to: datetime | None
    """Time of the last change up to which tasks were read, where there are more that might fit."""
    storm: StormNote | None
    missing: tuple[MissingRunRow, ...]
    similar: tuple[SimilarInstance, ...]
    sources: tuple[str, ...]
    names: tuple[str, ...]
    """The API's names of the operations that are recorded."""
    instances: tuple[str, ...]
    file: str
    """Address of the same list as a file."""


def read_tasks(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    zone = request.localizer.timezone
    query = read_query(request.query, zone, q.now())
    return Page(template="tasks.html", view=tasks_view(q, query, request))


def tasks_view(q: TasksReads, query: TasksQuery, request: PageRequest) -> TasksView:
    """Return what the page shows of a query."""
    listing = q.task_list.listing(query.wanted)
    page, counts = listing.page(TASKS_SHOWN, query.after), listing.counts()
    sources = {source.name for source in request.rules.expected.sources}
    storm = q.storm(query.storm) if query.storm else None
    return TasksView(
        query=query,
        days=tuple(days_of(map(task_row, page.rows), request.localizer.timezone)),
        counts=tuple(counts.items()),
        total=total(counts),
        chosen=total({group: counts[group] for group in query.groups or counts}),
        open=q.task_list.count_unacknowledged(),
        shown=len(page.rows),
        following=place_text(page.following) if page.following else "",
        searched_to=page.searched_to,
        storm=storm_note(storm) if storm else None,
        missing=tuple(missing_rows(q.open_failures())) if query.is_open else (),
        similar=tuple(similar_instances(q, query)) if not page.rows and not query.after else (),
        sources=tuple(sorted(sources | {query.source} - {""})),
        names=tuple(sorted({*q.task_names(), query.name} - {""})),
        instances=tuple(q.recent_instance_names(READ_FOR_NAMES)[:MAX_OFFERED_INSTANCES]),
        file=_file_url(request),
    )


def _file_url(request: PageRequest) -> str:
    kept = [(name, value) for name, value in request.query.multi_items() if name not in {"after", "density"}]
    return f"/tasks.csv?{urlencode(kept)}" if kept else "/tasks.csv"


def task_row(listed: TaskListEntry) -> TaskLine:
    """Return the row of a task."""
    task, newest = listed.task, listed.newest
    ended = task.status.terminal
    stalled = newest is not None and newest.type is EventType.TASK_STALLED
    return TaskLine(
        path=task_path(task.source, task.job_id),
        group=listed.group,
        name=task.name,
        instance=one_line(task.instance_name or task.instance_id or "", NAME_LIMIT),
        instance_key=_instance_key(task),
        source=task.source,
        reason=one_line(task.fail_reason or "", SHOWN_REASON),
        status=one_line(task.raw_status) if listed.group is TaskGroup.OTHER else "",
        vanished=not listed.listed,
        progress=None if ended else task.progress,
        began=None if ended or task.alarm else task.created_at or listed.first_seen_at,
        stalled_since=newest.since if newest and stalled else None,
        usual=newest.usual if newest else None,
        changed_at=listed.changed_at,
        took=_took(task),
        told=listed.told,
        taken_by=one_line(listed.acknowledged.name) if listed.acknowledged else "",
        started_by=one_line(listed.started_by.name, NAME_LIMIT) if listed.started_by else "",
    )


def _instance_key(task: Task) -> str:
    name = task.instance_name or ""
    return name if name and len(name) <= NAME_LIMIT else task.instance_id or name


def _took(task: Task) -> timedelta | None:
    if task.created_at is None or task.ended_at is None or task.ended_at < task.created_at:
        return None
    return task.ended_at - task.created_at


def days_of(rows: Iterable[TaskLine], zone: ZoneInfo) -> Iterator[DayOfTasks]:
    """Put rows of one day together, in their order."""
    for _, of_day in groupby(rows, key=lambda row: row.changed_at.astimezone(zone).date()):
        first, *others = of_day
        yield DayOfTasks(at=first.changed_at, rows=(first, *others))


def storm_note(storm: Storm) -> StormNote:
    """Return what the page says of a storm."""
    return StormNote(source=storm.source, total=storm.total, began=storm.started_at, ended=storm.ended_at)


def missing_rows(failures: Iterable[OpenFailure]) -> Iterator[MissingRunRow]:
    """Yield the runs that did not appear and that nobody has acknowledged."""
    for one in failures:
        if one.state is FailureState.OPEN and (missing := one.latest.expectation):
            yield MissingRunRow(
                path=missing_path(one.latest.id),
                name=missing.name,
                instance=one_line(missing.instance_name or missing.instance_id or "", NAME_LIMIT),
                source=one.latest.source,
                since=one.opened_at,
            )


def similar_instances(q: TasksReads, query: TasksQuery) -> Iterator[SimilarInstance]:
    """Yield the instances that may have been meant where nothing fits, with the number of their tasks."""
    meant = query.text or query.instance
    if not meant:
        return
    names = q.recent_instance_names(lookup.COMPARED_NAMES)
    for name in lookup.similar_names(meant, names)[:MAX_SIMILAR]:
        if name != meant:
            counts = q.task_list.listing(TaskListFilter(instance=name)).counts()
            yield SimilarInstance(name=name, tasks=total(counts))


MAX_SIMILAR: Final = 3
"""Maximum number of instances that may have been meant."""


# ---- the same as a file ----

_COLUMNS = (
    *("source", "job_id", "operation", "name", "instance_id", "instance_name", "status", "group", "progress"),
    *("created_at", "ended_at", "changed_at", "seconds", "fail_reason", "error_code"),
)
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet may take for a formula. The last four are full-width forms of the first."""
BYTE_ORDER_MARK: Final = "\ufeff"
"""Begins a file, so that spreadsheets read it as UTF-8."""


def read_file(request: PageRequest, q: WebReads, place: str) -> DownloadPart:
    """Return the next rows of the file. `place` is where they begin, as the part before has it."""
    query = read_query(request.query, request.localizer.timezone, q.now())
    page = q.task_list.listing(query.wanted).page(TASKS_READ, place_of(place) if place else query.after)
    head = [] if place else [_COLUMNS]
    rows = [csv_row(listed, request.localizer, request.rules.causes) for listed in page.rows]
    text = csv_text([*head, *rows])
    following = place_text(page.following) if page.following else ""
    return DownloadPart(text=text if place else f"{BYTE_ORDER_MARK}{text}", following=following)


def csv_row(listed: TaskListEntry, localizer: Localizer, causes: CauseCatalogue) -> Sequence[str]:
    """Return the cells of a task. Times are in UTC."""
    task, took = listed.task, _took(listed.task)
    values: Mapping[str, object] = {
        "source": task.source,
        "job_id": task.job_id,
        "operation": localizer.task_label(task.name),
        "name": task.name,
        "instance_id": task.instance_id,
        "instance_name": task.instance_name,
        "status": task.raw_status,
        "group": listed.group.value,
        "progress": task.progress,
        "created_at": task.created_at,
        "ended_at": task.ended_at,
        "changed_at": listed.changed_at,
        "seconds": None if took is None else round(took.total_seconds()),
        "fail_reason": task.fail_reason,
        "error_code": causes.explain(task.fail_reason).code if task.fail_reason else None,
    }
    return [_cell(values[column]) for column in _COLUMNS]


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV, with lines that end as RFC 4180 says. No cell is a formula."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows([harmless(cell) for cell in row] for row in rows)
    return written.getvalue()


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: an apostrophe is put before one that looks like one."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULAS) else cell


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return "" if value is None else str(value)


routes = (
    PageRoute(path="/tasks", read=read_tasks, tab="tasks"),
    DownloadRoute(path="/tasks.csv", read=read_file, name="tasks.csv", media_type="text/csv; charset=utf-8"),
)
