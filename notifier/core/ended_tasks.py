"""How tasks ended, day by day: what statistics are made of. Pure.

Ended tasks are counted in slots of an hour, slots are joined to days of a time zone, and days to a period. A slot
is read again only when one of its tasks changed, so a period of many days costs little.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from statistics import median_low
from typing import NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from notifier.core.causes import CauseCatalogue, Explanation
from notifier.core.model import Task, TaskStatus
from notifier.core.tickets import operation_of_task
from notifier.core.wall_time import day_begins, wall_time

SLOT = timedelta(hours=1)
"""Length of a slot. Short ones make little to read again, long ones little to remember."""
WHOLE_SOURCE = -(2**40)
"""Number that stands for all slots of a source; it is before all times."""
_SLOT_SECONDS = int(SLOT.total_seconds())
_UNKNOWN = -1.0
"""Stands for a duration that is not known."""


def slot_of(at: datetime) -> int:
    """Return the number of the slot that a time is in."""
    return int(at.timestamp() // _SLOT_SECONDS)


def slot_begins(slot: int) -> datetime:
    """Return when a slot begins."""
    return datetime.fromtimestamp(slot * _SLOT_SECONDS, UTC)


class EndedTask(NamedTuple):
    """A task that has ended, as it is recorded. What only failures need is empty for others."""

    name: str
    failed: bool
    at: datetime
    """When it ended, or when that was first seen."""
    seconds: float | None
    job_id: str = ""
    instance_id: str | None = None
    instance_name: str | None = None
    reason: str | None = None
    ended_at: datetime | None = None
    """The cloud's own time of its end."""


