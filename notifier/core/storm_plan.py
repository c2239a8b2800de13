"""Which failures of a poll are storms, and the deliveries of these. Pure; see `notifier.core.storms`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from notifier.core import storms
from notifier.core.delivery import FAILURE_RANK, Delivery, DeliveryState, delivery_id
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel, Subject
from notifier.core.routing import ChannelPolicy, Route, RoutedEvent, RoutingConfig, routing_on
from notifier.core.storms import Storm


@dataclass(frozen=True, slots=True, kw_only=True)
class StormContext:
    """What decides about the storms of one source, besides the failures that a batch of a poll brings."""

    open: Sequence[Storm] = ()
    """Storms of the source that have not ended."""
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
    taken: dict[str, Collection[str]] = {}
    for channel in {**lasting, **by_channel}:
        policy = routing.policies.get(channel) or ChannelPolicy(name=channel)
        failures = failures_of(by_channel.get(channel, ()))
        known = lasting.get(channel)
        if not _continues(len(failures) + context.before.get(channel, 0), policy, known):
            if known is not None and context.last:
                changed[known.id] = storms.end(known, now)
        elif failures:
            state = DeliveryState.PARKED if channel in parked else DeliveryState.PENDING
            storm, planned = _planned(failures, known, policy, routing.routes, state, now)
            changed[storm.id] = storm
            deliveries += planned
            taken[channel] = frozenset(item.event.id for item in failures)
    return StormPlan(storms=tuple(changed.values()), deliveries=tuple(deliveries), taken=taken)


def _continues(failures: int, policy: ChannelPolicy, known: Storm | None) -> bool:
    """Return whether a poll with this many failures begins a storm, or continues the known one."""
    if policy.digest_above is None or DirectChannel.parse(policy.name):
        return False
    return failures > (policy.digest_above if known is None else policy.digest_above // 2)


def _planned(  # noqa: PLR0917 - what a delivery is made of
    failures: Sequence[RoutedEvent],
    known: Storm | None,
    policy: ChannelPolicy,
    routes: Sequence[Route],
    state: DeliveryState,
    now: datetime,
) -> tuple[Storm, Sequence[Delivery]]:
    """Return the storm with these failures, and the deliveries that report them."""
    events = [item.event for item in failures]
    wanted = routing_on(policy.name, failures, routes)
    storm = storms.begin(policy.name, events) if known is None else storms.grow(known, events)
    deliveries = [
        Delivery(
            id=delivery_id(policy.name, *(item.event.id for item in part)),
            channel=policy.name,
            subject=str(Subject(storm=storm.id)),
            state=state,
            available_at=now,
            created_at=now,
            events=tuple(item.event for item in part),
            digest=True,
            rank=FAILURE_RANK,
            routing=wanted,
        )
        for part in _parts(failures, policy, opens=known is None)
    ]
    return (replace(storm, opened_by=deliveries[0].id) if known is None else storm), deliveries


def _parts(failures: Sequence[RoutedEvent], policy: ChannelPolicy, *, opens: bool) -> Iterator[Sequence[RoutedEvent]]:
    """Divide failures among deliveries. With threads, the message that opens a storm sums it up: it has one event."""
    listed = sorted(failures, key=lambda item: (storms.instance_of(item.event), item.event.job_id))
    if opens and policy.threads:
        first = min(listed, key=lambda item: storms.age_of(item.event))
        yield [first]
        listed.remove(first)
    yield from (listed[start : start + policy.storm_size] for start in range(0, len(listed), policy.storm_size))
