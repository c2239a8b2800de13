"""Run recorded events through another configuration, in virtual time, and compare what would have been sent.

Events, acknowledgements and what people muted come from the record, each at its recorded time. Everything else is done
by the program itself: routing, `planning`, the steps of delivery workers. It works on a store of its own, in which time
passes as fast as the record says, and on channels that take each message at once. Nothing is sent, and the recorded
database is only read.

What the polls found stays as it was found: a replay tries who is told of it and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from notifier import people
from notifier.core import alerts, replays, tickets
from notifier.core.calendars import CalendarEntry, StoredCalendar
from notifier.core.delivery import Delivered, Delivery, Outcome, Skipped
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel
from notifier.core.model import Event, SourceOrigin
from notifier.core.mutes import Mute, as_made
from notifier.core.pacing import Pace
from notifier.core.people import EventSubscription, Person
from notifier.core.polling import BATCH_ROWS, PlannedEvents
from notifier.core.replays import HistoryFigures, RecordedHistory, SentMessage
from notifier.core.routing import RoutedEvent, RoutingConfig, route_events
from notifier.core.tickets import Step, Ticket, TicketRules, happened, operation_of
from notifier.deliver import (
    DeliveryQueue,
    DeliveryRules,
    HealthRecords,
    SubscriptionRecords,
    ThreadReads,
    ThreadRecords,
    TicketRecords,
    deliver_at_once,
)
from notifier.failures import DueFailures, TaskRecords, remind_once
from notifier.mutes import ConfiguredMute, ConfiguredMutes, MuteRouting, StepReads, StepRecords, sync, take_steps
from notifier.people import (
    PeopleChannels,
    PeopleDeliveries,
    PeopleFailures,
    PeopleReads,
    PeopleRecords,
    PeopleStorms,
)
from notifier.planning import (
    CalendarCopies,
    HeldDeliveries,
    HeldMutes,
    PlanContext,
    PlanDeliveries,
    PlanPeople,
    PlanTickets,
    ShownThreads,
    StormRecords,
    TaskResults,
    plan_new,
    routing_at,
    with_receivers,
)
from notifier.ports import DatabaseTime, EventRecords, KnownOrigins, RenderRequest, Store
from notifier.schedules import SETTLED_AFTER, ReportReads, ScheduleRecords, ScheduleRules, run_schedules

T = TypeVar("T")


class ReplayReads(ThreadReads, PeopleReads, StepReads, ReportReads, Protocol):
    """What a replay reads of its store."""

    def pending_channels(self, now: datetime) -> Sequence[str]:
        """Return the channels that have something to send that has become available, by name."""

    def next_due_mute(self) -> datetime | None:
        """Return when a step of a mute is due next; None where none will be."""

    def next_due_failure(self) -> datetime | None:
        """Return when an open failure is due next; None where none will be."""

    def next_pending(self, now: datetime) -> datetime | None:
        """Return the first time after this one at which something to send becomes available."""

    def recorded_history(self, since: datetime, until: datetime) -> RecordedHistory:
        """Return what was recorded of the events from one time up to another, and what became of them."""


class ReplayDeliveries(PlanDeliveries, DeliveryQueue, PeopleDeliveries, Protocol):
    """Deliveries, from their plan to their end."""


class ReplayChannels(PeopleChannels, HealthRecords, Protocol):
    """The channels."""


class ReplayStorms(StormRecords, PeopleStorms, Protocol):
    """The storms of failures."""


class ReplayTickets(PlanTickets, TicketRecords, Protocol):
    """The tickets of operations."""


class ReplayThreads(ShownThreads, ThreadRecords, Protocol):
    """The messages that show tasks."""


class ReplayPeople(PlanPeople, SubscriptionRecords, PeopleRecords, Protocol):
    """What people do about tasks."""


class ReplayMutes(HeldMutes, StepRecords, ConfiguredMutes, Protocol):
    """The recorded mutes."""


class ReplayCalendars(CalendarCopies, Protocol):
    """The copies of calendars."""

    def claim_due(self, origins: Mapping[str, str], now: datetime, until: datetime) -> Sequence[str]:
        """Return the calendars to read now, by name."""

    def save_copy(
        self, name: str, origin: str, entries: Sequence[CalendarEntry], now: datetime, next_at: datetime
    ) -> None:
        """Record a good copy."""


class ReplayFailures(DueFailures, PeopleFailures, Protocol):
    """Open failures, of which some are due and some are acknowledged."""


class ReplayTx(DatabaseTime, Protocol):
    """What a replay needs of a transaction: all that planning and delivering need."""

    @property
    def events(self) -> EventRecords:
        """The recorded events."""

    @property
    def deliveries(self) -> ReplayDeliveries:
        """Deliveries, from their plan to their end."""

    @property
    def histories(self) -> TaskResults:
        """How tasks have ended: nothing, for no poll is repeated."""

    @property
    def holds(self) -> HeldDeliveries:
        """What rules hold."""

    @property
    def calendars(self) -> ReplayCalendars:
        """The calendars of holidays, and those that say who is on duty."""

    @property
    def channels(self) -> ReplayChannels:
        """The channels."""

    @property
    def storms(self) -> ReplayStorms:
        """The storms of failures."""

    @property
    def tickets(self) -> ReplayTickets:
        """The tickets of operations."""

    @property
    def origins(self) -> KnownOrigins:
        """Who started tasks."""

    @property
    def failures(self) -> ReplayFailures:
        """Open failures, of which some are due."""

    @property
    def polls(self) -> TaskRecords:
        """The recorded tasks: none."""

    @property
    def threads(self) -> ReplayThreads:
        """The messages that show tasks."""

    @property
    def schedules(self) -> ScheduleRecords:
        """What is recorded of schedules."""

    @property
    def mutes(self) -> ReplayMutes:
        """The recorded mutes."""

    @property
    def people(self) -> ReplayPeople:
        """What people do about tasks."""

    @property
    def queries(self) -> ReplayReads:
        """What a replay reads."""


class ReplayStore(Store[ReplayTx, ReplayReads], Protocol):
    """A store of the replay's own, which answers at once."""

    def run(self, fn: Callable[[ReplayTx], T]) -> T:
        """Run `fn` in one transaction."""


