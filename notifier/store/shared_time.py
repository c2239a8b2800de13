"""The time of one SQLite database, stored in it, so that a service and the commands beside it agree.

It runs with the boot clock of the machine, which cannot be set. When the system's clock is set, the next writer moves
the database's time, and with it all deadlines and states that last: waits stay as long as they were, and people read
the right times.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Table, case, func, literal, or_, update
from sqlalchemy.dialects.sqlite import insert

from notifier.core.delivery import DeliveryState
from notifier.steady_time import SteadyTime
from notifier.store import statements
from notifier.store.schema import (
    UtcDateTime,
    channels,
    clock,
    credentials,
    deliveries,
    edit_budgets,
    idempotency_keys,
    mutes,
    replicas,
    requests,
    sources,
    threads,
    web_sessions,
)
from notifier.store.session import Session

STEP = timedelta(seconds=2)
"""Difference between the system's clock and the database's time from which the clock counts as set."""

LONGEST_WAIT = timedelta(days=366)
"""What lies further ahead was written by a clock that was wrong before, and is no wait."""

_MOVED = (
    sources,
    channels,
    edit_budgets,
    threads,
    requests,
    idempotency_keys,
    replicas,
    credentials,
    web_sessions,
)
"""Tables of deadlines and lasting states. Events, attempts and actions keep the time at which they were recorded."""


@dataclass(frozen=True, slots=True)
class SharedTime:
    """Returns the time, in a session."""

    writing: bool
    """Whether the transactions write, so that the database's time can follow a system's clock that was set."""

    def __call__(self, session: Session) -> datetime:
        """Return the time of all processes on the database."""
        row, connection = session.execute(statements.TIME).one_or_none(), session.connection
        present = SteadyTime.start()
        if row is None or row.boot != present.boot:  # the first ever, or since the machine started
            if self.writing:
                begin(connection, present)
            return present.at
        steady = present.continuing(row).at
        step = present.at - steady
        if abs(step) <= STEP or not self.writing:
            return steady
        _move(connection, row.since, steady, step)
        _keep(connection, present, row.since + step)
        return present.at


def begin(connection: Connection, present: SteadyTime) -> None:
    """Let the database's time be that of the system's clock, and leave all that is recorded as it is."""
    _keep(connection, present, present.at)


def _keep(connection: Connection, present: SteadyTime, since: datetime) -> None:
    values = {"boot": present.boot, "at": present.at, "seconds": present.seconds, "since": since}
    kept = insert(clock).values(id=1, **values)
    connection.execute(kept.on_conflict_do_update(index_elements=["id"], set_=values))


def _move(connection: Connection, since: datetime, now: datetime, step: timedelta) -> None:
    """Move every time that was written by the clock as it was before."""
    driver = connection.connection.driver_connection
    driver.create_function("moved", 2, _moved)  # type: ignore[union-attr]  # SQLite's own
    for table in _MOVED:
        _move_in(connection, table, since, now, step)
    lasting = (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD)
    counted = deliveries.c.rule.is_not(None)  # what a mute suppressed is summed up by the time since it began
    _move_in(
        connection, deliveries, since, now, step, or_(*(deliveries.c.state == state for state in lasting), counted)
    )
    # A window that a calendar sets is at the same time of day, whatever the clock was.
    _move_in(connection, mutes, since, now, step, mutes.c.since == mutes.c.created_at)


def _move_in(
    connection: Connection, table: Table, since: datetime, now: datetime, step: timedelta, *which: ColumnElement[bool]
) -> None:
    written = {
        column: column.between(since, now + LONGEST_WAIT)
        for column in table.columns
        if isinstance(column.type, UtcDateTime)
    }
    seconds = literal(step.total_seconds())
    moved = {column: case((ours, func.moved(column, seconds)), else_=column) for column, ours in written.items()}
    connection.execute(update(table).where(or_(*written.values()), *which).values(moved))


def _moved(text: str, seconds: float) -> str:
    """Move a time as SQLite stores it; one that would leave the calendar stays."""
    try:
        return (datetime.fromisoformat(text) + timedelta(seconds=seconds)).isoformat(" ", "microseconds")
    except OverflowError:
        return text
