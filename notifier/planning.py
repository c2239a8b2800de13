"""Plan the deliveries of new events, in the transaction that records them.

Polls, monitoring and everything else that makes events use it: what is kept back, grouped or counted is decided in one
place. It reads what the rules of `notifier.core.rulings` need, lets `notifier.core.polling.plan_deliveries` decide, and
writes the decision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from notifier.core import failures, flapping, holds, polling, quiet, repeats, ticket_plan
from notifier.core.calendars import StoredCalendar, days_of
from notifier.core.delivery import Delivery
from notifier.core.failures import OpenFailure, OpenFailures
from notifier.core.flapping import FLAPPING_RULE, ResultKey, TaskResult
from notifier.core.holds import LastingHold
from notifier.core.maintenance_mutes import open_at
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.model import Event, RepeatedFailure
from notifier.core.mutes import Mute, MutesInForce
from notifier.core.people import EventSubscription
from notifier.core.polling import DeliveryPlan, PlannedEvents
from notifier.core.quiet import BudgetRule
from notifier.core.repeats import REPEAT_RULE, Repeat, repeat_rule
from notifier.core.rota import Rotas
from notifier.core.routing import RoutedEvent, RoutingConfig, with_people_on_duty
from notifier.core.rulings import Rule, maintenance_rule, mute_rule, window_rule
from notifier.core.storm_plan import StormContext, UnsentPart, stormy_channels
from notifier.core.storms import Storm
from notifier.core.subscriptions import with_subscriptions
from notifier.core.ticket_plan import Unsolved, WantedTicket
from notifier.core.tickets import happened
from notifier.ports import DatabaseTime, DeliveryRecords, EventRecords, ParkedChannels


class StormRecords(Protocol):
    """The storms of failures."""

    def lasting(self, source: str) -> Sequence[Storm]:
        """Return the storms of a source that have not ended; nobody else changes them until the transaction ends."""

    def save(self, storm: Storm, now: datetime) -> None:
        """Record a storm, and let its message show it."""


class PlanDeliveries(DeliveryRecords, Protocol):
    """The deliveries that a plan makes and changes."""

    def unsent_parts(self, storm_ids: Collection[str]) -> Mapping[str, UnsentPart]:
        """Return the latest delivery of each of these storms of which no attempt has been made, by storm id."""

    def extend(self, delivery_id: str, more: Sequence[Event]) -> bool:
        """Add events to a delivery, unless an attempt has been made or it would overtake a newer one.

        Return whether it took them.
        """

    def rank_as_failures(self, channel: str, subjects: Collection[str]) -> None:
        """Let unsettled deliveries about these subjects go out with the failures: they hold back newer ones."""

    def supersede_progress(self, channel: str, by: Mapping[str, str]) -> Sequence[str]:
        """Supersede waiting progress of which no attempt has been made; return its event ids."""


class HeldDeliveries(Protocol):
    """What rules hold."""

    def lasting(self, rules: Collection[str]) -> Sequence[LastingHold]:
        """Return what these rules hold, by channel and rule."""

    def of_events(self, event_ids: Collection[str]) -> Mapping[tuple[str, str], tuple[str, datetime]]:
        """Return which rule holds events, and until when, by event id and channel."""

    def recent(self, channel: str, limit: int) -> Sequence[datetime]:
        """Return when the latest messages of a channel were planned, at least `limit`. What is held is not counted."""

    def rules(self) -> Sequence[tuple[str, str]]:
        """Return the channels and rules of everything that is held."""

    def prolong(self, channel: str, rule: str, until: datetime) -> None:
        """Let a hold that has not ended last longer."""

    def end(self, channel: str, rule: str, now: datetime) -> int:
        """Let a hold end now. Return how much it holds."""

    def release_about(self, subjects: Mapping[str, Collection[str]], parked: Collection[str], now: datetime) -> None:
        """Release what is held about these subjects, by channel: something newer about them is sent."""


class CalendarCopies(Protocol):
    """The calendars of holidays, and those that say who is on duty."""

    def read(self, names: Collection[str]) -> Mapping[str, StoredCalendar]:
        """Return what is recorded of calendars, by name."""


class TaskResults(Protocol):
    """How tasks have ended."""

    def results(self, instance_ids: Collection[str], since: datetime) -> Mapping[ResultKey, Sequence[TaskResult]]:
        """Return how the tasks of instances have ended since a time, by operation."""


class PlanTickets(Protocol):
    """The tickets of operations."""

    def unsolved(self, operations: Collection[str]) -> Unsolved:
        """Return which of the operations have a ticket for a failure that no success has followed."""

    def want(self, wanted: Sequence[WantedTicket], now: datetime) -> None:
        """Record that operations have failed, and a ticket to open for those that have none."""


class ShownThreads(Protocol):
    """The messages that show tasks."""

    def refresh(self, shown: Mapping[Event, Collection[str]], now: datetime) -> None:
        """Let threads show events about their subjects, except on the channels that get a delivery of each."""

    def show_repeats(self, counted: Mapping[str, RepeatedFailure], now: datetime) -> None:
        """Let the messages that show these failures, by event id, show how often they have repeated."""


class FailureRecords(Protocol):
    """Open failures."""

    def lock(self, operations: Collection[str]) -> OpenFailures:
        """Return the failures of operations that are not resolved; nobody else changes them until the end."""

    def save(self, changed: Sequence[OpenFailure]) -> None:
        """Record failures: new ones, and ones that this transaction has locked."""


class PlanPeople(Protocol):
    """The people who subscribed to tasks."""

    def pop_subscribers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who wants to know how tasks ended, by job id, and delete these subscriptions."""

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        """Return the subscriptions of all people and channels of the chat to events, the oldest first."""


