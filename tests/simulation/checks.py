"""Conditions that hold after every run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from notifier.core.delivery import MAX_COPIES, Delivery, DeliveryState, ResendPolicy
from notifier.core.events import EventType
from notifier.core.identity import Subject
from notifier.core.routing import RoutedEvent
from notifier.core.storms import Storm
from notifier.ports import DeliveryFilter, EventFilter
from notifier.store.queries import Queries
from simulation.world import LEASE, Arrival, Posted, Receiver, State, World, shown_of, state_of


def find_violations(world: World, queries: Queries) -> Iterator[str]:
    """Yield the violations, after everything has been healed and the outbox had time to drain."""
    recorded_events = list(reversed(queries.events(EventFilter(limit=100_000))))
    yield from _check_events(world, recorded_events)
    yield from _check_ledger(queries)
    for receiver in world.receivers:
        yield from _check_arrivals(world, receiver, recorded_events, queries)


def _check_events(world: World, recorded_events: Sequence[RoutedEvent]) -> Iterator[str]:
    by_job: dict[str, list[State]] = {}
    for item in recorded_events:
        if item.event.task is not None:
            by_job.setdefault(item.event.job_id, []).append(state_of(item.event.task))
    for job_id, states in by_job.items():
        if not _within(states, [state for state in world.cloud.history if state[0] == job_id]):
            yield f"invented or out of order: {job_id} {states}"
    for job_id in world.cloud.tasks:
        shown = [state for _, seen in sorted(world.recorded, key=itemgetter(0)) for state in seen if state[0] == job_id]
        demanded = [state for state, _ in groupby(shown)]
        if not _within(demanded, by_job.get(job_id, [])):
            yield f"lost: {job_id} was seen as {demanded}, told {by_job.get(job_id)}"


def _within(some: Iterable[State], of: Iterable[State]) -> bool:
    """Return whether `some` is a subsequence of `of`."""
    rest = iter(of)
    return all(state in rest for state in some)


def _check_ledger(queries: Queries) -> Iterator[str]:
    ledger = queries.ledger()
    if ledger.unaccounted:
        yield f"unaccounted: {ledger.unaccounted}"
    for state in (DeliveryState.PENDING, DeliveryState.PARKED):
        if ledger.by_state[state]:
            left = [(d.channel, d.attempt, d.reason) for d in queries.deliveries(DeliveryFilter(state=state))]
            yield f"not empty after healing: {ledger.by_state[state]} {state}: {left}"


def _check_arrivals(
    world: World, receiver: Receiver, recorded_events: Sequence[RoutedEvent], queries: Queries
) -> Iterator[str]:
    deliveries = queries.deliveries(DeliveryFilter(channel=receiver.name, limit=100_000))
    arrived = {arrival.delivery.id for arrival in receiver.arrivals}
    for delivery in deliveries:
        if delivery.state is DeliveryState.DELIVERED and delivery.id not in arrived:
            yield f"marked as delivered, never arrived: {receiver.name} {delivery.id}"
        if delivery.state is DeliveryState.DEAD and delivery.id not in receiver.refused_for_good | receiver.unanswered:
            tries = delivery.attempt - delivery.earlier_attempts
            if tries <= len(_SCHEDULE_OF_ATTEMPTS):
                yield f"given up too soon: {receiver.name} {delivery.id} {delivery.reason}"
    yield from _check_order(receiver, recorded_events)
    yield from _check_repeats(world, receiver)
    yield from _check_live_messages(receiver, recorded_events, queries)
    yield from _check_storms(receiver, deliveries[::-1], queries)
    delivered = {delivery.id for delivery in deliveries if delivery.state is DeliveryState.DELIVERED}
    yield from _check_copies(receiver, recorded_events, delivered)


_SCHEDULE_OF_ATTEMPTS = range(12)


def _check_order(receiver: Receiver, recorded_events: Sequence[RoutedEvent]) -> Iterator[str]:
    """An event must not be sent before earlier events of its task are delivered or dead.

    A digest may have several events of a task, and be sent again.
    """
    place = {item.event.id: number for number, item in enumerate(recorded_events)}
    latest: dict[str, tuple[int, str]] = {}
    for at, event_id, subject, delivery_id in receiver.offered:
        before, sent_with = latest.get(subject, (-1, ""))
        if place[event_id] < before and sent_with != delivery_id and not _taken_before(receiver, event_id, at):
            yield f"out of order: {receiver.name} {subject} {event_id}"
        latest[subject] = max((before, sent_with), (place[event_id], delivery_id))


def _taken_before(receiver: Receiver, event_id: str, at: float) -> bool:
    """Return whether a message only repeats one that arrived in order: a stopped process may send it late."""
    return any(
        arrival.at < at and event_id == event.id for arrival in receiver.arrivals for event in arrival.delivery.events
    )


def _check_live_messages(receiver: Receiver, recorded_events: Sequence[RoutedEvent], queries: Queries) -> Iterator[str]:
    """The message of a task must exist and show its latest event, delivered or not."""
    latest = {item.event.subject: item.event.id for item in recorded_events if item.event.task}
    for subject, ref in queries.thread_refs(receiver.name, latest).items():
        message = receiver.posted.get(ref)
        if message is None or message.shows != latest[subject]:
            yield f"shows what is over: {receiver.name} {subject} {ref} {message} and not {latest[subject]}"


def _check_storms(receiver: Receiver, deliveries: Sequence[Delivery], queries: Queries) -> Iterator[str]:
    """A storm must end, count each failure once, go out in order, and be shown as it is."""
    storms = {delivery.storm.id: delivery.storm for delivery in deliveries if delivery.storm}
    offered: dict[str, float] = {}
    for at, event_id, *_ in receiver.offered:
        offered.setdefault(event_id, at)
    for storm in storms.values():
        mine = [delivery for delivery in deliveries if delivery.storm == storm]
        total = sum(len(delivery.events) for delivery in mine)
        if storm.ended_at is None or total != storm.total:
            yield f"wrong storm: {receiver.name} {storm} has {total} failures"
        times = [offered[delivery.events[0].id] for delivery in mine if delivery.events[0].id in offered]
        if times != sorted(times):
            yield f"storm out of order: {receiver.name} {storm.id} {times}"
        yield from _check_shown_storm(receiver, storm, queries)


def _check_shown_storm(receiver: Receiver, storm: Storm, queries: Queries) -> Iterator[str]:
    for ref in queries.thread_refs(receiver.name, [str(Subject(storm=storm.id))]).values():
        message = receiver.posted.get(ref)
        if message is None or message.shows != shown_of(storm):
            yield f"storm shows what is over: {receiver.name} {ref} {message} and not {shown_of(storm)}"


def _check_copies(
    receiver: Receiver, recorded_events: Sequence[RoutedEvent], delivered: Collection[str]
) -> Iterator[str]:
    """The latest copies of a task's message show its latest event, or nothing but progress has come since."""
    latest: dict[str, list[str]] = {}
    for item in recorded_events:
        shown = latest.setdefault(item.event.subject, [])
        if item.event.type is not EventType.TASK_PROGRESSED:
            shown.clear()
        shown.append(item.event.id)
    copies: dict[str, list[Posted]] = {}
    for message in receiver.posted.values():
        if message.copy_of in delivered:
            copies.setdefault(message.subject, []).append(message)
    for subject, posted in copies.items():
        for message in posted[-MAX_COPIES:]:
            if not message.deleted and message.shows not in latest[subject]:
                yield f"copy shows what is over: {receiver.name} {subject} {message} and not {latest[subject]}"


