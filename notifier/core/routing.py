"""Which channels an event goes to, and why not to the others."""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Self

from notifier.core.causes import CauseCatalogue
from notifier.core.escalations import Escalation
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, fields_of
from notifier.core.identity import DirectChannel
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.matchers import Matcher, first_misfit, fitting, value_of
from notifier.core.model import Event
from notifier.core.rota import Rotas, rota_named
from notifier.core.severity import Severity, worst
from notifier.core.tickets import TicketFields, joined_fields
from notifier.core.windows import Window


class Otherwise(StrEnum):
    """What becomes of the events of a route on its channels while its window is closed."""

    HOLD = "hold"
    """They wait until the window opens, and go out together then."""
    DROP = "drop"
    """They are suppressed, with the route as the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Events that fit all its matchers go to all its channels. Every matching route applies, until one with `stop`."""

    name: str
    match: tuple[Matcher, ...] = ()
    channels: tuple[str, ...] = ()
    stop: bool = False
    severity: Severity | None = None
    """How bad the events are that it takes; None leaves the default of each event."""
    mention: tuple[str, ...] = ()
    """Whom messages about events that need somebody mention. A channel takes what its kind understands."""
    ticket: TicketFields | None = None
    """What it wants of the tickets that it opens."""
    wait: timedelta | None = None
    """Time from the first event of a group until the one message about the group; None sends each event at once."""
    group_by: tuple[str, ...] = ()
    """Fields that the events of one group have in common; none of them puts all events of the route together."""
    repeats: timedelta | None = None
    """Time within which the same failure, while it is open, is counted instead of sent again; None sends each."""
    template: str | None = None
    """Name of the templates of its channels that replace their words; None leaves those of each type of event."""
    active: Window | None = None
    """When it leads to its channels; None for always. It takes events at any time, and its `stop` always applies."""
    otherwise: Otherwise | tuple[str, ...] = Otherwise.HOLD
    """While its window is closed: the channels that it leads to then, or what becomes of the events on its own."""
    is_open: bool | None = None
    """Whether the window was open at the time that `at` was asked about. None before."""

    def at(self, now: datetime) -> Self:
        """Return the route as it is at a time: while its window is closed, it may lead to other channels.

        A route that was judged once stays as it is, so that all decisions of one transaction are of the same time.
        """
        if self.active is None or self.is_open is not None:
            return self
        is_open = self.active.is_open(now)
        elsewhere = None if is_open or isinstance(self.otherwise, Otherwise) else self.otherwise
        return replace(self, is_open=is_open, channels=self.channels if elsewhere is None else elsewhere)

    @property
    def withholds(self) -> Otherwise | None:
        """What becomes of its events on its channels where its window is closed; None where they are sent."""
        return self.otherwise if self.is_open is False and isinstance(self.otherwise, Otherwise) else None

    @property
    def may_hold(self) -> bool:
        """True where it holds its events until its window opens."""
        return self.active is not None and self.otherwise is Otherwise.HOLD

    @property
    def all_channels(self) -> tuple[str, ...]:
        """The channels that it leads to at any time."""
        elsewhere = () if self.active is None or isinstance(self.otherwise, Otherwise) else self.otherwise
        return tuple(dict.fromkeys((*self.channels, *elsewhere)))

    remind: tuple[timedelta, ...] = ()
    """Waits between reminders of failures that nobody acknowledges, the last of which repeats; none without any."""
    escalate: str | None = None
    """Name of the escalation of failures that nobody acknowledges."""


