"""From events to deliveries, and from the outcome of an attempt to what becomes of its delivery."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.core import recipients, retry, ticket_plan, tickets
from notifier.core.delivery import (
    FAILURE_RANK,
    USUAL_RANK,
    Attempt,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Parked,
    Recipient,
    Resolution,
    Retry,
    Skipped,
    Unknown,
    delivery_id,
)
from notifier.core.diff import happened_at
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel
from notifier.core.model import Event, SourceOrigin, Transition, event_id
from notifier.core.pacing import AttemptSignal
from notifier.core.routing import ChannelPolicy, DeliveryRouting, RoutedEvent, RoutesOfChannel, RoutingConfig
from notifier.core.rulings import Hold, Rule, Suppress, ruling_on
from notifier.core.started_by import StartedBy
from notifier.core.tickets import Ticket


def task_event(transition: Transition, origin: SourceOrigin, started_by: StartedBy | None = None) -> Event:
    """Return the event that a transition of a task of this source makes."""
    task = transition.after
    return Event(
        id=event_id(task.source, task.job_id, transition.occurrence),
        type=transition.type,
        source=task.source,
        region=origin.region,
        project_id=origin.project_id,
        environment=origin.environment,
        labels=origin.labels,
        occurrence=transition.occurrence,
        observed_at=transition.observed_at,
        occurred_at=happened_at(transition.type, task),
        late=transition.late,
        quiet=transition.quiet,
        task=task,
        previous_status=str(transition.before.status) if transition.before else None,
        since=transition.since,
        overdue=transition.overdue,
        started_by=started_by,
    )


def gap_event(origin: SourceOrigin, since: datetime, until: datetime) -> Event:
    """Return the event of a gap: between these two times nobody polled, for longer than the API lists tasks.

    Its detail is the ISO 8601 interval of the gap.
    """
    event = event_about_source(origin, EventType.SOURCE_GAP, f"gap@{since.isoformat()}", until)
    return replace(event, detail=f"{since.isoformat()}/{until.isoformat()}")


def event_about_source(origin: SourceOrigin, kind: EventType, occurrence: str, now: datetime) -> Event:
    """Return an event about a source as a whole."""
    return Event(
        id=event_id(origin.source, "", occurrence),
        type=kind,
        source=origin.source,
        region=origin.region,
        project_id=origin.project_id,
        environment=origin.environment,
        labels=origin.labels,
        occurrence=occurrence,
        observed_at=now,
        occurred_at=None,
    )


def with_subscribers(routed: Sequence[RoutedEvent], people: Mapping[str, Sequence[str]]) -> tuple[RoutedEvent, ...]:
    """Add the people who subscribed to tasks, by job id, to the channels of the events that they wait for."""
    return tuple(
        replace(item, channels=(*item.channels, *(str(DirectChannel(who)) for who in people[item.event.job_id])))
        if concerns_subscribers(item.event) and item.event.job_id in people
        else item
        for item in routed
    )


def ends(event: Event) -> bool:
    """Return whether a task has ended with an event, in whatever state: a canceled one has an end too."""
    if event.type is EventType.TASK_CHANGED:
        return event.task is not None and event.task.ended_at is not None
    return event.type.traits.ends_task


def concerns_subscribers(event: Event) -> bool:
    """Return whether subscribers of a task get an event: its end, or that nobody may ever see it."""
    return ends(event) or event.type is EventType.TASK_UNLISTED


def plan(
    routed: Sequence[RoutedEvent], routing: RoutingConfig, parked: Iterable[str], now: datetime
) -> tuple[Delivery, ...]:
    """Return the deliveries of events: one for each event and channel, or digests where there are too many."""
    return tuple(plan_sent(sort_out(routed, ()).sent, routing, parked, now, {}))


class SortedEvents(NamedTuple):
    """What becomes of events on each of their channels."""

    sent: Mapping[str, Sequence[RoutedEvent]]
    """Those that are sent at once, by channel; likewise the others."""
    held: Mapping[str, Sequence[tuple[RoutedEvent, Hold]]]
    suppressed: Mapping[str, Sequence[tuple[RoutedEvent, Suppress]]]


def sort_out(routed: Sequence[RoutedEvent], rules: Sequence[Rule]) -> SortedEvents:
    """Ask the rules about each event on each of its channels."""
    sent: dict[str, list[RoutedEvent]] = {}
    held: dict[str, list[tuple[RoutedEvent, Hold]]] = {}
    suppressed: dict[str, list[tuple[RoutedEvent, Suppress]]] = {}
    for item in routed:
        for channel in item.channels:
            match ruling_on(item, channel, rules) if rules else None:
                case None:
                    sent.setdefault(channel, []).append(item)
                case Hold() as hold:
                    held.setdefault(channel, []).append((item, hold))
                case Suppress() as ruling:
                    suppressed.setdefault(channel, []).append((item, ruling))
    return SortedEvents(sent=sent, held=held, suppressed=suppressed)


def plan_suppressed(
    suppressed: Mapping[str, Sequence[tuple[RoutedEvent, Suppress]]], now: datetime
) -> Iterator[Delivery]:
    """Yield the deliveries of events that rules suppress."""
    for channel, items in suppressed.items():
        for item, ruling in items:
            yield replace(_suppressed(channel, item.event, ruling.reason, now), rule=ruling.rule)


def plan_held(
    held: Mapping[str, Sequence[tuple[RoutedEvent, Hold]]], routing: RoutingConfig, now: datetime
) -> Iterator[Delivery]:
    """Yield the deliveries of events that rules hold: one for each event, so that each can be released by itself.

    They are pending also where the channel is parked: what becomes of them is decided when the hold ends.
    """
    for channel, items in held.items():
        routes, policy = RoutesOfChannel(channel, routing.routes), routing.policies.get(channel)
        for item, hold in items:
            if policy and policy.tickets:
                planned = _for_ticket(channel, item, DeliveryState.PENDING, now, routes)
                if planned.state is DeliveryState.SUPPRESSED:  # it changes no ticket, now or later
                    yield planned
                    continue
            else:
                wanted = routes.routing_of([item])
                planned = new_delivery(channel, [item.event], DeliveryState.PENDING, now, routing=wanted)
            yield replace(planned, available_at=hold.until, rule=hold.rule, reason=_storable(hold.reason))


def plan_sent(
    by_channel: Mapping[str, Sequence[RoutedEvent]],
    routing: RoutingConfig,
    parked: Iterable[str],
    now: datetime,
    before: Mapping[str, int],
) -> Iterator[Delivery]:
    """Yield the deliveries of the events of each channel; `before` counts those of earlier batches of a poll."""
    state = dict.fromkeys(parked, DeliveryState.PARKED)
    for channel, items in by_channel.items():
        routes, planned = RoutesOfChannel(channel, routing.routes), state.get(channel, DeliveryState.PENDING)
        policy = routing.policy_of(channel)
        if policy.tickets:
            yield from (_for_ticket(channel, item, planned, now, routes) for item in sorted(items, key=_happened))
            continue
        for batch in _batches(items, _after(before.get(channel, 0), policy)):
            yield new_delivery(
                channel,
                [item.event for item in batch],
                planned,
                now,
                routing=routes.routing_of(batch),
            )


def _happened(item: RoutedEvent) -> datetime:
    return tickets.happened(item.event)


def _for_ticket(
    channel: str, item: RoutedEvent, state: DeliveryState, now: datetime, routes: RoutesOfChannel
) -> Delivery:
    """Return the delivery of an event to a channel that keeps tickets; a suppressed one where it changes none."""
    if why := ticket_plan.refusal(item, channel):
        return _suppressed(channel, item.event, why, now)
    planned = new_delivery(channel, [item.event], state, now, routing=routes.routing_of([item]))
    return replace(planned, subject=ticket_plan.ticket_subject(item.event))


_UNROUTED = DeliveryRouting()


def new_delivery(
    channel: str, batch: Sequence[Event], state: DeliveryState, now: datetime, *, routing: DeliveryRouting = _UNROUTED
) -> Delivery:
    """Return the delivery of these events to a channel: a digest where there are several."""
    return Delivery(
        id=delivery_id(channel, *(event.id for event in batch)),
        channel=channel,
        subject="" if len(batch) > 1 else batch[0].subject,
        state=state,
        available_at=now,
        created_at=now,
        events=tuple(batch),
        digest=len(batch) > 1,
        routing=routing,
        rank=rank_of(batch),
    )


def moved_delivery(
    channel: str,
    batch: Sequence[Event],
    state: DeliveryState,
    now: datetime,
    *,
    routing: DeliveryRouting,
    tickets: bool,
) -> Delivery:
    """Return the delivery of events that waited on another channel; `tickets` is whether this one keeps tickets."""
    moved = new_delivery(channel, batch, state, now, routing=routing)
    of_operation = tickets and (batch[0].matter is not None)
    return replace(moved, subject=ticket_plan.ticket_subject(batch[0])) if of_operation else moved


_LOUD_TYPES = frozenset(kind for kind in EventType if kind.traits.severity.loud)


def rank_of(events: Iterable[Event]) -> int:
    """Return the rank of a delivery of these events: bad news goes out before everything else that waits."""
    return USUAL_RANK if _LOUD_TYPES.isdisjoint([event.type for event in events]) else FAILURE_RANK


def _suppressed(channel: str, event: Event, why: str, now: datetime) -> Delivery:
    return replace(new_delivery(channel, [event], DeliveryState.SUPPRESSED, now), reason=_storable(why), settled_at=now)


def _after(events: int, policy: ChannelPolicy) -> ChannelPolicy:
    """Return the policy for what follows this number of events of the same poll."""
    return policy if policy.digest_above is None else replace(policy, digest_above=max(policy.digest_above - events, 0))


def _batches(items: Sequence[RoutedEvent], policy: ChannelPolicy) -> Iterator[Sequence[RoutedEvent]]:
    # Reminders that are due together are one message, however few they are.
    above = 1 if all(item.event.follow_up for item in items) else policy.digest_above
    many = policy.digest_above is not None and above is not None and len(items) > above
    size = policy.digest_size if many else 1
    # No two of them are about one task, so that the order in which a digest names them is free: failures first.
    items = sorted(items, key=lambda item: item.event.type is not EventType.TASK_FAILED) if many else items
    return (items[start : start + size] for start in range(0, len(items), size))


class Settlement(NamedTuple):
    """What becomes of a claimed delivery after an attempt."""

    delivery_id: str
    state: DeliveryState
    wait: timedelta | None
    """How long until the next try, or until a parked channel is probed; None for a delivery that is settled."""
    attempt: Attempt
    """Its number is the guard: a settlement of an attempt that is no longer the latest changes nothing."""
    reason: str | None = None
    ref: str | None = None
    thread: str | None = None
    """See `Delivered.thread`."""
    copy: str | None = None
    """See `Delivered.copy`."""
    outcome_unknown: bool = False
    """True when the message may have arrived: the answer of this attempt or of an earlier one is still unknown."""
    signal: AttemptSignal = AttemptSignal.NONE
    """What the attempt proves about the channel."""
    pause: timedelta | None = None
    """What the receiver asked for."""
    recipients: tuple[Recipient, ...] | None = None
    """What is recorded of several addressees; None leaves it as it is."""
    ticket: Ticket | None = None
    """What is recorded of the ticket of its operation; None leaves it as it is."""
    receiver_gone: bool = False
    """See `GaveUp.receiver_gone`."""

    @property
    def parks_channel(self) -> bool:
        """True when every pending delivery of the channel is to be parked with this one."""
        return self.state is DeliveryState.PARKED


MAX_STORED_TEXT = 1000
"""Maximum length of a stored reason or reply, in characters."""

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that no database stores as text."""


