"""What the page Now shows and no other read returns: what needs somebody, what runs, and what was kept quiet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Integer, Select, String, bindparam, exists, func, literal, or_, select

from notifier.core.delivery import DeliveryState
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.model import TaskStatus
from notifier.core.mutes import RULE_PREFIX
from notifier.core.storms import Storm
from notifier.core.tickets import Ticket
from notifier.ports import HeldMessages, NeedingFailure, RunningTask, ToldChannel
from notifier.store import rows
from notifier.store.compiled import compiled, is_in
from notifier.store.schema import (
    UtcDateTime,
    deliveries,
    delivery_events,
    events,
    failures,
    mutes,
    sources,
    storms,
    tasks,
    tickets,
)
from notifier.store.session import Session

MAX_OPEN: Final = 2_000
"""Maximum number of open failures that are grouped by their storm, those that changed last."""
MAX_READ_RUNNING: Final = 200
"""Maximum number of running tasks that are read, those that changed last."""
MAX_STORMS: Final = 200

_newest = events.alias("newest")


class NowQueries:
    """Indexed reads. What one returns does not grow with what is recorded."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- what needs somebody --

    def needing(self) -> Sequence[NeedingFailure]:
        """Return the open failures that nobody has acknowledged, those that changed last first; see MAX_OPEN."""
        return [NeedingFailure(*row) for row in self._session.execute(_NEEDING)]

    def failures(self, ids: Collection[str]) -> Sequence[OpenFailure]:
        """Return failures by their ids, in no order."""
        if not ids:
            return ()
        return [rows.failure_of(facts) for facts in self._session.execute(_FAILURES, {"ids": list(ids)}).scalars()]

    def taken(self, limit: int) -> Sequence[OpenFailure]:
        """Return open failures that somebody takes care of, those that changed last first."""
        return self._latest(FailureState.ACKNOWLEDGED, limit)

    def last_resolved(self) -> OpenFailure | None:
        """Return the failure that was over last; None where none is recorded."""
        return next(iter(self._latest(FailureState.RESOLVED, 1)), None)

    def _latest(self, state: FailureState, limit: int) -> Sequence[OpenFailure]:
        found = self._session.execute(_LATEST, {"state": state.value, "limit": limit})
        return [rows.failure_of(facts) for facts in found.scalars()]

    def told(self, event_ids: Collection[str]) -> Mapping[str, Sequence[ToldChannel]]:
        """Return what became of events on each channel that was to be notified, by the id of the event."""
        found: dict[str, list[ToldChannel]] = {}
        if event_ids:
            for row in self._session.execute(_TOLD, {"ids": list(event_ids)}):
                told = ToldChannel(
                    channel=row.channel,
                    delivery_id=row.id,
                    state=DeliveryState(row.state),
                    held=row.rule is not None and row.state == DeliveryState.PENDING,
                )
                found.setdefault(row.event_id, []).append(told)
        return found

    def tickets(self, operations: Collection[str]) -> Mapping[str, Sequence[Ticket]]:
        """Return the tickets of operations that were opened, by operation, the oldest first."""
        found: dict[str, list[Ticket]] = {}
        if operations:
            for row in self._session.execute(_TICKETS, {"operations": list(operations)}):
                found.setdefault(row.operation, []).append(rows.ticket_of(row))
        return found

    def last_successes(self, event_ids: Collection[str], since: datetime) -> Mapping[str, datetime]:
        """Return when the operations of failed tasks last completed on their instances after a time, by event id."""
        if not event_ids:
            return {}
        found = self._session.execute(_LAST_SUCCESSES, {"ids": list(event_ids), "since": since})
        return {row.id: row.at for row in found if row.at is not None}

    # -- what runs --

    def running(self) -> Sequence[RunningTask]:
        """Return running tasks of sources that are polled, those that changed last first; see MAX_READ_RUNNING."""
        found = []
        for row in self._session.execute(_RUNNING):
            newest = rows.event_of(row.facts) if row.facts else None
            found.append(
                RunningTask(
                    task=rows.task_of(row),
                    since=row.created_at or row.first_seen_at,
                    changed_at=row.changed_at,
                    listed=not row.unlisted,
                    newest=newest.type if newest else None,
                    usual=newest.usual if newest else None,
                )
            )
        return found

    def count_running(self) -> int:
        """Count the running tasks of sources that are polled, up to 1,001."""
        return int(self._session.execute(_RUNNING_COUNT).scalar_one())

    # -- what was kept quiet --

    def count_held_back(self, now: datetime) -> Mapping[str, int]:
        """Return how many events each mute in force has suppressed in its window so far, by its id."""
        return {row.id: row.number for row in self._session.execute(_HELD_BACK, {"now": now})}

    def held(self) -> Sequence[HeldMessages]:
        """Return how many messages each rule holds, and when the first of them goes out; the earliest first."""
        found = self._session.execute(_HELD)
        return [HeldMessages(rule=row.rule, number=row.number, until=row.until) for row in found]

    def storms(self, since: datetime, until: datetime) -> Sequence[Storm]:
        """Return the storms that lasted at some time between two, the latest first, one of each source at a time.

        Each channel records its own: the largest is returned.
        """
        found = self._session.execute(_STORMS, {"since": since, "until": until})
        return _joined([rows.storm_of(row) for row in found])


