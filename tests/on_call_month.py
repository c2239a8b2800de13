"""June 2026 of a team of ten with sixty instances: what its cloud does, moment by moment, and who answers when.

The same at every run. Times are of a clock in Shanghai, moments are whole ten minutes: nightly backups, changes by day,
restores in the evening, an operation that flaps, and one outage that lets two thousand tasks fail within a minute.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from factories import PROJECT_ID, REGION
from fakes import snapshot_of

from notifier.core.model import Scope, Snapshot, Task, TaskStatus
from notifier.ports import CheckResult, Clock

ZONE = ZoneInfo("Asia/Shanghai")
BEGINS = datetime(2026, 6, 1, tzinfo=ZONE)
"""A Monday."""
DAYS = 30
ENDS = BEGINS + timedelta(days=DAYS)
SOURCES = ("production", "staging", "development")
INSTANCES = 20
"""Instances of each source."""
OUTAGE = BEGINS + timedelta(days=16, hours=3)
OUTAGE_FAILURES = 2_000

BACKUP, RESIZE, RESTORE, SWITCH = (
    "BackupSnapshotGaussDBV5InInstance",
    "ResizeGaussDBV5Flavor",
    "RestoreGaussDBV5InInstanceToExistedInst",
    "SwitchoverGaussDBV5Shard",
)
REASONS = {
    BACKUP: "Failed to upload the backup to OBS. Error code: OBS.0503.",
    RESIZE: "The vCPU quota is not enough: 64 more are needed.",
    RESTORE: "The volume of the target is too small.",
    SWITCH: "The availability zone does not answer.",
}
SUNDAY = 6
SHOWN_FOR = timedelta(days=2)
"""How long the list of this cloud shows a task that has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One task of the month."""

    number: int
    source: str
    instance: int
    name: str
    starts: datetime
    ends: datetime
    failed: bool = False

    @property
    def id(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"month {self.number}"))

    def at(self, moment: datetime) -> Task | None:
        """Return the task as the list shows it at a moment; None where it shows none."""
        if not self.starts <= moment <= self.ends + SHOWN_FOR:
            return None
        over = moment >= self.ends
        status = TaskStatus.RUNNING if not over else TaskStatus.FAILED if self.failed else TaskStatus.COMPLETED
        return Task(
            source=self.source,
            job_id=self.id,
            name=self.name,
            status=status,
            raw_status=status.capitalize(),
            progress=None if over else 50.0,
            instance_id=f"{SOURCES.index(self.source):02x}{self.instance:030x}in14",
            instance_name=f"{self.source}-orders-{self.instance:02}",
            created_at=self.starts,
            ended_at=self.ends if over else None,
            fail_reason=REASONS[self.name] if over and self.failed else None,
        )


class Month:
    """Everything that happens, from a seed."""

    def __init__(self, seed: int = 2026) -> None:
        self._chance = random.Random(seed)
        self._drafts: list[Job] = []
        for day in range(DAYS):
            self._nightly_backups(day)
            self._changes_by_day(day)
            self._restores(day)
        for day in (4, 9, 23):
            self._flapping(day)
        self._outage()
        self.jobs: Sequence[Job] = [replace(job, number=number) for number, job in enumerate(self._drafts)]

    @property
    def moments(self) -> Sequence[tuple[datetime, Sequence[str]]]:
        """Every time at which something begins or ends, with the sources in which it does; the first is a baseline."""
        found: dict[datetime, set[str]] = {BEGINS: {*SOURCES}}
        for job in self.jobs:
            found.setdefault(job.starts, set()).add(job.source)
            found.setdefault(job.ends, set()).add(job.source)
        return [(at, sorted(found[at])) for at in sorted(found)]

    def _add(self, source: str, instance: int, name: str, starts: datetime, minutes: int, *, failed: bool) -> None:
        ends = starts + timedelta(minutes=minutes)
        self._drafts.append(
            Job(number=0, source=source, instance=instance, name=name, starts=starts, ends=ends, failed=failed)
        )

    def _nightly_backups(self, day: int) -> None:
        """Four groups of instances, half an hour after each other from one o'clock on; one in fifty fails.

        So do those of staging that are patched on Sundays, and one of production on three nights in a row.
        """
        for source in SOURCES:
            for instance in range(INSTANCES):
                starts = BEGINS + timedelta(days=day, hours=1, minutes=30 * (instance % 4))
                persistent = source == "production" and instance == 7 and day in (10, 11, 12)
                patched = source == "staging" and instance < 3 and starts.weekday() == SUNDAY
                failed = persistent or patched or self._chance.random() < 0.02
                self._add(source, instance, BACKUP, starts, 20, failed=failed)

    def _changes_by_day(self, day: int) -> None:
        """Six changes of the size of an instance on each weekday, one in ten of which fails."""
        if (BEGINS + timedelta(days=day)).weekday() >= 5:
            return
        for _ in range(6):
            starts = BEGINS + timedelta(days=day, hours=9, minutes=30 * self._chance.randrange(17))
            source = self._chance.choice(SOURCES)
            failed = self._chance.random() < 0.1
            self._add(source, self._chance.randrange(INSTANCES), RESIZE, starts, 20, failed=failed)

    def _restores(self, day: int) -> None:
        """One restore in staging, every evening."""
        starts = BEGINS + timedelta(days=day, hours=20)
        failed = self._chance.random() < 0.1
        self._add("staging", self._chance.randrange(INSTANCES), RESTORE, starts, 60, failed=failed)

    def _flapping(self, day: int) -> None:
        """An operation in development that fails and succeeds in turn, for three hours of an afternoon."""
        for turn in range(18):
            starts = BEGINS + timedelta(days=day, hours=14, minutes=10 * turn)
            self._add("development", 3, SWITCH, starts, 10, failed=turn % 2 == 0)

    def _outage(self) -> None:
        """A zone that fails at night: two thousand tasks fail within the same minute, and nothing repeats them."""
        for number in range(OUTAGE_FAILURES):
            self._add("production", number % INSTANCES, SWITCH, OUTAGE - timedelta(minutes=10), 10, failed=True)


class MonthSource:
    """The list of one source at the time of a clock."""

    region = REGION
    project_id = PROJECT_ID

    def __init__(self, name: str, month: Month, clock: Clock) -> None:
        self.name = name
        self._jobs = [job for job in month.jobs if job.source == name]
        self._clock = clock
        self._first = 0

    async def fetch(self, scope: Scope) -> Snapshot:
        now = self._clock.now()
        tasks = list(self._listed(now))
        return snapshot_of(tasks, now, source=self.name, scope=scope)

    def _listed(self, now: datetime) -> Iterator[Task]:
        while self._first < len(self._jobs) and self._jobs[self._first].ends + SHOWN_FOR < now:
            self._first += 1
        yield from (task for job in self._jobs[self._first :] if (task := job.at(now)))

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass


def answered_at(failed_at: datetime, chance: random.Random) -> datetime | None:
    """Return when somebody acknowledges a failure that calls them; None where nobody does.

    By day after five to forty minutes, by night after ten to fifty. One in eight is overlooked.
    """
    if chance.random() < 1 / 8:
        return None
    clock = failed_at.astimezone(ZONE).time()
    by_day = time(9) <= clock < time(18) and failed_at.astimezone(ZONE).weekday() < 5
    return failed_at + timedelta(minutes=10 * chance.randint(1, 4 if by_day else 5))
