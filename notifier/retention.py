"""Prune what is past retention, a little at a time, so that the database stays small for years.

0. Deliveries that have waited that long for a channel that is no longer configured are marked as dead.
1. Events that are old and settled everywhere, with their deliveries and attempts. What is pending or parked anywhere
   keeps its event whole, so that the ledger accounts for every event there is.
2. Tasks that ended so long ago that the API cannot list them any more, and with the last of them what people did about
   what nothing is known of any more.

Age is counted back from the newest good poll, and nothing is deleted while no poll succeeds or the clock disagrees with
the cloud's: a clock that is wrong by months makes nothing old.

Each batch is a short transaction of its own with a pause after it: deliveries and polls hardly wait for it. A kill
between two loses nothing; the next pass starts over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeAlias

from notifier.core.health_facts import Expected
from notifier.ports import Clock, EventCursor, EventsPruned, Store


class Deletions(Protocol):
    """The deletions, each of one batch."""

    def pruning_time(self) -> datetime | None:
        """Return the time that age is counted back from: that of the newest good poll, while a source has any."""

    def prune_events(
        self, before: datetime, dead_before: datetime | None, after: EventCursor | None, limit: int
    ) -> EventsPruned:
        """Examine the next events that are old enough; delete those whose deliveries are all settled."""

    def prune_tasks(self, keep: timedelta, limit: int) -> int:
        """Delete tasks that are over and that the list cannot name any more; return how many."""

    def prune_sources(self, configured: Collection[str], before: datetime, limit: int) -> int:
        """Delete tasks of sources that are not configured any more and were polled last before this time."""

    def prune_people(self, now: datetime, keep: timedelta) -> int:
        """Delete old threads, acknowledgements, subscriptions and mutes that nothing needs any more."""


class AbandonedDeliveries(Protocol):
    """Deliveries of channels that are no longer configured."""

    def abandon(self, expected: Expected, before: datetime, now: datetime, limit: int) -> int:
        """Give up what has waited since before a time for channels that are not configured; return how many."""


class RetentionTx(Protocol):
    """What retention needs of a transaction."""

    @property
    def retention(self) -> Deletions:
        """The deletions, each of one batch."""

    @property
    def deliveries(self) -> AbandonedDeliveries:
        """Deliveries of channels that are no longer configured."""


PRUNE_BATCH = 100
"""Maximum number of events examined, or tasks deleted, in one transaction."""

PRUNE_PAUSE = 0.1
"""Pause between two batches, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRules:
    """How long records are kept after they are over; None keeps them."""

    events: timedelta | None = None
    """Events, counted from when they were seen, and their deliveries, from when these were settled."""
    dead: timedelta | None = None
    """Dead deliveries, which can still be sent again by hand: at least as long as events."""
    tasks: timedelta | None = None
    """Tasks, counted from their end. Longer than the API lists them."""
    configured: frozenset[str] | None = None
    """Names of the configured sources; what is recorded of others is deleted that long after their last poll. None
    keeps it."""
    expected: Expected | None = None
    """What is configured. Deliveries to other channels that have waited as long as events are kept are marked as dead
    first, so that they can be pruned. None marks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What was deleted. The shell logs it."""

    events: int = 0
    deliveries: int = 0
    tasks: int = 0

    def __add__(self, other: PruneReport) -> PruneReport:
        return PruneReport(
            events=self.events + other.events,
            deliveries=self.deliveries + other.deliveries,
            tasks=self.tasks + other.tasks,
        )


PruneStep: TypeAlias = "Callable[[RetentionTx], tuple[PruneReport, PruneStep | None]]"
"""One batch: returns what it deleted and the next one, None after the last."""


async def prune(store: Store[RetentionTx, object], clock: Clock, rules: PruneRules) -> PruneReport:
    """Delete what is past retention, batch by batch. Raises StoreError; what earlier batches deleted stays deleted."""
    step: PruneStep | None = first_batch(rules)
    report = PruneReport()
    while step is not None:
        done, step = await store.transact(step)
        report += done
        if step is not None:
            await clock.sleep(PRUNE_PAUSE)
    return report


def first_batch(rules: PruneRules, batch: int = PRUNE_BATCH) -> PruneStep:
    """Return the first batch of a pass."""
    return partial(_abandon, rules=rules, batch=batch)


def _abandon(tx: RetentionTx, *, rules: PruneRules, batch: int) -> tuple[PruneReport, PruneStep | None]:
    then: PruneStep = partial(_prune_events, rules=rules, batch=batch, after=None)
    now = tx.retention.pruning_time()
    if rules.events is None or rules.expected is None or now is None:
        return then(tx)
    abandoned = tx.deliveries.abandon(rules.expected, now - rules.events, now, batch)
    return PruneReport(), partial(_abandon, rules=rules, batch=batch) if abandoned == batch else then


def _prune_events(
    tx: RetentionTx, *, rules: PruneRules, batch: int, after: EventCursor | None
) -> tuple[PruneReport, PruneStep | None]:
    then: PruneStep = partial(_prune_tasks, rules=rules, batch=batch)
    now = tx.retention.pruning_time()
    if now is None:
        return PruneReport(), None
    if rules.events is None:
        return then(tx)
    dead_before = None if rules.dead is None else now - max(rules.dead, rules.events)
    done = tx.retention.prune_events(now - rules.events, dead_before, after, batch)
    if done.last is not None:
        then = partial(_prune_events, rules=rules, batch=batch, after=done.last)
    return PruneReport(events=done.events, deliveries=done.deliveries), then


def _prune_tasks(tx: RetentionTx, *, rules: PruneRules, batch: int) -> tuple[PruneReport, PruneStep | None]:
    now = tx.retention.pruning_time()
    if rules.tasks is None or now is None:
        return PruneReport(), None
    count = tx.retention.prune_tasks(rules.tasks, batch)
    if count < batch and rules.configured is not None:
        count += tx.retention.prune_sources(rules.configured, now - rules.tasks, batch - count)
    if count == batch:
        return PruneReport(tasks=count), partial(_prune_tasks, rules=rules, batch=batch)
    tx.retention.prune_people(now, rules.tasks)
    return PruneReport(tasks=count), None