MAX_MENTIONS = 20
"""Maximum number of people and groups that one message mentions, and that one route names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldEvents:
    """What has held the events of a digest."""

    rule: str
    """Name of the rule: see `rulings.Hold`."""
    since: datetime
    """When the first of them was held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRouting:
    """What the routes that led to a delivery want of its message. Recorded with the delivery."""

    routes: tuple[str, ...] = ()
    """Names of the routes; empty for an alert that no route took."""
    severity: Severity | None = None
    """The worst that these routes set; None where none does."""
    mention: tuple[str, ...] = ()
    """Everybody whom these routes mention for events that may mention somebody, each once."""
    ticket: TicketFields | None = None
    """What these routes want of a new ticket; where they differ, what the first one wants."""
    held: HeldEvents | None = None
    """Why the message is a digest, where a rule has held its events until now."""
    template: str | None = None
    """Name of the templates that replace the words of the channel; where routes differ, that of the first one."""

    def severity_of(self, events: Iterable[Event]) -> Severity:
        """Return how bad the worst of these events is: what the routes set, else the default."""
        return self.severity or worst(event.severity for event in events)

    def joined(self, other: "DeliveryRouting") -> "DeliveryRouting":
        """Return what both want, for a message about the events of both."""
        set_by = [severity for severity in (self.severity, other.severity) if severity]
        return DeliveryRouting(
            routes=tuple(dict.fromkeys((*self.routes, *other.routes))),
            severity=worst(set_by) if set_by else None,
            mention=tuple(dict.fromkeys((*self.mention, *other.mention))),
            ticket=joined_fields([self.ticket, other.ticket]),
            held=self.held or other.held,
            template=self.template or other.template,
        )


MAX_DIGEST_SIZE = 100
"""Largest `digest_size` of any channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Maximum number of messages of a channel within a time, beyond which only loud events are sent at once."""

    messages: int
    within: timedelta
    text: str
    """As it is configured: `20/h`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlappingLimit:
    """From when on an operation counts as flapping."""

    changes: int
    """Number of changes of its result."""
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPolicy:
    """What planning needs to know about a channel."""

    name: str
    digest_above: int | None = 20
    """More events than this for one channel in one poll become digests; None never does."""
    digest_size: int = 100
    """Events a digest names at most."""
    threads: bool = False
    """True where the message of a storm sums it up, and its thread lists the tasks."""
    storm_size: int = 100
    """Tasks that one message of a storm lists at most."""
    storm_room: int = 1_000_000
    """Maximum length of such a list, in characters, as `storms.listed_length` counts them."""
    coalesces: bool = False
    """True where progress that has not been delivered gives way to what happened after it."""
    tickets: bool = False
    """True where each failing operation has a ticket: failures open it and successes close it, one after the other."""
    budget: Budget | None = None
    """None sends every event at once."""


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """Who is notified: the routes and the channels they lead to."""

    routes: Sequence[Route] = ()
    policies: Mapping[str, ChannelPolicy] = field(default_factory=dict)
    catalogue: CauseCatalogue | None = None
    """The causes that explain reasons of failed tasks; None where no route asks for a cause."""
    flapping: FlappingLimit | None = None
    """None judges no operation."""
    rotas: Rotas = field(default_factory=Rotas)
    """Who is on duty when, for the mentions that stand for them."""
    direct: ChannelPolicy | None = None
    """Policy of each direct channel, less its name; None where no direct channel can be served."""
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Configured channels by the name that a direct channel to the same place would have."""
    escalations: Mapping[str, Escalation] = field(default_factory=dict)
    """By name."""
    during_maintenance: Sequence[MaintenanceMute] = ()
    """The mutes that are in force while a maintenance of an instance is open."""
    holidays_known: bool = False
    """Whether the windows have the days of the calendars that they name; see `with_holidays`."""

    def policy_of(self, channel: str) -> ChannelPolicy:
        """Return the policy of a channel: its own, or the usual one."""
        if self.direct and DirectChannel.parse(channel):
            return replace(self.direct, name=channel)
        return self.policies.get(channel) or ChannelPolicy(name=channel)

    def at(self, now: datetime) -> Self:
        """Return the routes as they are at a time; see `Route.at`."""
        return self if self.timeless else replace(self, routes=tuple(route.at(now) for route in self.routes))

    def with_holidays(self, days: Mapping[str, Collection[date]]) -> Self:
        """Return the same with the days of calendars, by name, as holidays of the windows that name them."""
        escalations = {name: one.with_holidays(days) for name, one in self.escalations.items()}
        return replace(self, routes=with_holidays(self.routes, days), escalations=escalations, holidays_known=True)

    @property
    def timeless(self) -> bool:
        """True where nothing depends on the time, because no route has a window or all of them were judged."""
        return all(route.active is None or route.is_open is not None for route in self.routes)

    @property
    def calendars(self) -> frozenset[str]:
        """Names of the calendars that have to be read, because windows of routes or escalations name them."""
        if self.holidays_known:
            return frozenset()
        return calendars_of(self.routes).union(*(one.calendars for one in self.escalations.values()))

    @property
    def ticket_channels(self) -> Sequence[str]:
        """Names of the channels that keep tickets."""
        return [name for name, policy in self.policies.items() if policy.tickets]

    @property
    def counts_repeats(self) -> bool:
        """Whether any route counts failures that repeat."""
        return any(route.repeats is not None for route in self.routes)

    @cached_property
    def holds(self) -> bool:
        """Whether any rule may hold events, so that something may be held."""
        grouping = any(route.wait is not None or route.may_hold for route in self.routes)
        return (
            grouping or self.flapping is not None or any(policy.budget is not None for policy in self.policies.values())
        )