class VirtualTime:
    """The time of a replay: it stands still until it is set."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """Return the time."""
        return self.at


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedSource:
    """A source of the configuration that is tried."""

    origin: SourceOrigin
    """Its environment and labels count, not those that were recorded."""
    poll_every: timedelta
    away_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRules:
    """The configuration that is tried."""

    routing: RoutingConfig
    sources: Mapping[str, ReplayedSource]
    fallback: Sequence[str] = ()
    """Channels of alerts that no route takes."""
    mutes: Sequence[ConfiguredMute] = ()
    schedules: ScheduleRules = field(default_factory=ScheduleRules)
    """The reports, and the rotas whose hand-overs are announced."""
    tickets: Mapping[str, TicketRules] = field(default_factory=dict)
    """When tickets are closed and reopened, by channel."""
    zone: ZoneInfo
    """The readers' time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayNotes:
    """What limits the meaning of a comparison."""

    begins: datetime | None = None
    """Time of the first recorded event, where the record begins later than was asked for."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of events of sources that the configuration does not have, by source."""
    changed_sources: Sequence[str] = ()
    """Sources whose recorded environment or labels are not those of the configuration, which count."""
    channel_alerts: int = 0
    """Number of recorded alerts about channels that the configuration does not have; they are left out."""
    still_held: int = 0
    """Number of events that are sent only after the end of the replayed time, when a hold ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What was sent, and what would have been."""

    since: datetime
    until: datetime
    events: int
    """Number of recorded events."""
    then: HistoryFigures
    now: HistoryFigures
    notes: ReplayNotes

    @property
    def ok(self) -> bool:
        """True where every failure would have reached somebody."""
        return not self.now.unreached


