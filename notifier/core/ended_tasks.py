"""How tasks ended, day by day: what statistics are made of. Pure.

Ended tasks are counted in slots of a few hours, slots are joined to days of a time zone, and days to a period. A slot
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
from typing import NamedTuple
from zoneinfo import ZoneInfo

from notifier.core.causes import CauseCatalogue, Explanation
from notifier.core.model import Task, TaskStatus
from notifier.core.tickets import operation_of_task
from notifier.core.wall_time import day_begins, wall_time

SLOT = timedelta(hours=4)
"""Length of a slot. Most days of most zones begin with one."""
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


@dataclass(frozen=True, slots=True)
class DayResults:
    """How tasks ended on a day."""

    completed: Mapping[str, int] = field(default_factory=dict)
    """Number of completed tasks by name."""
    seconds: Mapping[str, array[float]] = field(default_factory=dict)
    """Their durations, as far as they are known, by name."""
    failed: tuple[FailedTask, ...] = ()


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
    return DayResults(dict(completed), _sorted(seconds), tuple(failed))


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
    return DayResults(dict(completed), _sorted(seconds), tuple(failed))


def _sorted(seconds: Mapping[str, array[float]]) -> Mapping[str, array[float]]:
    """Sort durations: those of a period are merged from sorted ones, which is several times faster."""
    return {name: array("d", sorted(lengths)) for name, lengths in seconds.items()}


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
class CauseResults:
    """Failures for one cause."""

    cause: FailureCause
    failures: int
    instances: tuple[str, ...]
    """Those that failed most often first."""
    sources: tuple[str, ...]
    last: datetime


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
    failed: tuple[FailedTask, ...]
    causes: tuple[CauseResults, ...]
    """Those with the most failures first."""
    in_storms: int
    """Number of failures in storms."""
    told: ToldFigures

    @property
    def totals(self) -> Totals:
        """All of them."""
        return Totals(ended=sum(one.ended for one in self.types), failed=len(self.failed))


def period_results(parts: Sequence[DayResults], days: Days) -> PeriodResults:
    """Join days to a period. There is a part for each of the days."""
    completed: Counter[str] = Counter()
    seconds: dict[str, list[float]] = {}
    for part in parts:
        completed.update(part.completed)
        for name, lengths in part.seconds.items():
            seconds.setdefault(name, []).extend(lengths)
    failed = [one for part in parts for one in part.failed]
    failures = Counter(one.name for one in failed)
    types = [
        TypeResults(name=name, completed=completed[name], failed=failures[name], seconds=sorted(seconds.get(name, ())))
        for name in completed | failures
    ]
    totals = tuple(
        _day_totals(part, days.first + number, days.begins(days.first + number)) for number, part in enumerate(parts)
    )
    return PeriodResults(
        types=tuple(sorted(types, key=lambda one: (-one.ended, one.name))),
        days=totals,
        failed=tuple(failed),
        causes=_causes(failed),
        in_storms=sum(day.in_storms for day in totals),
        told=_told_figures(failed),
    )


def _told_figures(failed: Iterable[FailedTask]) -> ToldFigures:
    found = [after for one in failed if (after := one.told_after) is not None]
    return ToldFigures(number=len(found), median=median_low(found) if found else None)


def _day_totals(part: DayResults, day: int, begins: datetime) -> DayTotals:
    storms = Counter(one.facts.storm for one in part.failed if one.facts.storm)
    most = max(storms.items(), key=lambda found: (found[1], found[0]), default=(None, 0))
    return DayTotals(
        day=date.fromordinal(day),
        begins=begins,
        completed=sum(part.completed.values()),
        failed=len(part.failed),
        storm=most[0],
        in_storms=storms.total(),
    )


def _causes(failed: Iterable[FailedTask]) -> tuple[CauseResults, ...]:
    found: dict[CauseKey, list[FailedTask]] = {}
    for one in failed:
        found.setdefault(one.cause.key, []).append(one)
    results = (
        CauseResults(
            cause=of[-1].cause,
            failures=len(of),
            instances=tuple(name for name, _ in Counter(one.instance for one in of if one.instance).most_common()),
            sources=tuple(sorted({one.source for one in of})),
            last=max(one.at for one in of),
        )
        for of in found.values()
    )
    return tuple(sorted(results, key=lambda one: (-one.failures, one.cause.key)))


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
    failed: Sequence[FailedTask], acknowledged: Mapping[tuple[str, str], datetime], opened: Mapping[str, datetime]
) -> AcknowledgedFigures:
    """Return what people did about failures.

    Args:
        failed: the failures.
        acknowledged: when tasks were acknowledged, by source and job id.
        opened: since when operations have open failures that nobody has acknowledged.
    """
    waits, still_open = [], 0
    for one in failed:
        at = acknowledged.get((one.source, one.job_id))
        if at is not None:
            waits.append(max((at - one.at).total_seconds(), 0.0))
        elif (since := opened.get(one.operation)) is not None and one.at >= since:
            still_open += 1
    return AcknowledgedFigures(
        failed=len(failed),
        acknowledged=len(waits),
        median=median_low(waits) if waits else None,
        open=still_open,
    )