class FailureFacts(NamedTuple):
    """What became of the messages about a failed task."""

    told_at: datetime | None = None
    """When the first of them was delivered."""
    storm: str | None = None
    """Id of the storm that one of them was part of."""
    waiting: bool = False
    """Whether one of them may still be delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTask:
    """A failed task."""

    source: str
    job_id: str
    name: str
    instance: str
    """Name of its instance, or the id where no name is known."""
    operation: str
    """See `tickets.operation_of`."""
    at: datetime
    day: int
    """Ordinal of its day."""
    cause: FailureCause
    ended_at: datetime | None
    facts: FailureFacts

    @property
    def told_after(self) -> float | None:
        """Time from its end to the first delivered message, in seconds; None where one of both is not known."""
        told = self.facts.told_at
        return None if told is None or self.ended_at is None else max((told - self.ended_at).total_seconds(), 0.0)


class CauseKey(NamedTuple):
    """Failures with equal ones count as one cause. One of both is empty where it is not known."""

    code: str
    cause: str


@dataclass(frozen=True, slots=True, eq=False)
class FailureCause:
    """Why tasks failed."""

    key: CauseKey
    explanation: Explanation


class KnownCauses:
    """Finds the cause of a reason. Equal causes are one object, so that memory holds each explanation once."""

    def __init__(self, catalogue: CauseCatalogue) -> None:
        self._catalogue = catalogue
        self._known: dict[CauseKey, FailureCause] = {}

    def of(self, reason: str | None) -> FailureCause:
        """Return the cause of a reason."""
        found = self._catalogue.explain(reason)
        key = CauseKey(found.code or "", found.cause.id if found.cause else "")
        return self._known.setdefault(key, FailureCause(key, found))


# ---- days ----


@dataclass(frozen=True, slots=True)
class Days:
    """Consecutive days of a time zone."""

    first: int
    """Ordinal of the first of them."""
    edges: tuple[float, ...]
    """When each begins, and the last ends, as timestamps."""

    @classmethod
    def until(cls, now: datetime, zone: ZoneInfo, number: int) -> Days:
        """Return this many days, the last of which is that of `now`."""
        today = wall_time(now, zone).date()
        if now < day_begins(today, zone):  # the clock was set back over midnight
            today -= timedelta(days=1)
        elif now >= day_begins(today + timedelta(days=1), zone):
            today += timedelta(days=1)
        dates = [today + timedelta(days=n) for n in range(1 - number, 2)]
        return cls(dates[0].toordinal(), tuple(day_begins(one, zone).timestamp() for one in dates))

    @property
    def last(self) -> int:
        """Ordinal of the last of them."""
        return self.first + len(self.edges) - 2

    @property
    def ends(self) -> datetime:
        """When the last of them ends."""
        return datetime.fromtimestamp(self.edges[-1], UTC)

    def day_of(self, at: datetime) -> int | None:
        """Return the ordinal of the day of a time; None where it is in none of these days."""
        found = bisect_right(self.edges, at.timestamp())
        return self.first + found - 1 if 0 < found < len(self.edges) else None

    def today_has(self, now: datetime) -> bool:
        """Return whether a time is on the last of them."""
        return bool(self.edges) and self.edges[-2] <= now.timestamp() < self.edges[-1]

    def begins(self, day: int) -> datetime:
        """Return when a day begins."""
        return datetime.fromtimestamp(self.edges[day - self.first], UTC)

    def latest(self, number: int) -> Days:
        """Return the last of them."""
        return Days(self.last - number + 1, self.edges[-number - 1 :])


# ---- slots and days ----


@dataclass(frozen=True, slots=True)
class SlotResults:
    """How the tasks of a source ended in a slot."""

    names: tuple[str, ...] = ()
    """Of the completed tasks, each with the day and the duration at the same place."""
    days: array[int] = field(default_factory=lambda: array("l"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    failed: tuple[FailedTask, ...] = ()

    @property
    def touched(self) -> frozenset[int]:
        """Ordinals of the days of its tasks."""
        return frozenset(chain(self.days, (one.day for one in self.failed)))


def slot_results(
    source: str, rows: Iterable[EndedTask], facts: Mapping[str, FailureFacts], days: Days, causes: KnownCauses
) -> SlotResults:
    """Count the tasks of a slot. `facts` are by job id."""
    names, ordinals, seconds, failed = [], array("l"), array("d"), []
    for row in rows:
        day = days.day_of(row.at)
        if day is None:
            continue
        if row.failed:
            failed.append(_failed(source, row, facts.get(row.job_id, FailureFacts()), day, causes))
        else:
            names.append(row.name)
            ordinals.append(day)
            seconds.append(_UNKNOWN if row.seconds is None else row.seconds)
    return SlotResults(tuple(names), ordinals, seconds, tuple(failed))


def _failed(source: str, row: EndedTask, facts: FailureFacts, day: int, causes: KnownCauses) -> FailedTask:
    task = Task(
        source=source,
        job_id=row.job_id,
        name=row.name,
        status=TaskStatus.FAILED,
        raw_status="",
        instance_id=row.instance_id,
        instance_name=row.instance_name,
    )
    return FailedTask(
        source=source,
        job_id=row.job_id,
        name=row.name,
        instance=row.instance_name or row.instance_id or "",
        operation=operation_of_task(task),
        at=row.at,
        day=day,
        cause=causes.of(row.reason),
        ended_at=row.ended_at,
        facts=facts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseResults:
    """Failures for one cause."""

    cause: FailureCause
    failures: int
    instances: frozenset[str]
    """Names of the instances, as far as they are known."""
    sources: frozenset[str]
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DayResults:
    """How tasks ended on a day. What is counted of failures is counted once, for all periods."""

    completed: Mapping[str, int] = field(default_factory=dict)
    """Number of completed tasks by name."""
    seconds: Mapping[str, array[float]] = field(default_factory=dict)
    """Their durations, as far as they are known, by name, not decreasing."""
    failed: tuple[FailedTask, ...] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    """Number of failed tasks by name."""
    jobs: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    """When each of them failed, by source and job id."""
    operations: Mapping[str, tuple[FailedTask, ...]] = field(default_factory=dict)
    """The failed tasks by operation."""
    told: tuple[float, ...] = ()
    """How long after its end people were told of each, where both times are known."""
    storms: Mapping[str, int] = field(default_factory=dict)
    """Number of failures by storm."""
    causes: Mapping[CauseKey, CauseResults] = field(default_factory=dict)


NOTHING = DayResults()


def day_results(slots: Iterable[SlotResults], day: int) -> DayResults:
    """Join slots to a day."""
    completed: Counter[str] = Counter()
    seconds: dict[str, array[float]] = {}
    failed: list[FailedTask] = []
    for slot in slots:
        for name, of, length in zip(slot.names, slot.days, slot.seconds, strict=True):
            if of == day:
                completed[name] += 1
                if length != _UNKNOWN:
                    seconds.setdefault(name, array("d")).append(length)
        failed += (one for one in slot.failed if one.day == day)
    return _day(completed, seconds, failed)


def joined(parts: Iterable[DayResults]) -> DayResults:
    """Join the same day of several sources."""
    completed: Counter[str] = Counter()
    seconds: dict[str, array[float]] = {}
    failed: list[FailedTask] = []
    for part in parts:
        completed.update(part.completed)
        for name, lengths in part.seconds.items():
            seconds.setdefault(name, array("d")).extend(lengths)
        failed += part.failed
    return _day(completed, seconds, failed)


def _day(completed: Mapping[str, int], seconds: Mapping[str, array[float]], failed: Sequence[FailedTask]) -> DayResults:
    operations: dict[str, list[FailedTask]] = {}
    by_cause: dict[CauseKey, list[FailedTask]] = {}
    for one in failed:
        operations.setdefault(one.operation, []).append(one)
        by_cause.setdefault(one.cause.key, []).append(one)
    return DayResults(
        completed=dict(completed),
        seconds={name: array("d", sorted(lengths)) for name, lengths in seconds.items()},
        failed=tuple(failed),
        failures=Counter(one.name for one in failed),
        jobs={(one.source, one.job_id): one.at for one in failed},
        operations={operation: tuple(found) for operation, found in operations.items()},
        told=tuple(after for one in failed if (after := one.told_after) is not None),
        storms=Counter(one.facts.storm for one in failed if one.facts.storm),
        causes={key: _cause(found) for key, found in by_cause.items()},
    )


def _cause(failed: Sequence[FailedTask]) -> CauseResults:
    return CauseResults(
        cause=failed[-1].cause,
        failures=len(failed),
        instances=frozenset(one.instance for one in failed if one.instance),
        sources=frozenset(one.source for one in failed),
        last=max(one.at for one in failed),
    )


# ---- periods ----


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeResults:
    """How tasks of one type ended in a period."""

    name: str
    """As the API has it."""
    completed: int
    failed: int
    seconds: Sequence[float]
    """Durations of the completed ones, as far as they are known, not decreasing."""

    @property
    def ended(self) -> int:
        """Number of them."""
        return self.completed + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTotals:
    """How many tasks ended on a day."""

    day: date
    begins: datetime
    completed: int
    failed: int
    storm: str | None
    """Id of the storm that most failures in storms were part of."""
    in_storms: int
    """Number of failures in storms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How many tasks ended."""

    ended: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldFigures:
    """How soon people were told of failures."""

    number: int
    """Number of failures that a message about was delivered, and whose end the cloud gives."""
    median: float | None
    """Time from the cloud's own end to the first delivered message, in seconds; None without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodResults:
    """How tasks ended in a period."""

    types: tuple[TypeResults, ...]
    """Those with the most tasks first."""
    days: tuple[DayTotals, ...]
    parts: tuple[DayResults, ...]
    """The days, as they were joined."""
    causes: tuple[CauseResults, ...]
    """Those with the most failures first."""
    in_storms: int
    """Number of failures in storms."""
    told: ToldFigures

    @property
    def totals(self) -> Totals:
        """All of them."""
        return Totals(ended=sum(one.ended for one in self.types), failed=sum(one.failed for one in self.types))

    @property
    def failed(self) -> tuple[FailedTask, ...]:
        """All failed tasks."""
        return tuple(one for part in self.parts for one in part.failed)