def replay(history: RecordedHistory, rules: ReplayRules, store: ReplayStore, time: VirtualTime) -> ReplayResult:
    """Replay a history on an empty store whose time is `time`, and compare. It takes about a millisecond an event."""
    run = _Replay(history, rules, store, time)
    run.play()
    now = run.outcome()
    return ReplayResult(
        since=history.since,
        until=history.until,
        events=len(history.events),
        then=_figures(history, rules.zone, instant=False, opened=0),
        now=_figures(now, rules.zone, instant=True, opened=run.tickets_opened),
        notes=replace(
            run.notes,
            begins=history.begins if history.begins and history.begins > history.since else None,
            still_held=sum(len(one.events) for one in now.deliveries if (one.settled_at or now.since) > history.until),
        ),
    )


def _figures(history: RecordedHistory, zone: ZoneInfo, *, instant: bool, opened: int) -> HistoryFigures:
    messages = (SentMessage(one, RenderRequest.of(one).mention) for one in history.deliveries)
    return replays.figures_of(history.events, messages, zone, instant=instant, tickets=opened)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReplayChannel:
    """A channel that takes everything at once. What it would edit later is no message, so it keeps no threads."""

    name: str
    tickets: bool
    digest_above: int | None
    digest_size: int
    threads: bool = False
    pace: Pace = field(default_factory=Pace)
    multi_recipient: bool = False


_MADE_AGAIN = frozenset(
    kind for kind in EventType if kind.traits.follows_up or kind.startswith(("mute.", "report.", "rota."))
)
"""Types of events that the configuration causes: what is recorded of them says nothing about another one."""
_OWNER = "replay"
_RULES = DeliveryRules(schedule=(), lease=timedelta(minutes=1), tickets=True)
_LONGEST_HOLD = timedelta(days=366)
"""How far behind the end of the history what is held is followed."""


