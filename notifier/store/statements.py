"""The statements that run often, built once: building one costs several times what the database takes for it.

Each takes named parameters. To paste one into a database shell, print `DUE_DELIVERIES.compile(dialect=…)`.

Statements that lock several rows lock them in the order of `seq`, of `name` or of `subject`: processes that locked the
same rows in different orders would wait for each other, and PostgreSQL would end one of them. Deliveries come before
the threads of tasks, and these before the threads of storms. An UPDATE cannot have a parameter with the name of one of
its columns.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    CompoundSelect,
    Integer,
    ScalarSelect,
    Select,
    Table,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql

from notifier.core.credentials import CredentialState
from notifier.core.delivery import FAILURE_RANK, USUAL_RANK, DeliveryState
from notifier.core.events import EditUrgency, EventType
from notifier.core.failures import FailureState
from notifier.core.identity import DirectChannel, Subject
from notifier.core.model import TaskStatus
from notifier.core.mutes import RULE_PREFIX
from notifier.core.pacing import ChannelHealth
from notifier.store.compiled import compiled, is_in
from notifier.store.schema import (
    UtcDateTime,
    acknowledgements,
    actions,
    attempts,
    channels,
    clock,
    credentials,
    deliveries,
    delivery_events,
    edit_budgets,
    event_subscriptions,
    events,
    failures,
    idempotency_keys,
    maintenances,
    mutes,
    origins,
    replicas,
    requests,
    sources,
    storms,
    subscriptions,
    tasks,
    threads,
    tickets,
)

UNSETTLED: Final = (DeliveryState.PENDING, DeliveryState.PARKED)

FINAL: Final = (DeliveryState.DELIVERED, DeliveryState.SUPPRESSED, DeliveryState.SUPERSEDED)
"""States that nothing leads out of. A dead delivery can be sent again by hand."""

LISTEN_CHANNEL: Final = "gaussdb_notifier"
"""PostgreSQL's name of the notification that there may be deliveries to make. It has no payload."""

NOTIFY = compiled(select(func.pg_notify(LISTEN_CHANNEL, "")))

TIME = compiled(select(clock))
"""SQLite's time of all processes."""

SAVEPOINT, RELEASE, ROLL_BACK = (
    compiled(text(f"{command} before_rows")) for command in ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")
)
"""What keeps a row that is refused from ending the transaction."""

SERVER_TIME = compiled(select(func.clock_timestamp(type_=UtcDateTime()).label("at")))
"""PostgreSQL's: `now()` would stand still within a transaction."""


def list_parameter(name: str, **how: Any) -> Any:  # noqa: ANN401 - as bindparam
    """Return a parameter for a list of values, which follows IN."""
    return bindparam(name, expanding=True, **how)


def recorded(table: Table, *, without: Collection[str] = ()) -> postgresql.Insert:
    """Return the statement that inserts a row, with a parameter for each column but those that begin with a default.

    SQLite's compiler reads the same form, with its ON CONFLICT.
    """
    named = [column.name for column in table.columns if column.identity is None and column.name not in without]
    return postgresql.insert(table).values({name: bindparam(name) for name in named}).inline()


# A cast, and text: SQLite 3.53 plans by the value of a bare parameter, and so prepares a statement again for each run.
LIMIT: Final = cast(bindparam("limit", type_=Integer), Integer)
ONE_ROW: Final = literal_column("1", Integer)


def new_values(values: Mapping[str, object]) -> dict[str, object]:
    """Return values by the names of the parameters that set columns: `new_` and the column's name."""
    return {f"new_{name}": value for name, value in values.items()}


# ---- sources ----

CLAIM_POLL = compiled(
    update(sources)
    .where(
        sources.c.name == bindparam("source"),
        or_(
            sources.c.claimed_until.is_(None),
            sources.c.claimed_until <= bindparam("now"),
            sources.c.claimed_by == bindparam("owner"),
            # A time further ahead than any lease was left by a clock that has since been set back.
            sources.c.claimed_until > bindparam("latest_end"),
        ),
        or_(
            bindparam("force", type_=Boolean),
            sources.c.next_poll_at.is_(None),
            sources.c.next_poll_at <= bindparam("now"),
            sources.c.next_poll_at > bindparam("latest_start"),
        ),
    )
    .values(claimed_by=bindparam("owner"), claimed_until=bindparam("until"), epoch=sources.c.epoch + 1, retired_at=None)
    .returning(sources, exists(1).where(storms.c.source == sources.c.name, storms.c.ended_at.is_(None)).label("stormy"))
)
EPOCH = compiled(select(sources.c.epoch).where(sources.c.name == bindparam("source")).with_for_update())
LOCK_SOURCE = select(sources).where(sources.c.name == bindparam("of_source")).with_for_update()
DUE_SOURCES = compiled(
    select(sources.c.name)
    .where(
        or_(sources.c.next_poll_at.is_(None), sources.c.next_poll_at <= bindparam("now")),
        or_(sources.c.claimed_until.is_(None), sources.c.claimed_until <= bindparam("now")),
    )
    # What waits for room in a budget is due at one moment: then the first promise counts, and not the name.
    .order_by(func.coalesce(sources.c.promised_at, sources.c.next_poll_at), sources.c.name)
)
SOURCE_NAMES = compiled(select(sources.c.name))
# Every source that `core.health.judge_source` or `core.alerts` may have something about, and few others.
SOURCES_TO_JUDGE = compiled(
    select(sources)
    .where(
        or_(
            *(
                or_(column.is_(None), column <= bindparam("before"), column > bindparam("ahead"))
                for column in (sources.c.last_poll_at, sources.c.last_full_at)
            ),
            sources.c.failing_since.is_not(None),
            sources.c.announced_since.is_not(None),
            sources.c.refused_rows > 0,
            sources.c.introduced_at.is_(None),
        )
    )
    .order_by(sources.c.name)
)
CREDENTIAL = compiled(select(credentials).where(credentials.c.key == bindparam("key")).with_for_update())
SAVE_CREDENTIAL = compiled(
    update(credentials)
    .where(credentials.c.key == bindparam("of_key"))
    .values({field.name: bindparam(f"new_{field.name}") for field in fields(CredentialState)})
)


