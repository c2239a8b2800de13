"""What is due at its time: reports, and messages about the hand-overs of rotas.

What is recorded of a schedule is read and locked, its event (with an id made of its name and its time) is recorded, its
deliveries are planned and the next time is set in one transaction. So it is done once, whatever is killed and however
many replicas there are. After a time without a service, the last of the missed times counts, and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from notifier.core.calendars import CalendarEntry
from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.model import Event, SourceOrigin, Task, TaskStatus, event_id, own_event
from notifier.core.report_values import MAX_LISTED, HandedOver, ListedTask, Report
from notifier.core.reports import COUNTED_TYPES, LastSuccess, ReportFacts, ReportRules, ReportScope, make_report
from notifier.core.rota import Rota, Rotas
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.core.schedules import MAX_PERIOD_OF_REPORT, ScheduledReport, ScheduleState
from notifier.core.usual import Runs
from notifier.planning import Announced, PlanTx, announce
from notifier.ports import Store, StoredTask, TaskFilter

SETTLED_AFTER = timedelta(minutes=1)
"""How long after its time a report is made: by then, what polls saw before that time is recorded."""
MAX_RUNNING_READ = 1_000
"""Maximum number of running tasks that a report reads."""


class ScheduleRecords(Protocol):
    """What is recorded of schedules."""

    def lock(self, name: str) -> ScheduleState:
        """Return what is recorded of a schedule, which nobody else changes until the transaction ends."""

    def save(self, state: ScheduleState) -> None:
        """Record a schedule that was locked."""

    def keep(self, names: Collection[str]) -> None:
        """Delete the schedules that are no longer configured."""


class ReportReads(Protocol):
    """What reports are computed from."""

    def now(self) -> datetime:
        """Return the time of the database."""

    def schedules(self) -> Mapping[str, ScheduleState]:
        """Return what is recorded of every schedule, by name."""

    def events_of_types(self, types: Collection[EventType], since: datetime, until: datetime) -> Sequence[Event]:
        """Return the events of some types that were detected from one time up to another, in order."""

    def first_event_at(self) -> datetime | None:
        """Return when the first of all recorded events was detected."""

    def unsent(self, since: datetime, until: datetime) -> Sequence[tuple[Event, DeliveryState]]:
        """Return the messages that rules suppressed or that died, about events from one time up to another.

        There is an entry for each event of such a message.
        """

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        """Return tasks, the most recently changed first."""

    def unresolved_failures(self) -> Sequence[OpenFailure]:
        """Return the failures that are not resolved, the oldest first."""

    def last_successes(self) -> Sequence[LastSuccess]:
        """Return when tasks of each name last completed on each instance."""

    def runs(self, source: str, name: str) -> Runs:
        """Return the latest completed runs of an operation."""

    def maintenances(self, since: datetime) -> Sequence[MaintenanceRecord]:
        """Return the maintenance that is not over, and what has been over since a time; what begins first first."""

    def calendar_entries(self, names: Collection[str]) -> Mapping[str, Sequence[CalendarEntry]]:
        """Return the entries of the last good copies of calendars, by name."""


class ScheduleTx(PlanTx, Protocol):
    """What schedules need of a transaction."""

    @property
    def schedules(self) -> ScheduleRecords:
        """What is recorded of schedules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRules:
    """What recurs."""

    reports: Sequence[ScheduledReport] = ()
    rotas: Sequence[Rota] = ()
    """Those whose hand-overs are announced."""
    origins: Mapping[str, SourceOrigin] = field(default_factory=dict)
    """What is configured of each source, by name."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the schedules."""
        return [*(one.name for one in self.reports), *map(_rota_name, self.rotas)]


async def run_schedules(
    store: Store[ScheduleTx, ReportReads], rules: ScheduleRules, routing: RoutingConfig
) -> Announced:
    """Announce what is due. Raises StoreError."""
    announced = Announced()
    for make in await store.read(lambda q: _due(q, rules, routing)):
        announced += await store.transact(make)
    return announced


_Write: TypeAlias = Callable[[ScheduleTx], Announced]