def settle(
    delivery: Delivery,
    outcome: Outcome,
    *,
    started_at: datetime,
    finished_at: datetime,
    schedule: Sequence[timedelta],
    chance: float,
    resolution: Resolution | None = None,
) -> Settlement:
    """Decide what becomes of a delivery. `chance` is a random number from 0 to 1 for the jitter of the wait."""
    state, wait, reason = _verdict(delivery, outcome, schedule, chance)
    delivered = outcome if isinstance(outcome, Delivered) else None
    return Settlement(
        delivery_id=delivery.id,
        state=state,
        wait=wait,
        attempt=Attempt(
            delivery_id=delivery.id,
            number=delivery.attempt,
            started_at=started_at,
            finished_at=finished_at,
            outcome=_OUTCOMES[type(outcome)],
            reason=_storable(outcome.reason),
            resolution=resolution,
            reply=_storable(outcome.reply),
        ),
        reason=_storable(reason),
        ref=_storable(delivered.ref) if delivered else None,
        thread=_storable(delivered.thread) if delivered else None,
        copy=_storable(delivered.copy) if delivered else None,
        outcome_unknown=isinstance(outcome, Unknown)
        or (delivery.outcome_unknown and resolution is not Resolution.ABSENT),
        signal=_signal(delivery, outcome),
        pause=_pause(outcome),
        recipients=_storable_recipients(outcome),
        ticket=_storable_ticket(outcome.ticket),
        receiver_gone=isinstance(outcome, GaveUp) and outcome.receiver_gone,
    )


