"""Tasks, snapshots, transitions and events, and what is recorded about sources and channels.

Frozen and keyword-only. Times are timezone-aware and are passed in.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.core.alarms import AlarmFacts
from notifier.core.events import EventType
from notifier.core.foreseen import Expectation, OverdueLimit
from notifier.core.identity import Subject
from notifier.core.maintenance_values import MaintenanceNotice
from notifier.core.pacing import ChannelHealth
from notifier.core.report_values import HandedOver, Report
from notifier.core.severity import Severity, severity_in
from notifier.core.started_by import StartedBy
from notifier.core.usual import Usual

NAMESPACE = uuid.UUID("6d0c2a52-7f0b-5d43-9d1c-0f5c7f2f8a11")
"""The uuid5 namespace of event and delivery ids. Changing it would change every id."""

_NAMESPACE_SHA1 = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)
_VARIANT = {digit: f"{int(digit, 16) & 0b0011 | 0b1000:x}" for digit in "0123456789abcdef"}
"""The digit of a UUID whose two highest bits name the variant of RFC 9562."""


def id_of(name: str) -> str:
    """Return the uuid5 of a name in our namespace, as text. `uuid.uuid5` takes four times as long."""
    sha1 = _NAMESPACE_SHA1.copy()
    sha1.update(name.encode())
    digits = sha1.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"


class TaskStatus(StrEnum):
    """Status of a task as we understand it; the API's own word is kept beside it as `raw_status`."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    RAISED = "raised"
    """An alarm, whether it is still there or happened at one moment. It neither runs nor has it ended."""
    CLEARED = "cleared"
    """An alarm that is over, or the report that one is."""

    @property
    def terminal(self) -> bool:
        """True for the statuses in which a task or an alarm has ended."""
        return self in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CLEARED)

    @property
    def of_alarm(self) -> bool:
        """True for the two statuses that only alarms have."""
        return self in (TaskStatus.RAISED, TaskStatus.CLEARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of a task list, sanitised: no NUL, no lone surrogate in any text."""

    source: str
    job_id: str
    """Opaque. A UUID with or without dashes in practice; never parsed."""
    name: str
    """The API's name of the operation, an open set: `CreateGaussDBV5Instance`."""
    status: TaskStatus
    raw_status: str
    """As the API wrote it; the empty string where the row has none."""
    progress: float | None = None
    """Percent, 0 to 100."""
    instance_id: str | None = None
    instance_name: str | None = None
    instance_status: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    fail_reason: str | None = None
    """Localised by the API. Shown to people, never compared to find a change of state. Of an alarm what it says."""
    alarm: AlarmFacts | None = None
    """Set for an alarm. It has been raised at `created_at`, and is known to be over since `ended_at`."""

    @property
    def subject(self) -> str:
        """Subject of all events about the task."""
        return Subject.of_task(self.source, self.job_id)


class Scope(StrEnum):
    """How much of the task list a snapshot was asked to cover."""

    FULL = "full"
    """Everything the API lists: the last month."""
    ACTIVE = "active"
    """Only the running and the failed tasks: a cheap scan between two full ones."""


def _unparsed(job_id: str) -> Task:
    raise KeyError(job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a task list showed at one poll.

    The rows are kept unparsed: `fingerprints` show whether a row differs from what is recorded,
    `task` parses the one that does. That is what makes a poll of 100,000 unchanged rows cheap.
    """

    source: str
    taken_at: datetime
    fingerprints: Mapping[str, bytes]
    """job_id to a digest of the row as it came; equal digests mean an unchanged row."""
    parse: Callable[[str], Task] = _unparsed
    """job_id to its parsed task. Never fails on content: what cannot be read becomes None or unknown."""
    complete: bool
    """True only when the distinct ids reached the total that the API stated for the whole list."""
    scope: Scope = Scope.FULL
    calls: int = 1
    """Number of API calls that it took, retries included."""
    listed_before: AbstractSet[str] = frozenset()
    """Ids that the full scan has shown in earlier polls, which have recorded their rows, or another scan in this one.
    They are listed."""
    scan_calls: int | None = None
    """Number of calls of the whole full scan; None where that took this poll alone."""
    total_count: int | None = None
    unreadable: int = 0
    """Number of rows that were left out because they have no usable job_id."""
    skew: timedelta | None = None
    """How far `taken_at` is ahead of the service's time; None where that is not known."""
    lacking: tuple[str, ...] = ()
    """Actions that are not granted, so that a part of the list was not read. The rest may be complete all the same."""
    earlier: tuple[Snapshot, ...] = ()
    """Earlier scans of the same poll, in order, with only the rows that differ here or are missing here."""

    @property
    def listed(self) -> int:
        """Number of tasks that are listed."""
        return len(self.fingerprints) + len(self.listed_before)

    def lists(self, job_id: str) -> bool:
        """Return whether a task is listed."""
        return job_id in self.fingerprints or job_id in self.listed_before

    def after(self, before: Snapshot) -> Snapshot:
        """Return this snapshot as the later one of two that were taken in one poll."""
        rows = {id_: row for id_, row in before.fingerprints.items() if self.fingerprints.get(id_) != row}
        shown = replace(before, fingerprints=rows, complete=False, unreadable=0, earlier=())
        return replace(self, earlier=(*before.earlier, *([shown] if rows else []), *self.earlier))

    def joined_to(self, first: Snapshot) -> Snapshot:
        """Return the rows of both, of which this one was taken after the first; where they differ it counts."""

        def parse(job_id: str) -> Task:
            return (self if job_id in self.fingerprints else first).parse(job_id)

        both = replace(
            self,
            taken_at=first.taken_at,
            fingerprints={**first.fingerprints, **self.fingerprints},
            parse=parse,
            calls=first.calls + self.calls,
            unreadable=first.unreadable + self.unreadable,
            listed_before=(first.listed_before | self.listed_before)
            - first.fingerprints.keys()
            - self.fingerprints.keys(),
        )
        return both.after(first)


def _without(ids: AbstractSet[str], *others: Mapping[str, object]) -> AbstractSet[str]:
    return ids - {id_ for other in others for id_ in other} if ids else ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A change of one task between two polls: a decision of the diff, before it gets an id."""

    type: EventType
    before: Task | None
    """None when the task is seen for the first time."""
    after: Task
    occurrence: str
    """Canonical upstream facts that identify the change."""
    observed_at: datetime
    late: bool
    since: datetime | None = None
    """Time since which a stalled task has made no progress."""
    overdue: OverdueLimit | None = None
    """The limit that an overdue task has exceeded."""
    recurs: bool = False
    """True where the task was in another state before, so that the same facts are news again."""
    quiet: bool = False
    """True for an alarm that was raised before its list was first read: it is shown as open, and nobody is notified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOrigin:
    """Which source an event comes from, and what the configuration says about it. Frozen into each of its events."""

    source: str
    region: str
    project_id: str
    environment: str = ""
    """See `Event.environment`."""
    labels: tuple[tuple[str, str], ...] = ()
    """See `Event.labels`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskHistory:
    """What was recorded about the instance and the operation of a task when an event of it was detected."""

    failures: int = 0
    """Number of failed tasks of the instance in the last 24 hours, this one included; 0 where that is not known."""
    recovered_after: float | None = None
    """After the last failure of the same operation on the instance: seconds until it succeeded; None if it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFailure:
    """The open failure that a success has ended."""

    type: EventType
    """Type of the latest of its events."""
    since: datetime
    """When it first failed, or stalled."""
    failures: int
    """How often it failed."""
    acknowledged_by: str = ""
    """Name of who had acknowledged it; the empty string for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedFailure:
    """Failures of one operation while it is open."""

    since: datetime
    """When the first of them happened."""
    failures: int
    """How many there are."""
    last: datetime | None = None
    """When the last of them happened, in the message of an earlier one; None in its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlappingOperation:
    """How unsteady the result of an operation was when an event of it was detected."""

    changes: int
    """Number of times that its result had changed."""
    within_seconds: float
    """Time within which these changes happened, in seconds."""
    began: bool
    """True for the event with which the limit was reached: it is sent, and later ones wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """What a reminder or an escalation is about, as it was when that was recorded."""

    failure_id: str
    """Id of the open failure."""
    type: EventType
    """Type of its latest event."""
    event_id: str
    """Id of its latest event, which people acknowledge."""
    failures: int
    """How often it failed."""
    number: int
    """Number of the reminder, or of the step of the escalation, from 1."""
    told: tuple[str, ...] = ()
    """Channels that had got a message about it."""
    together: int = 1
    """Number of open failures that were due together. Only the first of many have events of their own."""
    last: bool = False
    """True where no more follow, whatever happens."""
    delay_seconds: float = 0
    """How late it is because the notifier was down, in seconds; 0 for less than five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteWindow:
    """A window of a mute, as it was when it began or ended."""

    id: str
    """Id of the mute."""
    covers: str
    """What it covers, as people type it: the name of an instance, or matchers."""
    since: datetime
    until: datetime
    name: str = ""
    """Who made the mute; the empty string where the configuration defines it."""
    reason: str = ""
    except_failures: bool = False
    """See `Mute.except_failures`."""
    ended_by: str = ""
    """Who ended the window early."""
    next_at: datetime | None = None
    """Beginning of the next window of a mute that recurs."""
    held: tuple[tuple[str, int], ...] = ()
    """Number of suppressed events by type, at the end."""
    named: tuple[tuple[str, str], ...] = ()
    """The API's name of the operation and the instance of the first suppressed events that need somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored fact. The task is frozen as it was: delivery never uses its present state."""

    id: str
    """uuid5 of (source, job_id, occurrence): the same facts give the same id on any machine, at any time."""
    type: EventType
    source: str
    """The empty string for an event about a channel; likewise the next two."""
    region: str
    project_id: str
    occurrence: str
    observed_at: datetime
    occurred_at: datetime | None
    """When it happened, as the API gives it; None where it does not."""
    late: bool = False
    """True when it was found after the poller had been away."""
    quiet: bool = False
    """True where it is recorded without notifying anybody: an alarm that was raised before its list was first read."""
    task: Task | None = None
    """None for an event about a source, a channel, or a run that did not appear."""
    previous_status: str | None = None
    detail: str | None = None
    """What to show of an event that no task explains: the bounds of a gap, the error of what is failing."""
    channel: str = ""
    """The channel that it is about, which it is never sent to; the empty string for all other events."""
    since: datetime | None = None
    """Since when a source or a channel has been failing, or had been until it recovered; or a task made no progress."""
    count: int | None = None
    """Number of deliveries that a channel gave up on."""
    environment: str = ""
    """The configured environment of the source: `production`, `staging`; the empty string for none."""
    labels: tuple[tuple[str, str], ...] = ()
    """The configured labels of the source, sorted by name."""
    away_since: datetime | None = None
    """Time of the last poll before the notifier was away, for an event that is late."""
    history: TaskHistory | None = None
    """Set for the events of tasks that need care."""
    usual: Usual | None = None
    """How long such tasks usually take, when the event was detected. None where too few runs are known."""
    overdue: OverdueLimit | None = None
    """The limit that an overdue task has exceeded."""
    expectation: Expectation | None = None
    """The run that is missing, for an event about one."""
    counts: tuple[tuple[str, int], ...] = ()
    """Numbers by name: of a source that starts to be monitored the tasks `listed`, `running` and `failed`."""
    closes: ClosedFailure | None = None
    """The open failure that the success of a task has ended."""
    repeats: RepeatedFailure | None = None
    """The failures of the operation so far, where a route counts them, for a task that was not the first to fail."""
    flapping: FlappingOperation | None = None
    """Set where the result of its operation keeps changing, and that is judged."""
    follow_up: FollowUp | None = None
    """Set for reminders and escalations; `since` is then when the failure began."""
    mute: MuteWindow | None = None
    """The window of a mute that begins or ends."""
    report: Report | None = None
    """What a report says."""
    handed_over: HandedOver | None = None
    """Who takes over by a rota."""
    started_by: StartedBy | None = None
    """Who started the task, as far as that was known when the event was detected."""
    maintenance: MaintenanceNotice | None = None
    """The maintenance that the cloud plans, for an event about one."""

    @property
    def severity(self) -> Severity:
        """How bad the event is where no route sets it."""
        traits, alarm = self.type.traits, self.task.alarm if self.task else None
        if alarm and alarm.level and traits.acknowledgeable:
            usual, loud_in_production = alarm.level.severity, traits.critical_in_production
            return severity_in(self.environment, usual, critical_in_production=loud_in_production)
        if self.maintenance and not self.follow_up:
            return traits.rated(self.maintenance.severity, self.environment)
        return traits.severity_in(self.environment)

    @property
    def matter(self) -> Task | Expectation | MaintenanceNotice | None:
        """What is done, or should have been done, to an instance; None for an event about anything else."""
        return self.task or self.expectation or self.maintenance

    @property
    def calls_somebody(self) -> bool:
        """True where somebody should act: a message about it may mention people."""
        return self.type.traits.calls_somebody

    @property
    def job_id(self) -> str:
        """The task's id, or the empty string for an event about a source or a channel."""
        return self.task.job_id if self.task else ""

    @property
    def recorded_job_id(self) -> str:
        """The task whose history the event is part of, or the empty string.

        A reminder or an escalation changes nothing about its task, so the latest event of the task stays what it was.
        """
        return "" if self.follow_up else self.job_id

    @property
    def care_id(self) -> str:
        """Id of the event that a person acknowledges, and that the message about its task shows."""
        return self.follow_up.event_id if self.follow_up else self.id

    @property
    def about(self) -> str:
        """The report or the rota that it is about: `report:weekly`; the empty string for all other events."""
        if self.report:
            return f"report:{self.report.name}"
        return f"rota:{self.handed_over.rota}" if self.handed_over else ""

    @property
    def subject(self) -> str:
        """What the event is about, as the text of a `Subject`."""
        if self.channel:
            return str(Subject(channel=self.channel))
        if self.expectation:
            return Subject.of_task(self.source, self.follow_up.event_id if self.follow_up else self.id)
        if self.maintenance:
            return Subject.of_task(self.source, f"{Subject.MAINTENANCE}{self.maintenance.id}")
        if self.mute:
            return str(Subject(mute=self.mute.id))
        if self.about:
            return str(Subject(schedule=self.about))
        return Subject.of_task(self.source, self.task.job_id if self.task else "")


def event_id(source: str, job_id: str, occurrence: str) -> str:
    """Return the id of the event that these upstream facts make.

    Never derived from a local counter: after restoring a backup, a counter would give an old id to a new event
    and receivers would drop it as a repeat.
    """
    return id_of(f"{source}\x1f{job_id}\x1f{occurrence}")


def own_event(kind: EventType, occurrence: str, now: datetime) -> Event:
    """Return an event about no task and no source, to which the caller adds what it is about.

    `occurrence` is unique among all of them, whatever their type: it names the channel, mute, report or rota, and when.
    """
    return Event(
        id=event_id("", "", occurrence),
        type=kind,
        source="",
        region="",
        project_id="",
        occurrence=occurrence,
        observed_at=now,
        occurred_at=None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """What is recorded about a source."""

    name: str
    region: str | None = None
    """Region of the list that it reads, followed by its project. None before its first poll."""
    project_id: str | None = None
    feeds: str = ""
    """Names of the lists of alarms that it reads; the empty string for a task list."""
    baseline_at: datetime | None = None
    """Time of its first complete poll; until then new tasks are recorded without events."""
    last_poll_at: datetime | None = None
    """Time of its last recorded poll, of any scope."""
    last_full_at: datetime | None = None
    """Time of its last complete full poll."""
    pruned_to: datetime | None = None
    """Tasks that were over by then may have been recorded once and pruned since."""
    last_full_calls: int = 1
    last_error: str | None = None
    """Error of the last poll; None where it succeeded."""
    failing_since: datetime | None = None
    failures: int = 0
    """Number of failed polls in a row."""
    next_poll_at: datetime | None = None
    announced_since: datetime | None = None
    """Start of the failure that was announced. None before one is, and once its recovery was announced."""
    refused_since: datetime | None = None
    """Time of the first of the latest polls in a row of which the database refused rows; None after a poll without."""
    refused_rows: int = 0
    """Number of rows of the last poll that the database refused to store."""
    empty_since: datetime | None = None
    """Time of the first of the latest complete full polls in a row that found no task at all; None after any other."""
    introduced_at: datetime | None = None
    """Time at which people were notified that it is monitored from its baseline on. None before."""
    retired_at: datetime | None = None
    """Time a service started whose configuration did not name it any more. None again from its next poll on."""
    rung_at: datetime | None = None
    """Time of the latest ring of the doorbell for it; see `notifier.core.doorbell`."""
    clock_skew: float | None = None
    """Seconds that the time of the last good poll was ahead of the cloud's. None where the cloud sent no time."""
    active_at: datetime | None = None
    """Time of the last poll that found a change. None before one did since the baseline."""
    promised_at: datetime | None = None
    """Time by which the next poll was promised when the last one was recorded. Earlier polls can wait until then."""
    scanned_by: str | None = None
    """Owner of the process that is in the middle of a full scan; None where none is."""
    scanned_at: datetime | None = None
    """Time of the last poll in which that process went on with it."""
    tasks: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """What is recorded about a channel."""

    name: str
    parked_since: datetime | None = None
    reason: str | None = None
    probe_at: datetime | None = None
    settings_digest: str | None = None
    announced_since: datetime | None = None
    """Start of the failure that was announced. None before one is, and once its recovery was announced."""
    given_up_until: datetime | None = None
    """Time at which the latest of the dead deliveries that were reported had died."""
    health: ChannelHealth = field(default_factory=ChannelHealth)

    @property
    def stopped_since(self) -> datetime | None:
        """Time since which nothing goes out on a channel that is parked; None for any other.

        Each probe that fails parks it anew. What was announced began with the first failure.
        """
        if self.parked_since is None:
            return None
        known = (self.parked_since, self.announced_since, self.health.failing_since)
        return min(moment for moment in known if moment)
