"""The simulated task list: rows appear, change and disappear in virtual time. Pure: no clock, no I/O."""

import heapq
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count, takewhile
from random import Random
from typing import Any

from notifier.simulator.catalogue import Reason

LISTED_FOR = timedelta(days=30)
"""Time that the API lists a task."""
TIMELINES_KEPT_FOR = LISTED_FOR + timedelta(days=1)
EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowInstance:
    """A database instance as a task row shows it."""

    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task in the list at one moment."""

    job_id: str
    name: str
    status: str
    instance: RowInstance | None = None
    progress: int | None = None
    """Percent while it runs; None once it has ended."""
    reason: Reason | None = None
    created_at: datetime = EARLIEST
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """A row put by hand, returned exactly as written."""

    job_id: str
    name: str
    status: str
    json: bytes
    created_at: datetime = EARLIEST
    ended_at: datetime | None = None

    def instance_of(self) -> RowInstance | None:
        """Return the instance that the row names."""
        shown = json.loads(self.json).get("instance_info")
        if not isinstance(shown, dict) or not shown.get("instance_id"):
            return None
        fields = {name: str(shown.get(f"instance_{name}") or "") for name in ("id", "name", "status")}
        return RowInstance(**fields)


AnyRow = TaskRow | RawRow


def raw_row(wire: Mapping[str, Any] | bytes) -> RawRow:
    """Build a row in the form of the API: from a mapping, or from JSON text that a mapping cannot express.

    Fields for filters and order are read if possible; a row without a usable id gets a hidden one.
    """
    text = wire if isinstance(wire, bytes) else json.dumps(wire).encode()
    fields = json.loads(text)
    return RawRow(
        job_id=str(fields.get("job_id") or uuid.uuid5(uuid.NAMESPACE_OID, text.decode("utf-8", "replace"))),
        name=str(fields.get("name")),
        status=str(fields.get("status")),
        json=text,
        created_at=_time(fields.get("created_at")) or EARLIEST,
        ended_at=_time(fields.get("ended_at")),
    )


def _time(text: object) -> datetime | None:
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTimeline:
    """The rows of one task over time: each from a moment on, None when it is no longer listed."""

    job_id: str
    begins_at: datetime
    steps: tuple[tuple[datetime, TaskRow | None], ...]
    deleted_at: datetime | None = None
    """Time at which a user deletes its row, as the rows show times; None where it leaves the list by its age."""


class World:
    """The rows at one virtual moment. `advance` moves that moment forward.

    `timelines` are sorted by their beginning. Equal timelines give equal rows at equal moments.
    """

    def __init__(
        self,
        *,
        timelines: Iterator[TaskTimeline],
        rows: Iterable[AnyRow] = (),
        invent: Callable[[datetime], TaskTimeline],
    ) -> None:
        """`invent` returns one more timeline, for rows that appear between two pages."""
        self.rows: dict[str, AnyRow] = {row.job_id: row for row in rows}
        self.first_rows = tuple(self.rows.values())
        """The rows that were there from the beginning."""
        self.placed: dict[str, AnyRow] = dict(self.rows)
        """The rows that follow no timeline: those of the beginning and those put by hand, also once removed."""
        self.timelines: dict[str, TaskTimeline] = {}
        """The timelines that have begun, oldest first, for a day longer than their tasks are listed."""
        self.version = 0
        """Increases with every change of a row."""
        self.invented: dict[str, TaskTimeline] = {}
        """The timelines that `insert` has added."""
        self.on_status: Callable[[AnyRow], None] | None = None
        """Called with a row that has appeared or has a new status."""
        self._timelines = timelines
        self._next_timeline = next(timelines, None)
        self._invent = invent
        self._schedule_queue: list[tuple[datetime, int, str, TaskRow | None]] = []
        self._serial = count()
        self._by_hand: set[str] = set()

    def advance(self, now: datetime) -> None:
        """Apply all changes up to `now`."""
        while self._next_timeline and self._next_timeline.begins_at <= now:
            self._schedule(self._next_timeline)
            self._record(self._next_timeline)
            self._next_timeline = next(self._timelines, None)
        while self._schedule_queue and self._schedule_queue[0][0] <= now:
            _, _, job_id, row = heapq.heappop(self._schedule_queue)
            if job_id not in self._by_hand:
                self._set(job_id, row)

    def _record(self, timeline: TaskTimeline) -> None:
        for job_id in [known.job_id for known in self._outdated(timeline.begins_at)]:
            del self.timelines[job_id]
        self.timelines[timeline.job_id] = timeline

    def _outdated(self, now: datetime) -> Iterator[TaskTimeline]:
        return takewhile(lambda known: known.begins_at < now - TIMELINES_KEPT_FOR, self.timelines.values())

    def _schedule(self, timeline: TaskTimeline) -> None:
        for at, row in timeline.steps:
            heapq.heappush(self._schedule_queue, (at, next(self._serial), timeline.job_id, row))

    def _set(self, job_id: str, row: AnyRow | None) -> None:
        self.version += 1
        before = self.rows.get(job_id)
        if row is None:
            self.rows.pop(job_id, None)
            return
        self.rows[job_id] = row
        if self.on_status and (before is None or before.status != row.status):
            self.on_status(row)

    def put(self, row: AnyRow | Mapping[str, Any] | bytes) -> str:
        """Add or replace a row by hand and return its id. It no longer changes by itself."""
        row = row if isinstance(row, TaskRow | RawRow) else raw_row(row)
        self._by_hand.add(row.job_id)
        self.placed[row.job_id] = row
        self._set(row.job_id, row)
        return row.job_id

    def remove(self, job_id: str) -> None:
        """Remove a row permanently, like a user who deletes the record. An unknown id is ignored."""
        self._by_hand.add(job_id)
        self._set(job_id, None)

    def insert(self, now: datetime) -> str:
        """Add a task that begins at this moment and return its id."""
        timeline = self._invent(now)
        self._schedule(timeline)
        self.invented[timeline.job_id] = timeline
        self.advance(now)
        return timeline.job_id

    def drop(self, rng: Random) -> None:
        """Remove one finished row, if there is one."""
        ended = [job_id for job_id, row in self.rows.items() if row.status in ("Completed", "Failed")]
        if ended:
            self.remove(rng.choice(ended))

    def touch(self, how_many: int, now: datetime) -> tuple[str, ...]:
        """Change the status of the oldest rows, running ones to completed and others to running; return their ids."""
        chosen = [row for row in self.rows.values() if isinstance(row, TaskRow)][:how_many]
        for row in chosen:
            self.put(_flipped(row, now))
        return tuple(row.job_id for row in chosen)


def _flipped(row: TaskRow, now: datetime) -> TaskRow:
    if row.status == "Running":
        return replace(row, status="Completed", progress=None, ended_at=now)
    return replace(row, status="Running", progress=0, reason=None, ended_at=None)
