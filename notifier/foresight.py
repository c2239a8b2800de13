"""Report runs of operations that should have begun and did not.

For each source that is due: read its recorded runs, let `notifier.core.expectations` decide, and announce what is
missing. Mostly nothing is, and then nothing is written. Any number of replicas may do so at once: the row of the source
is locked, and the id of an event follows from the run before the missing one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from notifier.core.expectations import (
    SEEN_WITHIN,
    ExpectationMemory,
    Judged,
    MissingRules,
    SeenRun,
    expected_runs,
    missing_runs,
)
from notifier.core.health_facts import ConfiguredSource
from notifier.core.model import SourceState
from notifier.core.routing import RoutingConfig, route_events
from notifier.planning import Announced, PlanReads, PlanTx, announce, routing_at
from notifier.ports import DatabaseTime, Store

JUDGED_EVERY = timedelta(minutes=10)
"""Longest time after which the runs of a source are read again."""


JUDGED_TOGETHER = 200
"""Maximum number of sources that one pass judges, those that have waited longest: a read of a second at most."""
_AT_ONCE = datetime.min.replace(tzinfo=UTC)


class SourceRecords(Protocol):
    """What is recorded about sources."""

    def lock_source(self, name: str) -> SourceState | None:
        """Return a source, which nobody else changes until the transaction ends; None before its first poll."""


class ForesightReads(PlanReads, DatabaseTime, Protocol):
    """What foresight reads."""

    def source_states(self) -> Sequence[SourceState]:
        """Return every source ever polled."""

    def seen_runs(self, source: str, since: datetime) -> Sequence[SeenRun]:
        """Return the tasks of a source that have changed since a time, at most MAX_SEEN_RUNS of the latest."""


class ForesightTx(PlanTx, Protocol):
    """What foresight needs of a transaction."""

    @property
    def polls(self) -> SourceRecords:
        """What is recorded about sources."""

    @property
    def queries(self) -> ForesightReads:
        """What foresight reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """Judges the expected runs of sources."""

    rules: MissingRules
    routing: RoutingConfig
    sources: Sequence[ConfiguredSource]
    memory: ExpectationMemory = field(default_factory=ExpectationMemory)

    async def run(self, store: Store[ForesightTx, ForesightReads]) -> Announced:
        """Announce the runs of due sources that are missing. Raises StoreError."""
        announced = Announced()
        if not self.rules.any:
            return announced
        for found in await store.read(self._missing):
            announced += await store.transact(partial(self._announce, found))
        return announced

    def _missing(self, queries: ForesightReads) -> Sequence[ConfiguredSource]:
        """Return the sources with missing runs that are not known to be announced."""
        now = queries.now()
        waiting = {one.name: self.memory.due.get(one.name, _AT_ONCE) for one in self.sources}
        due = sorted((one for one in self.sources if waiting[one.name] <= now), key=lambda one: waiting[one.name])
        due = due[:JUDGED_TOGETHER]
        states = {state.name: state for state in queries.source_states()} if due else {}
        found = []
        for source in due:
            state = states.get(source.name)
            if state is None:
                self._wait(source.name, (), now)
                continue
            expected = self._expected(source, state, queries.seen_runs(source.name, now - SEEN_WITHIN), now)
            missing = {judged.event.id for judged in missing_runs(expected, state, now)}
            if missing - self.memory.announced.get(source.name, frozenset()):
                found.append(source)
            else:
                self._wait(source.name, expected, now)
        return found

    def _announce(self, source: ConfiguredSource, tx: ForesightTx) -> Announced:
        """Judge a source again with its row locked: a poll may have recorded the run since."""
        now = tx.now()
        state = tx.polls.lock_source(source.name)
        if state is None:
            return Announced()
        expected = self._expected(source, state, tx.queries.seen_runs(source.name, now - SEEN_WITHIN), now)
        missing = missing_runs(expected, state, now)
        routing = routing_at(tx, self.routing, now)
        routed = route_events([judged.event for judged in missing], routing.routes, routing.catalogue)
        announced = announce(tx, routed, self.routing, now)
        self.memory.announced[source.name] = frozenset(judged.event.id for judged in missing)
        self._wait(source.name, expected, now)
        return announced

    def _expected(
        self, source: ConfiguredSource, state: SourceState, seen: Sequence[SeenRun], now: datetime
    ) -> Sequence[Judged]:
        return expected_runs(source.origin, state, seen, self.rules, now)

    def _wait(self, source: str, expected: Sequence[Judged], now: datetime) -> None:
        overdue_at: Mapping[str, datetime] = {judged.event.id: judged.overdue_at for judged in expected}
        self.memory.judge_again_at(source, overdue_at, now, JUDGED_EVERY)