def _due(q: ReportReads, rules: ScheduleRules, routing: RoutingConfig) -> Sequence[_Write]:
    """Return what has to be written now. What reports say is read here, outside the transaction that plans them."""
    now, known = q.now(), q.schedules()
    work: list[_Write] = []
    for one in rules.reports:
        state = known.get(one.name, ScheduleState(name=one.name))
        if state.expression != one.expression or state.next_at is None:
            work.append(_begin(one, now))
        elif state.next_at <= now - SETTLED_AFTER:
            at = one.cron.previous(now - SETTLED_AFTER)
            report = read_report(q, one.rules, period_of(one, at, state.last_at), rules.origins)
            work.append(_announce_report(one, report, state.next_at, now, routing))
    work += _hand_overs(q, rules, routing, known, now)
    return work


def _begin(one: ScheduledReport, now: datetime) -> _Write:
    def write(tx: ScheduleTx) -> Announced:
        state = tx.schedules.lock(one.name)
        if state.expression != one.expression or state.next_at is None:
            tx.schedules.save(replace(state, expression=one.expression, next_at=one.cron.after(now)))
        return Announced()

    return write


def _announce_report(
    one: ScheduledReport, report: Report, due: datetime, now: datetime, routing: RoutingConfig
) -> _Write:
    def write(tx: ScheduleTx) -> Announced:
        state = tx.schedules.lock(one.name)
        if state.next_at != due or state.expression != one.expression:
            return Announced()  # another replica was faster
        tx.schedules.save(replace(state, next_at=one.cron.after(report.until), last_at=report.until))
        return _announced(tx, report_event(report, now), one.rules.channels, routing, now)

    return write


def _announced(
    tx: ScheduleTx, event: Event, channels: tuple[str, ...], routing: RoutingConfig, now: datetime
) -> Announced:
    return announce(tx, [RoutedEvent(event=event, routes=(), channels=channels)], routing, now)


# ---- reports ----


def period_of(one: ScheduledReport, at: datetime, last: datetime | None) -> tuple[datetime, datetime]:
    """Return the period of a report that is due at a time: of the configured length, or since the one before."""
    if one.rules.period:
        return at - one.rules.period, at
    before = last if last and last < at else one.cron.previous(at - timedelta(microseconds=1))
    return max(before, at - MAX_PERIOD_OF_REPORT), at


def read_report(
    q: ReportReads,
    rules: ReportRules,
    period: tuple[datetime, datetime],
    origins: Mapping[str, SourceOrigin],
) -> Report:
    """Return what a report says of a period."""
    since, until = period
    events = q.events_of_types(COUNTED_TYPES, since - (until - since), until)
    completed = {
        (event.task.source, event.task.name)
        for event in events
        if event.type is EventType.TASK_COMPLETED and event.observed_at >= since and event.task
    }
    states = [state for event, state in q.unsent(since, until) if rules.scope.covers_own(event)]
    running = q.tasks(TaskFilter(status=TaskStatus.RUNNING, limit=MAX_RUNNING_READ))
    facts = ReportFacts(
        events=events,
        first_at=q.first_event_at(),
        running=[stored.task for stored in running if stored.listed],
        open=list(_open(q, rules.scope)),
        successes=q.last_successes(),
        maintenance=q.maintenances(until),
        runs={key: q.runs(*key) for key in sorted(completed)},
        suppressed=states.count(DeliveryState.SUPPRESSED),
        dead=states.count(DeliveryState.DEAD),
    )
    return make_report(rules, since, until, facts, origins)


def _open(q: ReportReads, scope: ReportScope) -> Sequence[ListedTask]:
    found = [one for one in q.unresolved_failures() if one.state is FailureState.OPEN and scope.covers(one.latest)]
    return [_listed(one, one.latest.task) for one in found if one.latest.task]


def _listed(one: OpenFailure, task: Task) -> ListedTask:
    return ListedTask(
        source=task.source,
        job_id=task.job_id,
        name=task.name,
        instance=task.instance_name or task.instance_id or "",
        since=one.opened_at,
        failures=one.count,
    )


