"""A year of tasks that never was: sixty instances with drift, outliers, changes of clocks, pauses and lost runs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

FIRST = date(2025, 1, 6)  # a Monday
DAYS = 364
INSTANCES = 60
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/New_York", "UTC")
BACKUP = "BackupSnapshotGaussDBV5InInstance"
OTHERS = {"ResizeGaussDBV5Flavor": 10.0, "EnlargeGaussDBV5Volume": 5.0, "GaussDBV5ExpandClusterDN": 25.0}
"""Operations by hand, with their usual minutes."""
HANGS, LOST, BY_HAND, EARLY_END = 0.015, 0.008, 0.06, 0.02
"""Shares of runs that hang, of scheduled runs that do not appear, of days with a backup by hand, of runs that end at
once because there is little to do."""
LOADED = 0.08
"""Share of runs that take up to twice as long because the instance is busy. Nobody wants to be disturbed for these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One task."""

    instance: str
    operation: str
    began: datetime
    seconds: float
    hung: bool = False
    """Whether it took so long that somebody should have been told."""
    pace: float = 1.0
    """How the progress runs ahead of the time (below one) or behind it (above one)."""

    @property
    def ended(self) -> datetime:
        return self.began + timedelta(seconds=self.seconds)

    def progress(self, elapsed: float) -> float:
        """Return the percent that the API gives after this many seconds: whole steps of five."""
        return 5.0 * math.floor(20.0 * math.pow(elapsed / self.seconds, self.pace))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an instance is backed up."""

    instance: str
    zone: ZoneInfo
    at: time
    every: timedelta
    weekdays: frozenset[int]
    minutes: float
    growth: float
    """How much longer a backup takes at the end of the year, as a factor."""
    spread: float
    weekly_full: float
    """How much longer it takes on Sundays, as a factor."""
    moved: tuple[int, int]
    """The day from which it begins later, and by how many hours."""
    resized: tuple[int, float]
    """The day from which everything takes this factor of the time."""


@dataclass(slots=True, kw_only=True)
class Year:
    """Everything that happened, and what should have been noticed."""

    runs: list[Run] = field(default_factory=list)
    lost: list[tuple[str, datetime]] = field(default_factory=list)
    """Instances with the times at which their backup should have begun and did not."""
    paused: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """By instance: the days during which nobody polled, whose tasks are not known."""


def schedule(rng: random.Random, number: int) -> Schedule:
    plan = rng.random()
    every = timedelta(hours=6) if plan < 0.1 else timedelta(days=1)
    weekdays = frozenset({6}) if 0.1 <= plan < 0.2 else frozenset(range(5)) if plan < 0.35 else frozenset(range(7))
    return Schedule(
        instance=f"instance-{number:02d}",
        zone=ZoneInfo(rng.choice(ZONES)),
        at=time(rng.randrange(24), rng.randrange(60)),
        every=every,
        weekdays=weekdays if every >= timedelta(days=1) else frozenset(range(7)),
        minutes=math.exp(rng.uniform(math.log(3), math.log(150))),
        growth=rng.choice((1.0, 1.3, 1.6, 2.5)),
        spread=rng.uniform(0.05, 0.3),
        weekly_full=6.0 if rng.random() < 0.15 and len(weekdays) == 7 else 1.0,
        moved=(rng.randrange(60, DAYS), rng.choice((0, 0, 0, 3, 7))),
        resized=(rng.randrange(60, DAYS), rng.choice((1.0, 1.0, 1.0, 0.5, 1.8))),
    )


def begins(plan: Schedule) -> Iterator[tuple[int, datetime]]:
    """Yield the days and times at which an instance should be backed up."""
    for day in range(DAYS):
        local = datetime.combine(FIRST + timedelta(days=day), plan.at, plan.zone)
        if local.weekday() not in plan.weekdays:
            continue
        later = timedelta(hours=plan.moved[1] if day >= plan.moved[0] else 0)
        for count in range(timedelta(days=1) // plan.every if plan.every < timedelta(days=1) else 1):
            # In local time, so that changes of clocks move it.
            yield (
                day,
                (local.replace(tzinfo=None) + later + count * plan.every).replace(tzinfo=plan.zone).astimezone(UTC),
            )


def run(rng: random.Random, plan: Schedule, began: datetime, operation: str, minutes: float) -> Run:
    day = (began.date() - FIRST).days
    usual = minutes * plan.growth ** (day / DAYS) * (plan.resized[1] if day >= plan.resized[0] else 1.0)
    if operation == BACKUP and began.astimezone(plan.zone).weekday() == 6:
        usual *= plan.weekly_full
    minutes = usual * math.exp(rng.gauss(0, plan.spread))
    luck = rng.random()
    hung = luck < HANGS
    if hung:
        minutes = max(minutes, usual) * rng.uniform(4, 20) + 30
    elif luck < HANGS + LOADED:
        minutes *= rng.uniform(1.2, 2.0)
    elif luck > 1 - EARLY_END:
        minutes *= 0.05
    return Run(
        instance=plan.instance,
        operation=operation,
        began=began + timedelta(seconds=rng.uniform(0, 300)),
        seconds=max(round(minutes * 60), 5),
        hung=hung,
        pace=math.exp(rng.gauss(0, 0.4)),
    )


def year(seed: int = 1) -> Year:
    """Return the year of a seed."""
    rng = random.Random(seed)
    found = Year()
    for number in range(INSTANCES):
        plan = schedule(rng, number)
        pause = rng.randrange(40, DAYS - 4)
        begin = datetime.combine(FIRST + timedelta(days=pause), time(), UTC)
        # Judged again when the first run after it has been seen.
        found.paused[plan.instance] = begin - timedelta(days=1), begin + timedelta(days=12)
        for day, began in begins(plan):
            if rng.random() < LOST and day > 45:
                found.lost.append((plan.instance, began))
            elif not pause <= day < pause + 4:  # nobody polled, and the list was cleared
                found.runs.append(run(rng, plan, began, BACKUP, plan.minutes))
        for day in range(DAYS):
            at = datetime.combine(FIRST + timedelta(days=day), time(rng.randrange(24), rng.randrange(60)), UTC)
            if rng.random() < BY_HAND:
                found.runs.append(run(rng, plan, at, BACKUP, plan.minutes))
            for operation, minutes in OTHERS.items():
                if rng.random() < 0.01:
                    found.runs.append(run(rng, plan, at, operation, minutes))
    found.runs.sort(key=lambda one: one.began)
    return found
