"""What needs somebody: open failures that nobody has acknowledged, and what is wrong with the notifier itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import HistoryKind, OpenFailure
from notifier.core.health import FindingKind, HealthFinding, HealthReport
from notifier.core.health_facts import Expected, HealthFacts
from notifier.core.model import Event
from notifier.core.people import Acknowledgement
from notifier.core.storms import Storm
from notifier.core.tickets import Ticket, happened, web_address
from notifier.ports import HeldMessages, NeedingFailure, RunningTask, ToldChannel
from notifier.web.periods import StormReads
from notifier.wording.events import EventFormatter
from notifier.wording.findings import HealthFormatter
from notifier.wording.links import MAINTENANCE_PATH, list_path, missing_path, task_path
from notifier.wording.localizer import Localizer, capitalised
from notifier.wording.marks import without_marks
from notifier.wording.sanitize import one_line, plain
from notifier.wording.states import EVENT_ROWS

SHOWN_FAILURES = 15
"""Maximum number of failures that are shown with all about them."""
SHOWN_FINDINGS = 15
"""Maximum number of faults that are shown before the failures, and after them: a thousand sources may fail at once."""
SHOWN_TAKEN = 10
"""Maximum number of acknowledged failures that are shown."""
MAX_SHOWN_REASON = 600
"""Maximum length of a reason on this page, in characters."""
_LOOKED_BACK = timedelta(days=31)
"""How far back the last success of an operation is looked for: as far as the cloud lists tasks."""
_NIGHT = (20, 6)
"""Hours at which a night begins and ends."""


class CountReads(Protocol):
    """Reads of how much needs somebody."""

    def count_unacknowledged(self) -> int:
        """Count the open failures that nobody has acknowledged."""

    def health_facts(self) -> HealthFacts:
        """Return everything that health is judged by."""


class NeedReads(Protocol):
    """Reads of what needs somebody; see `store.now_page`."""

    def needing(self) -> Sequence[NeedingFailure]:
        """Return the open failures that nobody has acknowledged, those that changed last first."""

    def failures(self, ids: Collection[str]) -> Sequence[OpenFailure]:
        """Return failures by their ids, in no order."""

    def taken(self, limit: int) -> Sequence[OpenFailure]:
        """Return open failures that somebody takes care of, those that changed last first."""

    def last_resolved(self) -> OpenFailure | None:
        """Return the failure that was over last; None where none is recorded."""

    def told(self, event_ids: Collection[str]) -> Mapping[str, Sequence[ToldChannel]]:
        """Return what became of events on each channel that was to be notified, by the id of the event."""

    def tickets(self, operations: Collection[str]) -> Mapping[str, Sequence[Ticket]]:
        """Return the tickets of operations that were opened, by operation, the oldest first."""

    def last_successes(self, event_ids: Collection[str], since: datetime) -> Mapping[str, datetime]:
        """Return when the operations of failed tasks last completed on their instances after a time, by event id."""


class QuietReads(Protocol):
    """Reads of what runs and of what was kept quiet; see `store.now_page`."""

    def running(self) -> Sequence[RunningTask]:
        """Return running tasks of sources that are polled, those that changed last first."""

    def count_running(self) -> int:
        """Count the running tasks of sources that are polled, up to 1,001."""

    def count_held_back(self, now: datetime) -> Mapping[str, int]:
        """Return how many events each mute in force has suppressed in its window so far, by its id."""

    def held(self) -> Sequence[HeldMessages]:
        """Return how many messages each rule holds, and when the first of them goes out; the earliest first."""


class NowReads(NeedReads, QuietReads, StormReads, Protocol):
    """What the page reads of its own."""


class NeedQueries(Protocol):
    """What is read to find out what needs somebody."""

    @property
    def now_page(self) -> NeedReads:
        """Reads of what needs somebody."""

    def storms(self, ids: Collection[str]) -> Mapping[str, Storm]:
        """Return storms by id."""


def count_needs(unacknowledged: int, report: HealthReport) -> int:
    """Return how much needs somebody: the number beside the tab, in the title, and of the verdict."""
    return unacknowledged + len(needing_findings(report))


def needing_findings(report: HealthReport) -> Sequence[HealthFinding]:
    """Return what is wrong with the notifier, each source and each channel once for what is wrong with it."""
    found: dict[tuple[str, str], HealthFinding] = {}
    for finding in report.findings:
        if finding.red:
            about_channel = finding.kind.startswith("channel.")
            found.setdefault(("channel." if about_channel else finding.kind, finding.about), finding)
    return list(found.values())


# ---- failures ----


class NeedKind(StrEnum):
    """Why a task needs somebody. The values are states of `macros.html`."""

    FAILED = "failed"
    UNLISTED = "unlisted"
    MISSING = "missing"
    STUCK = "stuck"
    OVERDUE = "overdue"
    RAISED = "raised"
    """An alarm."""
    AWAITING = "awaiting"
    """A maintenance waits for authorisation."""
    WENT_WRONG = "went_wrong"
    """A maintenance failed."""

    @property
    def is_failure(self) -> bool:
        """Whether something did not succeed; else it may still do so."""
        return self not in (NeedKind.STUCK, NeedKind.OVERDUE, NeedKind.AWAITING)

    @property
    def of_maintenance(self) -> bool:
        """Whether it is about a maintenance."""
        return self in (NeedKind.AWAITING, NeedKind.WENT_WRONG)


def _kind_of(event: Event) -> NeedKind:
    """Return why the task of an event needs somebody: the state of the event, a reminder for a failure."""
    state = EVENT_ROWS[event.type].state.name
    named = {kind.value: kind for kind in NeedKind} | {"stalled": NeedKind.STUCK}
    return named.get(state, NeedKind.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldRow:
    """A channel that was to be told, as `ui.told` shows it."""

    name: str
    state: str
    """State of the delivery."""
    ref: str | None = None
    """What people call the ticket that the channel keeps."""
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureNames:
    """Which task or run a failure is about."""

    operation: str
    """For people."""
    instance: str
    url: str

    @property
    def title(self) -> tuple[str, ...]:
        """Operation and instance, as far as they are known."""
        return tuple(filter(None, (self.operation, self.instance)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureStreak:
    """Failures of an operation on days in a row."""

    days: int
    """At least two."""
    nights: bool
    """Whether they happened at night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureNeed:
    """An open failure, with what helps to decide what to do."""

    id: str
    event_id: str
    """Id of its latest event, which people acknowledge."""
    kind: NeedKind
    names: FailureNames
    at: datetime
    """When its latest event happened."""
    reason: str
    """As the cloud gave it; empty where it gave none."""
    no_reason: str
    """Stands for a missing reason; else empty."""
    meaning: str
    """A sentence; empty where it is not known. Likewise below."""
    advice: str
    """May have commands in backticks."""
    notes: tuple[str, ...]
    """What the judgement of an overdue task or of a missing run is based on."""
    console_url: str
    runbook_url: str
    count: int
    """How often it failed."""
    opened_at: datetime
    streak: FailureStreak | None
    last_success: datetime | None
    history_url: str
    """The list of all its failures."""
    told: tuple[ToldRow, ...]
    mute_url: str | None
    """None without an instance."""
    progress: float | None
    """Of a task that has not ended, in percent."""
    began: datetime | None
    """When a task began that has not ended."""
    still_since: datetime | None
    """Since when its progress is the same."""
    usual: tuple[timedelta, timedelta] | None
    """How long such tasks take: as a rule, and at most."""
    next_at: datetime | None
    """When somebody is reminded of it, or it is escalated, as far as is known."""


