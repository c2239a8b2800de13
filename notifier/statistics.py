"""Statistics of how tasks ended, from what a process remembers and the database has changed since.

A process keeps the results of ended tasks by source and slot of time. The database has a mark for each slot in which an
ended task was recorded, changed or deleted, with a revision that grows within its source. So a question reads the
latest revision of each source, and only the slots that changed again: results are those of one consistent view of the
database, as if all of it was read, whoever changed it. See docs/decisions/0040-statistics-from-marked-slots.md.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from notifier.core.causes import CauseCatalogue
from notifier.core.ended_tasks import (
    NOTHING,
    OPEN_DAYS,
    WHOLE_SOURCE,
    AcknowledgedFigures,
    DayResults,
    Days,
    Durations,
    EndedTask,
    FailureFacts,
    KnownCauses,
    PeriodResults,
    SlotResults,
    Totals,
    acknowledged_figures,
    day_results,
    durations_of,
    joined,
    period_results,
    slot_begins,
    slot_of,
    slot_results,
)

PERIODS = (7, 30, 90)
"""Lengths of the periods that statistics are about, in days."""
REMEMBERED_DAYS = 2 * max(PERIODS)
"""Days that a process remembers: the longest period and the one before it."""
MAX_ASKED_AGAIN = 100
"""Maximum number of failures without a delivered message that are asked for again at each question, the latest ones."""


class SourceRevision(NamedTuple):
    """How often ended tasks of a source have changed."""

    source: str
    revision: int
    pruned_to: datetime | None
    """Time up to which retention has deleted tasks; None where it has deleted none."""


class OngoingRun(NamedTuple):
    """A task that runs."""

    source: str
    job_id: str
    name: str
    instance: str
    began: datetime
    stuck: bool
    """Whether it has an open failure of its own: it does not go on, or runs for longer than its limit."""


class EndedTaskReads(Protocol):
    """How tasks ended, and what became of failures."""

    def revisions(self) -> Sequence[SourceRevision]:
        """Return the revision of the ended tasks of each source."""

    def changed_slots(self, source: str, after: int) -> Collection[int]:
        """Return the slots of a source that changed after a revision."""

    def ended(self, source: str, since: datetime, until: datetime) -> Iterable[EndedTask]:
        """Yield the tasks of a source that ended from one time up to another."""

    def failure_facts(self, source: str, job_ids: Collection[str]) -> Mapping[str, FailureFacts]:
        """Return what became of the messages about failed tasks of a source, by job id."""

    def acknowledged(self, since: datetime) -> Mapping[tuple[str, str], datetime]:
        """Return when tasks were acknowledged, since a time, by source and job id."""

    def opened(self) -> Mapping[str, datetime]:
        """Return since when operations have open failures that nobody has acknowledged."""

    def running(self) -> Sequence[OngoingRun]:
        """Return running tasks whose beginning is known."""


class StatisticsReads(Protocol):
    """What statistics are read from."""

    def now(self) -> datetime:
        """Return the time of the database."""

    @property
    def ended_tasks(self) -> EndedTaskReads:
        """How tasks ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFigures:
    """How tasks ended in a period, and what became of the failures."""

    days: Days
    sources: tuple[str, ...]
    """Names of all sources."""
    results: PeriodResults
    before: Totals | None
    """All of the period of the same length before; None where not all of it is recorded."""
    acknowledged: AcknowledgedFigures
    running: tuple[OngoingRun, ...]


@dataclass(slots=True)
class _Source:
    """What is remembered of a source."""

    revision: int = 0
    pruned_to: datetime | None = None
    slots: dict[int, SlotResults] = field(default_factory=dict)
    days: dict[int, DayResults] = field(default_factory=dict)


