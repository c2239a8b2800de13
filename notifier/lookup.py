"""Queries of the store: functions over its reads, for the command line, the chat and the page alike."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import SequenceMatcher
from heapq import nlargest
from typing import Generic, Protocol, TypeVar

from notifier.core import listings
from notifier.core.calendars import CalendarEntry, days_of
from notifier.core.causes import CauseCatalogue
from notifier.core.delivery import Attempt, Delivery
from notifier.core.events import EventType
from notifier.core.expectations import (
    SEEN_WITHIN,
    ExpectedRuns,
    Judged,
    MissingRules,
    SeenRun,
    expected_runs,
    fitting_nothing,
)
from notifier.core.failures import MIN_ID_PREFIX, OpenFailure, episodes_of
from notifier.core.health import HealthReport, judge
from notifier.core.health_facts import ConfiguredSource, Expected, HealthFacts
from notifier.core.maintenance import KEPT
from notifier.core.maintenance_mutes import MaintenanceMute, MaintenanceMuteNow, mutes_now
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.matchers import Matcher
from notifier.core.model import ChannelState, Event, SourceState, Task, TaskStatus
from notifier.core.mutes import HeldBack, Mute
from notifier.core.origins import OriginFigures, plain_id
from notifier.core.people import Action, EventSubscription
from notifier.core.rota import Duty, Rota, Rotas
from notifier.core.routing import Route, RoutedEvent, RouteVerdict, calendars_of, explain_routes, with_holidays
from notifier.core.tickets import Ticket, operation_of_task
from notifier.core.usual import Runs
from notifier.core.usual_memory import UsualMemory
from notifier.ports import ActionFilter, DeliveryFilter, EventFilter, Ledger, StoredTask, TaskFilter, TaskStatistics


class CalendarReads(Protocol):
    """The calendars of holidays, and those that say who is on duty."""

    def calendar_entries(self, names: Collection[str]) -> Mapping[str, Sequence[CalendarEntry]]:
        """Return the entries of the last good copies of calendars, by name."""


class RunReads(Protocol):
    """Reads of recorded runs."""

    def now(self) -> datetime:
        """Return the time of the database."""

    def runs(self, source: str, name: str) -> Runs:
        """Return the latest completed runs of an operation."""

    def seen_runs(self, source: str, since: datetime) -> Sequence[SeenRun]:
        """Return the tasks of a source that have changed since a time, the latest ones."""

    def source_states(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name, without the counts of its tasks."""

    def statistics(
        self, since: datetime | None = None, *, name: str | None = None, instance: str | None = None
    ) -> Sequence[TaskStatistics]:
        """Count tasks by name, the most frequent first, with the distribution of their durations."""

    def origin_figures(self, since: datetime | None = None) -> OriginFigures:
        """Return how many starts were explained, and the lag of Cloud Trace, of searches that ended since a time."""