def _pause(outcome: Outcome) -> timedelta | None:
    """Return for how long the receiver asked to be left alone by the whole channel."""
    if not isinstance(outcome, Retry) or outcome.neutral or not outcome.after:
        return None
    return min(outcome.after, retry.MAX_RETRY_AFTER)


def _storable_ticket(ticket: Ticket | None) -> Ticket | None:
    """Return a ticket with the service's words as any database holds them."""
    if ticket is None:
        return None
    return replace(
        ticket,
        ref=_storable(ticket.ref),
        label=_storable(ticket.label),
        url=_storable(ticket.url),
        status=_storable(ticket.status),
        previous=_storable(ticket.previous),
    )


def _storable_recipients(outcome: Outcome) -> tuple[Recipient, ...] | None:
    if isinstance(outcome, Delivered):
        return ()
    if outcome.recipients is None:
        return None
    return tuple(replace(one, reason=_storable(one.reason)) for one in outcome.recipients)


def _signal(delivery: Delivery, outcome: Outcome) -> AttemptSignal:
    """Return what an attempt proves about the channel: nothing where one addressee refuses what others accept."""
    if isinstance(outcome, Delivered) or recipients.newly_delivered(delivery, outcome):
        return AttemptSignal.GOOD
    return AttemptSignal.NONE if outcome.recipients else signal_of(outcome)