def with_holidays(routes: Iterable[Route], days: Mapping[str, Collection[date]]) -> tuple[Route, ...]:
    """Return routes with the days of calendars, by name, as holidays of the windows that name them."""
    return tuple(replace(route, active=route.active and route.active.with_holidays(days)) for route in routes)


def calendars_of(routes: Iterable[Route]) -> frozenset[str]:
    """Return the names of the calendars that windows of routes depend on."""
    return frozenset(route.active.calendar for route in routes if route.active and route.active.calendar)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedEvent:
    """An event with the routes that took it when it was detected, and the channels it goes to."""

    event: Event
    routes: tuple[str, ...]
    channels: tuple[str, ...]
    solves: tuple[str, ...] = ()
    """Those of the channels that keep a ticket for the operation that has succeeded with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteVerdict:
    """Whether a route took an event, and if not, why."""

    route: Route
    """As it was at the time of the event: while its window is closed, it may lead to other channels."""
    matched: bool
    failed_matcher: Matcher | None = None
    """The first matcher that did not fit."""
    actual: str | None = None
    """What the event has in the field of that matcher."""
    skipped_by: str | None = None
    """The earlier route with `stop`."""
    opens_at: datetime | None = None
    """When the window opens that holds the event; None where none does."""


def explain_routes(
    event: Event, routes: Iterable[Route], catalogue: CauseCatalogue | None = None
) -> list[RouteVerdict]:
    """Return the verdict of every route, in order, with the windows as they were when the event was observed."""
    return explain_fields(fields_of(event, catalogue=catalogue), routes, event.observed_at)


def explain_fields(
    fields: Mapping[str, str], routes: Iterable[Route], at: datetime | None = None
) -> list[RouteVerdict]:
    """Return the verdict of every route on an event described by its fields alone.

    Windows are judged as they are at a time; without one, all are taken to be open.
    """
    verdicts: list[RouteVerdict] = []
    stopped_by: str | None = None
    for route in routes:
        verdict = RouteVerdict(route=route, matched=False, skipped_by=stopped_by)
        if stopped_by is None:
            verdict = _judge(route if at is None else route.at(at), fields, at)
            stopped_by = route.name if verdict.matched and route.stop else None
        verdicts.append(verdict)
    return verdicts


def _judge(route: Route, fields: Mapping[str, str], at: datetime | None) -> RouteVerdict:
    failed = first_misfit(route.match, fields)
    if failed is None:
        held = route.active if at and route.withholds is Otherwise.HOLD else None
        return RouteVerdict(route=route, matched=True, opens_at=held.next_opening(at) if held and at else None)
    return RouteVerdict(route=route, matched=False, failed_matcher=failed, actual=value_of(failed, fields))


def channels_of(verdicts: Sequence[RouteVerdict]) -> tuple[str, ...]:
    """Return the channels of the routes that matched, each once, in the order of the routes."""
    return tuple(dict.fromkeys(channel for v in verdicts if v.matched for channel in v.route.channels))


def route_events(
    events: Iterable[Event], routes: Sequence[Route], catalogue: CauseCatalogue | None = None
) -> tuple[RoutedEvent, ...]:
    """Return each event with the routes that take it and the channels it goes to.

    Windows are those of the time at which the event was observed, where `Route.at` has not judged them for another. The
    catalogue is asked where a matcher is about a cause or an error code; without it no cause is known.
    """
    matched = {matcher.field for route in routes for matcher in route.match}.intersection(FIELDS)
    tests = [(route, fitting(route.match)) for route in routes]
    return tuple(_routed(event, fields_of(event, matched, catalogue), tests) for event in events)


def with_people_on_duty(routing: RoutingConfig, rotas: Rotas, now: datetime) -> RoutingConfig:
    """Return the routing with whoever is on duty in place of each rota that a route mentions."""
    routes = tuple(
        replace(route, mention=rotas.mentions(route.mention, now)[:MAX_MENTIONS])
        if any(rota_named(entry) for entry in route.mention)
        else route
        for route in routing.routes
    )
    return replace(routing, routes=routes, rotas=rotas)


def routing_on(channel: str, items: Sequence[RoutedEvent], routes: Iterable[Route]) -> DeliveryRouting:
    """Return what the routes of these events that lead to a channel want of one message about all of them."""
    return RoutesOfChannel(channel, routes).routing_of(items)


class RoutesOfChannel:
    """What the routes that lead to a channel want of its messages.

    A route sets the severity of the events that it took and of no others. An event that is not loud mentions nobody.
    A route whose window is closed has no say about an event that another one sends.
    """

    def __init__(self, channel: str, routes: Iterable[Route]) -> None:
        self._routes = [route for route in routes if channel in route.channels]
        self._known: dict[tuple[tuple[str, ...], EventType, str], DeliveryRouting] = {}
        """By all that it depends on: the routes of an event, its type and its environment."""

    def routing_of(self, items: Sequence[RoutedEvent]) -> DeliveryRouting:
        """Return what they want of one message about all of these events."""
        found = [self._of_one(item) for item in items]
        if len(found) == 1:
            return found[0]
        # An event whose severity no route sets counts with its own, so that a digest hides none.
        own = [one.severity or item.event.severity for one, item in zip(found, items, strict=True)]
        together = functools.reduce(DeliveryRouting.joined, found, DeliveryRouting())
        return replace(together, severity=worst(own) if together.severity else None)

    def _of_one(self, item: RoutedEvent) -> DeliveryRouting:
        key = (item.routes, item.event.type, item.event.environment)
        known = self._known.get(key)
        if known is None:
            leading = [route for route in self._routes if route.name in item.routes]
            sending = [route for route in leading if route.withholds is None]
            known = self._known[key] = _routing_of(item, sending or leading)
        return known


def _routing_of(item: RoutedEvent, routes: Sequence[Route]) -> DeliveryRouting:
    """Return what routes that took one event want."""
    set_by = [route.severity for route in routes if route.severity]
    severity = worst(set_by) if set_by else None
    mentions = item.event.calls_somebody and (severity or item.event.severity).loud
    return DeliveryRouting(
        routes=tuple(dict.fromkeys(route.name for route in routes)),
        severity=severity,
        mention=tuple(dict.fromkeys(who for route in routes for who in route.mention)) if mentions else (),
        ticket=joined_fields(route.ticket for route in routes),
        template=next((route.template for route in routes if route.template), None),
    )


def _routed(
    event: Event, fields: Mapping[str, str], tests: Sequence[tuple[Route, Callable[[Mapping[str, str]], bool]]]
) -> RoutedEvent:
    taking: list[Route] = []
    for route, fits in tests:
        if fits(fields):
            taking.append(route.at(event.observed_at))
            if route.stop:
                break
    return RoutedEvent(
        event=event,
        routes=tuple(route.name for route in taking),
        channels=tuple(dict.fromkeys(channel for route in taking for channel in route.channels)),
    )