class HeldMutes(Protocol):
    """The mutes that a plan suppresses by."""

    def hold(self, mutes: Collection[Mute], now: datetime) -> Sequence[Mute]:
        """Return those of the mutes that are in force, as they are now. None ends until the transaction ends."""


class PlanReads(Protocol):
    """What a plan reads."""

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force, those that end first first."""

    def maintenances(self, since: datetime) -> Sequence[MaintenanceRecord]:
        """Return the maintenance that is not over, and what has been over since a time."""


class PlanTx(DatabaseTime, Protocol):
    """What planning needs of a transaction."""

    @property
    def events(self) -> EventRecords:
        """The recorded events."""

    @property
    def deliveries(self) -> PlanDeliveries:
        """The deliveries that a plan makes and changes."""

    @property
    def histories(self) -> TaskResults:
        """How tasks have ended."""

    @property
    def holds(self) -> HeldDeliveries:
        """What rules hold."""

    @property
    def channels(self) -> ParkedChannels:
        """The channels that are parked."""

    @property
    def calendars(self) -> CalendarCopies:
        """The calendars of holidays, and those that say who is on duty."""

    @property
    def storms(self) -> StormRecords:
        """The storms of failures."""

    @property
    def tickets(self) -> PlanTickets:
        """The tickets of operations."""

    @property
    def threads(self) -> ShownThreads:
        """The messages that show tasks."""

    @property
    def failures(self) -> FailureRecords:
        """Open failures."""

    @property
    def people(self) -> PlanPeople:
        """The people who subscribed to tasks."""

    @property
    def mutes(self) -> HeldMutes:
        """The mutes that a plan suppresses by."""

    @property
    def queries(self) -> PlanReads:
        """What a plan reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """What the storms of a plan depend on, besides its events."""

    storms: Sequence[Storm] = ()
    """Storms of the source that have not ended, locked by the transaction."""
    before: PlannedEvents = field(default_factory=PlannedEvents)
    """What earlier batches of the same poll have planned."""
    last: bool = True
    """See `StormContext.last`; likewise the next one."""
    away_after: timedelta = timedelta.max
    failures: OpenFailures | None = None
    """Open failures of the operations that the events concern, locked by the transaction; None where they have not been
    read."""


_ALONE = PlanContext()


def with_receivers(
    tx: PlanTx, routed: Sequence[RoutedEvent], routing: RoutingConfig, known: OpenFailures | None = None
) -> tuple[RoutedEvent, ...]:
    """Add the receivers of events that no route names: those who subscribed, and where a success closes something.

    Called before the events are recorded. `known` are the open failures that they concern; None where these have not
    been read.
    """
    known = lock_failures(tx, routed) if known is None else known
    routed = tuple(add_subscriptions(tx, routed, routing))
    keeping = routing.ticket_channels
    if keeping:
        solved = ticket_plan.operations_solved_by(routed)
        routed = ticket_plan.with_tickets(routed, keeping, tx.tickets.unsolved(solved) if solved else {})
    if routing.flapping and (instances := flapping.instances_of(routed)):
        now = tx.now()
        results = tx.histories.results(instances, now - routing.flapping.within)
        routed = flapping.with_flapping(routed, results, routing.flapping, now)
    if routing.counts_repeats:
        routed = repeats.with_repeats(routed, known)
    return failures.with_closings(routed, known, keeping)


