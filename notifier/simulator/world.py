"""The simulated task list: rows that come, change and go as virtual time passes. Pure: no clock, no I/O."""

from __future__ import annotations

import heapq
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from notifier.simulator.catalogue import Reason

LISTED_FOR = timedelta(days=30)
"""How long the API lists a task."""
EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowInstance:
    """A database instance as a task row shows it."""

    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task as the list shows it at one moment."""

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
    """A row put in by hand, given out exactly as it was written."""

    job_id: str
    name: str
    status: str
    json: bytes
    created_at: datetime = EARLIEST
    ended_at: datetime | None = None


AnyRow = TaskRow | RawRow


def raw_row(wire: Mapping[str, Any] | bytes) -> RawRow:
    """Take a row as the API would write it: a mapping, or JSON text for what no mapping can say.

    The fields that filters and order look at are read where they can be; a row without a usable id gets a hidden one.
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
    """All that will ever happen to one task: its row from each moment on, None once it is no longer listed."""

    job_id: str
    begins_at: datetime
    steps: tuple[tuple[datetime, TaskRow | None], ...]


class World:
    """The rows at one virtual moment. `advance` moves that moment on; it never goes back.

    `lives` are in the order they begin. Equal lives give equal rows at equal moments, however often they are looked at.
    """

    def __init__(
        self,
        *,
        timelines: Iterator[TaskTimeline],
        rows: Iterable[AnyRow] = (),
        invent: Callable[[datetime], TaskTimeline],
    ) -> None:
        """`invent` makes up one more life on demand, for rows that appear between two pages."""
        self.rows: dict[str, AnyRow] = {row.job_id: row for row in rows}
        self.version = 0
        """Grows with every change of a row: what was made of older rows is stale."""
        self._timelines = timelines
        self._next_timeline = next(timelines, None)
        self._invent = invent
        self._schedule_queue: list[tuple[datetime, int, str, TaskRow | None]] = []
        self._serial = count()
        self._by_hand: set[str] = set()

    def advance(self, now: datetime) -> None:
        """Let everything happen that happens up to `now`."""
        while self._next_timeline and self._next_timeline.begins_at <= now:
            self._schedule(self._next_timeline)
            self._next_timeline = next(self._timelines, None)
        while self._schedule_queue and self._schedule_queue[0][0] <= now:
            _, _, job_id, row = heapq.heappop(self._schedule_queue)
            if job_id not in self._by_hand:
                self._set(job_id, row)

    def _schedule(self, timeline: TaskTimeline) -> None:
        for at, row in timeline.steps:
            heapq.heappush(self._schedule_queue, (at, next(self._serial), timeline.job_id, row))

    def _set(self, job_id: str, row: AnyRow | None) -> None:
        self.version += 1
        if row is None:
            self.rows.pop(job_id, None)
        else:
            self.rows[job_id] = row

    def put(self, row: AnyRow | Mapping[str, Any] | bytes) -> str:
        """Add or replace a row by hand and return its id; it no longer evolves by itself."""
        row = row if isinstance(row, TaskRow | RawRow) else raw_row(row)
        self._by_hand.add(row.job_id)
        self._set(row.job_id, row)
        return row.job_id

    def remove(self, job_id: str) -> None:
        """Take a row out for good, as a user does who deletes the record. An unknown id is nothing."""
        self._by_hand.add(job_id)
        self._set(job_id, None)

    def insert(self, now: datetime) -> str:
        """Let one more task begin at this moment and return its id."""
        timeline = self._invent(now)
        self._schedule(timeline)
        self.advance(now)
        return timeline.job_id

    def drop(self, rng: Random) -> None:
        """Remove any one row that has ended, if there is one."""
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
