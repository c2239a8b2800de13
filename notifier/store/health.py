"""The facts of health: the backlog of every channel, and the processes that have reported."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select

from notifier.core.delivery import DeliveryState, with_reply
from notifier.core.health_facts import Backlog, Replica
from notifier.store import rows, statements
from notifier.store.schema import attempts, deliveries
from notifier.store.session import Session

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

_DEAD = (deliveries.c.state == DeliveryState.DEAD, deliveries.c.dismissed_at.is_(None))


def backlogs(session: Session) -> Sequence[Backlog]:
    """Return what each channel has not delivered, by name; channels that have delivered everything are left out."""
    found: dict[str, dict[DeliveryState, _Count]] = {}
    for channel, state, *count in session.execute(statements.BACKLOGS):
        found.setdefault(channel, {})[DeliveryState(state)] = _Count(*count)
    return [_backlog(session, channel, found[channel]) for channel in sorted(found)]


class _Count(NamedTuple):
    number: int = 0
    first: datetime | None = None
    last: datetime | None = None


def _backlog(session: Session, channel: str, counts: Mapping[DeliveryState, _Count]) -> Backlog:
    states = (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD)
    pending, parked, dead = (counts.get(state, _Count()) for state in states)
    return Backlog(
        channel=channel,
        pending=pending.number,
        pending_since=pending.first,
        parked=parked.number,
        dead=dead.number,
        dead_since=dead.first,
        dead_until=dead.last,
        reason=_latest_failure(session, channel) if pending.number else None,
        dead_reason=_latest_death(session, channel) if dead.number else None,
    )


def _latest_failure(session: Session, channel: str) -> str | None:
    mine = (deliveries.c.channel == channel, deliveries.c.state == DeliveryState.PENDING)
    first = select(deliveries.c.reason, LAST_REPLY).where(*mine).order_by(deliveries.c.rank, deliveries.c.seq)
    failures = [with_reply(*row) for row in session.execute(first.limit(TRIED)) if row.reason]
    return failures[-1] if failures else None


def _latest_death(session: Session, channel: str) -> str | None:
    mine = select(deliveries.c.reason, LAST_REPLY).where(deliveries.c.channel == channel, *_DEAD)
    row = session.execute(mine.order_by(deliveries.c.seq.desc()).limit(1)).first()
    return with_reply(*row) if row and row.reason else None


def reported(session: Session) -> Sequence[Replica]:
    """Return every process that has reported itself, the oldest first."""
    return [rows.replica_of(row) for row in session.execute(statements.REPLICAS)]
