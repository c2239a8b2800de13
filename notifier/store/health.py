"""The facts of health: the backlog of every channel, and the processes that have reported."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from notifier.core.delivery import DeliveryState, with_reply
from notifier.core.health_facts import Backlog, Replica
from notifier.store import rows
from notifier.store.schema import attempts, deliveries, replicas

TRIED = 100
"""Number of pending deliveries of a channel, those that go out first, that are searched for the latest failure."""

LAST_REPLY = (
    select(attempts.c.reply)
    .where(attempts.c.delivery_id == deliveries.c.id)
    .order_by(attempts.c.number.desc())
    .limit(1)
    .scalar_subquery()
    .label("reply")
)
"""What the receiver replied to the last attempt at a delivery."""

# A retried delivery has waited since then, any other since it was planned.
_WAITS_SINCE = func.coalesce(deliveries.c.retried_at, deliveries.c.created_at)
_DEAD = (deliveries.c.state == DeliveryState.DEAD, deliveries.c.dismissed_at.is_(None))


def backlogs(connection: Connection) -> Sequence[Backlog]:
    """Return what each channel has not delivered, by name; channels that have delivered everything are left out."""
    pending = _by_channel(connection, _WAITS_SINCE, deliveries.c.state == DeliveryState.PENDING)
    parked = _by_channel(connection, deliveries.c.created_at, deliveries.c.state == DeliveryState.PARKED)
    dead = _by_channel(connection, deliveries.c.settled_at, *_DEAD)
    return [
        Backlog(
            channel=name,
            **_of(pending.get(name), "pending", since="pending_since"),
            **_of(parked.get(name), "parked"),
            **_of(dead.get(name), "dead", since="dead_since", until="dead_until"),
            reason=_latest_failure(connection, name) if name in pending else None,
            dead_reason=_latest_death(connection, name) if name in dead else None,
        )
        for name in sorted({*pending, *parked, *dead})
    ]


def _by_channel(
    connection: Connection, moment: ColumnElement[Any], *which: ColumnElement[bool]
) -> Mapping[str, Row[Any]]:
    counted = select(
        deliveries.c.channel, func.count().label("n"), func.min(moment).label("first"), func.max(moment).label("last")
    )
    return {row.channel: row for row in connection.execute(counted.where(*which).group_by(deliveries.c.channel))}


def _of(row: Row[Any] | None, count: str, since: str = "", until: str = "") -> dict[str, Any]:
    if row is None:
        return {}
    found = row._mapping  # noqa: SLF001 - SQLAlchemy's public way to columns by name
    named = ((count, found["n"]), (since, found["first"]), (until, found["last"]))
    return {name: value for name, value in named if name}


def _latest_failure(connection: Connection, channel: str) -> str | None:
    mine = (deliveries.c.channel == channel, deliveries.c.state == DeliveryState.PENDING)
    first = select(deliveries.c.reason, LAST_REPLY).where(*mine).order_by(deliveries.c.rank, deliveries.c.seq)
    failures = [with_reply(*row) for row in connection.execute(first.limit(TRIED)) if row.reason]
    return failures[-1] if failures else None


def _latest_death(connection: Connection, channel: str) -> str | None:
    mine = select(deliveries.c.reason, LAST_REPLY).where(deliveries.c.channel == channel, *_DEAD)
    row = connection.execute(mine.order_by(deliveries.c.seq.desc()).limit(1)).first()
    return with_reply(*row) if row and row.reason else None


def reported(connection: Connection) -> Sequence[Replica]:
    """Return every process that has reported itself, the oldest first."""
    known = select(replicas).order_by(replicas.c.started_at, replicas.c.owner)
    return [rows.replica_of(row) for row in connection.execute(known)]
