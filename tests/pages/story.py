"""What the clouds of the pictures do: twelve instances of two sources, a month of tasks, and a week in detail.

The same at every run. Times are those of a clock in Shanghai; it is Saturday, 28 November 2026, 09:42:16.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from notifier.core.model import Task, TaskStatus
from notifier.core.people import Person
from notifier.simulator import catalogue
from notifier.simulator.catalogue import TaskKind

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 28, 9, 42, 16, tzinfo=ZONE)
BEGINS = datetime(2026, 10, 30, tzinfo=ZONE)
"""When the notifier was started: 29 days before."""
WEEK_BEGINS = datetime(2026, 11, 21, 9, 42, 16, tzinfo=ZONE)
LISTED_FOR = timedelta(days=30)
SEEN_AFTER = timedelta(seconds=9)
"""How long after a change a poll finds it."""

REGIONS = {"prod": "cn-north-4", "staging": "cn-east-3"}
PROJECTS = {"prod": "0611f1bd8b00d5d32f17c017f15b599f", "staging": "5b3a91c0de7f4b0c8d1b6a2e9c7d4f10"}
PROD = ("orders", "billing", "ledger", "payments", "users", "catalog", "search", "audit")
STAGING = ("orders-77", "billing", "reports", "stock")

CHEN = Person(id="U0CHENJING", name="Chen Jing")
LI = Person(id="U0LIWEI", name="Li Wei")
ANNA = Person(id="U0ANNAKELL", name="Anna Keller")

QUOTA = "The storage quota is exceeded. Error code: EVS.1042. Requested: 4000 GB, available: 2560 GB."
KEY = "The KMS key is disabled or pending deletion. Error code: KMS.0405."
UPLOAD = "Failed to upload the backup to OBS. Error code: OBS.0503. Service unavailable."
SOLD_OUT = "Failed to create the ECS. Error code: Ecs.0319. The flavor is sold out in availability zone 2."
INACTIVE = "Timed out while waiting for the VM to become active. Error code: DBS.280277."
NO_WAL = "The WAL needed for the chosen point in time is missing. Error code: DBS.200846."
OUT_OF_SYNC = "The instance is abnormal: the primary and standby DNs are out of sync."

BACKUP, EXPAND, FLAVOR = catalogue.BACKUP_NOW, catalogue.ENLARGE, catalogue.RESIZE
CREATE, DELETE = catalogue.CREATE, catalogue.DELETE
RESTORE_NEW, RESTORE_SAME = catalogue.CLONE, catalogue.RESTORE_HERE
NODES, SHARDS = catalogue.ADD_NODES, catalogue.ADD_SHARDS

REFUSED_MAIL = "1d1a07bb-ae60-5f85-ae00-0b3afdd1eaee"
"""Id of the delivery whose recipient is unknown to its mail server; it follows from the task that it is about."""
STORM_AT = datetime(2026, 11, 26, 2, 10, tzinfo=ZONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One task of the month."""

    id: str
    source: str
    instance: str
    kind: TaskKind
    starts: datetime
    lasts: timedelta
    """Until it ends, or would end."""
    reason: str | None = None
    """Why it failed; None where it did not."""
    stops_at: float | None = None
    """Percent from which on it makes no progress; None where it ends."""
    watched: bool = True
    """Whether polls see it begin and move on; else they find it when it has ended."""

    @property
    def ends(self) -> datetime | None:
        return None if self.stops_at is not None or self.starts + self.lasts > NOW else self.starts + self.lasts

    @property
    def moments(self) -> Iterator[datetime]:
        """Yield when something is to be seen of it that was not before."""
        if self.watched:
            yield self.starts
            if self.starts > at(26, "12:00") or self.lasts > timedelta(minutes=30):
                reached = min(self.stops_at or 100.0, 99.0)
                yield from (self.starts + self.lasts * (percent / 100) for percent in (25, 50, 75) if percent < reached)
            if self.stops_at is not None:
                yield self.starts + self.lasts * (self.stops_at / 100)
        if self.ends:
            yield self.ends

    def at(self, moment: datetime) -> Task | None:
        """Return the task as the list shows it at a moment; None where it shows none."""
        if not self.starts <= moment <= self.starts + LISTED_FOR:
            return None
        ended = self.ends if self.ends and self.ends <= moment else None
        status = TaskStatus.RUNNING if ended is None else TaskStatus.FAILED if self.reason else TaskStatus.COMPLETED
        return Task(
            source=self.source,
            job_id=self.id,
            name=self.kind.name,
            status=status,
            raw_status=status.capitalize(),
            progress=self._progress(moment) if ended is None else None,
            instance_id=instance_id(self.source, self.instance),
            instance_name=self.instance,
            instance_status=self.kind.after if status is TaskStatus.COMPLETED else self.kind.during,
            created_at=self.starts,
            ended_at=ended,
            fail_reason=self.reason if ended else None,
        )

    def _progress(self, moment: datetime) -> float:
        # Whole percents, which the list shows in steps of five.
        reached = (moment - self.starts) / self.lasts * 100
        return float(min(reached, self.stops_at or 99.0) // 5 * 5)


def instance_id(source: str, name: str) -> str:
    """Return the id of an instance."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{source} {name}").hex + "in14"


def at(day: int, clock: str) -> datetime:
    """Return a time of November 2026."""
    return datetime.combine(date(2026, 11, day), time.fromisoformat(clock), ZONE)


@dataclass(slots=True)
class _Drafts:
    """Jobs in the making, each with an id of its own that stays the same."""

    jobs: list[Job] = field(default_factory=list)

    def add(  # noqa: PLR0917 - a row of a table
        self,
        instance: str,
        kind: TaskKind,
        starts: datetime,
        minutes: int,
        seconds: int = 0,
        reason: str | None = None,
        *,
        stops_at: float | None = None,
        watched: bool = True,
    ) -> None:
        number = sum(job.instance == instance for job in self.jobs)
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{instance} {kind.name} {starts.isoformat()} {number}")
        self.jobs.append(
            Job(
                id=str(made),
                source=instance.partition("-")[0],
                instance=instance,
                kind=kind,
                starts=starts,
                lasts=timedelta(minutes=minutes, seconds=seconds),
                reason=reason,
                stops_at=stops_at,
                watched=watched,
            )
        )


def _today(drafts: _Drafts) -> None:
    add = drafts.add
    add("prod-catalog", EXPAND, at(28, "00:12:32"), 6, 28)
    add("prod-ledger", BACKUP, at(28, "02:10:02"), 1, 38, KEY)
    add("prod-users", BACKUP, at(28, "06:40:03"), 5, 38)
    add("staging-reports", DELETE, at(28, "07:05:52"), 11, 20)
    add("staging-reports", CREATE, at(28, "07:21:13"), 12)
    add("prod-search", FLAVOR, at(28, "08:02:23"), 46, 20, stops_at=60.0)
    add("staging-orders-77", CREATE, at(28, "08:31:05"), 21, 10, INACTIVE)
    add("prod-orders", EXPAND, at(28, "09:14:31"), 8, 0, QUOTA)
    add("prod-payments", SHARDS, at(28, "09:20:58"), 46)
    add("staging-billing", RESTORE_SAME, at(28, "09:29:02"), 36)
    add("prod-billing", BACKUP, at(28, "09:36:31"), 8)


def _friday(drafts: _Drafts) -> None:
    add = drafts.add
    add("prod-ledger", BACKUP, at(27, "02:10:27"), 1, 45, KEY)
    add("staging-billing", FLAVOR, at(27, "09:15:20"), 13, 21)
    add("prod-catalog", NODES, at(27, "11:26:02"), 10, 1)
    add("staging-orders-77", CREATE, at(27, "14:08:02"), 12, 3, SOLD_OUT)
    add("staging-orders-77", DELETE, at(27, "14:40:21"), 3, 47)
    add("staging-reports", RESTORE_NEW, at(27, "16:12:01"), 16, 3)
    add("prod-audit", EXPAND, at(27, "18:30:35"), 9, 33)
    add("prod-orders", BACKUP, at(27, "20:15:09"), 5, 21)
    add("staging-stock", RESTORE_NEW, at(27, "22:04:08"), 14, 31)


def _thursday(drafts: _Drafts) -> None:
    add = drafts.add
    for number, name in enumerate(PROD):
        add(f"prod-{name}", BACKUP, STORM_AT + timedelta(seconds=3 * number), 2, 50 + number // 2, UPLOAD)
        add(f"prod-{name}", BACKUP, at(26, "03:30:02") + timedelta(seconds=61 * number), 5 + number % 3, 7 * number)
    add("staging-stock", RESTORE_SAME, at(26, "10:44:24"), 17, 9, NO_WAL)
    add("staging-stock", RESTORE_SAME, at(26, "11:20:27"), 15, 20)
    add("prod-users", FLAVOR, at(26, "15:07:34"), 11, 38)
    add("prod-orders", SHARDS, at(26, "20:31:31"), 33, 44)


def _earlier_this_week(drafts: _Drafts) -> None:
    add = drafts.add
    add("prod-payments", BACKUP, at(21, "22:30:10"), 5, 12)
    for day in (22, 23, 24, 25):
        add("prod-ledger", BACKUP, at(day, "02:10:0" + str(day % 7)), 5, day)
    add("staging-stock", EXPAND, at(22, "08:31:40"), 5, 2)
    add("prod-users", BACKUP, at(22, "12:02:11"), 5, 51)
    add("staging-orders-77", BACKUP, at(22, "20:15:33"), 4, 40)
    add("prod-orders", NODES, at(23, "09:00:02"), 8, 3)
    add("prod-catalog", BACKUP, at(23, "13:10:04"), 6, 2)
    add("staging-billing", CREATE, at(23, "17:32:08"), 11, 19)
    add("prod-search", BACKUP, at(23, "21:05:45"), 5, 33)
    add("prod-audit", EXPAND, at(24, "10:01:15"), 4, 55)
    add("staging-reports", RESTORE_NEW, at(24, "16:20:31"), 15, 44)
    add("prod-payments", SHARDS, at(24, "21:30:30"), 42)
    add("prod-orders", EXPAND, at(25, "08:20:12"), 4, 27)
    add("prod-billing", FLAVOR, at(25, "11:05:13"), 7, 22, OUT_OF_SYNC)
    add("prod-billing", FLAVOR, at(25, "13:30:20"), 10, 14)
    add("staging-reports", CREATE, at(25, "15:32:09"), 12, 1)
    add("prod-search", EXPAND, at(25, "19:12:44"), 6, 8)


_MONTH: Sequence[tuple[TaskKind, int, tuple[str, ...]]] = (
    (BACKUP, 96, (KEY, UPLOAD)),
    (EXPAND, 38, (QUOTA,)),
    (FLAVOR, 31, (OUT_OF_SYNC, OUT_OF_SYNC)),
    (CREATE, 29, (SOLD_OUT, SOLD_OUT, SOLD_OUT, INACTIVE)),
    (DELETE, 24, ()),
    (RESTORE_NEW, 21, (NO_WAL, SOLD_OUT)),
    (RESTORE_SAME, 12, (NO_WAL,)),
    (NODES, 9, ()),
    (SHARDS, 4, ()),
)
"""Number of tasks that ended in thirty days, by kind, and why those failed that the week does not have."""


def _before(drafts: _Drafts, chance: random.Random) -> None:
    """Add the tasks of the weeks before. One that fails is repeated an hour later and completes."""
    _muted_before(drafts)
    for kind, count, reasons in _MONTH:
        ended = sum(job.kind is kind and job.ends is not None for job in drafts.jobs)
        for number in range(count - ended - len(reasons)):
            instance = _chosen(kind, chance)
            starts = BEGINS + timedelta(minutes=chance.randrange(60, 22 * 24 * 60), seconds=chance.randrange(60))
            lasts = _length(kind, chance)
            drafts.add(instance, kind, starts, 0, lasts, watched=False)
            if number < len(reasons):
                failed = timedelta(seconds=round(lasts * chance.uniform(0.3, 0.9)))
                before = starts - failed - timedelta(minutes=chance.randrange(50, 80))
                drafts.add(instance, kind, before, 0, failed.seconds, reasons[number], watched=False)


def _muted_before(drafts: _Drafts) -> None:
    """Add what the mutes of the weeks before have held back."""
    drafts.add("prod-audit", BACKUP, at(9, "01:30:05"), 5, 40)
    drafts.add("prod-users", FLAVOR, at(17, "15:10:12"), 9, 58)
    drafts.add("prod-users", BACKUP, at(17, "15:32:41"), 5, 20)
    for number, (name, kind, minutes) in enumerate(
        (("orders-77", RESTORE_NEW, 17), ("billing", CREATE, 12), ("reports", RESTORE_SAME, 11), ("stock", EXPAND, 6))
    ):
        drafts.add(f"staging-{name}", kind, at(20, "13:04:20") + timedelta(minutes=7 * number), minutes, 11 * number)


def _chosen(kind: TaskKind, chance: random.Random) -> str:
    in_staging = kind in {CREATE, DELETE, RESTORE_NEW, RESTORE_SAME} or chance.random() < 0.15
    return f"staging-{chance.choice(STAGING)}" if in_staging else f"prod-{chance.choice(PROD)}"


def _length(kind: TaskKind, chance: random.Random) -> int:
    """Return how long a task takes, in seconds: mostly near the middle, a few far longer."""
    shortest, longest = (60 * minutes for minutes in kind.minutes)
    usual = chance.triangular(shortest, longest, (shortest * longest) ** 0.5)
    return round(usual * (chance.uniform(1.5, 2.5) if chance.random() < 0.04 else 1))


def jobs() -> Sequence[Job]:
    """Return every job of the month, in the order in which they begin."""
    drafts = _Drafts()
    for part in (_today, _friday, _thursday, _earlier_this_week):
        part(drafts)
    _before(drafts, random.Random(2026))
    return sorted(drafts.jobs, key=lambda job: (job.starts, job.id))


def calm(found: Sequence[Job]) -> Sequence[Job]:
    """Return the jobs as they would be where nobody is needed: what is open in the pictures has completed."""
    troubled = {"prod-search", "staging-orders-77", "prod-ledger", "prod-orders"}
    return [
        replace(job, reason=None, stops_at=None, lasts=min(job.lasts, timedelta(minutes=20)))
        if job.instance in troubled and job.starts >= at(27, "00:00")
        else job
        for job in found
    ]