POLLED: Final = (
    "last_poll_at",
    "next_poll_at",
    "clock_skew",
    "refused_rows",
    "refused_since",
    "last_full_calls",
    "last_full_at",
    "empty_since",
    "baseline_at",
    "active_at",
    "promised_at",
    "scanned_by",
    "scanned_at",
)
"""Columns of a source that a good poll sets."""
RECORD_POLL = compiled(
    update(sources)
    .where(sources.c.name == bindparam("source"))
    .values(
        {name: bindparam(f"new_{name}") for name in POLLED}
        # Rung for since the claim: this poll may have read the list before what the caller knows of was in it.
        | {
            "next_poll_at": case(
                (sources.c.rung_epoch == sources.c.epoch, bindparam("new_rung_poll_at", type_=UtcDateTime())),
                else_=bindparam("new_next_poll_at", type_=UtcDateTime()),
            )
        }
        | {"last_error": None, "failing_since": None, "failures": 0}
        | {"polled_by": sources.c.claimed_by, "claimed_by": None, "claimed_until": None}
    )
)

RUNG_SOURCES = compiled(
    select(
        *(sources.c.name, sources.c.last_poll_at, sources.c.next_poll_at, sources.c.failures),
        *(sources.c.claimed_until, sources.c.epoch, sources.c.rung_epoch),
    )
    .where(is_in(sources.c.name, "names"))
    # In one order, so that two rings wait for one another and do not block each other.
    .order_by(sources.c.name)
    .with_for_update()
)
_RING = update(sources).where(is_in(sources.c.name, "names"))
RING = compiled(
    _RING.values(
        rung_at=bindparam("new_rung_at"), rung_epoch=sources.c.epoch, next_poll_at=bindparam("new_next_poll_at")
    )
)
RING_AS_PLANNED = compiled(_RING.values(rung_at=bindparam("new_rung_at"), rung_epoch=sources.c.epoch))

# ---- tasks ----

TASKS = select(*(column for column in tasks.columns if column.name != "fingerprint"))
"""Every read of recorded tasks starts here: fingerprints are large, and only a poll compares them."""

FINGERPRINTS = compiled(select(tasks.c.job_id, tasks.c.fingerprint).where(tasks.c.source == bindparam("source")))
RECORDED_TASKS = compiled(TASKS.where(tasks.c.source == bindparam("source"), is_in(tasks.c.job_id, "ids")))
# A task with a status that we do not know may have ended: an end time says so. Of a row without a status nothing is
# known.
RUNNING_TASKS = compiled(
    TASKS.where(
        tasks.c.source == bindparam("source"),
        or_(
            tasks.c.status == TaskStatus.RUNNING,
            and_(tasks.c.status == TaskStatus.UNKNOWN, tasks.c.ended_at.is_(None), tasks.c.raw_status != ""),
        ),
    )
)
_NEW_TASK = recorded(tasks, without={"events_pruned", "started_by"})
RECORD_TASK = compiled(
    _NEW_TASK.on_conflict_do_update(
        index_elements=["source", "job_id"],
        set_={
            column.name: _NEW_TASK.excluded[column.name]
            for column in tasks.columns
            if column.name not in {"source", "job_id", "first_seen_at", "events_pruned", "started_by"}
        },
    )
)
RECORD_MISSING = compiled(
    update(tasks)
    .where(tasks.c.source == bindparam("of_source"), tasks.c.job_id == bindparam("of_job_id"))
    .values(missing=bindparam("new_missing"), unlisted=bindparam("new_unlisted"))
)


def _is_in_source(source: Column[Any]) -> ColumnElement[bool]:
    """Compare without an index: SQLite would read the tasks of a whole source rather than those of an instance."""
    return func.coalesce(source, "") == bindparam("source")


def _failed(instance: Column[Any], *columns: ColumnElement[Any]) -> Select[Any]:
    """Select from failed tasks by instance: its id, or its name where it has no id."""
    unnamed = [] if instance is tasks.c.instance_id else [func.coalesce(tasks.c.instance_id, "") == ""]
    return select(instance.label("instance"), *columns).where(
        instance.in_(list_parameter("instances")),
        tasks.c.status == TaskStatus.FAILED,
        _is_in_source(tasks.c.source),
        tasks.c.job_id.not_in(list_parameter("apart_from")),
        *unnamed,
    )


def _failures(instance: Column[Any]) -> Select[Any]:
    """Count the failed tasks of instances since a time."""
    counted = _failed(instance, func.count().label("failures"))
    return counted.where(tasks.c.changed_at >= bindparam("since")).group_by(instance)


def _recoveries(instance: Column[Any]) -> Select[Any]:
    """Return by instance and operation when it last failed, and when it next succeeded."""
    failed = _failed(instance, tasks.c.name, func.max(tasks.c.changed_at).label("failed_at"))
    wanted = tuple_(instance, tasks.c.name).in_(list_parameter("operations"))
    last = failed.where(wanted).group_by(instance, tasks.c.name).subquery("last")
    later = tasks.alias("later")
    succeeded = (
        select(later.c.changed_at)
        .where(
            later.c[instance.name] == last.c.instance,
            later.c.status == TaskStatus.COMPLETED,
            later.c.changed_at > last.c.failed_at,
            later.c.name == last.c.name,
            _is_in_source(later.c.source),
        )
        .order_by(later.c.changed_at)
        .limit(ONE_ROW)
    )
    return select(last.c.instance, last.c.name, last.c.failed_at, succeeded.scalar_subquery().label("succeeded_at"))


