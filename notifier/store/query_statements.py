"""The statements of look-ups in Core, and their compilation ahead of time.

`python -m notifier.store.query_statements` writes them as `queries.sqlite.sql` and `queries.postgresql.sql`, which
`query_texts` runs; a test holds the files to this module. A parameter that is not given and not None switches off the
conditions that are `optional` by its name.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Integer,
    Select,
    SelectBase,
    String,
    and_,
    bindparam,
    case,
    exists,
    func,
    null,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import FailureState
from notifier.core.model import TaskStatus
from notifier.core.usual import MAX_RUNS
from notifier.store import statements
from notifier.store.compiled import ListType, is_in
from notifier.store.query_texts import path_of
from notifier.store.schema import (
    UtcDateTime,
    accounts,
    acknowledgements,
    actions,
    attempts,
    calendars,
    channels,
    deliveries,
    delivery_events,
    doorbell_topics,
    events,
    failures,
    maintenances,
    missing_rights,
    mutes,
    origins,
    projects,
    replicas,
    sources,
    tasks,
    tickets,
)

# ---- parts ----


class _Optional(FunctionElement[bool]):
    """A condition that counts only where a parameter is given."""

    type = Boolean()
    inherit_cache = False

    def __init__(self, parameter: str, condition: ColumnElement[bool]) -> None:
        super().__init__(condition)
        self.parameter = parameter


@compiles(_Optional)
def _optional(element: _Optional, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    (condition,) = element.clauses
    return f"/*if {element.parameter}*/({compiler.process(condition, **how)})/*end*/"


def optional(parameter: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return conditions that count only where the parameter is given, and is not None."""
    return _Optional(parameter, and_(*conditions))


def _equal(column: Column[Any], parameter: str | None = None) -> ColumnElement[bool]:
    name = parameter or column.name
    return optional(name, column == bindparam(name))


def _begins(column: Column[str]) -> Iterable[ColumnElement[bool]]:
    """Return the conditions that a column begins with the parameter of its name. The range is found by an index."""
    beginning = bindparam(column.name, type_=String)
    yield func.substr(column, 1, func.length(beginning)) == beginning
    yield _InRange(column, beginning)


class _InRange(FunctionElement[bool]):
    """A column and a text that it begins with, as a range of texts, which an index of the column finds."""

    type = Boolean()
    inherit_cache = True