_since, _until = bindparam("since", type_=UtcDateTime), bindparam("until", type_=UtcDateTime)
_STORMS = compiled(
    select(storms)
    .where(storms.c.started_at < _until, or_(storms.c.updated_at >= _since, storms.c.ended_at.is_(None)))
    .order_by(storms.c.started_at.desc(), storms.c.id)
    .limit(literal(MAX_STORMS, Integer))
)


def _joined(found: Sequence[Storm]) -> Sequence[Storm]:
    """Leave out the storms that are the same as a larger one, on another channel."""
    kept: list[Storm] = []
    for one in sorted(found, key=lambda storm: (-storm.total, storm.id)):
        same = (other for other in kept if other.source == one.source)
        if not any(one.started_at <= other.updated_at and other.started_at <= one.updated_at for other in same):
            kept.append(one)
    return sorted(kept, key=lambda storm: storm.started_at, reverse=True)


def _needing() -> Select[Any]:
    carried = (delivery_events.c.event_id == failures.c.latest_event_id, deliveries.c.storm.is_not(None))
    of_storm = (
        select(func.min(deliveries.c.storm))
        .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
        .where(*carried)
        .correlate(failures)
        .scalar_subquery()
        .label("storm")
    )
    found = select(failures.c.id, failures.c.job_id, of_storm).where(failures.c.state == FailureState.OPEN.value)
    return found.order_by(failures.c.changed_at.desc(), failures.c.id).limit(literal(MAX_OPEN, Integer))


_NEEDING = compiled(_needing())
_FAILURES = compiled(select(failures.c.facts).where(is_in(failures.c.id, "ids")))
_LATEST = compiled(
    select(failures.c.facts)
    .where(failures.c.state == bindparam("state", type_=String))
    .order_by(failures.c.changed_at.desc())
    .limit(bindparam("limit", type_=Integer))
)
_TOLD = compiled(
    select(
        *(delivery_events.c.event_id, deliveries.c.id, deliveries.c.channel, deliveries.c.state, deliveries.c.rule),
    )
    .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
    .where(is_in(delivery_events.c.event_id, "ids"))
    .order_by(deliveries.c.seq)
)
_TICKETS = compiled(
    select(tickets)
    .where(is_in(tickets.c.operation, "operations"), tickets.c.label.is_not(None))
    .order_by(tickets.c.channel, tickets.c.generation)
)


def _last_successes() -> Select[Any]:
    done = tasks.alias("done")
    last = (
        select(func.max(done.c.changed_at, type_=UtcDateTime))
        .where(done.c.instance_id == tasks.c.instance_id, done.c.status == TaskStatus.COMPLETED.value)
        .where(done.c.changed_at >= _since, done.c.name == tasks.c.name)
        .correlate(tasks)
        .scalar_subquery()
        .label("at")
    )
    of_event = (tasks.c.source == events.c.source) & (tasks.c.job_id == events.c.job_id)
    return select(events.c.id, last).select_from(events).join(tasks, of_event).where(is_in(events.c.id, "ids"))


_LAST_SUCCESSES = compiled(_last_successes())


_IS_RUNNING = (
    tasks.c.status == TaskStatus.RUNNING.value,
    ~exists().where(sources.c.name == tasks.c.source, sources.c.retired_at.is_not(None)),
)


def _running() -> Select[Any]:
    found = (
        select(tasks)
        .where(*_IS_RUNNING)
        .order_by(tasks.c.changed_at.desc())
        .limit(literal(MAX_READ_RUNNING, Integer))
        .subquery("found")
    )
    of = events.alias("of")
    newest = (
        select(func.max(of.c.seq))
        .where(of.c.source == found.c.source, of.c.job_id == found.c.job_id)
        .correlate(found)
        .scalar_subquery()
    )
    joined = select(found, _newest.c.facts).select_from(found).join(_newest, _newest.c.seq == newest, isouter=True)
    return joined.order_by(found.c.changed_at.desc(), found.c.job_id)


_RUNNING = compiled(_running())
_RUNNING_COUNT = compiled(
    select(func.count().label("number")).select_from(
        select(literal(1, Integer)).select_from(tasks).where(*_IS_RUNNING).limit(literal(1_001, Integer)).subquery()
    )
)


def _held_back() -> Select[Any]:
    suppressed = (
        deliveries.c.rule == literal(RULE_PREFIX) + mutes.c.id,
        deliveries.c.state == DeliveryState.SUPPRESSED.value,
        deliveries.c.created_at >= mutes.c.since,
    )
    number = (
        select(func.count(delivery_events.c.event_id.distinct()))
        .join(deliveries, deliveries.c.id == delivery_events.c.delivery_id)
        .where(*suppressed)
        .correlate(mutes)
        .scalar_subquery()
        .label("number")
    )
    now = bindparam("now", type_=UtcDateTime)
    return select(mutes.c.id, number).where(mutes.c.until > now, mutes.c.since <= now, mutes.c.due_at.is_not(None))


_HELD_BACK = compiled(_held_back())
_HELD = compiled(
    select(
        deliveries.c.rule,
        func.count().label("number"),
        func.min(deliveries.c.available_at, type_=UtcDateTime).label("until"),
    )
    .where(deliveries.c.rule.is_not(None), deliveries.c.state == DeliveryState.PENDING.value)
    .group_by(deliveries.c.rule)
    .order_by("until")
)