FAILURES_BY_ID, FAILURES_BY_NAME = _failures(tasks.c.instance_id), _failures(tasks.c.instance_name)
RECOVERIES_BY_ID, RECOVERIES_BY_NAME = _recoveries(tasks.c.instance_id), _recoveries(tasks.c.instance_name)
RESULTS_OF_INSTANCES = compiled(
    select(tasks.c.source, tasks.c.instance_id, tasks.c.name, tasks.c.job_id, tasks.c.status, tasks.c.changed_at).where(
        is_in(tasks.c.instance_id, "instances"),
        or_(*(tasks.c.status == status for status in (TaskStatus.COMPLETED, TaskStatus.FAILED))),
        tasks.c.changed_at > bindparam("since"),
    )
)

# ---- events ----

KNOWN_EVENTS = compiled(select(events.c.id).where(is_in(events.c.id, "ids")))
RECORD_EVENT = compiled(recorded(events))
OCCURRENCES = compiled(
    select(events.c.job_id, events.c.occurrence).where(
        events.c.source == bindparam("source"), is_in(events.c.job_id, "ids")
    )
)
EVENTS_OF_DELIVERIES = compiled(
    # The value of a query, and not a join: PostgreSQL would read all events for it, until it has statistics of them.
    select(
        delivery_events.c.delivery_id,
        select(events.c.facts).where(events.c.id == delivery_events.c.event_id).scalar_subquery().label("facts"),
    )
    .where(is_in(delivery_events.c.delivery_id, "ids"))
    .order_by(delivery_events.c.delivery_id, delivery_events.c.position)
)

# ---- channels ----

CHANNEL = compiled(select(channels).where(channels.c.name == bindparam("of_name")).with_for_update())
EDIT_BUDGET = compiled(select(edit_budgets).where(edit_budgets.c.name == bindparam("of_name")).with_for_update())
LOCK_CHANNELS = select(channels.c.name).order_by(channels.c.name).with_for_update()
SAVE_HEALTH = compiled(
    update(channels)
    .where(channels.c.name == bindparam("of_name"))
    .values({field.name: bindparam(f"new_{field.name}") for field in fields(ChannelHealth)})
)
DUE_PROBES = compiled(select(channels.c.name).where(channels.c.probe_at <= bindparam("now")).order_by(channels.c.name))
PARKED_NAMES = compiled(select(channels.c.name).where(channels.c.parked_since.is_not(None)))
PARKED_CHANNELS = compiled(
    select(channels).where(channels.c.parked_since.is_not(None)).order_by(channels.c.name).with_for_update(read=True)
)

# ---- processes ----

_NEW_REPLICA = recorded(replicas)
REPORT_REPLICA = compiled(
    _NEW_REPLICA.on_conflict_do_update(
        index_elements=["owner"],
        set_={column.name: _NEW_REPLICA.excluded[column.name] for column in replicas.columns if column.name != "owner"},
    )
)

# ---- deliveries ----

DIRECT_CHANNELS = compiled(
    select(deliveries.c.channel)
    .where(deliveries.c.state == DeliveryState.PENDING, deliveries.c.channel.startswith(DirectChannel.PREFIX))
    .distinct()
    .order_by(deliveries.c.channel)
)

RECORD_DELIVERY = compiled(
    recorded(deliveries, without={"claimed_by", "begun", "body", "content_type", "recipients", "retried_at"})
)
RECORD_DELIVERED_EVENT = compiled(recorded(delivery_events))
RECORD_ATTEMPT = compiled(recorded(attempts).on_conflict_do_nothing())

_older = deliveries.alias("older")


_mine, _theirs = delivery_events.alias("mine"), delivery_events.alias("theirs")
_OF_SAME_SUBJECT = and_(_theirs.c.channel == _mine.c.channel, _theirs.c.subject == _mine.c.subject)
_OLDER_UNSETTLED = and_(_older.c.seq < deliveries.c.seq, or_(*(_older.c.state == state for state in UNSETTLED)))


def _older_unsettled(columns: Select[Any]) -> Select[Any]:
    """Select columns of unsettled deliveries that are older than a delivery and share a subject with it."""
    return (
        columns.select_from(_mine)
        .join(_theirs, _OF_SAME_SUBJECT)
        .join(_older, _older.c.id == _theirs.c.delivery_id)
        .where(_mine.c.delivery_id == deliveries.c.id, _OLDER_UNSETTLED)
    )


def _older_of_storm(columns: Select[Any]) -> Select[Any]:
    """Select columns of unsettled deliveries that are older than a delivery and part of the same storm."""
    return columns.where(_older.c.storm == deliveries.c.storm, _OLDER_UNSETTLED)


# An older delivery that only some recipients still lack does not block a first attempt, which is for the others.
_BLOCKS = or_(_older.c.recipients.is_(None), deliveries.c.recipients.is_not(None))


def _blocked_by_subject() -> ColumnElement[bool]:
    """Return the condition that one of `_older_unsettled` blocks a delivery.

    Each step is the value of a query. Of a join PostgreSQL chooses the order by its statistics, which it has not or
    which are of a time when hardly anything waited. It would begin with all that waits, for each candidate.
    """
    older = select(_older.c.seq).where(_older.c.id == _theirs.c.delivery_id, _OLDER_UNSETTLED, _BLOCKS)
    blocks = older.correlate(_theirs, deliveries).scalar_subquery().is_not(None)
    theirs = select(_theirs.c.delivery_id).where(_OF_SAME_SUBJECT, blocks).limit(ONE_ROW)
    blocked = theirs.correlate(_mine, deliveries).scalar_subquery().is_not(None)
    return exists(1).where(_mine.c.delivery_id == deliveries.c.id, blocked).correlate(deliveries)


