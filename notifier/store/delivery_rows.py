"""Reading and changing several deliveries at once."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, update

from notifier.core.delivery import Delivery
from notifier.core.model import Event
from notifier.core.storms import Storm
from notifier.store import rows, statements
from notifier.store.schema import deliveries
from notifier.store.session import Session


def load_deliveries(
    session: Session, found: Sequence[Any], known: Mapping[str, Sequence[Event]] = MappingProxyType({})
) -> list[Delivery]:
    """Return the deliveries of rows, each with its events and its storm. The events in `known` are not read."""
    unknown = [row.id for row in found if row.id not in known]
    carried = {**known, **load_events(session, unknown)} if unknown else known
    storms = load_storms(session, {row.storm for row in found if row.storm})
    return rows.deliveries_of(found, carried, storms)


def load_events(session: Session, delivery_ids: Collection[str]) -> Mapping[str, Sequence[Event]]:
    """Return the events of deliveries by the id of the delivery, in their order."""
    found = session.execute(statements.EVENTS_OF_DELIVERIES, {"ids": delivery_ids})
    return rows.events_by_delivery(found.tuples())


def load_storms(session: Session, ids: Collection[str]) -> Mapping[str, Storm]:
    """Return storms by id."""
    return {row.id: rows.storm_of(row) for row in session.execute(statements.STORMS, {"ids": ids})} if ids else {}


def change_deliveries(session: Session, *which: ColumnElement[bool], **values: object) -> int:
    """Change deliveries, locked in order, and return how many."""
    change = update(deliveries).where(deliveries.c.seq.in_(statements.locked(*which))).values(values)
    return session.execute(change).rowcount


def make_due(session: Session, *which: ColumnElement[bool], **values: object) -> int:
    """Change deliveries so that they are due, wake the other processes, and return how many there are."""
    count = change_deliveries(session, *which, **values)
    if count:
        session.notify_listeners()
    return count
