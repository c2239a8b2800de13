"""Which failures of a poll are storms, and the deliveries of these. Pure; see `notifier.core.storms`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from notifier.core import storms
from notifier.core.delivery import FAILURE_RANK, Delivery, DeliveryState, delivery_id
from notifier.core.events import EventType
from notifier.core.identity import Subject
from notifier.core.model import Event
from notifier.core.routing import (
    ChannelPolicy,
    DeliveryRouting,
    Route,
    RoutedEvent,
    RoutingConfig,
    routing_on,
)
from notifier.core.storms import Storm


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsentPart:
    """The latest delivery of a storm, before the first attempt to send it: it can take more failures."""

    delivery_id: str
    events: tuple[Event, ...]
    routing: DeliveryRouting


@dataclass(frozen=True, slots=True, kw_only=True)
class StormContext:
    """What decides about the storms of one source, besides the failures that a batch of a poll brings."""

    open: Sequence[Storm] = ()
    """Storms of the source that have not ended."""
    unsent: Mapping[str, UnsentPart] = field(default_factory=lambda: MappingProxyType({}))
    """Deliveries of these storms that can take more failures, by storm id."""
    before: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Number of failures that earlier batches of the same poll brought, by channel."""
    last: bool = True
    """Whether this batch ends the poll: it ends the storms that the poll has not continued."""
    away_after: timedelta = timedelta.max
    """Time without a poll after which a storm is over, whatever the next poll brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormPlan:
    """What becomes of the failures of a batch."""

    storms: tuple[Storm, ...] = ()
    """Storms that have begun, grown or ended."""
    deliveries: tuple[Delivery, ...] = ()
    extending: Mapping[str, Delivery] = field(default_factory=dict)
    """By id of an unsent delivery: the failures that it takes, as the delivery that reports them if it was sent by
    now."""
    taken: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Ids of the events that storms report, by channel."""


def failures_of(items: Sequence[RoutedEvent]) -> Sequence[RoutedEvent]:
    """Return the events that can be part of a storm."""
    return [item for item in items if item.event.type is EventType.TASK_FAILED]


def plan_storms(
    by_channel: Mapping[str, Sequence[RoutedEvent]],
    routing: RoutingConfig,
    parked: Collection[str],
    now: datetime,
    context: StormContext,
) -> StormPlan:
    """Decide which storms begin, go on and end, given the events that a batch brings to each channel."""
    lasting = {storm.channel: storm for storm in context.open if now - storm.updated_at <= context.away_after}
    changed = {storm.id: storms.end(storm, now) for storm in context.open if storm.channel not in lasting}
    deliveries: list[Delivery] = []
    extending: dict[str, Delivery] = {}
    taken: dict[str, Collection[str]] = {}
    for channel in {**lasting, **by_channel}:
        policy = routing.policy_of(channel)
        failures = failures_of(by_channel.get(channel, ()))
        known = lasting.get(channel)
        if not continues_storm(len(failures) + context.before.get(channel, 0), policy, known):
            if known is not None and context.last:
                changed[known.id] = storms.end(known, now)
        elif failures:
            state = DeliveryState.PARKED if channel in parked else DeliveryState.PENDING
            planner = _Planner(policy=policy, routes=routing.routes, state=state, now=now)
            part = context.unsent.get(known.id) if known else None
            storm, extra, planned = planner.plan(failures, known, part)
            changed[storm.id] = storm
            deliveries += planned
            if part and extra:
                extending[part.delivery_id] = extra
            taken[channel] = frozenset(item.event.id for item in failures)
    return StormPlan(storms=tuple(changed.values()), deliveries=tuple(deliveries), extending=extending, taken=taken)


def stormy_channels(
    new: Sequence[RoutedEvent], routing: RoutingConfig, now: datetime, context: StormContext
) -> Collection[str]:
    """Return the channels on which a storm would report the failures of a batch."""
    lasting = {storm.channel: storm for storm in context.open if now - storm.updated_at <= context.away_after}
    counts = Counter(channel for item in failures_of(new) for channel in item.channels)
    return {
        channel
        for channel, count in counts.items()
        if continues_storm(
            count + context.before.get(channel, 0),
            routing.policies.get(channel) or ChannelPolicy(name=channel),
            lasting.get(channel),
        )
    }


def continues_storm(failures: int, policy: ChannelPolicy, known: Storm | None) -> bool:
    """Return whether a poll with this many failures begins a storm, or continues the known one."""
    if policy.digest_above is None:
        return False
    return failures > (policy.digest_above if known is None else policy.digest_above // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planner:
    """Plans what reports the failures of a storm on one channel."""

    policy: ChannelPolicy
    routes: Sequence[Route]
    state: DeliveryState
    now: datetime

    def plan(
        self, failures: Sequence[RoutedEvent], known: Storm | None, part: UnsentPart | None
    ) -> tuple[Storm, Delivery | None, Sequence[Delivery]]:
        """Return the storm with these failures, those that the unsent part of it takes, and deliveries of the others.

        With threads, the message that opens a storm sums it up and has one event; it takes no others.
        """
        events = [item.event for item in failures]
        name = self.policy.name
        wanted = routing_on(name, failures, self.routes)
        storm = storms.begin(name, events) if known is None else storms.grow(known, events)
        listed = sorted(failures, key=lambda item: (storms.instance_of(item.event), item.event.job_id))
        parts: list[Sequence[RoutedEvent]] = []
        if known is None and self.policy.threads:
            first = min(listed, key=lambda item: storms.age_of(item.event))
            parts.append([first])
            listed.remove(first)
        room = self._room(part, storm, wanted, listed) if part else 0
        extra, listed = listed[:room], listed[room:]
        parts += split_listed(listed, self.policy)
        deliveries = [self._delivery(storm, one, wanted) for one in parts]
        if known is None:
            storm = replace(storm, opened_by=deliveries[0].id)
        return storm, self._delivery(storm, extra, wanted) if extra else None, deliveries

    def _room(self, part: UnsentPart, storm: Storm, wanted: DeliveryRouting, listed: Sequence[RoutedEvent]) -> int:
        """Return how many failures the unsent part of a storm takes."""
        if part.routing != wanted or (self.policy.threads and part.delivery_id == storm.opened_by):
            return 0
        events = (*part.events, *(item.event for item in listed[: self.policy.storm_size]))
        return max(storms.fitting(events, self.policy.storm_size, self.policy.storm_room) - len(part.events), 0)

    def _delivery(self, storm: Storm, items: Sequence[RoutedEvent], wanted: DeliveryRouting) -> Delivery:
        return Delivery(
            id=delivery_id(self.policy.name, *(item.event.id for item in items)),
            channel=self.policy.name,
            subject=str(Subject(storm=storm.id)),
            state=self.state,
            available_at=self.now,
            created_at=self.now,
            events=tuple(item.event for item in items),
            digest=True,
            rank=FAILURE_RANK,
            routing=wanted,
        )


def split_listed(failures: Sequence[RoutedEvent], policy: ChannelPolicy) -> Iterator[Sequence[RoutedEvent]]:
    """Divide failures, which are in the order of instances, among lists that a message of the channel can hold."""
    while failures:
        events = [item.event for item in failures[: policy.storm_size]]
        size = max(storms.fitting(events, policy.storm_size, policy.storm_room), 1)
        yield failures[:size]
        failures = failures[size:]
