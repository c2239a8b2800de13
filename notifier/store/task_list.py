"""Lists of tasks for people: a page of them, and how many there are of each group.

A list is merged from branches, each of which is a range of an index in the order of the list, or few tasks that another
index finds. Where a condition has no index, a branch reads at most `SCANNED` tasks: the answer says how far back that
went, and the next page goes on from there.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    case,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
    union,
    union_all,
)

from notifier.core.delivery import DeliveryState
from notifier.core.failures import FailureState
from notifier.core.model import TaskStatus
from notifier.core.people import Acknowledgement
from notifier.core.row_counts import COUNTED, RowCount
from notifier.core.task_lists import (
    SCANNED,
    GroupCounts,
    TaskGroup,
    TaskListEntry,
    TaskListFilter,
    TaskListPage,
    TaskPlace,
    ToldShare,
    told_share,
)
from notifier.store import rows
from notifier.store.schema import acknowledgements, deliveries, delivery_events, events, failures, sources, tasks
from notifier.store.session import Session

MAX_FOUND_NAMES = 50
"""Maximum number of instances whose tasks are searched for by their names."""
MAX_COMPARED_NAMES = 2_000
"""Maximum number of names of instances that a text is compared with, in their order."""
MAX_NAMESAKES = 5
"""Maximum number of instances of one name whose tasks are listed."""

_Condition = ColumnElement[bool]


def _without_index(column: ColumnElement[str]) -> ColumnElement[str]:
    """Return a column as no index has it: what is compared with few tasks must not decide how these are found."""
    return column.concat("")


_source, _name, _status = map(_without_index, (tasks.c.source, tasks.c.name, tasks.c.status))
_ALWAYS = datetime.min.replace(tzinfo=UTC)
"""Before all times. The planner of SQLite takes an index for a range of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    """Tasks that a list is merged from."""

    prefix: tuple[_Condition, ...] = ()
    """What an index finds, in the order of the list or few."""
    among: tuple[_Condition, ...] = ()
    """What most of these satisfy, or what is asked of few."""
    rest: tuple[_Condition, ...] = ()
    """What is compared with one after the other, perhaps in vain."""
    keys: Subquery | None = None
    """Keys of tasks that were found first; None where an index of tasks finds them."""

    def select(self, *columns: ColumnElement[Any], within: Sequence[_Condition]) -> Select[Any]:
        """Return the tasks of the branch."""
        found = select(*columns).where(*self.prefix, *self.among, *self.rest, *within)
        if self.keys is None:
            return found
        return found.select_from(self.keys.join(tasks, _same(self.keys)))

    def end(self, order: "_Order", within: Sequence[_Condition]) -> Select[Any]:
        """Return when the last task changed that is read, where there are more."""
        read = select(tasks.c.changed_at).where(*self.prefix, *within)
        return read.order_by(order.of(tasks.c)[0]).offset(SCANNED).limit(1)


@dataclass(frozen=True, slots=True)
class _Order:
    """The order of a list: by the last change, then by what tells tasks apart."""

    ascending: bool = False

    def of(self, columns: Any) -> Sequence[ColumnElement[Any]]:  # noqa: ANN401 - SQLAlchemy's collection of columns
        """Return the order of rows with these columns."""
        at = columns.changed_at
        return at.asc() if self.ascending else at.desc(), columns.job_id, columns.source

    def behind(self, place: TaskPlace | None) -> tuple[_Condition, ...]:
        """Return the conditions that a task comes after a place. The first is a range of an index."""
        if place is None:
            return ()
        at, further = tasks.c.changed_at, self._further(place.changed_at)
        if place.job_id is None:
            return (further,)
        same = and_(tasks.c.job_id == place.job_id, tasks.c.source > place.source)
        begins = at >= place.changed_at if self.ascending else at <= place.changed_at
        return begins, or_(further, tasks.c.job_id > place.job_id, same)

    def up_to(self, end: datetime | None) -> tuple[_Condition, ...]:
        """Return the condition that a task comes no later than one that changed then."""
        if end is None:
            return ()
        return (tasks.c.changed_at <= end if self.ascending else tasks.c.changed_at >= end,)

    def last(self, ends: Iterable[datetime]) -> datetime | None:
        """Return the first end that is reached; None without any."""
        return min(ends, default=None) if self.ascending else max(ends, default=None)

    def _further(self, at: datetime) -> _Condition:
        return tasks.c.changed_at > at if self.ascending else tasks.c.changed_at < at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolved:
    """What a filter means among the recorded tasks."""

    instances: tuple[str | None, ...] = ()
    """Ids of the instances of the name that is asked for; None for those of its tasks that have none."""
    names: tuple[str, ...] | None = None
    """Names of the instances that contain the text; None where these are too many to find their tasks by an index."""