_BLOCKED = or_(_blocked_by_subject(), exists(_older_of_storm(select(1)).where(_BLOCKS).correlate(deliveries)))
# With the rule of what a rule holds: its hold has ended, and it is released before anything is claimed.
_DUE = (
    select(deliveries.c.seq, deliveries.c.rule)
    .where(
        deliveries.c.channel == bindparam("channel"),
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.available_at <= bindparam("now"),
        ~_BLOCKED,
    )
    .order_by(deliveries.c.rank, deliveries.c.seq)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
DUE_DELIVERIES = compiled(_DUE)
DUE_UNRULED = compiled(_DUE.where(deliveries.c.rule.is_(None)))
"""The same, after as much was released as one step releases."""
_newer = deliveries.alias("newer")


def newer_of_operations(columns: Select[Any]) -> Select[Any]:
    """Select columns of `newer` deliveries, of deliveries that are older and about the same operation."""
    of_operation = _mine.c.subject.startswith(Subject.OPERATION_PREFIX, autoescape=True)
    return (
        columns.select_from(_mine)
        .join(_theirs, _OF_SAME_SUBJECT)
        .join(_newer, _newer.c.id == _theirs.c.delivery_id)
        .where(of_operation, _newer.c.state == DeliveryState.PENDING)
    )


def newer_ids(delivery_ids: Collection[str]) -> Select[tuple[str]]:
    """Select the ids of what waits, or is on its way, about the same operations as these deliveries."""
    return newer_of_operations(select(_newer.c.id)).where(_mine.c.delivery_id.in_(delivery_ids))


def end_of_newer_claims(now: datetime) -> ScalarSelect[datetime | None]:
    """Select when the last claim ends of what is on its way about the operation of a delivery; NULL for none."""
    on_its_way = (_newer.c.claimed_by.is_not(None), _newer.c.available_at > now, _newer.c.seq > deliveries.c.seq)
    found = newer_of_operations(select(func.max(_newer.c.available_at)))
    return found.where(_mine.c.delivery_id == deliveries.c.id, *on_its_way).correlate(deliveries).scalar_subquery()


_WITHHELD = (is_in(deliveries.c.id, "ids"), _older.c.recipients.is_not(None))
BLOCKING_RECIPIENTS = compiled(
    union_all(
        _older_unsettled(select(deliveries.c.id, _older.c.recipients)).where(*_WITHHELD),
        _older_of_storm(select(deliveries.c.id, _older.c.recipients)).where(*_WITHHELD),
    )
)
# What holds a failure back goes first too. One that is claimed right now goes out anyway.
HOLDING_BACK = compiled(
    select(deliveries.c.seq)
    .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
    .where(
        delivery_events.c.channel == bindparam("channel"),
        is_in(delivery_events.c.subject, "subjects"),
        deliveries.c.rank != FAILURE_RANK,
        or_(*(deliveries.c.state == state for state in UNSETTLED)),
    )
    .order_by(deliveries.c.seq)
    .with_for_update(of=deliveries, skip_locked=True)
)
RANK_AS_FAILURES = compiled(update(deliveries).where(is_in(deliveries.c.seq, "seqs")).values(rank=FAILURE_RANK))

# The last message of a storm takes more failures as long as nobody has begun to send it.
_UNSENT = and_(
    deliveries.c.attempt == 0,
    deliveries.c.body.is_(None),
    or_(*(deliveries.c.state == state for state in UNSETTLED)),
)
_UNSENT_PART = select(
    deliveries.c.id,
    deliveries.c.seq,
    deliveries.c.channel,
    deliveries.c.storm,
    deliveries.c.routing,
    select(func.count()).where(delivery_events.c.delivery_id == deliveries.c.id).scalar_subquery().label("events"),
).where(_UNSENT)
_LATEST_OF_STORMS = (
    select(func.max(_older.c.seq)).where(_older.c.storm.in_(list_parameter("ids"))).group_by(_older.c.storm)
)
UNSENT_PARTS = _UNSENT_PART.where(deliveries.c.seq.in_(_LATEST_OF_STORMS))
NEWER_UNSETTLED = (
    select(deliveries.c.seq)
    .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
    .where(
        delivery_events.c.channel == bindparam("channel"),
        delivery_events.c.subject.in_(list_parameter("subjects")),
        deliveries.c.seq > bindparam("seq"),
        or_(*(deliveries.c.state == state for state in UNSETTLED)),
    )
    .limit(ONE_ROW)
)
LOCK_UNSENT = _UNSENT_PART.where(deliveries.c.id == bindparam("id")).with_for_update(of=deliveries)

# The holder of a claim died: the outcome of an attempt that had begun is unknown, any other attempt does not count.
_LEFT_BEGUN = and_(deliveries.c.claimed_by.is_not(None), deliveries.c.begun)
_LEFT_UNBEGUN = and_(deliveries.c.claimed_by.is_not(None), not_(deliveries.c.begun))
ABANDONED_CLAIM: Final[Mapping[str, Any]] = {
    "outcome_unknown": or_(deliveries.c.outcome_unknown, _LEFT_BEGUN),
    "earlier_attempts": deliveries.c.earlier_attempts + cast(_LEFT_UNBEGUN, Integer),
}
# A first claim renders the delivery at once. A delivery that was tried and has no body may have killed its renderer: it
# begins when it is rendered, so that it does not use up the attempts of others.
_RENDERED_AT_ONCE = and_(deliveries.c.body.is_(None), deliveries.c.attempt == deliveries.c.earlier_attempts)
_SENT_AT_ONCE = and_(deliveries.c.body.is_not(None), is_in(deliveries.c.seq, "sent_at_once"))
CLAIM_DELIVERIES = compiled(
    update(deliveries)
    .where(is_in(deliveries.c.seq, "seqs"))
    .values(
        {
            **ABANDONED_CLAIM,
            "available_at": bindparam("until"),
            "attempt": deliveries.c.attempt + 1,
            "claimed_by": bindparam("owner"),
            "begun": or_(_RENDERED_AT_ONCE, _SENT_AT_ONCE),
        }
    )
    .returning(deliveries)
)


def is_held(number: str) -> ColumnElement[bool]:
    """Return the condition that a delivery is still held under the claim whose number the parameter `number` gives."""
    return and_(
        deliveries.c.attempt == bindparam(number),
        deliveries.c.claimed_by.is_not(None),
        # Compared without an index: SQLite would read all that is pending rather than what is claimed.
        func.coalesce(deliveries.c.state, "") == DeliveryState.PENDING,
    )


def locked(*which: ColumnElement[bool]) -> Select[Any]:
    """Select and lock deliveries in order."""
    return select(deliveries.c.seq).where(*which).order_by(deliveries.c.seq).with_for_update(key_share=True)


LOCK_DELIVERIES = compiled(locked(is_in(deliveries.c.id, "ids")))
MARK_BEGUN = compiled(
    update(deliveries)
    .where(deliveries.c.seq.in_(locked(is_in(deliveries.c.id, "ids"), is_held("number"))))
    .values(begun=bindparam("has_begun", type_=Boolean))
    .returning(deliveries.c.id)
)
SAVE_BODY = compiled(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"), deliveries.c.body.is_(None))
    .values(
        body=bindparam("new_body"),
        content_type=bindparam("new_content_type"),
        begun=and_(deliveries.c.begun, not_(is_held("queued_number"))),
    )
)
BODIES = compiled(
    select(deliveries.c.id, deliveries.c.body, deliveries.c.content_type).where(
        is_in(deliveries.c.id, "ids"), deliveries.c.body.is_not(None)
    )
)
_CURRENT_ATTEMPT = (
    deliveries.c.id == bindparam("delivery_id"),
    deliveries.c.attempt == bindparam("number"),
    # Compared without an index: PostgreSQL would read all that is pending, of which it expects less than there is.
    func.coalesce(deliveries.c.state, "") == DeliveryState.PENDING,
)
SETTLE_DELIVERED = compiled(
    update(deliveries)
    .where(*_CURRENT_ATTEMPT)
    .values(
        state=DeliveryState.DELIVERED,
        claimed_by=None,
        outcome_unknown=False,
        reason=None,
        recipients=None,
        ref=bindparam("new_ref"),
        settled_at=bindparam("now"),
    )
)
SETTLE = compiled(
    update(deliveries)
    .where(*_CURRENT_ATTEMPT)
    .values(
        state=bindparam("new_state"),
        available_at=bindparam("new_available_at"),
        claimed_by=None,
        outcome_unknown=bindparam("new_outcome_unknown"),
        reason=bindparam("new_reason"),
        settled_at=bindparam("new_settled_at"),
    )
    .returning(deliveries.c.channel)
)
SETTLE_WITH_RECIPIENTS = compiled(SETTLE.values(recipients=bindparam("new_recipients")))

PENDING_CHANNELS = compiled(
    select(deliveries.c.channel)
    .where(deliveries.c.state == DeliveryState.PENDING, deliveries.c.available_at <= bindparam("now"))
    .group_by(deliveries.c.channel)
    .order_by(deliveries.c.channel)
)
NEXT_PENDING = compiled(
    select(func.min(deliveries.c.available_at).label("at")).where(
        deliveries.c.state == DeliveryState.PENDING, deliveries.c.available_at > bindparam("now")
    )
)
WAITING_PROGRESS = compiled(
    select(deliveries.c.id, delivery_events.c.event_id, delivery_events.c.subject)
    .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
    .join(events, events.c.id == delivery_events.c.event_id)
    .where(
        delivery_events.c.channel == bindparam("channel"),
        is_in(delivery_events.c.subject, "subjects"),
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.attempt == 0,
        ~deliveries.c.digest,
        events.c.type == EventType.TASK_PROGRESSED,
    )
    .order_by(deliveries.c.seq)
    .with_for_update(of=deliveries, skip_locked=True)
)
SUPERSEDE = compiled(
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"))
    .values(state=DeliveryState.SUPERSEDED, reason=bindparam("new_reason"), settled_at=bindparam("now"), rule=None)
)

# ---- holds ----

_HELD = (deliveries.c.rule.is_not(None), deliveries.c.state == DeliveryState.PENDING)
LASTING_HOLDS = compiled(
    select(
        deliveries.c.channel,
        deliveries.c.rule,
        func.min(deliveries.c.created_at).label("since"),
        func.min(deliveries.c.available_at).label("until"),
    )
    .where(is_in(deliveries.c.rule, "rules"), *_HELD)
    .group_by(deliveries.c.channel, deliveries.c.rule)
)


def _latest_messages() -> CompoundSelect[datetime]:
    """Select when the latest messages of a channel were planned: of each state and rank, as many as are wanted.

    Each is read from the end of the channel's part of an index, however many there are.
    """
    counted = (DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.PARKED)
    parts = [
        select(deliveries.c.created_at)
        .where(
            deliveries.c.channel == bindparam("channel"),
            deliveries.c.state == state,
            deliveries.c.rank == rank,
            deliveries.c.rule.is_(None),
        )
        .order_by(deliveries.c.seq.desc())
        .limit(LIMIT)
        .subquery()
        for state in counted
        for rank in (FAILURE_RANK, USUAL_RANK)
    ]
    return union_all(*(select(part.c.created_at) for part in parts))


RECENT_MESSAGES = compiled(_latest_messages())
HOLDING_RULES = (
    select(deliveries.c.channel, deliveries.c.rule)
    .where(*_HELD)
    .distinct()
    .order_by(deliveries.c.channel, deliveries.c.rule)
)
HELD_BY_RULE = compiled(
    select(deliveries)
    .where(deliveries.c.rule == bindparam("rule"), *_HELD, deliveries.c.channel == bindparam("channel"))
    .order_by(deliveries.c.seq)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
HELD_ABOUT = compiled(
    select(deliveries)
    .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
    .where(delivery_events.c.channel == bindparam("channel"), is_in(delivery_events.c.subject, "subjects"), *_HELD)
    .order_by(deliveries.c.seq)
    .with_for_update(of=deliveries, skip_locked=True)
)
HOLDS_OF_EVENTS = compiled(
    select(delivery_events.c.event_id, deliveries.c.channel, deliveries.c.rule, deliveries.c.available_at)
    .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
    .where(is_in(delivery_events.c.event_id, "ids"), *_HELD)
)
LOCK_HELD_ABOUT = compiled(
    select(deliveries.c.seq, deliveries.c.channel, delivery_events.c.subject)
    .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
    .where(is_in(delivery_events.c.channel, "channels"), is_in(delivery_events.c.subject, "subjects"), *_HELD)
    .order_by(deliveries.c.seq)
    .with_for_update(of=deliveries)
)
# It has waited on purpose until now: `retried_at` says so to those who look for what waits too long.
RELEASE_HELD = compiled(
    update(deliveries)
    .where(is_in(deliveries.c.seq, "seqs"))
    .values(
        rule=None, reason=None, state=bindparam("new_state"), available_at=bindparam("now"), retried_at=bindparam("now")
    )
)
MOVE_EVENT = compiled(
    update(delivery_events)
    .where(delivery_events.c.event_id == bindparam("of_event_id"), delivery_events.c.channel == bindparam("of_channel"))
    .values(delivery_id=bindparam("new_delivery_id"), position=bindparam("new_position"))
)
DELETE_EMPTIED = compiled(delete(deliveries).where(is_in(deliveries.c.id, "ids")))

# ---- storms ----

LASTING_STORMS = compiled(
    select(storms)
    .where(storms.c.source == bindparam("source"), storms.c.ended_at.is_(None))
    .order_by(storms.c.id)
    .with_for_update()
)
STORMS = compiled(select(storms).where(is_in(storms.c.id, "ids")))
_later = events.alias("later")
UNCLAIMED_FAILURES = (
    select(events.c.id)
    .join(delivery_events, delivery_events.c.event_id == events.c.id)
    .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
    .where(
        deliveries.c.storm == bindparam("storm"),
        ~exists().where(
            _later.c.source == events.c.source, _later.c.job_id == events.c.job_id, _later.c.seq > events.c.seq
        ),
        ~exists().where(acknowledgements.c.event_id == events.c.id),
    )
    .order_by(events.c.source, events.c.job_id)
)
LOCK_STORM = select(storms).where(storms.c.id == bindparam("id")).with_for_update()

# ---- tickets ----

_TICKETS = select(tickets).where(is_in(tickets.c.operation, "operations")).order_by(tickets.c.generation)
TICKETS = compiled(_TICKETS)
LOCK_TICKETS = compiled(
    _TICKETS.where(tickets.c.channel == bindparam("channel"))
    .order_by(None)
    .order_by(tickets.c.operation, tickets.c.generation)
    .with_for_update()
)
HOLD_TICKETS = compiled(
    _TICKETS.order_by(None)
    .order_by(tickets.c.operation, tickets.c.channel, tickets.c.generation)
    .with_for_update(key_share=True)
)
HELD_ATTEMPTS = compiled(
    select(deliveries.c.id, deliveries.c.attempt)
    .where(is_in(deliveries.c.id, "ids"), func.coalesce(deliveries.c.state, "") == DeliveryState.PENDING)
    .order_by(deliveries.c.seq)
    .with_for_update(key_share=True)
)
_OF_TICKET = (
    tickets.c.channel == bindparam("of_channel"),
    tickets.c.operation == bindparam("of_operation"),
    tickets.c.generation == bindparam("of_generation"),
)
TICKET_FAILED = compiled(update(tickets).where(*_OF_TICKET).values(failed_at=bindparam("new_failed_at")))
TICKET_ATTEMPTED = compiled(update(tickets).where(*_OF_TICKET).values(attempted_at=bindparam("now")))
_NEW_TICKET = recorded(tickets)
# A failure that was planned in the meantime is later than the one that the attempt knew of.
RECORD_TICKET = compiled(
    _NEW_TICKET.on_conflict_do_update(
        index_elements=["channel", "operation", "generation"],
        set_={
            column.name: _NEW_TICKET.excluded[column.name]
            for column in tickets.columns
            if column.name not in {"channel", "operation", "generation", "key", "wanted_by", "failed_at"}
        },
    )
)
WANT_TICKET = compiled(recorded(tickets).on_conflict_do_nothing())

# ---- open failures ----

# As text, because a database uses a partial index only where it sees the same condition.
_UNRESOLVED = text("failures.state <> 'resolved'")
_SOONER = (failures.c.due_at.is_not(None), failures.c.due_at <= bindparam("before"))

LOCK_FAILURES = compiled(
    select(failures.c.facts)
    .where(is_in(failures.c.operation, "operations"), _UNRESOLVED)
    .order_by(failures.c.id)
    .with_for_update()
)
LOCK_FAILURES_OF_STORM = compiled(
    select(failures.c.facts)
    .join(delivery_events, delivery_events.c.event_id == failures.c.latest_event_id)
    .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
    .where(deliveries.c.storm == bindparam("storm"), failures.c.state == FailureState.OPEN, _UNRESOLVED)
    .order_by(failures.c.id)
    .with_for_update(of=failures)
)
ANY_DUE_FAILURE = compiled(select(ONE_ROW.label("found")).where(*_SOONER).limit(ONE_ROW))
ANY_DUE_ORIGIN = compiled(
    select(ONE_ROW.label("found"))
    .where(
        origins.c.next_at.is_not(None),
        or_(origins.c.next_at <= bindparam("before"), origins.c.next_at > bindparam("ahead")),
    )
    .limit(ONE_ROW)
)
NEXT_DUE_MUTE = compiled(select(func.min(mutes.c.due_at).label("at")))
NEXT_DUE_FAILURE = compiled(select(func.min(failures.c.due_at).label("at")))
# The earliest first, locked in that order: two processes that do so skip what the other has locked.
DUE_FAILURES = compiled(
    select(failures.c.facts)
    .where(*_SOONER)
    .order_by(failures.c.due_at, failures.c.id)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
_NEW_FAILURE = recorded(failures)
SAVE_FAILURE = compiled(
    _NEW_FAILURE.on_conflict_do_update(
        index_elements=["id"],
        set_={column.name: _NEW_FAILURE.excluded[column.name] for column in failures.columns if column.name != "id"},
    )
)
_NEW_MAINTENANCE = recorded(maintenances)
SAVE_MAINTENANCE = compiled(
    _NEW_MAINTENANCE.on_conflict_do_update(
        index_elements=["source", "id"],
        set_={
            column.name: _NEW_MAINTENANCE.excluded[column.name]
            for column in maintenances.columns
            if column.name not in {"source", "id"}
        },
    )
)
ANY_DUE_MAINTENANCE = compiled(
    select(ONE_ROW.label("found")).where(maintenances.c.due_at <= bindparam("now", type_=UtcDateTime)).limit(ONE_ROW)
)
PRUNE_FAILURES = delete(failures).where(
    failures.c.changed_at < bindparam("before", type_=UtcDateTime),
    failures.c.state.in_((FailureState.RESOLVED, FailureState.ACKNOWLEDGED)),
)

# ---- threads ----

THREAD_REFS = compiled(
    select(threads.c.subject, threads.c.ref).where(
        threads.c.channel == bindparam("channel"), is_in(threads.c.subject, "subjects")
    )
)
LOUD_THREADS = compiled(
    select(threads.c.subject).where(
        threads.c.channel == bindparam("channel"), is_in(threads.c.subject, "subjects"), threads.c.loud
    )
)
COPIES = (
    select(threads.c.copies)
    .where(threads.c.channel == bindparam("channel"), threads.c.subject == bindparam("subject"))
    .with_for_update()
)
SUBJECTS_WITH_THREADS = compiled(select(threads.c.subject).where(is_in(threads.c.subject, "subjects")).distinct())
DUE_EDITS = compiled(
    select(threads)
    .where(
        threads.c.channel == bindparam("channel"),
        threads.c.due_at <= bindparam("now"),
        or_(threads.c.urgency > int(EditUrgency.PROGRESS), threads.c.shown_at <= bindparam("progress_before")),
    )
    .order_by(threads.c.urgency.desc(), threads.c.due_at)
    .limit(LIMIT)
    .with_for_update(skip_locked=True)
)
CLAIM_EDITS = (
    update(threads)
    .where(threads.c.channel == bindparam("of_channel"), threads.c.subject.in_(list_parameter("subjects")))
    .values(due_at=bindparam("until"))
)

# ---- people ----

SUBSCRIBERS = compiled(
    select(subscriptions.c.job_id, subscriptions.c.person).where(
        subscriptions.c.source == bindparam("source"), is_in(subscriptions.c.job_id, "ids")
    )
)
POP_SUBSCRIBERS = compiled(
    delete(subscriptions)
    .where(subscriptions.c.source == bindparam("source"), is_in(subscriptions.c.job_id, "ids"))
    .returning(subscriptions.c.job_id, subscriptions.c.person)
)

EVENT_SUBSCRIPTIONS = compiled(
    select(event_subscriptions).order_by(event_subscriptions.c.created_at, event_subscriptions.c.id)
)
RECORD_EVENT_SUBSCRIPTION = compiled(
    recorded(event_subscriptions).on_conflict_do_nothing().returning(event_subscriptions.c.id)
)
END_EVENT_SUBSCRIPTIONS = compiled(
    delete(event_subscriptions).where(is_in(event_subscriptions.c.id, "ids")).returning(*event_subscriptions.columns)
)

# ---- mutes ----

_NEW_MUTE = recorded(mutes)
SAVE_MUTE = compiled(
    _NEW_MUTE.on_conflict_do_update(
        index_elements=["id"],
        set_={column.name: _NEW_MUTE.excluded[column.name] for column in mutes.columns if column.name != "id"},
    )
)
LOCK_MUTE = select(mutes).where(mutes.c.id == bindparam("id")).with_for_update()
# Shared: polls of several sources suppress by the same mute at once. In the order of ids, as people end several.
HOLD_MUTES = (
    select(mutes)
    .where(
        mutes.c.id.in_(list_parameter("ids")),
        mutes.c.since <= bindparam("now"),
        mutes.c.until > bindparam("now"),
        mutes.c.due_at.is_not(None),
    )
    .order_by(mutes.c.id)
    .with_for_update(read=True)
)
DUE_MUTES = compiled(select(mutes.c.id).where(mutes.c.due_at <= bindparam("now")).order_by(mutes.c.due_at, mutes.c.id))
INSTANCE_SOURCES = compiled(
    select(tasks.c.source)
    .where(or_(tasks.c.instance_id == bindparam("instance"), tasks.c.instance_name == bindparam("instance")))
    .distinct()
)
CONFIGURED_MUTES = select(mutes).where(mutes.c.configured, mutes.c.due_at.is_not(None)).order_by(mutes.c.id)
MUTE_IDS = compiled(select(mutes.c.id))
DROP_MUTES = delete(mutes).where(mutes.c.due_at.is_(None), mutes.c.until < bindparam("before"))

# ---- live messages that people change ----

SHOWN_SINCE = compiled(
    select(threads.c.channel, threads.c.subject, threads.c.facts)
    .where(threads.c.shown_at > bindparam("after"))
    .order_by(threads.c.shown_at.desc())
    .limit(LIMIT)
)
RECENT_THREADS = compiled(
    select(threads.c.channel, threads.c.subject)
    .where(
        or_(threads.c.instance_id == bindparam("instance"), threads.c.instance_name == bindparam("instance")),
        threads.c.shown_at > bindparam("after"),
    )
    .order_by(threads.c.shown_at.desc())
    .limit(LIMIT)
)
RECORD_ACTION = compiled(recorded(actions))
RECORD_REQUEST = compiled(recorded(requests).on_conflict_do_nothing().returning(requests.c.key))
DROP_REQUESTS = compiled(delete(requests).where(requests.c.seen_at < bindparam("before")))

# ---- answers of the API, and its stream of events ----

IDEMPOTENCY_KEY = select(idempotency_keys).where(idempotency_keys.c.key == bindparam("key"))
RECORD_IDEMPOTENCY_KEY = recorded(idempotency_keys)
DROP_IDEMPOTENCY_KEYS = delete(idempotency_keys).where(idempotency_keys.c.created_at < bindparam("before"))
LOCK_IDEMPOTENCY_KEY = select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInteger)))
"""PostgreSQL only: whether no other transaction has locked the number."""

