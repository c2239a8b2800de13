"""The ledger: every pair of event and channel that routing asked for, and the state of its delivery."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import func, select

from notifier.core.delivery import Delivery, DeliveryState
from notifier.ports import Ledger
from notifier.store import rows
from notifier.store.schema import deliveries, delivery_events, events
from notifier.store.session import Session


def read_ledger(session: Session, dead: Sequence[Delivery]) -> Ledger:
    """Count every pair of event and channel. `dead` are the dead deliveries to show with it."""
    count, pairs, unrouted = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(events.c.channel_count), 0),
            func.count().filter(events.c.channel_count == 0),
        ).select_from(events)
    ).one()
    return Ledger(
        events=count,
        unrouted=unrouted,
        pairs=int(pairs),
        by_state=_pairs_by_state(session),
        unaccounted=tuple(_unaccounted(session)),
        dead=tuple(dead),
        oldest_pending=_oldest_pending(session),
    )


def _pairs_by_state(session: Session) -> dict[DeliveryState, int]:
    statement = (
        select(deliveries.c.state, func.count())
        .join(delivery_events, delivery_events.c.delivery_id == deliveries.c.id)
        .group_by(deliveries.c.state)
    )
    counted = {DeliveryState(state): count for state, count in session.execute(statement)}
    return {state: counted.get(state, 0) for state in DeliveryState}


def _oldest_pending(session: Session) -> Any:  # noqa: ANN401 - a column's value
    pending = deliveries.c.state == DeliveryState.PENDING
    return session.execute(select(func.min(deliveries.c.created_at)).where(pending)).scalar()


def _unaccounted(session: Session) -> Iterator[tuple[str, str]]:
    """Find the pairs that routing asked for and that have no delivery, or that routing did not ask for."""
    accounts = select(func.count()).where(delivery_events.c.event_id == events.c.id).scalar_subquery()
    for row in session.execute(select(events).where(events.c.channel_count != accounts)):
        planned = select(delivery_events.c.channel).where(delivery_events.c.event_id == row.id)
        accounted = set(session.execute(planned).scalars())
        yield from ((row.id, channel) for channel in sorted(accounted ^ set(rows.routed_of(row).channels)))
    yield from _unrouted_pairs(session)


def _unrouted_pairs(session: Session) -> Iterator[tuple[str, str]]:
    named = events.c.channels.contains(func.concat('"', delivery_events.c.channel, '"'))
    accounts = select(events.c.id, delivery_events.c.channel)
    joined = accounts.join(delivery_events, delivery_events.c.event_id == events.c.id)
    yield from ((event_id, channel) for event_id, channel in session.execute(joined.where(~named)))