def failure_need(
    one: OpenFailure,
    formatter: EventFormatter,
    told: Sequence[ToldChannel],
    tickets: Sequence[Ticket],
    last_success: datetime | None,
) -> FailureNeed:
    """Return what is shown of an open failure."""
    event, message = one.latest, formatter.describe(one.latest)
    task, usual, kind = event.task, event.usual, _kind_of(event)
    runs = kind in (NeedKind.STUCK, NeedKind.OVERDUE)
    judged = message.notes if kind in (NeedKind.OVERDUE, NeedKind.MISSING) else ()
    known = message.conditions[:1] if kind is NeedKind.MISSING else ()
    if kind.of_maintenance:
        known, judged = (_sentence(message.conditions, formatter.localizer),), message.notes
    about = event.matter
    instance = (about.instance_name or about.instance_id) if about else None
    return FailureNeed(
        id=one.id,
        event_id=event.id,
        kind=kind,
        names=names_of(event, formatter),
        at=happened(event),
        reason=shown_reason(message.reason),
        no_reason=message.reason_note,
        meaning=message.meaning,
        advice=message.advice,
        notes=tuple(without_marks(note) for note in (*known, *judged)),
        console_url=formatter.links.console(event),
        runbook_url=formatter.links.runbook(event, message.explanation),
        count=one.count,
        opened_at=one.opened_at,
        streak=streak_of(one, formatter),
        last_success=last_success if kind.is_failure else None,
        history_url=_history_url(event),
        told=told_rows(told, tickets),
        mute_url=list_path("/mutes", instance=instance) if instance else None,
        progress=task.progress if task and runs else None,
        began=task.created_at if task and runs else None,
        still_since=event.since if kind is NeedKind.STUCK else None,
        usual=(timedelta(seconds=usual.middle), timedelta(seconds=usual.ceiling)) if usual and runs else None,
        next_at=one.next_at,
    )