NUMBERED_EVENTS = (
    select(events)
    .where(events.c.seq > bindparam("after"), events.c.seq <= bindparam("until"))
    .order_by(events.c.seq)
    .limit(LIMIT)
)
LATEST_NUMBER = select(func.max(events.c.seq))
LATEST_SEQUENCE_NUMBER = text(
    "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence('events', 'seq') AS regclass))"
)
"""PostgreSQL only: the number that was given last, perhaps to an event that is not committed."""
WRITERS_OF_EVENTS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND relation = CAST('events' AS regclass)"
)
"""PostgreSQL only: the transactions that may have written events and are not over."""

# ---- retention ----

# The events of a running task stay: they record what people have been notified of.
_TASK_RUNS = exists().where(
    tasks.c.source == events.c.source,
    tasks.c.job_id == events.c.job_id,
    tasks.c.status == TaskStatus.RUNNING,
    ~tasks.c.unlisted,
)
OLD_EVENTS = (
    select(events.c.id, events.c.source, events.c.job_id, events.c.channel_count, events.c.observed_at, events.c.seq)
    .where(events.c.observed_at < bindparam("before"), ~_TASK_RUNS)
    .order_by(events.c.observed_at, events.c.seq)
    .limit(LIMIT)
)
OLD_EVENTS_AFTER = OLD_EVENTS.where(
    tuple_(events.c.observed_at, events.c.seq) > tuple_(bindparam("after", type_=UtcDateTime), bindparam("after_seq"))
)
DELIVERIES_OF_EVENTS = select(delivery_events.c.event_id, delivery_events.c.delivery_id).where(
    delivery_events.c.event_id.in_(list_parameter("ids"))
)
# What a mute suppresses stays until the end of its window has summed it up.
_COUNTS_FOR_MUTE = exists().where(
    deliveries.c.rule == RULE_PREFIX + mutes.c.id,
    mutes.c.due_at.is_not(None),
    mutes.c.since <= deliveries.c.created_at,
)
# One comparison: with one alternative for each state SQLite would read every delivery in these states. A delivery that
# was never to be sent was settled when it was made.
CLOSED_DELIVERIES = (
    select(deliveries.c.id)
    .where(
        deliveries.c.id.in_(list_parameter("ids")),
        or_(deliveries.c.rule.is_(None), ~_COUNTS_FOR_MUTE),
        func.coalesce(deliveries.c.settled_at, deliveries.c.created_at)
        < case(
            (deliveries.c.state.in_(FINAL), bindparam("before", type_=UtcDateTime)),
            (deliveries.c.state == DeliveryState.DEAD, bindparam("dead_before", type_=UtcDateTime)),
        ),
    )
    .with_for_update(skip_locked=True)
)
MARK_EVENTS_PRUNED = (
    update(tasks)
    .where(tasks.c.source == bindparam("of_source"), tasks.c.job_id.in_(list_parameter("ids")))
    .values(events_pruned=True)
)
DELETE_DELIVERY_RECORDS = delete(delivery_events).where(delivery_events.c.event_id.in_(list_parameter("ids")))
DELETE_EMPTY_DELIVERIES = delete(deliveries).where(
    deliveries.c.id.in_(list_parameter("ids")), ~exists().where(delivery_events.c.delivery_id == deliveries.c.id)
)
DELETE_EVENTS = delete(events).where(events.c.id.in_(list_parameter("ids")))
_names = select(func.min(tasks.c.name).label("name")).cte("names", recursive=True)
_next_name = select(func.min(tasks.c.name)).where(tasks.c.name > _names.c.name).scalar_subquery()
_all_names = _names.union_all(select(_next_name).where(_names.c.name.is_not(None)))
# From each name to the next one by the index, which has every task.
TASK_NAMES = compiled(select(_all_names.c.name).where(_all_names.c.name.is_not(None)))
EVENT = compiled(select(events).where(events.c.id == bindparam("event_id")))
LATEST_EVENT = compiled(
    select(events)
    .where(events.c.source == bindparam("source"), events.c.job_id == bindparam("job_id"))
    .order_by(events.c.seq.desc())
    .limit(ONE_ROW)
)
ACKNOWLEDGEMENT = compiled(select(acknowledgements).where(acknowledgements.c.event_id == bindparam("event_id")))

# A task without any time of its own is kept: if the list named it again, nothing would say that it is an old one.
_LATEST_TIME = func.coalesce(tasks.c.ended_at, tasks.c.created_at)
OLD_TASKS = (
    select(tasks.c.job_id, _LATEST_TIME.label("latest_time"))
    .where(
        tasks.c.source == bindparam("source"),
        tasks.c.status != TaskStatus.RUNNING,
        *(
            moment < bindparam("before", type_=UtcDateTime)
            for moment in (tasks.c.changed_at, tasks.c.first_seen_at, _LATEST_TIME)
        ),
    )
    .order_by(tasks.c.changed_at)
    .limit(LIMIT)
)
DELETE_TASKS = delete(tasks).where(tasks.c.source == bindparam("source"), tasks.c.job_id.in_(list_parameter("ids")))
