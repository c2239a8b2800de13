"""Remind of open failures that nobody acknowledges, and escalate them.

One transaction reads what is due and locks it, lets `notifier.core.reminders` decide, records the events, plans their
deliveries and writes when each failure is due next. So a kill before the commit changes nothing, and one after it
loses nothing. Any number of replicas may do this at once: what one of them has locked the others skip.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

from notifier.core import failures, reminders
from notifier.core.diff import RecordedTask
from notifier.core.failures import FailureState, HistoryEntry, HistoryKind, OpenFailure
from notifier.core.model import Event
from notifier.core.mutes import MutesInForce
from notifier.core.routing import RoutingConfig
from notifier.planning import Announced, FailureRecords, PlanTx, announce, routing_at
from notifier.ports import Store


class DueFailures(FailureRecords, Protocol):
    """Open failures, of which some are due."""

    def due(self, before: datetime, limit: int) -> Sequence[OpenFailure]:
        """Return failures that are due before a time, the earliest first, but those that somebody else has locked.

        Nobody else changes them until the transaction ends.
        """


class TaskRecords(Protocol):
    """The recorded tasks."""

    def recorded_tasks(self, source: str, job_ids: Collection[str]) -> Mapping[str, RecordedTask]:
        """Return those of the tasks that are recorded."""


class FailureReads(Protocol):
    """What is read to find out whether anything is due."""

    def any_due_failure(self) -> bool:
        """Return whether an open failure is due."""


class FailureTx(PlanTx, Protocol):
    """What reminding needs of a transaction."""

    @property
    def failures(self) -> DueFailures:
        """Open failures, of which some are due."""

    @property
    def polls(self) -> TaskRecords:
        """The recorded tasks."""


DUE_TOGETHER = 5_000
"""Maximum number of open failures that one transaction reads: those of a storm are one message."""

MAX_ROUNDS = 50
"""Maximum number of transactions in a row. Each takes one step of each escalation that is behind."""


async def remind(store: Store[FailureTx, FailureReads], *, routing: RoutingConfig) -> Announced:
    """Send every reminder and escalation that is due. Raises StoreError."""
    sent = Announced()
    for _ in range(MAX_ROUNDS):
        if not await store.read(lambda q: q.any_due_failure()):
            break
        found = await store.transact(partial(remind_once, routing=routing))
        if found is None:  # another process has locked what is due
            break
        sent += found
    return sent


def remind_once(tx: FailureTx, routing: RoutingConfig) -> Announced | None:
    """Send what is due, at most one message of each clock; None where nothing is that is not locked."""
    now = tx.now()
    found = tx.failures.due(now + reminders.MAX_AHEAD, DUE_TOGETHER)
    if not any(one.due_at is not None and one.due_at <= now for one in found):
        return None
    over = [*_going_on(tx, found, now), *(_lapsed(one, now) for one in found if failures.lapses(one, now))]
    if over:
        tx.failures.save(over)
        ended = {one.id for one in over}
        found = [one for one in found if one.id not in ended]
    found = [one for one in found if one.state is FailureState.OPEN]
    current = routing_at(tx, routing, now)
    in_force = MutesInForce(tx.queries.mutes(now), now, routing.catalogue)

    def muted_until(event: Event) -> datetime | None:
        mute = in_force.covering(event)
        return mute.until if mute else None

    decision = reminders.decide_due(found, current, muted_until, now)
    announced = announce(tx, decision.events, reminders.with_steps(current), now)
    if decision.changed:
        tx.failures.save(decision.changed)
    return announced


def _lapsed(one: OpenFailure, now: datetime) -> OpenFailure:
    return failures.resolved(one, HistoryEntry(at=now, kind=HistoryKind.RESOLVED))


def _going_on(tx: FailureTx, found: Sequence[OpenFailure], now: datetime) -> Sequence[OpenFailure]:
    """Return the failures of stalled tasks that have gone on since, as resolved: progress alone makes no event."""
    by_source: dict[str, list[OpenFailure]] = {}
    for one in found:
        if one.job_id:
            by_source.setdefault(one.latest.source, []).append(one)
    over: list[OpenFailure] = []
    for source, some in by_source.items():
        recorded = tx.polls.recorded_tasks(source, {one.job_id for one in some})
        tasks = {job_id: row.task for job_id, row in recorded.items()}
        over += [
            failures.resolved(one, HistoryEntry(at=now, kind=HistoryKind.RESOLVED))
            for one in some
            if failures.goes_on(one, tasks.get(one.job_id))
        ]
    return over