def plan_new(
    tx: PlanTx, new: Sequence[RoutedEvent], routing: RoutingConfig, now: datetime, context: PlanContext = _ALONE
) -> DeliveryPlan:
    """Plan the deliveries of events that this transaction has recorded, all of one source, and write the plan."""
    known = lock_failures(tx, new) if context.failures is None else context.failures
    mutes = _read_mutes(tx, new, routing, now) if new else ()  # locked before the channels, as when one ends
    if new and routing.rotas.by_name:
        routing = with_people_on_duty(routing, read_rotas(tx, routing.rotas), now)
    parked = tx.channels.parked() if new else {}
    routing = routing_at(tx, routing, now) if new else routing
    storms = StormContext(
        open=context.storms,
        unsent=tx.deliveries.unsent_parts([storm.id for storm in context.storms]) if new and context.storms else {},
        before=context.before.failures,
        last=context.last,
        away_after=context.away_after,
    )
    closing = failures.storm_closing_rule(known, routing, now)
    repeating = repeats.repeats_of(new, known) if routing.counts_repeats else {}
    closed = {id_: one.first_event_id for id_, one in failures.closed_by(new, known).items()} if routing.holds else {}
    held = tx.holds.of_events(list(closed.values())) if closed else {}
    plan = polling.plan_deliveries(
        quiet.without_held(new, closed, held, routing.ticket_channels) if held else new,
        routing,
        rules=(
            *([quiet.closing_rule(closed, held)] if held else []),
            mute_rule(mutes, now, routing.catalogue),
            *_read_maintenance_rule(tx, new, routing, now),
            *((closing,) if closing else ()),
            *read_rules(tx, new, routing, now, storms=storms, repeating=repeating),
        )
        if new
        else (),
        parked=parked,
        now=now,
        before=context.before,
        storms=storms,
    )
    _write(tx, plan, parked, now)
    if repeating:
        _count_repeats(tx, plan, repeating, now)
    # After the deliveries and the threads of tasks, in the order in which a settlement locks the same rows.
    for storm in plan.storms:
        tx.storms.save(storm, now)
    planned = (*plan.deliveries, *plan.extending.values())
    told, stormy = failures.told_by(planned), failures.told_by(planned, storms=True)
    if changed := failures.after_events(new, known, told, routing, now, stormy=stormy):
        tx.failures.save(changed)
    if plan.ended:
        tx.people.pop_subscribers(new[0].event.source, plan.ended)
    return plan


def routing_at(tx: PlanTx, routing: RoutingConfig, now: datetime) -> RoutingConfig:
    """Return the routes as they are at a time. The calendars that windows name are read, of escalations too."""
    if names := routing.calendars:
        found = tx.calendars.read(names)
        routing = routing.with_holidays({name: days_of(calendar.entries) for name, calendar in found.items()})
    return routing.at(now)


def add_subscriptions(tx: PlanTx, routed: Sequence[RoutedEvent], routing: RoutingConfig) -> Sequence[RoutedEvent]:
    """Add the people and channels of the chat that subscribed to events that are about to be recorded."""
    if not routed or routing.direct is None:
        return routed
    subscribed = tx.people.event_subscriptions()
    return with_subscriptions(routed, subscribed, routing) if subscribed else routed


def lock_failures(tx: PlanTx, routed: Sequence[RoutedEvent], stalled: Collection[str] = ()) -> OpenFailures:
    """Return the open failures that events may open, count on or end; see `failures.concerned_operations`.

    It comes before the writes of a transaction, for the rows of failures are locked before all others.
    """
    operations = failures.concerned_operations(routed, stalled)
    return tx.failures.lock(operations) if operations else {}