Durations: TypeAlias = "Mapping[str, Sequence[float]]"
"""Durations by name, not decreasing."""


def durations_of(parts: Iterable[DayResults]) -> Durations:
    """Return the durations of several days."""
    found: dict[str, list[float]] = {}
    for part in parts:
        for name, lengths in part.seconds.items():
            found.setdefault(name, []).extend(lengths)
    return {name: sorted(lengths) for name, lengths in found.items()}


def period_results(parts: Sequence[DayResults], days: Days, known: Durations | None = None) -> PeriodResults:
    """Join days to a period. There is a part for each of the days.

    `known` are the durations of all days but the last two, where they have been joined before: sorting those of a long
    period takes longer than all the rest.
    """
    completed: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for part in parts:
        completed.update(part.completed)
        failures.update(part.failures)
    first = durations_of(parts[:-OPEN_DAYS]) if known is None else known
    last = durations_of(parts[-OPEN_DAYS:])
    types = [
        TypeResults(
            name=name,
            completed=completed[name],
            failed=failures[name],
            seconds=sorted((*first.get(name, ()), *last[name])) if name in last else first.get(name, ()),
        )
        for name in completed | failures
    ]
    told = [after for part in parts for after in part.told]
    return PeriodResults(
        types=tuple(sorted(types, key=lambda one: (-one.ended, one.name))),
        days=tuple(
            _day_totals(part, days.first + number, days.begins(days.first + number))
            for number, part in enumerate(parts)
        ),
        parts=tuple(parts),
        causes=_causes(parts),
        in_storms=sum(sum(part.storms.values()) for part in parts),
        told=ToldFigures(number=len(told), median=median_low(told) if told else None),
    )