def _sentence(parts: Sequence[str], localizer: Localizer) -> str:
    """Return parts of a message as one sentence."""
    return localizer.text("headline.preheader", parts=localizer.text("condition.separator").join(parts))


def shown_reason(reason: str) -> str:
    """Return a reason as it was written; a very long one ends with an ellipsis, and the task's page has the rest."""
    return reason if len(reason) <= MAX_SHOWN_REASON else f"{reason[:MAX_SHOWN_REASON].rstrip()} …"


def names_of(event: Event, formatter: EventFormatter) -> FailureNames:
    """Return which task or run an event is about."""
    message = formatter.describe(event)
    url = task_path(event.source, event.job_id) if event.task is not None else missing_path(event.id)
    url = MAINTENANCE_PATH if event.maintenance else url
    return FailureNames(operation=message.operation, instance=message.subject, url=url)


def _history_url(event: Event) -> str:
    about = event.matter
    if event.maintenance:
        return MAINTENANCE_PATH
    return list_path(
        "/tasks",
        source=event.source,
        instance=(about.instance_id or about.instance_name or "") if about else "",
        type=about.name if about else "",
        status="failed" if event.task else "",
        since="all",
    )


def streak_of(one: OpenFailure, formatter: EventFormatter) -> FailureStreak | None:
    """Return on how many days in a row an operation has failed once; None for one day, or for other numbers."""
    zone = formatter.localizer.timezone
    first, last = one.opened_at.astimezone(zone), happened(one.latest).astimezone(zone)
    days = (last.date() - first.date()).days + 1
    if days < 2 or days != one.count:  # noqa: PLR2004 - in a row
        return None
    evening, morning = _NIGHT
    return FailureStreak(days=days, nights=all(at.hour >= evening or at.hour < morning for at in (first, last)))


_ORDER = (
    DeliveryState.DELIVERED,
    DeliveryState.PENDING,
    DeliveryState.PARKED,
    DeliveryState.DEAD,
    DeliveryState.SUPERSEDED,
    DeliveryState.SUPPRESSED,
)


def told_rows(told: Iterable[ToldChannel], tickets: Sequence[Ticket]) -> tuple[ToldRow, ...]:
    """Return the channels that were to be told: those that were first, those where it went wrong then."""
    latest = {ticket.channel: ticket for ticket in tickets}
    rows = []
    for one in sorted(told, key=lambda one: _ORDER.index(one.state)):
        ticket = latest.get(one.channel)
        messages = list_path("/deliveries", channel=one.channel, state=one.state.value)
        url = web_address(ticket.url) if ticket else messages
        rows.append(
            ToldRow(name=one_line(one.channel), state=one.state.value, ref=ticket.label if ticket else None, url=url)
        )
    return tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class StormNeed:
    """The open failures of a storm, which are taken together."""

    id: str
    source: str
    open: int
    """Number of its failures that are open and that nobody has acknowledged."""
    total: int
    since: datetime
    until: datetime
    lasts: bool
    reasons: tuple[tuple[int, str, str], ...]
    """Number, error code and operation for people; the most frequent first."""
    instances: int
    reason: str
    """That of most of them, as the cloud gave it."""
    meaning: str
    advice: str
    url: str


_SHOWN_REASONS = 3