class _Replay:
    def __init__(self, history: RecordedHistory, rules: ReplayRules, store: ReplayStore, time: VirtualTime) -> None:
        self._history = history
        self._rules = rules
        self._store = store
        self._time = time
        self._due: Sequence[datetime] = ()
        """When something to send becomes available, and when an open failure is due."""
        self._muting = MuteRouting(routing=rules.routing, origins=[one.origin for one in rules.sources.values()])
        self._mutes = bool(rules.mutes or history.mutes)
        self._scheduled_at = history.since if rules.schedules.names else None
        """When reports or hand-overs may be due."""
        self._reminds = any(route.remind or route.escalate for route in rules.routing.routes)
        self._stormy: dict[str, datetime] = {}
        """Sources that storms last on, with the time of the next poll that finds no failure, if none comes before."""
        self.notes = ReplayNotes()
        self.tickets_opened = 0

    def play(self) -> None:
        """Let everything happen that was recorded, and everything that follows from it."""
        for at, happening in self._happenings():
            self._advance(at)
            self._time.at = max(at, self._time.at)
            self._run(happening)
        self._advance(self._history.until)
        self._advance(self._history.until + _LONGEST_HOLD)

    def outcome(self) -> RecordedHistory:
        """Return what became of it."""
        end = self._time.at + timedelta(microseconds=1)
        return self._store.run(lambda tx: tx.queries.recorded_history(self._history.since, end))

    # -- what was recorded --

    def _happenings(self) -> Sequence[tuple[datetime, Callable[[ReplayTx], None]]]:
        """Return what was recorded, in the order of its times. A poll comes before what people did at its time."""
        kept = list(self._kept_events())
        found: list[tuple[datetime, Callable[[ReplayTx], None]]] = [
            (at, partial(self._record, source, [*items]))
            for (at, source), items in groupby(kept, key=lambda item: (item.event.observed_at, item.event.source))
        ]
        known = {item.event.id: item.event for item in kept}
        since = self._history.since
        found.append((since, partial(_save_calendars, self._history.calendars)))
        if self._rules.mutes:
            found.append((since, partial(sync, configured=self._rules.mutes)))
        found += [(max(one.created_at, since), partial(_mute, as_made(one))) for one in self._history.mutes]
        found += [(max(one.created_at, since), partial(_subscribe, one)) for one in self._history.subscriptions]
        found += [
            (one.at, partial(_acknowledge, known[one.event_id], Person(id=one.by, name=one.name)))
            for one in self._history.acknowledgements
            if one.event_id in known
        ]
        return sorted(found, key=lambda one: one[0])

    def _kept_events(self) -> Iterator[RoutedEvent]:
        """Yield the recorded events that the configuration would see, as it would see them."""
        sources, policies = self._rules.sources, self._rules.routing.policies
        left_out: Counter[str] = Counter()
        changed: set[str] = set()
        alerts_left_out = 0
        for item in self._history.events:
            event = item.event
            if event.type in _MADE_AGAIN:
                continue
            if event.source and event.source not in sources:
                left_out[event.source] += 1
            elif event.channel and event.channel not in policies:
                alerts_left_out += 1
            else:
                seen = _as_seen(event, sources.get(event.source))
                if (seen.environment, seen.labels) != (event.environment, event.labels):
                    changed.add(event.source)
                yield replace(item, event=seen)
        self.notes = replace(
            self.notes, left_out=left_out, changed_sources=sorted(changed), channel_alerts=alerts_left_out
        )

    # -- what happens --

    def _advance(self, until: datetime) -> None:
        """Let everything happen that is due before a time."""
        while (due := self._next_due(until)) < until:
            self._time.at = max(due, self._time.at)
            if self._scheduled_at and self._scheduled_at <= due:
                self._announce_schedules()
            quiet = [source for source, at in self._stormy.items() if at <= due]
            self._run(partial(self._end_storms, quiet) if quiet else lambda _: None)

    def _next_due(self, until: datetime) -> datetime:
        scheduled = () if self._scheduled_at is None else (self._scheduled_at,)
        return min((*self._due, *scheduled, *self._stormy.values()), default=until)

    def _announce_schedules(self) -> None:
        """Send the reports and announce the hand-overs that are due, and note when more of them may be."""
        schedules, now = self._rules.schedules, self._time.at
        _at_once(run_schedules(self._store, schedules, self._rules.routing))
        times = [one.cron.after(now - SETTLED_AFTER) + SETTLED_AFTER for one in schedules.reports]
        entries = {one.name: one.entries for one in self._history.calendars}
        duties = (rota.duty(now, entries.get(rota.calendar or "", ())) for rota in schedules.rotas)
        times += [duty.until for duty in duties if duty.until]
        following = min((at for at in times if at > now), default=None)
        self._scheduled_at = following if following and following < self._history.until else None

    def _run(self, happening: Callable[[ReplayTx], None]) -> None:
        """Let something happen, and deliver what is due then."""

        def work(tx: ReplayTx) -> Sequence[datetime | None]:
            happening(tx)
            lasts = self._time.at < self._history.until
            mutes, reminds = self._mutes and lasts, self._reminds and lasts
            for mute_id in tx.queries.due_mutes() if mutes else ():
                take_steps(tx, mute_id, self._muting)
            while reminds and remind_once(tx, self._rules.routing):
                pass
            self._deliver(tx)
            return (
                tx.queries.next_due_mute() if mutes else None,
                tx.queries.next_due_failure() if reminds else None,
                tx.queries.next_pending(self._time.at),
            )

        self._due = [at for at in self._store.run(work) if at]

    def _record(self, source: str, items: Sequence[RoutedEvent], tx: ReplayTx) -> None:
        """Record the events of one poll and plan their deliveries, in batches as a poll does."""
        batches = [items[start : start + BATCH_ROWS] for start in range(0, len(items), BATCH_ROWS)]
        planned = PlannedEvents()
        for number, batch in enumerate(batches, start=1):
            new = tx.events.record(with_receivers(tx, self._routed(tx, batch), self._rules.routing)).new
            planned += self._plan(tx, source, new, planned, last=number == len(batches))
        self._watch_storms(tx, source)

    def _end_storms(self, sources: Collection[str], tx: ReplayTx) -> None:
        """Plan as the next poll of a source does that finds nothing."""
        for source in sources:
            self._plan(tx, source, (), PlannedEvents(), last=True)
            self._watch_storms(tx, source)

    def _plan(
        self, tx: ReplayTx, source: str, new: Sequence[RoutedEvent], before: PlannedEvents, *, last: bool
    ) -> PlannedEvents:
        storms = tx.storms.lasting(source) if source else ()
        away_after = self._rules.sources[source].away_after if source else timedelta.max
        context = PlanContext(storms=storms, before=before, last=last, away_after=away_after)
        return plan_new(tx, new, self._rules.routing, self._time.at, context).planned

    def _watch_storms(self, tx: ReplayTx, source: str) -> None:
        """Note when the storms of a source end, unless a poll finds more failures before."""
        self._stormy.pop(source, None)
        if source and tx.storms.lasting(source):
            # Recorded polls are not exactly one interval apart: a recorded one comes first.
            self._stormy[source] = self._time.at + 1.5 * self._rules.sources[source].poll_every

    def _routed(self, tx: ReplayTx, items: Sequence[RoutedEvent]) -> Sequence[RoutedEvent]:
        """Route events again. Those who asked for a task in person are as recorded."""
        routing = routing_at(tx, self._rules.routing, self._time.at)
        routed = [
            *route_events(
                (one.event for one in items if not one.event.type.traits.alert),
                routing.routes,
                routing.catalogue,
            ),
            *alerts.route_alerts(
                (one.event for one in items if one.event.type.traits.alert), routing.routes, self._rules.fallback
            ),
        ]
        direct = {one.event.id: people for one in items if (people := tuple(filter(DirectChannel.parse, one.channels)))}
        return [
            replace(one, channels=tuple(dict.fromkeys((*one.channels, *direct.get(one.event.id, ())))))
            for one in routed
        ]

    # -- what is sent --

    def _deliver(self, tx: ReplayTx) -> None:
        """Deliver what is due, and what that lets out."""
        while sum([self._deliver_on(tx, name) for name in tx.queries.pending_channels(self._time.at)]):
            pass

    def _deliver_on(self, tx: ReplayTx, name: str) -> int:
        policy = self._rules.routing.policy_of(name)
        channel = _ReplayChannel(
            name=name, tickets=policy.tickets, digest_above=policy.digest_above, digest_size=policy.digest_size
        )
        return len(deliver_at_once(tx, channel, partial(self._answer, channel), owner=_OWNER, rules=_RULES))

    def _answer(self, channel: _ReplayChannel, delivery: Delivery) -> Outcome:
        """Return what a service replies that takes everything."""
        if channel.tickets:
            return self._visit(delivery)
        return Delivered(ref=delivery.id)

    def _visit(self, delivery: Delivery) -> Outcome:
        (event,) = delivery.events
        ticket = delivery.ticket or Ticket(
            channel=delivery.channel,
            operation=operation_of(event) or "",
            wanted_by=delivery.id,
            failed_at=happened(event),
        )
        rules = self._rules.tickets.get(delivery.channel) or TicketRules()
        after, decision = tickets.imagined_visit(ticket, event, delivery.id, self._time.at, rules)
        self.tickets_opened += Step.OPEN in decision.steps
        if decision.outdated or not decision.steps:
            return Skipped(decision.reason, ticket=after)
        return Delivered(ref=after.ref, ticket=after)


def _acknowledge(event: Event, by: Person, tx: ReplayTx) -> None:
    people.acknowledge(tx, event, by)


def _at_once(work: Coroutine[object, None, object]) -> None:
    """Run a coroutine that waits for nothing but a store that answers at once."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("something waits in virtual time")


def _mute(mute: Mute, tx: ReplayTx) -> None:
    tx.mutes.save(mute, tx.now())


def _subscribe(subscription: EventSubscription, tx: ReplayTx) -> None:
    tx.people.subscribe_to_events(subscription)


def _save_calendars(copies: Sequence[StoredCalendar], tx: ReplayTx) -> None:
    now = tx.now()
    tx.calendars.claim_due({one.name: one.origin for one in copies}, now, now)
    for one in copies:
        tx.calendars.save_copy(one.name, one.origin, one.entries, now, now)


def _as_seen(event: Event, source: ReplayedSource | None) -> Event:
    """Return an event with the environment and the labels that the configuration gives its source.

    What it closes follows from what the configuration has sent.
    """
    if source is None:
        return event
    return replace(event, environment=source.origin.environment, labels=source.origin.labels, closes=None)