def _check_repeats(world: World, receiver: Receiver) -> Iterator[str]:
    first: dict[str, Arrival] = {}
    for arrival in receiver.arrivals:
        before = first.setdefault(arrival.delivery.id, arrival)
        if before is arrival:
            continue
        if before.body != arrival.body:
            yield f"same id, other bytes: {receiver.name} {arrival.delivery.id}"
        if not _is_explained(world, receiver, before, arrival):
            yield f"repeated without a reason: {receiver.name} {arrival.delivery.id} at {before.at} and {arrival.at}"


def _is_explained(world: World, receiver: Receiver, first: Arrival, again: Arrival) -> bool:
    if _settled_too_late(world, first, again):
        return True
    disturbed = [number for begin, end, number in world.disturbances if begin <= again.at and end >= first.at]
    if receiver.resend_policy is ResendPolicy.RECONCILABLE:
        # Who can be asked hears nothing twice, unless somebody stood still between asking and sending.
        return bool({first.replica, again.replica} & set(disturbed))
    return first.delivery.id in receiver.unanswered or first.replica in disturbed or again.replica in disturbed


def _settled_too_late(world: World, first: Arrival, again: Arrival) -> bool:
    """Return whether the database was down until the lease of the claim ended: another process then repeats it."""
    moment = 2.0  # for a settlement that failed once before, and for what the claim is older than the arrival
    return any(
        begin <= first.at + moment and first.at + LEASE - moment <= end <= again.at for begin, end in world.blackouts
    )