@compiles(_InRange)
def _in_any_range(element: _InRange, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    # These operators compare bytes. The others may follow the rules of a language, which order texts in another way.
    column, beginning = (compiler.process(part, **how) for part in element.clauses)
    return f"{column} ~>=~ {beginning} AND {column} ~<=~ ({beginning} || chr(1114111))"


@compiles(_InRange, "sqlite")
def _in_range(element: _InRange, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    column, beginning = (compiler.process(part, **how) for part in element.clauses)
    return f"{column} BETWEEN {beginning} AND {beginning} || char(1114111)"


class _IsLikeAny(FunctionElement[bool]):
    """A text, and the list that has a pattern of LIKE that fits it."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: object = None) -> Self:  # noqa: ARG002 - whatever is around it
        """Return the condition as it is: SQLAlchemy would compare a function with 1."""
        return self


@compiles(_IsLikeAny, "sqlite")
def _is_like_any_sqlite(element: _IsLikeAny, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    text, patterns = (compiler.process(part, **how) for part in element.clauses)
    return f"EXISTS (SELECT 1 FROM json_each({patterns}) WHERE {text} LIKE value ESCAPE '/')"  # noqa: S608 - our parts


@compiles(_IsLikeAny, "postgresql")
def _is_like_any(element: _IsLikeAny, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 - the compiler's
    text, patterns = (compiler.process(part, **how) for part in element.clauses)
    return f"EXISTS (SELECT 1 FROM unnest({patterns}) AS pattern WHERE {text} LIKE pattern ESCAPE '/')"  # noqa: S608


_LIMIT = bindparam("limit", type_=Integer)

# ---- tasks ----

_RUNNING = (
    tasks.c.status == TaskStatus.RUNNING,
    ~exists().where(sources.c.name == tasks.c.source, sources.c.retired_at.is_not(None)),
)
"""A task of a source that is no longer polled does not count: it may have ended."""


def _lacks_acknowledgement() -> ColumnElement[bool]:
    """Return the condition that the newest event of a task needs care and is not acknowledged."""
    of = events.alias("of")
    mine = (of.c.source == tasks.c.source, of.c.job_id == tasks.c.job_id)
    newest = select(func.max(of.c.seq)).where(*mine).correlate(tasks).scalar_subquery()
    acknowledged = exists().where(acknowledgements.c.event_id == events.c.id)
    return exists().where(events.c.seq == newest, _needs_care(), ~acknowledged)


def _needs_care() -> ColumnElement[bool]:
    return or_(*(events.c.type == kind.value for kind in EventType if kind.traits.needs_care))


def _in_storm() -> ColumnElement[bool]:
    failed = (
        select(events.c.source, events.c.job_id)
        .join(delivery_events, delivery_events.c.event_id == events.c.id)
        .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
        .where(deliveries.c.storm == bindparam("storm"))
    )
    return tuple_(tasks.c.source, tasks.c.job_id).in_(failed)


_since = bindparam("since", type_=UtcDateTime)
_instance = tasks.c.instance_id == bindparam("instance")


def _is_like(name: ColumnElement[str]) -> ColumnElement[bool]:
    return func.lower(name).like(bindparam("instance_like", type_=String), escape="/")


_instance_name = func.lower(func.coalesce(tasks.c.instance_name, ""))


def _like_any(name: str) -> ColumnElement[bool]:
    return _IsLikeAny(_instance_name, bindparam(name, type_=ListType(String())))


_MATCHED: Mapping[str, ColumnElement[bool]] = {
    "names": is_in(tasks.c.name, "names"),
    "name_like": _instance_name.like(bindparam("name_like", type_=String), escape="/"),
    "name_likes": _like_any("name_likes"),
    "among": is_in(tasks.c.instance_name, "among"),
    "unlike": ~_like_any("unlike"),
    "instance_ids": is_in(tasks.c.instance_id, "instance_ids"),
}
"""What matchers demand of tasks, by parameter."""


def _of_tasks(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that the task of an event satisfies another one."""
    fitting = select(tasks.c.source, tasks.c.job_id).where(condition)
    return tuple_(events.c.source, events.c.job_id).in_(fitting)


def _task_key(of: Any) -> ColumnElement[str]:  # noqa: ANN401 - the columns of a table or of a subquery
    """Return what orders tasks that changed at the same time. Two columns instead would tempt SQLite to sort all."""
    key: ColumnElement[str] = of.job_id.concat("/").concat(of.source)
    return key


def _follows() -> Iterable[ColumnElement[bool]]:
    """Return the conditions that a task comes after another one in a list. The first is a range of an index."""
    at = bindparam("after_changed_at", type_=UtcDateTime)
    yield tasks.c.changed_at <= at
    yield or_(tasks.c.changed_at < at, _task_key(tasks.c) > bindparam("after_key", type_=String))


_TASK_CONDITIONS = (
    optional("running", *_RUNNING),
    _equal(tasks.c.status),
    optional("since", or_(tasks.c.created_at >= _since, tasks.c.ended_at >= _since, tasks.c.changed_at >= _since)),
    optional("instance_like", or_(_instance, _is_like(tasks.c.instance_name))),
    optional("instance_names", or_(_instance, is_in(tasks.c.instance_name, "instance_names"))),
    _equal(tasks.c.instance_id),
    _equal(tasks.c.instance_name),
    _equal(tasks.c.source),
    optional("sources", is_in(tasks.c.source, "sources")),
    *(optional(name, condition) for name, condition in _MATCHED.items()),
    optional("storm", _in_storm()),
    optional("unacknowledged", _lacks_acknowledgement()),
    optional("whole_job_id", tasks.c.job_id == bindparam("whole_job_id")),
    optional("job_id", *_begins(tasks.c.job_id)),
    optional("after_key", *_follows()),
)


def _tasks() -> Select[Any]:
    """Return the statement of tasks with their newest event and its acknowledgement, read for the listed ones alone."""
    latest = statements.TASKS.where(*_TASK_CONDITIONS).order_by(tasks.c.changed_at.desc(), _task_key(tasks.c))
    found = latest.limit(_LIMIT).offset(bindparam("offset", type_=Integer)).subquery("found")
    newest = (
        select(func.max(events.c.seq))
        .where(events.c.source == found.c.source, events.c.job_id == found.c.job_id)
        .correlate(found)
        .scalar_subquery()
    )
    acknowledged = (column.label(f"acknowledged_{column.name}") for column in acknowledgements.columns)
    last = events.alias("last")
    return (
        select(found, last.c.type.label("newest"), last.c.facts.label("newest_facts"), *acknowledged)
        .select_from(found)
        .join(last, last.c.seq == newest, isouter=True)
        .join(acknowledgements, acknowledgements.c.event_id == last.c.id, isouter=True)
        .order_by(found.c.changed_at.desc(), _task_key(found.c))
    )


def _sources() -> Select[Any]:
    """Return the statement of sources with their tasks: each count is one range of the index of source and status."""
    counted = select(func.count()).where(tasks.c.source == sources.c.name).correlate(sources)
    running = counted.where(tasks.c.status == TaskStatus.RUNNING).scalar_subquery()
    polled = case((sources.c.retired_at.is_(None), running), else_=0)
    return select(sources, counted.scalar_subquery().label("tasks"), polled.label("running")).order_by(sources.c.name)


def _instances() -> Select[Any]:
    pair = (tasks.c.instance_id, tasks.c.instance_name)
    wanted = bindparam("wanted", type_=String)
    exact = select(*pair).where((tasks.c.instance_id == wanted) | (tasks.c.instance_name == wanted)).group_by(*pair)
    return exact.order_by(func.max(tasks.c.changed_at).desc(), tasks.c.instance_name).limit(_LIMIT)


def _names_like() -> Select[Any]:
    """Return the statement of the names of instances that are like a parameter.

    Each is found by one search of the index: there are far fewer names than tasks.
    """
    first = select(func.min(tasks.c.instance_name).label("name")).cte("names", recursive=True)
    following = select(func.min(tasks.c.instance_name)).where(tasks.c.instance_name > first.c.name).correlate(first)
    names = first.union_all(select(following.scalar_subquery()).where(first.c.name.is_not(None)))
    return select(names.c.name).where(_is_like(names.c.name)).limit(_LIMIT)


RUNS_READ = 2_000
"""Maximum number of completed runs of an operation in a source that are read, the latest ones: a month of daily runs of
sixty instances."""
_COMPLETED = (tasks.c.name == bindparam("name"), tasks.c.status == TaskStatus.COMPLETED, tasks.c.seconds.is_not(None))
_RUNS_OF_SOURCE = (
    select(tasks.c.seconds, tasks.c.changed_at, tasks.c.instance_id)
    .where(tasks.c.source == bindparam("source"), *_COMPLETED)
    .order_by(tasks.c.changed_at.desc())
    .limit(RUNS_READ)
)
_RUNS_EVERYWHERE = (
    select(tasks.c.seconds, tasks.c.changed_at).where(*_COMPLETED).order_by(tasks.c.changed_at.desc()).limit(MAX_RUNS)
)

_TASKS: Mapping[str, Select[Any]] = {
    "sources": _sources(),
    "source_states": select(sources).order_by(sources.c.name),
    "tasks": _tasks(),
    "task_counts": select(tasks.c.source, func.count().label("number"))
    .where(*_TASK_CONDITIONS)
    .group_by(tasks.c.source),
    # Without conditions, SQLite counts the pages of an index.
    "task_count": select(func.count().label("number")).select_from(tasks).where(*_TASK_CONDITIONS),
    "fail_reasons": select(tasks.c.fail_reason)
    .where(*_TASK_CONDITIONS)
    .order_by(tasks.c.changed_at.desc())
    .limit(_LIMIT),
    "seen_runs": select(
        *(tasks.c.name, tasks.c.job_id, tasks.c.instance_id, tasks.c.instance_name, tasks.c.instance_status),
        *(tasks.c.status, tasks.c.created_at, tasks.c.ended_at, tasks.c.first_seen_at),
    )
    # An alarm is no run, however regularly it is raised.
    .where(tasks.c.source == bindparam("source"), tasks.c.changed_at >= _since, tasks.c.alarm.is_(None))
    .order_by(tasks.c.changed_at.desc())
    .limit(_LIMIT),
    # Without an instance, one index holds all of it.
    "task_results": select(tasks.c.name, tasks.c.status, tasks.c.seconds).where(
        _equal(tasks.c.name),
        optional("changed_since", tasks.c.changed_at >= bindparam("changed_since", type_=UtcDateTime)),
        *_TASK_CONDITIONS,
    ),
    # A range of the index, which has all that it gives.
    "results_since": select(tasks.c.name, tasks.c.status, tasks.c.seconds).where(
        tasks.c.name == bindparam("name", type_=String),
        tasks.c.status == bindparam("status", type_=String),
        tasks.c.changed_at >= _since,
    ),
    "completed_runs": _RUNS_OF_SOURCE,
    "completed_everywhere": _RUNS_EVERYWHERE,
    "instances": _instances(),
    "names_like": _names_like(),
    "task_names": statements.TASK_NAMES,
    "instance_names": select(tasks.c.instance_name).order_by(tasks.c.changed_at.desc()).limit(_LIMIT),
}

# ---- events and what people did ----

_NOW = bindparam("now", type_=UtcDateTime)


def _suppressed(column: ColumnElement[Any], *which: ColumnElement[bool]) -> Select[Any]:
    """Return the statement of what a rule has suppressed."""
    suppressed = (deliveries.c.rule == bindparam("rule"), deliveries.c.state == DeliveryState.SUPPRESSED)
    carried = delivery_events.c.delivery_id == deliveries.c.id
    return select(column).select_from(deliveries).join(delivery_events, carried).where(*suppressed, *which)


_IN_WINDOW = (deliveries.c.created_at >= _since,)

_EVENTS: Mapping[str, Select[Any]] = {
    "events": select(events)
    .where(
        _equal(events.c.type),
        optional("since", events.c.observed_at >= _since),
        _equal(events.c.source),
        optional("types", is_in(events.c.type, "types")),
        optional("sources", is_in(events.c.source, "sources")),
        *(optional(name, _of_tasks(condition)) for name, condition in _MATCHED.items()),
        optional("whole_job_id", events.c.job_id == bindparam("whole_job_id")),
        optional("job_id", *_begins(events.c.job_id)),
        optional("id", *_begins(events.c.id)),
        optional("rule", events.c.id.in_(_suppressed(delivery_events.c.event_id))),
        optional("before", events.c.seq < bindparam("before")),
    )
    .order_by(events.c.seq.desc())
    .limit(_LIMIT),
    "mutes": select(mutes)
    .where(mutes.c.until > _NOW, mutes.c.since <= _NOW, mutes.c.due_at.is_not(None))
    .order_by(mutes.c.until, mutes.c.id),
    "known_mutes": select(mutes)
    .where(mutes.c.until > _NOW, mutes.c.due_at.is_not(None))
    .order_by(mutes.c.since, mutes.c.until, mutes.c.id),
    "held_counts": select(events.c.type, func.count().label("number"))
    .where(events.c.id.in_(_suppressed(delivery_events.c.event_id, *_IN_WINDOW)))
    .group_by(events.c.type)
    .order_by(events.c.type),
    "held_named": select(events.c.facts)
    .where(events.c.id.in_(_suppressed(delivery_events.c.event_id, *_IN_WINDOW)), _needs_care())
    .order_by(events.c.seq)
    .limit(_LIMIT),
    "held_channels": _suppressed(deliveries.c.channel, *_IN_WINDOW).distinct().order_by(deliveries.c.channel),
    "tickets": select(tickets)
    .where(tickets.c.operation == bindparam("operation"))
    .order_by(tickets.c.channel, tickets.c.generation),
    "open_failures": select(failures.c.facts).where(
        or_(*(failures.c.state == state.value for state in (FailureState.OPEN, FailureState.ACKNOWLEDGED)))
    ),
    "unacknowledged_count": select(func.count().label("number")).where(failures.c.state == FailureState.OPEN.value),
    "failures_of": select(failures.c.facts)
    .where(failures.c.operation == bindparam("operation"))
    .order_by(failures.c.opened_at, failures.c.id),
    "event_subscriptions": statements.EVENT_SUBSCRIPTIONS,
    "actions": select(actions)
    .where(
        optional("before", actions.c.seq < bindparam("before")),
        optional("since", actions.c.at >= _since),
        optional("by", or_(actions.c.by == bindparam("by"), actions.c.name == bindparam("by"))),
        _equal(actions.c.verb),
    )
    .order_by(actions.c.seq.desc())
    .limit(_LIMIT),
}

# ---- deliveries ----

LAST_REPLY = (
    select(attempts.c.reply)
    .where(attempts.c.delivery_id == deliveries.c.id)
    .order_by(attempts.c.number.desc())
    .limit(1)
    .scalar_subquery()
    .label("reply")
)
"""What the receiver replied to the last attempt at a delivery."""

_about_events = select(delivery_events.c.delivery_id).where(is_in(delivery_events.c.event_id, "event_ids"))

_DELIVERY_CONDITIONS = (
    _equal(deliveries.c.state),
    _equal(deliveries.c.channel),
    optional("dismissed", deliveries.c.dismissed_at.is_not(None)),
    optional("undismissed", deliveries.c.dismissed_at.is_(None)),
    optional("held", deliveries.c.rule.is_not(None), deliveries.c.state == DeliveryState.PENDING),
    optional("unheld", or_(deliveries.c.rule.is_(None), deliveries.c.state != DeliveryState.PENDING)),
    optional("id", *_begins(deliveries.c.id)),
    optional("event_ids", deliveries.c.id.in_(_about_events)),
    optional("before", deliveries.c.seq < bindparam("before")),
)

_DELIVERIES: Mapping[str, Select[Any]] = {
    "deliveries": select(deliveries, LAST_REPLY)
    .where(*_DELIVERY_CONDITIONS)
    .order_by(deliveries.c.seq.desc())
    .limit(_LIMIT),
    "delivery_ids": select(deliveries.c.id).where(*_DELIVERY_CONDITIONS).order_by(deliveries.c.seq),
    "events_of_deliveries": statements.EVENTS_OF_DELIVERIES,
    "storms": statements.STORMS,
    "attempts": select(attempts)
    .where(is_in(attempts.c.delivery_id, "ids"))
    .order_by(attempts.c.delivery_id, attempts.c.number),
}

# ---- a whole history, for a replay ----

_RECORDED = (events.c.observed_at >= _since, events.c.observed_at < bindparam("until", type_=UtcDateTime))
_carries = delivery_events.c.event_id == events.c.id
_WITHOUT_BODY = (
    *(column for column in deliveries.columns if column.name not in {"body", "content_type"}),
    null().label("body"),
    null().label("content_type"),
)

_HISTORY: Mapping[str, Select[Any]] = {
    "recorded_events": select(events).where(*_RECORDED).order_by(events.c.observed_at, events.c.seq),
    "recorded_deliveries": select(*_WITHOUT_BODY)
    .where(
        deliveries.c.id.in_(
            select(delivery_events.c.delivery_id).select_from(delivery_events).join(events, _carries).where(*_RECORDED)
        )
    )
    .order_by(deliveries.c.seq),
    "recorded_pairs": select(delivery_events.c.delivery_id, delivery_events.c.event_id)
    .select_from(delivery_events)
    .join(events, _carries)
    .where(*_RECORDED)
    .order_by(delivery_events.c.delivery_id, delivery_events.c.position),
    "recorded_acknowledgements": select(acknowledgements)
    .join(events, events.c.id == acknowledgements.c.event_id)
    .where(*_RECORDED)
    .order_by(acknowledgements.c.at, acknowledgements.c.event_id),
    "recorded_mutes": select(mutes)
    .where(~mutes.c.configured, mutes.c.until > _since, mutes.c.created_at < bindparam("until", type_=UtcDateTime))
    .order_by(mutes.c.created_at, mutes.c.id),
    "recorded_calendars": select(calendars).order_by(calendars.c.name),
    "first_record": select(func.min(events.c.observed_at).label("at")),
}

# ---- health ----

TRIED = 100
"""Number of pending deliveries of a channel, those that go out first, that are searched for the latest failure."""

# What a rule holds waits on purpose: nothing is wrong with its channel.
_PENDING = and_(deliveries.c.state == DeliveryState.PENDING, deliveries.c.rule.is_(None))
_DEAD = (deliveries.c.state == DeliveryState.DEAD, deliveries.c.dismissed_at.is_(None))


def _backlog(moment: ColumnElement[Any], *which: ColumnElement[bool]) -> Select[Any]:
    """Count the deliveries of each channel in a state, and return the first and the last of a time of theirs."""
    counted = (func.count().label("number"), func.min(moment).label("first"), func.max(moment).label("last"))
    found = select(deliveries.c.channel, deliveries.c.state, *counted).where(*which)
    return found.group_by(deliveries.c.channel, deliveries.c.state)


# A retried delivery has waited since then, any other since it was planned.
_BACKLOGS = union_all(
    _backlog(func.coalesce(deliveries.c.retried_at, deliveries.c.created_at), _PENDING),
    _backlog(deliveries.c.created_at, deliveries.c.state == DeliveryState.PARKED),
    _backlog(deliveries.c.settled_at, *_DEAD),
)

_mine = deliveries.c.channel == bindparam("channel")
_reasons = select(deliveries.c.reason, LAST_REPLY)

_HEALTH: Mapping[str, SelectBase] = {
    "channels": select(channels).order_by(channels.c.name),
    "replicas": select(replicas).order_by(replicas.c.started_at, replicas.c.owner),
    "calendars": select(calendars.c.name, calendars.c.fetched_at, calendars.c.tried_at, calendars.c.error).order_by(
        calendars.c.name
    ),
    "origin_counts": select(func.count().label("searched"), func.count(origins.c.trace_id).label("explained")).where(
        origins.c.ended_at.is_not(None), optional("since", origins.c.ended_at >= _since)
    ),
    "origin_lags": select(origins.c.lag)
    .where(origins.c.ended_at.is_not(None), origins.c.lag.is_not(None), optional("since", origins.c.ended_at >= _since))
    .order_by(origins.c.ended_at.desc())
    .limit(_LIMIT),
    "maintenances": select(maintenances.c.facts).where(
        or_(maintenances.c.over.is_(False), maintenances.c.changed_at >= _since)
    ),
    "missing_rights": select(missing_rights).order_by(missing_rights.c.source, missing_rights.c.part),
    "accounts": select(accounts).order_by(accounts.c.name),
    "projects": select(projects).where(projects.c.gone_at.is_(None)).order_by(projects.c.account, projects.c.source),
    "doorbell_topics": select(doorbell_topics).order_by(doorbell_topics.c.urn),
    "calendar_entries": select(calendars.c.name, calendars.c.entries).where(is_in(calendars.c.name, "names")),
    "backlogs": _BACKLOGS,
    "pending_reasons": _reasons.where(_mine, _PENDING).order_by(deliveries.c.rank, deliveries.c.seq).limit(TRIED),
    "dead_reason": _reasons.where(_mine, *_DEAD).order_by(deliveries.c.seq.desc()).limit(1),
}

# ---- the ledger ----

_accounts = select(func.count()).where(delivery_events.c.event_id == events.c.id).scalar_subquery()
_names_channel = events.c.channels.contains('"' + delivery_events.c.channel + '"')

_LEDGER: Mapping[str, Select[Any]] = {
    "ledger": select(
        func.count().label("events"),
        func.coalesce(func.sum(events.c.channel_count), 0).label("pairs"),
        func.count().filter(events.c.channel_count == 0).label("unrouted"),
    ).select_from(events),
    "ledger_states": select(deliveries.c.state, func.count().label("pairs"))
    .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
    .group_by(deliveries.c.state),
    "ledger_oldest": select(func.min(deliveries.c.created_at).label("oldest")).where(_PENDING),
    "ledger_unequal": select(events).where(events.c.channel_count != _accounts),
    "ledger_channels": select(delivery_events.c.channel).where(delivery_events.c.event_id == bindparam("event_id")),
    "ledger_unrouted": select(events.c.id, delivery_events.c.channel)
    .join(delivery_events, delivery_events.c.event_id == events.c.id)
    .where(~_names_channel),
}

# ---- time, and what only a check of the database needs ----

_TIME: Mapping[str, Select[Any]] = {"sqlite": statements.TIME, "postgresql": statements.SERVER_TIME}

# ---- compilation ----


def _dialects() -> Mapping[str, Dialect]:
    found: Mapping[str, Any] = {
        "sqlite": SQLiteDialect_pysqlite(paramstyle="named"),
        "postgresql": PGDialect_psycopg(),  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
    }
    found["sqlite"].supports_native_boolean = True  # else SQLite would compare our conditions with 1, and use no index
    for dialect in found.values():
        dialect.statement_compiler = type("Compiler", (_WithLiterals, dialect.statement_compiler), {})
    return found


class _WithLiterals(SQLCompiler):
    """Writes constants into the text, so that only the parameters are left to bind."""

    def visit_bindparam(self, bindparam: Any, *options: Any, **how: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's
        how["literal_binds"] = not bindparam.required
        return super().visit_bindparam(bindparam, *options, **how)  # type: ignore[no-untyped-call]  # as above


def written(database: str) -> str:
    """Return the file of all statements for one kind of database."""
    dialect = _dialects()[database]
    every = {"time": _TIME[database], **_TASKS, **_EVENTS, **_DELIVERIES, **_HISTORY, **_HEALTH, **_LEDGER}
    head = "-- Written by `make queries`; see notifier/store/query_statements.py. Not to be edited.\n"
    return "\n".join([head, *(_block(name, statement, dialect) for name, statement in every.items())])


def _block(name: str, statement: SelectBase, dialect: Dialect) -> str:
    form = statement.compile(dialect=dialect)
    takes = {bind.key: bind.type for bind in form.binds.values() if bind.required}
    gives = {column.name: column.type for column in statement.selected_columns}
    lines = (f"-- name: {name}", f"-- takes: {_declared(takes)}", f"-- gives: {_declared(gives)}", f"{form};\n")
    return "\n".join("\n".join(map(str.rstrip, line.splitlines())) for line in lines)


def _declared(types: Mapping[str, TypeEngine[Any]]) -> str:
    return ", ".join(f"{name} {kind}".strip() for name, kind in ((name, _kind(of)) for name, of in types.items()))


def _kind(of: TypeEngine[Any]) -> str:
    """Return the kind of a value, as `values` converts it."""
    kinds: Mapping[type[Any], str] = {UtcDateTime: "time", Boolean: "boolean", ListType: "list"}
    return next((kind for type_, kind in kinds.items() if isinstance(of, type_)), "")


if __name__ == "__main__":
    for kind in _TIME:
        path_of(kind).write_text(written(kind), encoding="utf-8")