def announce(tx: PlanTx, routed: Sequence[RoutedEvent], routing: RoutingConfig, now: datetime) -> Announced:
    """Record events that the notifier makes itself and plan their deliveries. One that is recorded stays as it is."""
    new = tx.events.record(add_subscriptions(tx, routed, routing)).new
    plan = plan_new(tx, new, routing, now) if new else DeliveryPlan()
    return Announced(routed=tuple(new), deliveries=plan.deliveries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What came of announcements."""

    routed: tuple[RoutedEvent, ...] = ()
    """The events that were not recorded before, with their channels."""
    deliveries: tuple[Delivery, ...] = ()

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that were not recorded before."""
        return tuple(item.event for item in self.routed)

    def __add__(self, more: Announced) -> Announced:
        return Announced(routed=self.routed + more.routed, deliveries=self.deliveries + more.deliveries)


def read_rotas(tx: PlanTx, rotas: Rotas) -> Rotas:
    """Return the rotas with what their calendars say."""
    return replace(rotas, entries={name: one.entries for name, one in tx.calendars.read(rotas.calendars).items()})


def read_rules(
    tx: PlanTx,
    new: Sequence[RoutedEvent],
    routing: RoutingConfig,
    now: datetime,
    *,
    storms: StormContext,
    repeating: Mapping[str, Repeat],
) -> tuple[Rule, ...]:
    """Read what keeps messages back besides mutes, in the order in which it is asked.

    `routing` is as it is at this time.
    """
    rules = (window_rule(routing.routes, now), repeat_rule(repeating, routing, now) if repeating else None)
    return (*(rule for rule in rules if rule), *_read_holding_rules(tx, new, routing, storms, now))


def _read_holding_rules(
    tx: PlanTx, new: Sequence[RoutedEvent], routing: RoutingConfig, storms: StormContext, now: datetime
) -> Iterator[Rule]:
    """Yield the rules of grouping and of budgets, where one concerns any of the events."""
    if unsteady := flapping.held_rules(new):
        yield flapping.flapping_rule(tx.holds.lasting(unsteady), routing.ticket_channels, now)
    groups = quiet.groups_of(new, routing)
    budgets = quiet.budgets_of(new, routing)
    if not groups and not budgets:
        return
    names = {group.rule for group in groups.values()} | {quiet.budget_rule_name(one) for one in budgets.values()}
    lasting = {(hold.channel, hold.rule): hold.until for hold in tx.holds.lasting(names)}
    if groups:
        yield quiet.group_rule(groups, lasting, stormy_channels(new, routing, now, storms), now)
    if budgets:
        recent = {channel: tx.holds.recent(channel, budget.messages) for channel, budget in budgets.items()}
        yield BudgetRule(routing, recent, lasting, now)


def _count_repeats(tx: PlanTx, plan: DeliveryPlan, repeating: Mapping[str, Repeat], now: datetime) -> None:
    """Let the messages of first failures show how often these have repeated without a message of their own."""
    suppressed = [event for one in plan.deliveries if one.rule == REPEAT_RULE for event in one.events]
    last = {repeating[event.id].first_event_id: event for event in suppressed}
    if last:
        counted = {first: repeats.counted(repeating[event.id], happened(event)) for first, event in last.items()}
        tx.threads.show_repeats(counted, now)


def end_unconfigured_holds(tx: PlanTx, routing: RoutingConfig) -> int:
    """End the holds of rules that the configuration has no more, and return how many deliveries they held."""
    gone = [held for held in tx.holds.rules() if not quiet.is_configured(held[1], held[0], routing)]
    return sum(tx.holds.end(channel, rule, tx.now()) for channel, rule in gone)


def _read_maintenance_rule(
    tx: PlanTx, new: Sequence[RoutedEvent], routing: RoutingConfig, now: datetime
) -> Iterator[Rule]:
    """Yield the rule of the mutes during maintenance, where one may concern any of the events."""
    mutes = routing.during_maintenance
    if any(mute.concerns(item.event.type) for item in new for mute in mutes):
        open_now = open_at(tx.queries.maintenances(now), now)
        if open_now:
            yield maintenance_rule(mutes, open_now, routing.catalogue)


def _read_mutes(tx: PlanTx, new: Sequence[RoutedEvent], routing: RoutingConfig, now: datetime) -> Sequence[Mute]:
    """Return the mutes in force. Those that cover one of the events do not end before the transaction does."""
    known = tx.queries.mutes(now)
    while True:
        found = MutesInForce(known, now, routing.catalogue)
        covering = {mute.id: mute for item in new if (mute := found.covering(item.event))}
        held = {mute.id: mute for mute in tx.mutes.hold(covering.values(), now)} if covering else {}
        if len(held) == len(covering):
            return [held.get(mute.id, mute) for mute in known]
        known = [mute for mute in known if mute.id not in covering or mute.id in held]


def _write(tx: PlanTx, plan: DeliveryPlan, parked: Collection[str], now: datetime) -> None:
    for channel, subjects in plan.failed.items():
        tx.deliveries.rank_as_failures(channel, subjects)
    left = [more for id_, more in plan.extending.items() if not tx.deliveries.extend(id_, more.events)]
    tx.deliveries.record([*plan.deliveries, *left])
    if plan.sent:
        tx.holds.release_about(plan.sent, parked, now)
    for one in plan.deliveries:  # each event that flaps keeps back what its operation has held before
        if one.rule and holds.kind_of(one.rule) == FLAPPING_RULE:
            tx.holds.prolong(one.channel, one.rule, one.available_at)
    if plan.wanted:
        tx.tickets.want(plan.wanted, now)
    for channel, by in plan.superseding.items():
        tx.deliveries.supersede_progress(channel, by)
    if plan.shown:
        tx.threads.refresh(plan.shown, now)
