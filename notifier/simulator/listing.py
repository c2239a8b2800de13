"""The task list as the API returns it: check parameters, select and sort rows, cut and encode pages."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any

from notifier.simulator import catalogue
from notifier.simulator.options import Options
from notifier.simulator.parameters import MAX_OFFSET, QueryParameters
from notifier.simulator.replies import SimulatedError
from notifier.simulator.world import AnyRow, RawRow, TaskRow, World

STATUSES = frozenset({"Running", "Completed", "Failed"})
MAX_PAGE_ROWS = 100
"""Maximum number of rows on a page."""
MAX_CACHED_QUERIES = 64
BEIJING = timezone(timedelta(hours=8))
"""The time zone of the API's times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A checked request for one page."""

    status: str | None = None
    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    offset: int = 0
    limit: int = MAX_PAGE_ROWS
    language: str = "en-us"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPage:
    """Encoded rows, and the number of rows in the whole list."""

    rows: tuple[bytes, ...]
    total: int

    def body(self) -> bytes:
        """Return the page as JSON."""
        return b'{"tasks":[%b],"total_count":%d}' % (b",".join(self.rows), self.total)


def parse_query(query: Mapping[str, str], language: str) -> ListQuery:
    """Check the parameters of a request. Raises SimulatedError 400 for a value that the documentation excludes."""
    given = gaussdb_parameters(query)
    return ListQuery(
        status=given.choice("status", STATUSES),
        name=given.choice("name", catalogue.NAMES),
        since=given.milliseconds("start_time"),
        until=given.milliseconds("end_time"),
        offset=given.integer("offset", 0, MAX_OFFSET, 0),
        limit=given.integer("limit", 1, MAX_PAGE_ROWS, MAX_PAGE_ROWS),
        language=language,
    )


def gaussdb_parameters(query: Mapping[str, str]) -> QueryParameters:
    """Return the parameters of a request to GaussDB, with its errors."""
    return QueryParameters(
        query,
        refuse=lambda name: SimulatedError(400, "DBS.280001", f"Parameter error. Invalid {name}."),
        refuse_choice=lambda name: SimulatedError(400, "DBS.200001", f"Parameter error. Invalid {name}."),
    )


def write_time(time: datetime) -> str:
    """Return a time as the API writes it: `2022-08-05T08:15:07+0800`."""
    return time.astimezone(BEIJING).strftime("%Y-%m-%dT%H:%M:%S%z")


_ABSENT: object = object()
_NOT_ENDED = {"null": None, "empty": "", "absent": _ABSENT}
_PROCESS: dict[str, Callable[[int], object]] = {
    "plain": str,
    "percent": lambda progress: f"{progress}%",
    "number": int,
    "null": lambda _: None,
    "empty": lambda _: "",
    "absent": lambda _: _ABSENT,
}


def wire_row(row: TaskRow, language: str, options: Options) -> dict[str, Any]:
    """Return a row as the API shows it."""
    instance = row.instance
    fields: dict[str, object] = {
        "instance_info": instance
        and {"instance_id": instance.id, "instance_name": instance.name, "instance_status": instance.status},
        "job_id": row.job_id,
        "name": row.name,
        "status": row.status,
        "process": None if row.progress is None else _PROCESS[options.running_process](row.progress),
        "fail_reason": localised(row, language),
    }
    if options.timestamps:
        ended_at = write_time(row.ended_at) if row.ended_at else _NOT_ENDED[options.running_ended]
        fields |= {"created_at": write_time(row.created_at), "ended_at": ended_at}
    return {name: value for name, value in fields.items() if value is not _ABSENT}


def localised(row: TaskRow, language: str) -> str | None:
    """Return the failure reason in the requested language."""
    if row.reason is None:
        return None
    return row.reason.zh if language == "zh-cn" else row.reason.en


def write_row(row: AnyRow, language: str, options: Options) -> bytes:
    """Return an encoded row."""
    if isinstance(row, RawRow):
        return row.json
    return json.dumps(wire_row(row, language, options), ensure_ascii=False, separators=(",", ":")).encode()


def matches_query(row: AnyRow, query: ListQuery, time_filter: str) -> bool:
    """Return whether a row passes the filters of a query."""
    if query.status not in (None, row.status) or query.name not in (None, row.name):
        return False
    first, last = _task_period(row, time_filter)
    if query.since and (last is None or last < query.since):
        return False
    return not (query.until and (first is None or first > query.until))


def _task_period(row: AnyRow, time_filter: str) -> tuple[datetime | None, datetime | None]:
    if time_filter == "created":
        return row.created_at, row.created_at
    if time_filter == "ended":
        return row.ended_at, row.ended_at
    return row.created_at, row.ended_at or datetime.max.replace(tzinfo=UTC)


def first_row(query: ListQuery, offset_means: str) -> int:
    """Return the position of the first row of a page, for one unit of `offset`."""
    if offset_means == "record":
        return query.offset
    page = query.offset if offset_means == "page0" else max(query.offset - 1, 0)
    return page * query.limit


class TaskListing:
    """Pages of a world. Selections are cached until the world changes."""

    def __init__(self, options: Options, world: World) -> None:
        self._options = options
        self._world = world
        self._seen = -1
        self._chosen: dict[ListQuery, list[AnyRow]] = {}
        self._written: dict[tuple[str, str], tuple[AnyRow, bytes]] = {}
        self._shuffle = options.random("unstable order")

    def page(self, query: ListQuery) -> ListPage:
        """Return one page of the present rows."""
        rows = self._rows(query)
        first = first_row(query, self._options.offset)
        shown = rows[first : first + query.limit]
        return ListPage(rows=tuple(self._write(row, query.language) for row in shown), total=len(rows))

    def _rows(self, query: ListQuery) -> list[AnyRow]:
        self._evict()
        key = ListQuery(status=query.status, name=query.name, since=query.since, until=query.until)
        if key not in self._chosen:
            by = self._options.time_filter
            self._chosen[key] = self._ordered([row for row in self._world.rows.values() if matches_query(row, key, by)])
        rows = self._chosen[key]
        return self._shuffle.sample(rows, len(rows)) if self._options.order == "unstable" else rows

    def _evict(self) -> None:
        if self._seen != self._world.version or len(self._chosen) > MAX_CACHED_QUERIES:
            self._chosen.clear()
            self._seen = self._world.version
        if len(self._written) > 4 * len(self._world.rows) + MAX_PAGE_ROWS:
            self._written.clear()

    def _ordered(self, rows: list[AnyRow]) -> list[AnyRow]:
        if self._options.order == "shuffled":
            return sorted(rows, key=lambda row: blake2b(f"{self._options.seed}/{row.job_id}".encode()).digest())
        return sorted(rows, key=lambda row: row.created_at, reverse=self._options.order == "newest")

    def _write(self, row: AnyRow, language: str) -> bytes:
        row_before, text = self._written.get((row.job_id, language), (None, b""))
        if row_before is not row:
            text = write_row(row, language, self._options)
            self._written[row.job_id, language] = (row, text)
        return text