OPEN_DAYS = 2
"""Number of days at the end of a period that usually change."""


def _day_totals(part: DayResults, day: int, begins: datetime) -> DayTotals:
    most = max(part.storms, key=lambda storm: (part.storms[storm], storm), default=None)
    return DayTotals(
        day=date.fromordinal(day),
        begins=begins,
        completed=sum(part.completed.values()),
        failed=len(part.failed),
        storm=most,
        in_storms=sum(part.storms.values()),
    )


def _causes(parts: Iterable[DayResults]) -> tuple[CauseResults, ...]:
    found: dict[CauseKey, list[CauseResults]] = {}
    for part in parts:
        for key, one in part.causes.items():
            found.setdefault(key, []).append(one)
    results = (_together(of) for of in found.values())
    return tuple(sorted(results, key=lambda one: (-one.failures, one.cause.key)))


def _together(days: Sequence[CauseResults]) -> CauseResults:
    return CauseResults(
        cause=days[-1].cause,
        failures=sum(one.failures for one in days),
        instances=frozenset().union(*(one.instances for one in days)),
        sources=frozenset().union(*(one.sources for one in days)),
        last=max(one.last for one in days),
    )


# ---- figures ----


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgedFigures:
    """What people did about failures."""

    failed: int
    acknowledged: int
    median: float | None
    """Time from the failure to its acknowledgement, in seconds; None without any."""
    open: int
    """Number of failures that are open, and that nobody has acknowledged."""

    @property
    def over(self) -> int:
        """Number of failures that are over, and that nobody acknowledged."""
        return self.failed - self.acknowledged - self.open


def acknowledged_figures(
    results: PeriodResults, acknowledged: Mapping[tuple[str, str], datetime], opened: Mapping[str, datetime]
) -> AcknowledgedFigures:
    """Return what people did about failures.

    Args:
        results: of the period.
        acknowledged: when tasks were acknowledged, by source and job id.
        opened: since when operations have open failures that nobody has acknowledged.
    """
    failed_at: dict[tuple[str, str], datetime] = {}
    for part in results.parts:
        failed_at.update(part.jobs)
    waits = [
        max((at - failed).total_seconds(), 0.0)
        for job, at in acknowledged.items()
        if (failed := failed_at.get(job)) is not None
    ]
    still_open = sum(
        one.at >= since and (one.source, one.job_id) not in acknowledged
        for part in results.parts
        for operation, since in opened.items()
        for one in part.operations.get(operation, ())
    )
    return AcknowledgedFigures(
        failed=results.totals.failed,
        acknowledged=len(waits),
        median=median_low(waits) if waits else None,
        open=still_open,
    )