class TaskList:
    """Reads of lists of tasks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def listing(self, wanted: TaskListFilter) -> "RecordedTaskList":
        """Return the list that a filter asks for."""
        instances = self._instances(wanted.instance) if wanted.instance else ()
        names = self._names(wanted.text) if wanted.text else ()
        return RecordedTaskList(self._session, wanted, _Resolved(instances=instances, names=names))

    def find(self, source: str, job_id: str) -> TaskListEntry | None:
        """Return one task as lists show it; None where it is not recorded."""
        columns = (tasks.c.changed_at, tasks.c.job_id, tasks.c.source)
        key = select(*columns).where(tasks.c.source == source, tasks.c.job_id == job_id).subquery()
        found = self._session.execute(_rows(key, _Order())).all()
        return next(iter(RecordedTaskList(self._session, TaskListFilter(), _Resolved()).listed(found)), None)

    def count_unacknowledged(self) -> RowCount:
        """Count the tasks whose open failure nobody has acknowledged."""
        counted = _open_failures().limit(COUNTED + 1).subquery()
        return RowCount.of(self._session.execute(select(func.count()).select_from(counted)).scalar_one())

    def _instances(self, wanted: str) -> tuple[str | None, ...]:
        """Return the ids of the instances of a name, or the text itself where it is no name."""
        named = select(tasks.c.instance_id).where(tasks.c.instance_name == wanted).limit(MAX_COMPARED_NAMES).subquery()
        found = self._session.execute(select(named.c.instance_id).distinct().limit(MAX_NAMESAKES)).scalars()
        return tuple(found) or (wanted,)

    def _names(self, text: str) -> tuple[str, ...] | None:
        """Return the names of instances that contain a text; None where they, or their tasks, are too many.

        Each name is found by one search of the index.
        """
        found = list(self._session.execute(_names_like(text)).scalars())
        if len(found) > MAX_FOUND_NAMES:
            return None
        their_tasks = select(literal(1)).where(tasks.c.instance_name.in_(found)).limit(SCANNED + 1).subquery()
        number = self._session.execute(select(func.count()).select_from(their_tasks)).scalar_one() if found else 0
        return None if number > SCANNED else tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FoundTasks:
    """The few tasks that a search, a storm or open failures lead to."""

    keys: Sequence[tuple[str, str, TaskGroup]]
    """In the order of the list: source, job id and group."""
    end: datetime | None
    """Time up to which they were searched for."""
    more: bool
    """Whether there may be more than were read."""


class RecordedTaskList:
    """One list of tasks."""

    def __init__(self, session: Session, wanted: TaskListFilter, resolved: _Resolved) -> None:
        self._session = session
        self._wanted = wanted
        self._resolved = resolved
        self._order = _Order(wanted.oldest_first)

    def page(self, limit: int, after: TaskPlace | None = None) -> TaskListPage:
        """Return the tasks behind a place, as many as the limit."""
        groups = self._wanted.groups
        if after is None and self._is_found and (not groups or TaskGroup.FAILED in groups) and not self._found.more:
            return self._page_of_found(limit)
        branches = self._branches(groups)
        if not branches:
            return TaskListPage()
        within = (*_range(self._wanted), *self._order.behind(after))
        end = self._end(branches, within)
        keys = self._first(branches, (*within, *self._order.up_to(end)), limit + 1)
        found = self._session.execute(_rows(keys, self._order)).all()
        listed = self.listed(found[:limit])
        if len(found) > limit:
            return TaskListPage(rows=listed, following=listed[-1].place)
        following = None if end is None else TaskPlace(end)
        return TaskListPage(rows=listed, following=following, searched_to=end)

    def counts(self) -> GroupCounts:
        """Count the tasks of each group, whatever groups are asked for; each up to `COUNTED`."""
        return self._counts_of_found() if self._is_found else self._counts_of_ranges()

    @cached_property
    def _found(self) -> "_FoundTasks":
        """What is found first: to compare thousands of reasons twice would take most of the time of an answer."""
        within, branches = _range(self._wanted), self._branches(())
        end = self._end(branches, within)
        keys = self._first(branches, (*within, *self._order.up_to(end)), SCANNED)
        columns = (keys.c.source, keys.c.job_id, _group().label("task_group"))
        found = select(*columns).select_from(keys.join(tasks, _same(keys))).order_by(*self._order.of(keys.c))
        listed = [(row.source, row.job_id, TaskGroup(row.task_group)) for row in self._session.execute(found)]
        return _FoundTasks(keys=listed, end=end, more=len(listed) >= SCANNED)

    def _page_of_found(self, limit: int) -> TaskListPage:
        """Return the first page of what is found first."""
        groups, end = self._wanted.groups or tuple(TaskGroup), self._found.end
        fitting = [(source, job_id) for source, job_id, group in self._found.keys if group in groups]
        shown = fitting[:limit]
        by_source: dict[str, list[str]] = defaultdict(list)
        for source, job_id in shown:
            by_source[source].append(job_id)
        mine = [and_(_source == source, tasks.c.job_id.in_(ids)) for source, ids in by_source.items()]
        columns = (tasks.c.changed_at, tasks.c.job_id, tasks.c.source)
        found = self._session.execute(_rows(select(*columns).where(or_(*mine)).subquery(), self._order)) if mine else ()
        listed = self.listed(list(found))
        if len(fitting) > limit:
            return TaskListPage(rows=listed, following=listed[-1].place)
        return TaskListPage(rows=listed, following=None if end is None else TaskPlace(end), searched_to=end)

    def _counts_of_found(self) -> GroupCounts:
        counted = Counter(group for _, _, group in self._found.keys)
        more = self._found.end is not None or self._found.more
        return {group: RowCount.of(counted[group], more=more) for group in TaskGroup}

    def _counts_of_ranges(self) -> GroupCounts:
        within = _range(self._wanted)
        parts, bounded = [], set[TaskGroup]()
        for group in TaskGroup:
            branches = self._branches((group,))
            end = self._end(branches, within)
            bounded.update({group} if end else ())
            for branch in branches:
                times = branch.select(tasks.c.changed_at, within=(*within, *self._order.up_to(end)))
                some = times.order_by(self._order.of(tasks.c)[0]).limit(COUNTED + 1).subquery()
                parts.append(
                    select(literal(group.value).label("task_group"), func.count().label("number")).select_from(some)
                )
        found = Counter[TaskGroup]()
        for row in self._session.execute(union_all(*parts)) if parts else ():
            found[TaskGroup(row.task_group)] += row.number
        return {group: RowCount.of(found[group], more=group in bounded) for group in TaskGroup}

    # -- branches --

    def _branches(self, groups: Sequence[TaskGroup]) -> Sequence[_Branch]:
        """Return what the list of some groups is merged from, or of all where none is named."""
        wanted = self._wanted
        if wanted.storm:
            return self._of_keys(_of_storm(wanted.storm), groups)
        if wanted.unacknowledged:
            return self._of_keys(_open_failures(), groups)
        if self._is_found and self._resolved.names is not None:
            return self._of_search(wanted.text, self._resolved.names, groups)
        if not (groups or wanted.name or wanted.instance or wanted.code):
            return [_Branch(prefix=_is(tasks.c.source, wanted.source), rest=self._rest("source"))]
        return [
            _Branch(
                prefix=(*prefix, tasks.c.status == status.value),
                among=_among(status, groups),
                rest=self._rest("instance" if wanted.instance else "name"),
            )
            for prefix in self._prefixes()
            for status in _statuses(groups, wanted.code)
        ]

    def _of_keys(self, keys: Select[Any], groups: Sequence[TaskGroup]) -> Sequence[_Branch]:
        return [_Branch(keys=keys.subquery(), among=(*_of_groups(groups), *self._rest()))]

    def _of_search(self, text: str, names: Sequence[str], groups: Sequence[TaskGroup]) -> Sequence[_Branch]:
        """Return the tasks of instances whose names contain the text, those whose ids begin so, and why some failed."""
        rest = self._rest("text")
        ways = self._ways(text, begins=_begins_with(text, exactly=self._session.is_postgresql))
        ways += [tasks.c.instance_name.in_(names)] if names else []
        found = [_Branch(prefix=(way,), among=(*_of_groups(groups), *rest)) for way in ways]
        if TaskStatus.FAILED not in _statuses(groups, ""):
            return found
        failed = tasks.c.status == TaskStatus.FAILED.value
        return [*found, _Branch(prefix=(failed,), rest=(_contains(tasks.c.fail_reason, text), *rest))]

    @staticmethod
    def _ways(text: str, *, begins: _Condition) -> list[_Condition]:
        """Return the conditions that an id is a text; or begins so, where it is long enough to say something."""
        of_job = begins if len(text) >= MIN_BEGINNING else tasks.c.job_id == text
        return [of_job, tasks.c.instance_id == text]

    def _prefixes(self) -> Sequence[tuple[_Condition, ...]]:
        """Return what indexes find before the status of tasks."""
        if self._wanted.instance:
            # PostgreSQL finds no IS NOT DISTINCT FROM by an index.
            ids = self._resolved.instances
            return [(tasks.c.instance_id.is_(None) if id_ is None else tasks.c.instance_id == id_,) for id_ in ids]
        return [_is(tasks.c.name, self._wanted.name)]

    def _rest(self, indexed: str = "") -> tuple[_Condition, ...]:
        """Return the conditions but the one that an index serves."""
        wanted = self._wanted
        names = {"source": (_source, wanted.source), "name": (_name, wanted.name)}
        found = [column == value for name, (column, value) in names.items() if value and name != indexed]
        if wanted.instance and (indexed != "instance" or None in self._resolved.instances):
            found.append(or_(tasks.c.instance_name == wanted.instance, tasks.c.instance_id.in_(self._ids)))
        if wanted.code:
            found.append(_contains(tasks.c.fail_reason, wanted.code))
        if wanted.text and indexed != "text":
            failed = and_(_status == TaskStatus.FAILED.value, _contains(tasks.c.fail_reason, wanted.text))
            ids = or_(*self._ways(wanted.text, begins=func.substr(tasks.c.job_id, 1, len(wanted.text)) == wanted.text))
            found.append(or_(_contains(tasks.c.instance_name, wanted.text), failed, ids))
        return tuple(found)

    @property
    def _is_found(self) -> bool:
        """Whether the tasks are few, so that they are found first."""
        wanted = self._wanted
        searched = wanted.text and not wanted.instance and self._resolved.names is not None
        return bool(wanted.storm or wanted.unacknowledged or searched)

    @property
    def _ids(self) -> Sequence[str]:
        return [id_ for id_ in self._resolved.instances if id_ is not None]

    def _end(self, branches: Sequence[_Branch], within: Sequence[_Condition]) -> datetime | None:
        """Return the time up to which every branch is read; None where none has more to read than `SCANNED`."""
        ends = [branch.end(self._order, within).subquery() for branch in branches if branch.rest]
        if not ends:
            return None
        return self._order.last(self._session.execute(union_all(*(select(one.c.changed_at) for one in ends))).scalars())

    def _first(self, branches: Sequence[_Branch], within: Sequence[_Condition], limit: int) -> Subquery:
        """Return the keys of the first tasks of branches together, as many as the limit, in the order of the list."""
        columns = (tasks.c.changed_at, tasks.c.job_id, tasks.c.source)
        order = self._order.of
        parts = [
            branch.select(*columns, within=within).order_by(*order(tasks.c)).limit(limit).subquery()
            for branch in branches
        ]
        if len(parts) == 1:
            return parts[0]
        merged = union(*(select(part) for part in parts)).subquery()
        return select(merged).order_by(*order(merged.c)).limit(limit).subquery()

    # -- rows --

    def listed(self, found: Sequence[Any]) -> tuple[TaskListEntry, ...]:
        """Return rows of the statement `_rows`, with what became of their newest events."""
        newest = {row.newest_id: row.newest_channels for row in found if row.newest_id}
        told = self._told(newest)
        return tuple(
            TaskListEntry(
                task=rows.task_of(row),
                group=TaskGroup(row.task_group),
                first_seen_at=row.first_seen_at,
                changed_at=row.changed_at,
                listed=not row.unlisted,
                newest=None if row.newest_id is None or _has_ended(row) else rows.event_of(row.newest_facts),
                told=told.get(row.newest_id),
                acknowledged=_acknowledgement(row),
                started_by=rows.started_by_of(row.started_by),
            )
            for row in found
        )

    def _told(self, planned: Mapping[str, int]) -> Mapping[str, ToldShare]:
        """Return what became of events, of which the number of channels is given."""
        if not planned:
            return {}
        accounts = (
            select(delivery_events.c.event_id, deliveries.c.state, deliveries.c.rule)
            .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
            .where(delivery_events.c.event_id.in_(list(planned)))
        )
        found = defaultdict[str, list[tuple[DeliveryState, str | None]]](list)
        for event_id, state, rule in self._session.execute(accounts):
            found[event_id].append((DeliveryState(state), rule))
        return {event_id: told_share(found[event_id], number) for event_id, number in planned.items()}


# ---- the list ----


def _same(keys: Subquery) -> _Condition:
    return and_(tasks.c.source == keys.c.source, tasks.c.job_id == keys.c.job_id)


def _rows(keys: Subquery, order: _Order) -> Select[Any]:
    """Return the statement of tasks with their newest event and its acknowledgement."""
    newest = (
        select(func.max(events.c.seq))
        .where(events.c.source == keys.c.source, events.c.job_id == keys.c.job_id)
        .correlate(keys)
        .scalar_subquery()
    )
    facts = (column for column in tasks.columns if column.name != "fingerprint")
    last = (events.c.id.label("newest_id"), events.c.facts.label("newest_facts"))
    planned = events.c.channel_count.label("newest_channels")
    taken = (column.label(f"acknowledged_{column.name}") for column in acknowledgements.columns)
    return (
        select(*facts, _group().label("task_group"), *last, planned, *taken)
        .select_from(keys)
        .join(tasks, _same(keys))
        .join(events, events.c.seq == newest, isouter=True)
        .join(acknowledgements, acknowledgements.c.event_id == events.c.id, isouter=True)
        .order_by(*order.of(keys.c))
    )


def _has_ended(row: Any) -> bool:  # noqa: ANN401 - a row
    return TaskStatus(row.status).terminal


def _acknowledgement(row: Any) -> Acknowledgement | None:  # noqa: ANN401 - a row
    if not row.acknowledged_event_id:
        return None
    return Acknowledgement(
        event_id=row.acknowledged_event_id,
        by=row.acknowledged_by,
        name=row.acknowledged_name,
        at=row.acknowledged_at,
    )


# ---- times ----


def _range(wanted: TaskListFilter) -> Sequence[_Condition]:
    since = tasks.c.changed_at >= (wanted.since or _ALWAYS)
    return (since, tasks.c.changed_at < wanted.until) if wanted.until else (since,)


# ---- groups ----

_STATUSES: Mapping[TaskGroup, tuple[TaskStatus, ...]] = {
    TaskGroup.FAILED: (TaskStatus.FAILED,),
    TaskGroup.STUCK: (TaskStatus.RUNNING,),
    TaskGroup.RUNNING: (TaskStatus.RUNNING,),
    TaskGroup.COMPLETED: (TaskStatus.COMPLETED,),
    TaskGroup.RAISED: (TaskStatus.RAISED,),
    TaskGroup.CLEARED: (TaskStatus.CLEARED,),
    TaskGroup.OTHER: (TaskStatus.RUNNING, TaskStatus.UNKNOWN),
}
_OF_RUNNING = frozenset({TaskGroup.STUCK, TaskGroup.RUNNING, TaskGroup.OTHER})
"""Groups of tasks that are recorded as running."""


def _statuses(groups: Sequence[TaskGroup], code: str) -> Sequence[TaskStatus]:
    """Return the recorded statuses of tasks of some groups, or of all. Only the reason of a failure has a code."""
    among = dict.fromkeys(status for group in groups or TaskGroup for status in _STATUSES[group])
    return [status for status in among if not code or status is TaskStatus.FAILED]


def _is_stuck() -> _Condition:
    """Return the condition that a task has an open failure of its own: it has stalled, or is overdue."""
    unresolved = (failures.c.state != FailureState.RESOLVED.value, failures.c.job_id != "")
    return tuple_(tasks.c.source, tasks.c.job_id).in_(select(failures.c.source, failures.c.job_id).where(*unresolved))


def _is_followed() -> _Condition:
    """Return the condition that a task is still in a list that is polled."""
    retired = exists().where(sources.c.name == tasks.c.source, sources.c.retired_at.is_not(None))
    return and_(not_(tasks.c.unlisted), not_(retired))


def _conditions() -> Mapping[TaskGroup, _Condition]:
    runs, stuck, followed = _status == TaskStatus.RUNNING.value, _is_stuck(), _is_followed()
    return {
        TaskGroup.FAILED: _status == TaskStatus.FAILED.value,
        TaskGroup.COMPLETED: _status == TaskStatus.COMPLETED.value,
        TaskGroup.RAISED: _status == TaskStatus.RAISED.value,
        TaskGroup.CLEARED: _status == TaskStatus.CLEARED.value,
        TaskGroup.STUCK: and_(runs, stuck),
        TaskGroup.RUNNING: and_(runs, not_(stuck), followed),
        TaskGroup.OTHER: or_(_status == TaskStatus.UNKNOWN.value, and_(runs, not_(stuck), not_(followed))),
    }


_CONDITIONS = _conditions()


def _of_groups(groups: Sequence[TaskGroup]) -> tuple[_Condition, ...]:
    return (or_(*(_CONDITIONS[group] for group in groups)),) if groups else ()


def _among(status: TaskStatus, groups: Sequence[TaskGroup]) -> tuple[_Condition, ...]:
    """Return what is asked of tasks of a status, where not all of them are of the groups."""
    if status is not TaskStatus.RUNNING or not groups or set(groups) >= _OF_RUNNING:
        return ()
    return _of_groups([group for group in groups if group in _OF_RUNNING])


def _group() -> ColumnElement[str]:
    named = [(condition, group.value) for group, condition in _CONDITIONS.items() if group is not TaskGroup.OTHER]
    return case(*named, else_=TaskGroup.OTHER.value)


# ---- which tasks ----


def _is(column: ColumnElement[Any], value: str) -> tuple[_Condition, ...]:
    return (column == value,) if value else ()


def _contains(column: ColumnElement[Any], text: str) -> _Condition:
    literal_text = text.lower().replace("/", "//").replace("%", "/%").replace("_", "/_")
    return func.lower(column).like(f"%{literal_text}%", escape="/")


MIN_BEGINNING = 4
"""Length from which a text is searched for as the beginning of a job id, in characters."""


def _begins_with(text: str, *, exactly: bool) -> _Condition:
    """Return the condition that a job id begins so, as a range of an index.

    `exactly` is True for PostgreSQL, which may order texts by the rules of a language.
    """
    last = f"{text}{chr(sys.maxunicode)}"
    if exactly:
        return and_(tasks.c.job_id.op("~>=~")(text), tasks.c.job_id.op("~<=~")(last))
    return tasks.c.job_id.between(text, last)


def _of_storm(storm_id: str) -> Select[Any]:
    """Return the keys of the tasks that failed in a storm."""
    return (
        select(events.c.source, events.c.job_id)
        .join(delivery_events, delivery_events.c.event_id == events.c.id)
        .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
        .where(deliveries.c.storm == storm_id)
        .distinct()
    )


def _open_failures() -> Select[Any]:
    """Return the keys of the tasks whose open failure nobody has acknowledged."""
    return (
        select(events.c.source, events.c.job_id)
        .join(failures, failures.c.latest_event_id == events.c.id)
        .where(failures.c.state == FailureState.OPEN.value, events.c.job_id != "")
        .distinct()
    )


def _names_like(text: str) -> Select[Any]:
    """Return the statement of the names of instances that contain a text, of the first MAX_COMPARED_NAMES in order."""
    first = select(func.min(tasks.c.instance_name).label("name"), literal(1).label("number")).cte(
        "names", recursive=True
    )
    following = select(func.min(tasks.c.instance_name)).where(tasks.c.instance_name > first.c.name).correlate(first)
    further = (first.c.name.is_not(None), first.c.number < MAX_COMPARED_NAMES)
    names = first.union_all(select(following.scalar_subquery(), first.c.number + 1).where(*further))
    return select(names.c.name).where(_contains(names.c.name, text)).limit(MAX_FOUND_NAMES + 1)