class Lookup(CalendarReads, RunReads, Protocol):
    """The reads that queries are answered from."""

    def sources(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name."""

    def health_facts(self) -> HealthFacts:
        """Return everything that health is judged by, and when that was asked."""

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        """Return tasks, the most recently changed first."""

    def events(self, wanted: EventFilter) -> Sequence[RoutedEvent]:
        """Return events, the newest first."""

    def deliveries(self, wanted: DeliveryFilter) -> Sequence[Delivery]:
        """Return deliveries, the newest first."""

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        """Return the attempts of a delivery in order."""

    def attempts_of(self, delivery_ids: Collection[str]) -> Mapping[str, Sequence[Attempt]]:
        """Return the attempts of deliveries in order, by the id of the delivery; none of one without any."""

    def tickets(self, operation: str) -> Sequence[Ticket]:
        """Return the tickets of an operation, by channel, the oldest first."""

    def ledger(self) -> Ledger:
        """Count every pair."""

    def instances(self, wanted: str, limit: int) -> Sequence[tuple[str | None, str | None]]:
        """Return ids and names of instances of recorded tasks with this id or name."""

    def channels(self) -> Sequence[ChannelState]:
        """Return what is recorded about channels, by name."""

    def task_names(self) -> Sequence[str]:
        """Return the names of recorded tasks, each once."""

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force, those that end first first."""

    def maintenances(self, since: datetime) -> Sequence[MaintenanceRecord]:
        """Return the maintenance that is not over, and what has been over since a time; what begins first first."""

    def known_mutes(self) -> Sequence[Mute]:
        """Return the mutes that are in force or planned, those that begin first first."""

    def held_back(self, mute: Mute) -> HeldBack:
        """Return what a mute has suppressed in its window so far."""

    def open_failures(self) -> Sequence[OpenFailure]:
        """Return the failures that are not resolved, the worst first, then the oldest."""

    def count_unacknowledged(self) -> int:
        """Count the open failures that nobody has acknowledged."""

    def failures_of(self, operation: str) -> Sequence[OpenFailure]:
        """Return the failures of an operation, resolved ones too, the oldest first."""

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        """Return the subscriptions to events of all people and channels, the oldest first."""

    def actions(self, limit: int, wanted: ActionFilter | None = None) -> Sequence[Action]:
        """Return what people did, the newest first."""

    def recent_instance_names(self, limit: int) -> Sequence[str]:
        """Return the names of the instances of this many recorded tasks, those that changed last first, each once."""


T = TypeVar("T")

MAX_CANDIDATES = 10
"""Maximum number of tasks returned where the beginning of a job id fits several."""

MAX_SUGGESTIONS = 5
"""Maximum number of instances of one name, or with a similar name, that are returned."""
COMPARED_NAMES, CLOSELY_COMPARED_NAMES = 800, 20
"""Number of recent tasks whose instance names are compared with an unknown name, roughly and then closely."""
COMPARED_NAME_LENGTH = 64
"""Maximum length of a compared name, in characters."""
MIN_SIMILARITY = 0.6
"""Minimum similarity of a suggested name, from 0 to 1."""

MAX_HISTORY = 500
"""Maximum number of events that an explanation of a task covers; the newest count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredListing(Generic[T]):
    """Rows with the sources, which show how fresh the rows are: an empty answer means little without that."""

    rows: tuple[T, ...]
    sources: tuple[SourceState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnswer:
    """The task that was asked for; or the candidates, when the beginning of a job id fits several; or nothing."""

    task: StoredTask | None = None
    candidates: tuple[StoredTask, ...] = ()

    @property
    def known(self) -> bool:
        """Whether any task has such a job id."""
        return self.task is not None or bool(self.candidates)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedInstance:
    """An instance, as the tasks about it name it: at least one of both is known."""

    id: str | None
    name: str | None

    @property
    def key(self) -> str:
        """What a mute of it is recorded under."""
        return self.id or self.name or ""

    @property
    def shown(self) -> str:
        """Its name, or its id where no name is known."""
        return self.name or self.id or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAnswer:
    """The instance that was asked for; or the ids of all that share its name; or the names that resemble it."""

    instance: NamedInstance | None = None
    namesakes: tuple[str, ...] = ()
    similar_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRecord:
    """One event on one channel, with its delivery and attempts."""

    channel: str
    planned: bool
    """True when routing asked for it at the time the event was detected."""
    delivery: Delivery | None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One event: how each route judges it now, and what became of it on each channel then."""

    routed: RoutedEvent
    verdicts: tuple[RouteVerdict, ...]
    channels: tuple[ChannelRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExplanation:
    """Why each channel was or was not notified of a task. Without events nothing has changed since the baseline."""

    task: StoredTask
    events: tuple[EventRecord, ...]
    """The oldest first."""
    tickets: tuple[Ticket, ...] = ()
    """Those that were opened for its operation, by channel, the oldest first."""
    failures: tuple[OpenFailure, ...] = ()
    """The open failures, and those that are over, that its events are part of, the oldest first."""
    runs: Runs | None = None
    """The latest completed runs of its operation, where one of its events is a judgement of how long it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The ledger of every (event, channel) pair, and when it was drawn."""

    at: datetime
    ledger: Ledger

    @property
    def ok(self) -> bool:
        """True when every pair has exactly one delivery."""
        return not self.ledger.unaccounted


def list_tasks(q: Lookup, wanted: TaskFilter) -> StoredListing[StoredTask]:
    """Return the tasks that fit, the most recently changed first."""
    return StoredListing(rows=tuple(q.tasks(wanted)), sources=tuple(q.sources()))


def tasks_that_fit(
    q: Lookup, wanted: TaskFilter, match: Sequence[Matcher], sources: Sequence[ConfiguredSource]
) -> TaskFilter:
    """Narrow a filter of tasks by matchers that `check_listing` accepts. `sources` are the configured ones."""
    return replace(
        wanted,
        sources=listings.sources_of(match, sources),
        names=_names_that_fit(q, match),
        instances=listings.instances_of(match),
    )


def events_that_fit(
    q: Lookup, wanted: EventFilter, match: Sequence[Matcher], sources: Sequence[ConfiguredSource]
) -> EventFilter:
    """Narrow a filter of events in the same way, also by their type."""
    return replace(
        wanted,
        types=listings.words_of("type", match, EventType),
        sources=listings.sources_of(match, sources),
        names=_names_that_fit(q, match),
        instances=listings.instances_of(match),
    )


def _names_that_fit(q: Lookup, match: Sequence[Matcher]) -> Sequence[str] | None:
    return listings.names_of(match, q.task_names()) if listings.is_about_names(match) else None


MAX_MEASURED = 20
"""Maximum number of operations whose usual time is read for one answer."""


def with_usual(
    q: RunReads, rows: Sequence[StoredTask], *, ended: bool = False, memory: UsualMemory | None = None
) -> tuple[StoredTask, ...]:
    """Add to running tasks how long such tasks usually take, or to all with `ended`.

    `memory` is that of a process that answers many; None reads all runs.
    """
    memory = memory or UsualMemory()
    now = q.now()
    wanted = [row.task for row in rows if ended or row.task.status is TaskStatus.RUNNING]
    for source, name in memory.unknown(wanted, now)[:MAX_MEASURED]:
        memory.remember(source, name, q.runs(source, name), now)
    return tuple(
        replace(row, usual=memory.usual(row.task)) if ended or row.task.status is TaskStatus.RUNNING else row
        for row in rows
    )


def expected_now(q: RunReads, sources: Sequence[ConfiguredSource], rules: MissingRules) -> Sequence[Judged]:
    """Return the next expected runs of all sources, those that are overdue soonest first."""
    now, states = q.now(), {state.name: state for state in q.source_states()}
    found = [
        judged
        for source in sources
        if source.name in states
        for judged in expected_runs(
            source.origin, states[source.name], q.seen_runs(source.name, now - SEEN_WITHIN), rules, now
        )
    ]
    return sorted(found, key=lambda judged: judged.overdue_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfittingRule:
    """A rule of `expect` that fits no recorded instance, so that it expects nothing."""

    number: int
    """Its position in the configuration, from 0."""
    similar_names: tuple[str, ...] = ()
    """Names of recorded instances that are most similar to those that it names."""


def unfitting_rules(
    q: RunReads, sources: Sequence[ConfiguredSource], rules: Sequence[ExpectedRuns]
) -> Sequence[UnfittingRule]:
    """Return the rules that fit no instance of a task of the last 45 days; none before any task was recorded.

    It reads these tasks, and may take a second for each source.
    """
    since, states = q.now() - SEEN_WITHIN, {state.name: state for state in q.source_states()}
    seen = [
        (source.origin, states[source.name], q.seen_runs(source.name, since))
        for source in sources
        if rules and source.name in states
    ]
    names = list(dict.fromkeys(run.instance_name for _, _, runs in seen for run in runs if run.instance_name))
    if not names:
        return ()
    return [
        UnfittingRule(number=number, similar_names=_near_instances(rules[number], names))
        for number in fitting_nothing(rules, seen)
    ]


def _near_instances(rule: ExpectedRuns, names: Sequence[str]) -> tuple[str, ...]:
    wanted = [value for one in rule.match if one.field == "instance" and not one.negative for value in one.members]
    near = [similar_names(word, names) for value in wanted if (word := value.replace("*", "").replace("?", ""))]
    return tuple(dict.fromkeys(name for some in near for name in some))[:MAX_SUGGESTIONS]


def list_events(q: Lookup, wanted: EventFilter) -> StoredListing[RoutedEvent]:
    """Return the events that fit, the newest first."""
    return StoredListing(rows=tuple(q.events(wanted)), sources=tuple(q.sources()))


def list_deliveries(q: Lookup, wanted: DeliveryFilter) -> StoredListing[Delivery]:
    """Return the deliveries that fit, the newest first."""
    return StoredListing(rows=tuple(q.deliveries(wanted)), sources=tuple(q.sources()))


def find_task(q: Lookup, wanted: str, *, source: str | None = None) -> TaskAnswer:
    """Return the task with this job id, or the only one whose job id begins like it."""
    found = tuple(q.tasks(TaskFilter(job_id=wanted, source=source, limit=MAX_CANDIDATES)))
    exact = tuple(stored for stored in found if stored.task.job_id == wanted)
    fitting = exact or found
    return TaskAnswer(task=fitting[0]) if len(fitting) == 1 else TaskAnswer(candidates=fitting)


def missing_run(q: Lookup, wanted: str, source: str | None = None) -> Event | None:
    """Return the event about a missing run, or about a maintenance that needs somebody, whose id begins so.

    None where there is not exactly one that is not over.

    A job id that begins so comes first.
    """
    if len(wanted) < MIN_ID_PREFIX or q.tasks(TaskFilter(job_id=wanted, source=source, limit=1)):
        return None
    missing = [one.latest for one in q.open_failures() if one.latest.expectation or one.latest.maintenance]
    found = [event for event in missing if event.id.startswith(wanted) and source in (None, event.source)]
    return found[0] if len(found) == 1 else None


def planned_maintenance(
    q: Lookup, source: str | None = None, instance: str = "", *, over: bool = False
) -> Sequence[MaintenanceRecord]:
    """Return what the cloud plans, what begins first first; with `over` also what is over.

    `instance` is the id or a part of the name of an instance; empty for all.
    """
    now, part = q.now(), instance.casefold()
    return [
        one
        for one in q.maintenances(now - KEPT if over else now)
        if (over or not one.over)
        and source in (None, one.source)
        and (not part or part in (one.planned.instance_name or "").casefold() or instance == one.planned.instance_id)
    ]


def maintenance_of_task(q: Lookup, source: str, job_id: str) -> Sequence[MaintenanceRecord]:
    """Return the maintenance that a task does, as its list names it."""
    found = planned_maintenance(q, source, over=True) if job_id else ()
    return [one for one in found if plain_id(one.planned.job_id) == plain_id(job_id)]


def mutes_during_maintenance(q: Lookup, mutes: Sequence[MaintenanceMute]) -> Sequence[MaintenanceMuteNow]:
    """Return the configured mutes that are in force during maintenance, with the instances that they cover now."""
    now = q.now()
    return mutes_now(mutes, q.maintenances(now) if mutes else (), now)


def people_on_duty(q: CalendarReads, rotas: Mapping[str, Rota], at: datetime) -> Sequence[tuple[Rota, Duty]]:
    """Return who is on duty at a time by each rota, and who follows."""
    named = Rotas(by_name=rotas)
    known = replace(named, entries=q.calendar_entries(named.calendars))
    return [(rota, rota.duty(at, known.entries_of(rota))) for rota in rotas.values()]


def known_instance(q: Lookup, wanted: str) -> InstanceAnswer:
    """Return the instance with this id, or the only one of this name. Never returns similar names."""
    exact = [NamedInstance(id=id_, name=name) for id_, name in q.instances(wanted, MAX_SUGGESTIONS)]
    if len({instance.id for instance in exact}) > 1:
        return InstanceAnswer(namesakes=tuple(instance.id or "" for instance in exact))
    return InstanceAnswer(instance=exact[0] if exact else None)


def find_instance(q: Lookup, wanted: str) -> InstanceAnswer:
    """Return the same, or similar names. Not for a write transaction: comparing names would block other writers."""
    found = known_instance(q, wanted)
    if found.instance or found.namesakes:
        return found
    return InstanceAnswer(similar_names=similar_names(wanted, q.recent_instance_names(COMPARED_NAMES)))


def similar_names(wanted: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names most similar to what was wanted, then those that contain it.

    The time it takes is bounded: all names are compared roughly, and few of them closely.
    """
    word = wanted[:COMPARED_NAME_LENGTH].casefold()
    matcher = SequenceMatcher(b=word, autojunk=False)

    def similarity(name: str, judge: Callable[[], float]) -> float:
        matcher.set_seq1(name[:COMPARED_NAME_LENGTH].casefold())
        return judge()

    rough = nlargest(CLOSELY_COMPARED_NAMES, names, key=lambda name: similarity(name, matcher.quick_ratio))
    judged = sorted(((similarity(name, matcher.ratio), name) for name in rough), reverse=True)
    near = [name for ratio, name in judged if ratio >= MIN_SIMILARITY]
    return tuple(dict.fromkeys([*near, *(name for name in names if word in name.casefold())]))[:MAX_SUGGESTIONS]


def task_history(q: Lookup, task: Task) -> tuple[Event, ...]:
    """Return what happened to a task, the oldest first."""
    wanted = EventFilter(source=task.source, job_id=task.job_id, exact=True, limit=MAX_HISTORY)
    return tuple(routed.event for routed in q.events(wanted))[::-1]


def known_routes(q: Lookup, routes: Sequence[Route]) -> Sequence[Route]:
    """Return routes with the holidays of the calendars that their windows name, as they were read last."""
    found = q.calendar_entries(calendars_of(routes))
    return with_holidays(routes, {name: days_of(entries) for name, entries in found.items()}) if found else routes


def explain_task(
    q: Lookup,
    stored: StoredTask,
    routes: Sequence[Route],
    channels: Collection[str],
    catalogue: CauseCatalogue | None = None,
) -> TaskExplanation:
    """Return why each channel was or was not notified of each change of the task.

    `channels` are the configured ones; those that were planned for at the time are covered too. The catalogue is for
    routes that ask for a cause.
    """
    task = stored.task
    events = tuple(q.events(EventFilter(source=task.source, job_id=task.job_id, exact=True, limit=MAX_HISTORY)))[::-1]
    accounts = _accounts(q, [found.event.id for found in events])
    routes = known_routes(q, routes)
    return TaskExplanation(
        task=stored,
        events=tuple(
            _event_record(found, explain_routes(found.event, routes, catalogue), channels, accounts) for found in events
        ),
        tickets=tuple(one for one in q.tickets(operation_of_task(task)) if one.label is not None),
        failures=tuple(episodes_of(q.failures_of(operation_of_task(task)), [found.event for found in events])),
        runs=q.runs(task.source, task.name) if any(found.event.overdue for found in events) else None,
    )


def explain_event(
    q: Lookup,
    event_id: str,
    routes: Sequence[Route],
    channels: Collection[str],
    catalogue: CauseCatalogue | None = None,
) -> EventRecord | None:
    """Return why each channel was or was not notified of the only event whose id begins so; None without that."""
    found = q.events(EventFilter(id=event_id, limit=2))
    if len(found) != 1:
        return None
    verdicts = explain_routes(found[0].event, routes, catalogue)
    return _event_record(found[0], verdicts, channels, _accounts(q, [found[0].event.id]))


def audit_ledger(q: Lookup, now: datetime) -> Audit:
    """Return the ledger of every (event, channel) pair that routing asked for."""
    return Audit(at=now, ledger=q.ledger())


def health_report(q: Lookup, expected: Expected) -> HealthReport:
    """Judge how everything is; see `notifier.core.health`."""
    return replace(judge(expected, q.health_facts()), unacknowledged=q.count_unacknowledged())


_Accounts = Mapping[tuple[str, str], tuple[Delivery, Sequence[Attempt]]]
"""Deliveries with their attempts, by event and channel."""


def _accounts(q: Lookup, event_ids: Sequence[str]) -> _Accounts:
    if not event_ids:
        return {}
    found = q.deliveries(DeliveryFilter(event_ids=event_ids, limit=MAX_HISTORY * MAX_CANDIDATES))
    attempts = q.attempts_of([delivery.id for delivery in found])
    return {
        (event.id, delivery.channel): (delivery, attempts.get(delivery.id, ()))
        for delivery in found
        for event in delivery.events
    }


def _event_record(
    routed: RoutedEvent, verdicts: Iterable[RouteVerdict], channels: Collection[str], accounts: _Accounts
) -> EventRecord:
    names = sorted({*channels, *routed.channels})
    return EventRecord(
        routed=routed,
        verdicts=tuple(verdicts),
        channels=tuple(_channel_record(routed, name, accounts) for name in names),
    )


def _channel_record(routed: RoutedEvent, channel: str, accounts: _Accounts) -> ChannelRecord:
    delivery, attempts = accounts.get((routed.event.id, channel), (None, ()))
    planned = channel in routed.channels
    return ChannelRecord(channel=channel, planned=planned, delivery=delivery, attempts=tuple(attempts))
