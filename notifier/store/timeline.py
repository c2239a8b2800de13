"""What a timeline shows: the tasks of a period, or how many there were, and when nobody looked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    bindparam,
    column,
    func,
    literal,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.types import NullType

from notifier.core.events import EventType
from notifier.core.model import Event, TaskStatus
from notifier.ports import FailedRow, RowKey, TimelineTask
from notifier.store import rows
from notifier.store.compiled import ListType, compiled, is_in
from notifier.store.schema import IS_BLIND, IS_FAILED, UtcDateTime, events, sources, tasks
from notifier.store.session import Session
from notifier.store.values import TO_DRIVER

MAX_BLIND: Final = 200
_RUNS_AT_MOST = timedelta(days=2)
"""How long after the end of a past period a task may have ended that is shown as running there."""


class TimelineReads:
    """Indexed reads of a period."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def tasks(
        self, since: datetime, until: datetime, limit: int, *, failed_only: bool = False
    ) -> Sequence[TimelineTask]:
        """Return tasks that ended or last changed in a period, or had begun in it, those that changed last first."""
        period = {"since": since, "until": until, "before": until + _RUNS_AT_MOST}
        return self._tasks(_FAILED if failed_only else _LATEST, period | {"limit": limit})

    def running(self, until: datetime, limit: int) -> Sequence[TimelineTask]:
        """Return the tasks that run, and had begun at a time, those that changed last first."""
        return self._tasks(_RUNNING, {"until": until, "limit": limit})

    def _tasks(self, statement: Select[Any], parameters: Mapping[str, object]) -> Sequence[TimelineTask]:
        return [
            TimelineTask(
                source,
                job_id,
                name,
                instance_id,
                instance_name,
                _STATUSES[status],
                created_at or first_seen_at,
                ended_at or changed_at,
            )
            for (
                source,
                job_id,
                name,
                instance_id,
                instance_name,
                status,
                created_at,
                ended_at,
                first_seen_at,
                changed_at,
            ) in self._session.execute(statement, parameters).tuples()
        ]

    def stuck(self, running: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Return those of some running tasks, by source and id, whose newest event says that they do not go on."""
        found = set()
        for source in {source for source, _ in running}:
            ids = [job_id for of, job_id in running if of == source]
            stuck = self._session.execute(_STUCK, {"source": source, "ids": ids}).scalars()
            found |= {(source, job_id) for job_id in stuck}
        return found

    def failed_by_row(
        self, since: datetime, until: datetime, by: RowKey, slots: Sequence[datetime], limit: int
    ) -> Sequence[FailedRow]:
        """Return how many tasks of each row failed in each slot, of the latest ones in a period.

        Slots begin at the given times; the last one only ends the slot before it. Likewise below.
        """
        # There may be thousands: times are compared as the driver has them.
        bounds = list(map(TO_DRIVER[self._database, "time"], slots))
        counts: dict[tuple[str, str], list[int]] = {}
        names: dict[tuple[str, str], str] = {}
        wanted = {"since": since, "until": until, "limit": limit}
        for source, key, name, at in self._session.execute(_FAILED_AT[by], wanted).tuples():
            row = source, key
            if row not in counts:
                counts[row] = [0] * (len(bounds) - 1)
            if name:
                names.setdefault(row, name)
            number = bisect_right(bounds, at) - 1
            if 0 <= number < len(bounds) - 1:
                counts[row][number] += 1
        return [FailedRow(*row, names.get(row), some) for row, some in counts.items()]

    @property
    def _database(self) -> _Database:
        return "postgresql" if self._session.is_postgresql else "sqlite"

    def ended_by_source(self, slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each source of tasks ended or last changed in each slot."""
        return self._counted("ended_by_source", slots)

    def completed_by_instance(self, ids: Collection[str], slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each instance completed in each slot, by its id."""
        return self._counted("completed_by_instance", slots, keys=list(ids))

    def completed_by_name(
        self, source: str, names: Collection[str], slots: Sequence[datetime]
    ) -> Mapping[str, Sequence[int]]:
        """Return how many tasks of each name of a source completed in each slot, as far as their duration is known."""
        return self._counted("completed_by_name", slots, keys=list(names), source=source)

    def _counted(self, what: str, slots: Sequence[datetime], **parameters: object) -> Mapping[str, Sequence[int]]:
        """Count by a range of an index for each key and slot."""
        given = {"slots": list(map(TO_DRIVER[self._database, "time"], slots)), **parameters}
        found: dict[str, list[int]] = {}
        for key, number, count in self._session.execute(_COUNTS[self._database, what], given).tuples():
            found.setdefault(key, [0] * (len(slots) - 1))[number] = count
        return found

    def blind(self, since: datetime) -> Sequence[Event]:
        """Return the events, detected from a time on, that name a time in which a source was not observed."""
        return [rows.event_of(facts) for facts in self._session.execute(_BLIND, {"since": since}).scalars()]


_STATUSES = {status.value: status for status in TaskStatus}
_since, _until = bindparam("since", type_=UtcDateTime), bindparam("until", type_=UtcDateTime)
_limit = bindparam("limit", type_=Integer)

# ---- tasks ----

_SHOWN = select(
    *(tasks.c.source, tasks.c.job_id, tasks.c.name, tasks.c.instance_id, tasks.c.instance_name),
    *(tasks.c.status, tasks.c.created_at, tasks.c.ended_at, tasks.c.first_seen_at, tasks.c.changed_at),
)
_BEGUN = or_(tasks.c.created_at < _until, tasks.c.created_at.is_(None))
_PERIOD = (tasks.c.changed_at >= _since, tasks.c.changed_at < bindparam("before", type_=UtcDateTime), _BEGUN)


def _latest(*which: ColumnElement[bool]) -> Select[Any]:
    return compiled(_SHOWN.where(*which).order_by(tasks.c.changed_at.desc()).limit(_limit))


_LATEST = _latest(*_PERIOD)
_FAILED = _latest(*_PERIOD, tasks.c.status == TaskStatus.FAILED.value)
_RUNNING = _latest(tasks.c.status == TaskStatus.RUNNING.value, _BEGUN)


def _stuck() -> Select[Any]:
    of_tasks = (events.c.source == bindparam("source", type_=String), is_in(events.c.job_id, "ids"))
    newest = select(func.max(events.c.seq)).where(*of_tasks).group_by(events.c.job_id)
    is_stuck = events.c.type.in_([literal(EventType.TASK_STALLED.value), literal(EventType.TASK_OVERDUE.value)])
    return select(events.c.job_id).where(events.c.seq.in_(newest), is_stuck)


_STUCK = compiled(_stuck())
_BLIND = compiled(
    select(events.c.facts)
    .where(IS_BLIND, events.c.observed_at >= _since)
    .order_by(events.c.observed_at)
    .limit(literal(MAX_BLIND, Integer))
)

# ---- failures ----


def _failed_at(key: ColumnElement[str]) -> Select[Any]:
    found = select(
        tasks.c.source, key.label("key"), tasks.c.instance_name, type_coerce(tasks.c.changed_at, NullType).label("at")
    )
    # The condition of the index in the same words: it holds all that is read here.
    found = found.where(IS_FAILED, tasks.c.changed_at >= _since, tasks.c.changed_at < _until)
    return compiled(found.order_by(tasks.c.changed_at.desc()).limit(_limit))


_FAILED_AT: Mapping[RowKey, Select[Any]] = {
    "instance": _failed_at(func.coalesce(tasks.c.instance_id, tasks.c.instance_name, "")),
    "type": _failed_at(tasks.c.name),
    "source": _failed_at(literal("", String)),
}

# ---- counts ----

_LISTS_TASKS = sources.c.feeds == literal("", String)
"""Condition of sources whose rows are tasks: the others list alarms, and nothing else."""
_Database: TypeAlias = Literal["sqlite", "postgresql"]


def _listed(database: _Database, name: str, type_: Any) -> Any:  # noqa: ANN401 - a type, and a table
    """Return a list that is one parameter as a table of its values, which are numbered in the order of the list."""
    given = bindparam(name, type_=ListType(type_))
    value, key = column("value", type_), column("key", BigInteger)
    if database == "sqlite":
        return func.json_each(given).table_valued(key, value)
    return func.unnest(given).table_valued(value, with_ordinality="key").render_derived()


def _count(
    database: _Database,
    keys: Any,  # noqa: ANN401 - a table
    key: ColumnElement[str],
    *which: ColumnElement[bool],
    of: ColumnElement[bool] = true(),  # noqa: B008 - it never changes
) -> Select[Any]:
    """Return the statement of the number of tasks of each key, of those of a kind, in each slot."""
    slot, following = (_listed(database, "slots", UtcDateTime()).alias(name) for name in ("slot", "following"))
    within = (tasks.c.changed_at >= slot.c.value, tasks.c.changed_at < following.c.value)
    counted = select(func.count()).select_from(tasks).where(*which, *within).correlate(keys, slot, following)
    first = 0 if database == "sqlite" else 1
    number = (slot.c.key - literal(first, Integer)).label("number")
    return compiled(
        select(key.label("key"), number, counted.scalar_subquery().label("count"))
        .select_from(keys.join(slot, true()).join(following, following.c.key == slot.c.key + literal(1, Integer)))
        .where(of)
    )


def _counts(database: _Database) -> Mapping[tuple[_Database, str], Select[Any]]:
    keys = _listed(database, "keys", String()).alias("keys")
    completed = tasks.c.status == TaskStatus.COMPLETED.value
    of_source = tasks.c.source == bindparam("source", type_=String)
    named = (of_source, tasks.c.name == keys.c.value, completed, tasks.c.seconds.is_not(None))
    instance = tasks.c.instance_id == keys.c.value
    return {
        (database, "ended_by_source"): _count(
            database, sources, sources.c.name, tasks.c.source == sources.c.name, of=_LISTS_TASKS
        ),
        (database, "completed_by_instance"): _count(database, keys, keys.c.value, instance, completed),
        (database, "completed_by_name"): _count(database, keys, keys.c.value, *named),
    }


_COUNTS = {**_counts("sqlite"), **_counts("postgresql")}