def storm_need(storm: Storm, count: int, formatter: EventFormatter) -> StormNeed:
    """Return what is shown of the open failures of a storm."""
    reason = storm.groups[0].reason if storm.groups else ""
    explained = formatter.explained(reason)
    return StormNeed(
        id=storm.id,
        source=storm.source,
        open=count,
        total=storm.total,
        since=storm.started_at,
        until=storm.updated_at,
        lasts=storm.ended_at is None,
        reasons=tuple(
            (group.count, group.code, formatter.localizer.task_label(group.operation))
            for group in storm.groups[:_SHOWN_REASONS]
        ),
        instances=len(storm.instances),
        reason=shown_reason(explained.text),
        meaning=explained.meaning,
        advice=explained.action,
        url=list_path("/tasks", storm=storm.id),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFailure:
    """An open failure that somebody takes care of."""

    names: FailureNames
    at: datetime
    by: str
    since: datetime
    """When they acknowledged it."""


def taken_failure(one: OpenFailure, formatter: EventFormatter) -> TakenFailure | None:
    """Return what is shown of an acknowledged failure."""
    taken = one.acknowledged
    if taken is None:
        return None
    names = names_of(one.latest, formatter)
    return TakenFailure(names=names, at=happened(one.latest), by=one_line(taken.name), since=taken.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedFailure:
    """The failure that was over last."""

    names: FailureNames
    at: datetime
    acknowledged_by: str
    """Who had taken care of it; empty for nobody."""
    resolved_by: str
    """Who said that it is over; empty where the operation succeeded or the task went on."""
    succeeded: bool
    """Whether the operation succeeded."""


def resolved_failure(one: OpenFailure, formatter: EventFormatter) -> ResolvedFailure:
    """Return what is shown of a failure that is over."""
    ended = next((entry for entry in reversed(one.history) if entry.kind is HistoryKind.RESOLVED), None)
    taken: Acknowledgement | None = one.acknowledged
    return ResolvedFailure(
        names=names_of(one.latest, formatter),
        at=happened(one.latest),
        acknowledged_by=one_line(taken.name) if taken else "",
        resolved_by=one_line(ended.name) if ended else "",
        succeeded=bool(ended and ended.event_id) and one.latest.type is not EventType.ALARM_RAISED,
    )


# ---- what is wrong with the notifier ----


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingNeed:
    """Something that is wrong with the notifier itself."""

    kind: FindingKind
    about: str
    region: str
    """Of a source; else empty."""
    since: datetime | None
    count: int
    dead: int
    """Number of messages of a channel that were given up, besides what the finding is about."""
    reason: str
    """The error from outside; empty for none."""
    sentence: str
    """What is wrong, for kinds that have no words of their own on the page."""
    commands: tuple[str, ...]

    @property
    def id(self) -> str:
        """What tells it from the others on the page."""
        return f"{self.kind}-{self.about}".replace(".", "-")

    @property
    def comes_last(self) -> bool:
        """Whether failures are shown before it."""
        return self.kind.startswith(("channel.", "calendar."))

    @property
    def is_blind(self) -> bool:
        """Whether something is not observed because of it."""
        return self.kind in BLIND_KINDS


BLIND_KINDS = frozenset({FindingKind.SOURCE_NOT_POLLED, FindingKind.SOURCE_AHEAD})
"""Findings that mean that what the page shows of a source is old."""
RED_KINDS = frozenset({*BLIND_KINDS, FindingKind.DATABASE, FindingKind.ROLE_NOT_SERVED, FindingKind.SOURCE_NOT_WHOLE})
"""Findings because of which failures may stay unknown."""


def finding_need(finding: HealthFinding, formatter: HealthFormatter, expected: Expected) -> FindingNeed:
    """Return what is shown of a finding."""
    regions = {source.name: source.region for source in expected.sources}
    about_source = finding.kind.startswith("source.")
    about_channel = finding.kind.startswith("channel.")
    dead = formatter.health.of(finding.about, FindingKind.CHANNEL_DEAD) if about_channel else None
    return FindingNeed(
        kind=finding.kind,
        about=finding.about,
        region=regions.get(finding.about, "") if about_source else "",
        since=finding.since,
        count=finding.count or 0,
        dead=(dead.count or 0) if dead and dead is not finding else 0,
        reason=capitalised(plain(formatter.localizer.reason(finding.reason))) if finding.reason else "",
        sentence=capitalised(without_marks(formatter.finding(finding))),
        commands=finding.commands,
    )


# ---- all of it ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Everything that needs somebody, the most urgent first."""

    total: int
    """See `count_needs`."""
    findings: tuple[FindingNeed, ...]
    storms: tuple[StormNeed, ...]
    failures: tuple[FailureNeed, ...]
    """The latest first; those that may still succeed after the others."""
    failed: int
    """Number of open failures, those of storms and those that are not shown included."""
    stuck: int
    """Number of tasks that have stalled or are overdue, and of runs that are missing."""
    missing: int
    raised: int
    """Number of alarms."""
    awaiting: int
    """Number of maintenances that wait for authorisation."""
    taken: tuple[TakenFailure, ...]

    @property
    def first_findings(self) -> tuple[FindingNeed, ...]:
        """The faults that are shown before the failures."""
        return tuple(one for one in self.findings if not one.comes_last)[:SHOWN_FINDINGS]

    @property
    def last_findings(self) -> tuple[FindingNeed, ...]:
        """The faults that are shown after the failures."""
        return tuple(one for one in self.findings if one.comes_last)[:SHOWN_FINDINGS]

    @property
    def hidden_findings(self) -> int:
        """Number of faults that are not shown."""
        return len(self.findings) - len(self.first_findings) - len(self.last_findings)

    @property
    def hidden(self) -> int:
        """Number of open failures that are not shown."""
        shown = len(self.failures) + sum(storm.open for storm in self.storms)
        return max(self.failed + self.stuck + self.missing + self.raised + self.awaiting - shown, 0)

    @property
    def is_red(self) -> bool:
        """Whether anything failed, or may have failed without anybody knowing."""
        return bool(self.failed or self.missing or self.raised) or any(
            finding.kind in RED_KINDS for finding in self.findings
        )


def read_needs(
    q: NeedQueries, unacknowledged: int, report: HealthReport, *, expected: Expected, formatter: EventFormatter
) -> Needs:
    """Read what needs somebody.

    Args:
        q: the reads.
        unacknowledged: number of open failures that nobody has acknowledged.
        report: the judgement of health.
        expected: the configured sources.
        formatter: for the reader.
    """
    reads = q.now_page
    needing = reads.needing() if unacknowledged else ()
    stormy = Counter(one.storm for one in needing if one.storm)
    storms = q.storms(stormy)
    single = [one.id for one in needing if one.storm not in storms]
    shown = _described(reads, reads.failures(single[:SHOWN_FAILURES]), report.at, formatter)
    stuck = sum(bool(one.job_id) for one in needing)
    missing = sum(one.kind is NeedKind.MISSING for one in shown)
    awaiting = sum(one.kind is NeedKind.AWAITING for one in shown)
    raised = sum(one.kind is NeedKind.RAISED for one in shown)
    # In whole minutes, as all ages, so that the page stays the same for as long.
    minute = replace(report, at=report.at.replace(second=0, microsecond=0))
    health = HealthFormatter(health=minute, localizer=formatter.localizer, when=formatter.localizer.day_and_time)
    taken = (taken_failure(one, formatter) for one in reads.taken(SHOWN_TAKEN))
    by_age = sorted(storms.values(), key=lambda storm: storm.updated_at, reverse=True)
    return Needs(
        total=count_needs(unacknowledged, report),
        findings=tuple(finding_need(one, health, expected) for one in needing_findings(report)),
        storms=tuple(storm_need(storm, stormy[storm.id], formatter) for storm in by_age),
        failures=shown,
        failed=unacknowledged - stuck - missing - raised - awaiting,
        stuck=stuck,
        missing=missing,
        raised=raised,
        awaiting=awaiting,
        taken=tuple(one for one in taken if one is not None),
    )


def _described(
    reads: NeedReads, found: Sequence[OpenFailure], now: datetime, formatter: EventFormatter
) -> tuple[FailureNeed, ...]:
    if not found:
        return ()
    events = [one.latest.id for one in found]
    told = reads.told(events)
    tickets = reads.tickets([one.operation for one in found])
    successes = reads.last_successes(events, now - _LOOKED_BACK)
    needs = [
        failure_need(
            one, formatter, told.get(one.latest.id, ()), tickets.get(one.operation, ()), successes.get(one.latest.id)
        )
        for one in found
    ]
    return tuple(sorted(needs, key=lambda need: (need.kind.is_failure, need.at), reverse=True))