class TaskMemory:
    """The results that a process remembers. It may be asked from several threads."""

    def __init__(self, zone: ZoneInfo, catalogue: CauseCatalogue) -> None:
        """`zone` is that of the days, `catalogue` has the known causes."""
        self._zone = zone
        self._causes = KnownCauses(catalogue)
        self._lock = threading.Lock()
        self._days = Days(0, ())
        self._sources: dict[str, _Source] = {}
        self._waiting: set[tuple[str, int]] = set()
        """Sources and slots with failures of which nobody has been told yet."""
        self._all: dict[int, DayResults] = {}
        """Days of all sources together."""
        self._periods: dict[tuple[int, str | None], PeriodResults] = {}
        """Periods by length and source, as long as nothing changes."""
        self._durations: dict[tuple[int, str | None], Durations] = {}
        """Durations of periods but for their last days, likewise."""

    def figures(self, q: StatisticsReads, length: int, source: str | None = None) -> TaskFigures:
        """Return the figures of the last days, of one source or of all."""
        now = q.now()
        with self._lock:
            self._refresh(q.ended_tasks, now)
            days = self._days.latest(length)
            results, before = self._period(length, source), self._before(length, source)
            sources = tuple(sorted(self._sources))
        running = (one for one in q.ended_tasks.running() if source in (None, one.source))
        return TaskFigures(
            days=days,
            sources=sources,
            results=results,
            before=before,
            acknowledged=acknowledged_figures(
                results, q.ended_tasks.acknowledged(days.begins(days.first)), q.ended_tasks.opened()
            ),
            running=tuple(running),
        )

    def refresh(self, q: StatisticsReads) -> None:
        """Read what has changed, so that the next question reads little."""
        with self._lock:
            self._refresh(q.ended_tasks, q.now())

    # -- what changed --

    def _refresh(self, reads: EndedTaskReads, now: datetime) -> None:
        revisions = {one.source: one for one in reads.revisions()}
        for name in self._sources.keys() - revisions.keys():
            self._forget(name)
        if not self._days.today_has(now):
            self._turn_to(Days.until(now, self._zone, REMEMBERED_DAYS), reads)
        for one in revisions.values():
            self._follow(reads, one)
        self._ask_again(reads)

    def _turn_to(self, days: Days, reads: EndedTaskReads) -> None:
        """Drop what has left the days, and read what lay ahead of them until now: clocks differ."""
        former, self._days = self._days, days
        if not former.edges or days.first < former.first:
            self._sources.clear()
        self._all.clear()
        self._periods.clear()
        self._durations.clear()
        first = slot_of(days.begins(days.first))
        for name, source in self._sources.items():
            source.days.clear()
            for slot in [slot for slot in source.slots if slot < first]:
                self._waiting.discard((name, slot))
                del source.slots[slot]
            ahead = max(slot_of(former.ends), first)
            self._read(reads, name, slot_begins(ahead), days.ends)

    def _forget(self, name: str) -> None:
        slots = self._sources.pop(name).slots
        self._waiting -= {(name, slot) for slot in slots}
        self._touch(*(results.touched for results in slots.values()))

    def _touch(self, *days: Iterable[int]) -> None:
        """Drop what is joined from days."""
        touched = {one for some in days for one in some}
        self._periods.clear()
        if any(day <= self._days.last - OPEN_DAYS for day in touched):
            self._durations.clear()
        for day in touched:
            self._all.pop(day, None)
            for source in self._sources.values():
                source.days.pop(day, None)

    def _follow(self, reads: EndedTaskReads, now: SourceRevision) -> None:
        known = self._sources.get(now.source)
        if known is not None and known.revision == now.revision:
            return
        changed = (
            {WHOLE_SOURCE}
            if known is None or now.revision < known.revision
            else set(reads.changed_slots(now.source, known.revision))
        )
        if known is None or WHOLE_SOURCE in changed:
            if known is not None:
                self._forget(now.source)
            known = self._sources[now.source] = _Source()
            self._read(reads, now.source, self._days.begins(self._days.first), self._days.ends)
        else:
            first, last = slot_of(self._days.begins(self._days.first)), slot_of(self._days.ends)
            for slot in changed:
                if first <= slot <= last:
                    self._read(reads, now.source, slot_begins(slot), slot_begins(slot + 1))
        known.revision, known.pruned_to = now.revision, now.pruned_to

    def _read(self, reads: EndedTaskReads, source: str, since: datetime, until: datetime) -> None:
        """Read slots of a source again, from the beginning of one up to a time."""
        by_slot: dict[int, list[EndedTask]] = {}
        for row in reads.ended(source, since, until):
            by_slot.setdefault(slot_of(row.at), []).append(row)
        failed = [row.job_id for rows in by_slot.values() for row in rows if row.failed]
        facts = reads.failure_facts(source, failed)
        for slot in {slot_of(since), *by_slot}:
            rows = by_slot.get(slot, ())
            self._replace(source, slot, slot_results(source, rows, facts, self._days, self._causes))

    def _replace(self, source: str, slot: int, results: SlotResults) -> None:
        slots = self._sources[source].slots
        former = slots.get(slot, SlotResults())
        slots[slot] = results
        waiting = any(one.facts.waiting for one in results.failed)
        (self._waiting.add if waiting else self._waiting.discard)((source, slot))
        self._touch(former.touched, results.touched)

    def _ask_again(self, reads: EndedTaskReads) -> None:
        """Read again what became of failures of which nobody has been told yet."""
        waiting = [
            (one.at, name, slot, one.job_id)
            for name, slot in self._waiting
            for one in self._sources[name].slots[slot].failed
            if one.facts.waiting
        ]
        by_slot: dict[tuple[str, int], list[str]] = {}
        for _, name, slot, job_id in sorted(waiting)[-MAX_ASKED_AGAIN:]:
            by_slot.setdefault((name, slot), []).append(job_id)
        for (name, slot), job_ids in by_slot.items():
            facts = reads.failure_facts(name, job_ids)
            results = self._sources[name].slots[slot]
            failed = tuple(
                replace(one, facts=facts.get(one.job_id, FailureFacts())) if one.job_id in job_ids else one
                for one in results.failed
            )
            if failed != results.failed:
                self._replace(name, slot, replace(results, failed=failed))

    # -- what is joined --

    def _period(self, length: int, source: str | None) -> PeriodResults:
        key = (length, source)
        found = self._periods.get(key)
        if found is None:
            days = self._days.latest(length)
            if source is not None and source not in self._sources:  # anybody may ask for any name
                return period_results([NOTHING] * length, days)
            parts = [self._day(day, source) for day in range(days.first, days.last + 1)]
            known = self._durations.get(key)
            if known is None:
                known = self._durations[key] = durations_of(parts[:-OPEN_DAYS])
            found = self._periods[key] = period_results(parts, days, known)
        return found

    def _before(self, length: int, source: str | None) -> Totals | None:
        """Count all of the period before; None where tasks of it may not have been recorded, or were deleted."""
        last = self._days.last - length
        first = last - length + 1
        begins = self._days.begins(first)
        chosen = [one for name, one in self._sources.items() if source in (None, name)]
        if any(one.pruned_to and one.pruned_to >= begins for one in chosen):
            return None
        earliest = slot_of(begins)
        if not any(slot <= earliest and results.touched for one in chosen for slot, results in one.slots.items()):
            return None
        parts = [self._day(day, source) for day in range(first, last + 1)]
        failed = sum(len(part.failed) for part in parts)
        return Totals(ended=failed + sum(sum(part.completed.values()) for part in parts), failed=failed)

    def _day(self, day: int, source: str | None) -> DayResults:
        if source is not None:
            known = self._sources.get(source)
            return NOTHING if known is None else self._day_of(known, day)
        found = self._all.get(day)
        if found is None:
            found = self._all[day] = joined(self._day_of(one, day) for one in self._sources.values())
        return found

    def _day_of(self, source: _Source, day: int) -> DayResults:
        found = source.days.get(day)
        if found is None:
            slots = range(slot_of(self._days.begins(day)), slot_of(self._days.begins(day + 1)) + 1)
            here = [source.slots[slot] for slot in slots if slot in source.slots]
            found = source.days[day] = day_results(here, day)
        return found
