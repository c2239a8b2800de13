"""Mutes that are over, and how much each has held back, for the page."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Integer, Select, String, and_, bindparam, func, literal_column, or_, select

from notifier.core.delivery import DeliveryState
from notifier.core.mutes import RULE_PREFIX, Mute
from notifier.core.routing import RoutedEvent
from notifier.core.row_counts import COUNTED
from notifier.store import rows
from notifier.store.compiled import compiled, is_in
from notifier.store.schema import UtcDateTime, deliveries, events, mutes, tasks
from notifier.store.session import Session

_before = bindparam("before", type_=UtcDateTime)
OVER = compiled(
    select(mutes)
    .where(
        mutes.c.due_at.is_(None),
        mutes.c.until >= bindparam("since", type_=UtcDateTime),
        or_(mutes.c.until < _before, and_(mutes.c.until == _before, mutes.c.id > bindparam("after", type_=String))),
    )
    .order_by(mutes.c.until.desc(), mutes.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_held = (
    select(literal_column("1"))
    .select_from(deliveries)
    .where(
        deliveries.c.rule == literal_column(f"'{RULE_PREFIX}'", String) + mutes.c.id,
        deliveries.c.state == DeliveryState.SUPPRESSED.value,
    )
    .limit(literal_column(str(COUNTED + 1)))
    .correlate(mutes)
    .subquery()
)
HELD = compiled(
    select(mutes.c.id, select(func.count()).select_from(_held).scalar_subquery().label("number")).where(
        is_in(mutes.c.id, "ids")
    )
)

_instance = bindparam("instance", type_=String)
_since = bindparam("since", type_=UtcDateTime)


def _events_by(column: Column[Any]) -> Select[Any]:
    """Return the statement of the latest events of an instance: its tasks are few, and are found by an index."""
    joined = select(events).join(tasks, and_(tasks.c.source == events.c.source, tasks.c.job_id == events.c.job_id))
    wanted = joined.where(column == _instance, tasks.c.changed_at >= _since, events.c.observed_at >= _since)
    return wanted.order_by(events.c.seq.desc()).limit(bindparam("limit", type_=Integer))


EVENTS_BY = (compiled(_events_by(tasks.c.instance_name)), compiled(_events_by(tasks.c.instance_id)))


class MuteList:
    """Reads of mutes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def over(self, since: datetime, before: datetime, after: str, limit: int) -> Sequence[Mute]:
        """Return the mutes that ended since a time, the latest first, and of those those after another one.

        `before` is when that one ended, and `after` its id.
        """
        found = self._session.execute(OVER, {"since": since, "before": before, "after": after, "limit": limit})
        return [rows.mute_of(row) for row in found]

    def events_of_instance(self, instance: str, since: datetime, limit: int) -> Sequence[RoutedEvent]:
        """Return the latest events since a time about tasks of an instance, by its name or its id."""
        for statement in EVENTS_BY:
            found = self._session.execute(statement, {"instance": instance, "since": since, "limit": limit})
            if listed := [rows.routed_of(row) for row in found]:
                return listed
        return []

    def held_messages(self, ids: Collection[str]) -> Mapping[str, int]:
        """Count the messages that mutes have held back, in all their windows, by id of the mute and with a limit."""
        return {row.id: row.number for some in self._session.execute_chunks(HELD, ids) for row in some} if ids else {}