async def report_now(
    store: Store[ScheduleTx, ReportReads],
    one: ScheduledReport,
    since: timedelta | None,
    origins: Mapping[str, SourceOrigin],
) -> Report:
    """Return a report up to now, which reaches back as far as a scheduled one without `since`. Raises StoreError."""
    return await store.read(lambda q: read_report_now(q, one, since, origins))


def read_report_now(
    q: ReportReads, one: ScheduledReport, since: timedelta | None, origins: Mapping[str, SourceOrigin]
) -> Report:
    """Return a report up to now, which reaches back as far as a scheduled one without `since`."""
    now, state = q.now(), q.schedules().get(one.name)
    begin = now - since if since else period_of(one, now, state.last_at if state else None)[0]
    return read_report(q, one.rules, (max(begin, now - MAX_PERIOD_OF_REPORT), now), origins)


async def send_report(
    store: Store[ScheduleTx, ReportReads], one: ScheduledReport, report: Report, routing: RoutingConfig
) -> Announced:
    """Plan the deliveries of a report on its channels. When the next one is due stays as it is. Raises StoreError."""
    return await store.transact(
        lambda tx: _announced(tx, report_event(report, tx.now()), one.rules.channels, routing, tx.now())
    )


def report_event(report: Report, now: datetime) -> Event:
    """Return the event of a report. Its id is made of the name and the time of the report."""
    event = own_event(EventType.REPORT_DUE, _occurrence(report.name, report.until), now)
    return replace(event, report=report)


def report_event_id(name: str, until: datetime) -> str:
    """Return the id of the event of a report that reached up to a time."""
    return event_id("", "", _occurrence(name, until))


def _occurrence(name: str, until: datetime) -> str:
    return f"report {name} {until.isoformat()}"


# ---- hand-overs ----


def _rota_name(rota: Rota) -> str:
    return f"rota:{rota.name}"


def _hand_overs(
    q: ReportReads,
    rules: ScheduleRules,
    routing: RoutingConfig,
    known: Mapping[str, ScheduleState],
    now: datetime,
) -> Sequence[_Write]:
    """Return what has to be written of rotas by which somebody else is on duty than was announced last."""
    if not rules.rotas:
        return ()
    rotas = Rotas(by_name={rota.name: rota for rota in rules.rotas})
    entries = q.calendar_entries(rotas.calendars)
    work: list[_Write] = []
    for rota in rules.rotas:
        state = known.get(_rota_name(rota), ScheduleState(name=_rota_name(rota)))
        mine = entries.get(rota.calendar or "", ())
        person = rota.on_duty(now, mine)
        name = person.name if person else ""
        if state.detail == name:
            continue
        open_ = _open(q, ReportScope()) if state.detail is not None else ()
        work.append(_hand_over(rota, mine, state, person=name, open_=open_, now=now, routing=routing))
    return work


def _hand_over(
    rota: Rota,
    entries: Sequence[CalendarEntry],
    was: ScheduleState,
    *,
    person: str,
    open_: Sequence[ListedTask],
    now: datetime,
    routing: RoutingConfig,
) -> _Write:
    duty, since = rota.duty(now, entries), rota.since(now, entries)

    def write(tx: ScheduleTx) -> Announced:
        state = tx.schedules.lock(was.name)
        if state.detail != was.detail:
            return Announced()  # another replica was faster
        tx.schedules.save(replace(state, detail=person, last_at=now))
        if was.detail is None:  # who is on duty when the rota is first seen has not just taken over
            return Announced()
        handed = HandedOver(
            rota=rota.name,
            person=person or None,
            former=was.detail or None,
            until=duty.until,
            following=duty.following.name if duty.following else None,
            open=tuple(open_[:MAX_LISTED]),
            open_total=len(open_),
        )
        occurrence = f"rota {rota.name} {person} {(since or now).isoformat()} {(was.last_at or now).isoformat()}"
        event = own_event(EventType.ROTA_HANDED_OVER, occurrence, now)
        return _announced(tx, replace(event, handed_over=handed), rota.announce, routing, now)

    return write