def signal_of(outcome: Outcome) -> AttemptSignal:
    """Return what an outcome proves about the channel."""
    match outcome:
        case Delivered():
            return AttemptSignal.GOOD
        case Retry(neutral=True):
            return AttemptSignal.NONE
        case Retry(_, after):
            return AttemptSignal.BUSY if after else AttemptSignal.BAD
        case Unknown():
            return AttemptSignal.BAD
    return AttemptSignal.NONE


def _storable(text: str | None) -> str | None:
    """Return text that any database holds: a receiver's words must not undo the settlements of others."""
    return UNSTORABLE.sub("\ufffd", text)[:MAX_STORED_TEXT] if text else text


_OUTCOMES: Mapping[type, str] = {
    Delivered: "delivered",
    Retry: "retry",
    GaveUp: "gave-up",
    Parked: "parked",
    Unknown: "unknown",
    Skipped: "skipped",
}


def _verdict(
    delivery: Delivery, outcome: Outcome, schedule: Sequence[timedelta], chance: float
) -> tuple[DeliveryState, timedelta | None, str | None]:
    match outcome:
        case Delivered():
            return DeliveryState.DELIVERED, None, outcome.reason
        case GaveUp(reason):
            return DeliveryState.DEAD, None, reason
        case Parked(reason, probe_after):
            return DeliveryState.PARKED, probe_after, reason
        case Skipped(reason):
            return DeliveryState.SUPPRESSED, None, reason
        case Retry(reason, after):
            return _again(delivery, reason, after, schedule, chance)
        case Unknown(reason):
            # At least once: what may not have arrived is sent again, with the same id and the same bytes.
            return _again(delivery, f"outcome unknown: {reason}", None, schedule, chance)


def _again(
    delivery: Delivery, reason: str, after: timedelta | None, schedule: Sequence[timedelta], chance: float
) -> tuple[DeliveryState, timedelta | None, str]:
    tries = delivery.attempt - delivery.earlier_attempts
    wait = retry.delay(schedule, tries, after, chance)
    if wait is None:
        return DeliveryState.DEAD, None, f"gave up after {tries} attempts, last: {reason}"
    return DeliveryState.PENDING, wait, reason
