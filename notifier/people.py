"""What people do: acknowledge and take that back, subscribe, and decide about messages that did not arrive.

Each function is one act inside the caller's transaction, and records who did it. The chat and the command line call
these, so that an act is the same wherever it comes from. What they do with mutes is in `notifier.mutes`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from notifier import lookup
from notifier.core import failures
from notifier.core.delivery import DeliveryState
from notifier.core.errors import NotifierError
from notifier.core.failures import FailureState, HistoryEntry, HistoryKind, OpenFailure, OpenFailures
from notifier.core.health_facts import Expected, serves
from notifier.core.identity import DirectChannel, Subject
from notifier.core.model import Event, Task
from notifier.core.people import Acknowledgement, Action, EventSubscription, Person, TaskSubscription, Verb
from notifier.core.routing import RoutedEvent
from notifier.core.storms import Storm
from notifier.core.subscriptions import MAX_ALL_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS, read_filter, subscription_id
from notifier.core.tickets import operation_of
from notifier.ports import DatabaseTime, DeliveryFilter, ParkedChannels


class PeopleReads(lookup.Lookup, Protocol):
    """Reads that these functions use."""

    def delivery_ids(self, wanted: DeliveryFilter) -> Sequence[str]:
        """Return the ids of all matching deliveries, whatever the limit, the oldest first."""

    def latest_event(self, source: str, job_id: str) -> RoutedEvent | None:
        """Return the newest event of a task."""


class PeopleRecords(Protocol):
    """Acknowledgements, subscriptions, and the record of actions."""

    def acknowledge(self, acknowledgement: Acknowledgement) -> Acknowledgement:
        """Record an acknowledgement unless the event has one; return the one in force. Its threads are edited."""

    def acknowledge_latest(self, storm_id: str, by: Acknowledgement) -> int:
        """Acknowledge the failures of a storm that nothing followed and nobody has acknowledged; return how many."""

    def unacknowledge(self, event_id: str, now: datetime) -> Acknowledgement | None:
        """Delete the acknowledgement of an event and return it; None without one. The event's threads are edited."""

    def subscribe(self, watch: TaskSubscription) -> bool:
        """Record a subscription; return False where it exists already."""

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        """Return the subscriptions of all people and channels of the chat to events, the oldest first."""

    def subscribe_to_events(self, subscription: EventSubscription) -> bool:
        """Record a subscription to events; return False where it exists already."""

    def end_subscriptions(self, ids: Collection[str]) -> Sequence[EventSubscription]:
        """Delete subscriptions to events; return those that were there, the oldest first."""

    def record_action(self, action: Action) -> None:
        """Record an action of a person."""


class PeopleDeliveries(Protocol):
    """Writes about deliveries that did not arrive."""

    def retry(self, delivery_ids: Collection[str], now: datetime) -> int:
        """Make dead or parked deliveries pending again with a new retry schedule; return how many."""

    def dismiss(self, delivery_ids: Collection[str], now: datetime, reason: str) -> int:
        """Record that deliveries were dismissed; return how many changed."""

    def move(self, channel: str, to: str, now: datetime, limit: int, *, tickets: bool = False) -> int:
        """Plan waiting deliveries of a channel on another one, the oldest first; return how many were moved.

        `tickets` is whether the other one keeps tickets.
        """


class PeopleStorms(Protocol):
    """The storms of failures."""

    def lock(self, storm_id: str) -> Storm | None:
        """Return a storm, which nobody else changes until the transaction ends; None where it is unknown."""

    def save(self, storm: Storm, now: datetime) -> None:
        """Record a storm, and let its message show it."""


class PeopleFailures(Protocol):
    """Open failures."""

    def lock(self, operations: Collection[str]) -> OpenFailures:
        """Return the failures of operations that are not resolved; nobody else changes them until the end."""

    def lock_storm(self, storm_id: str) -> Sequence[OpenFailure]:
        """Return the open failures whose latest event is part of a storm; nobody else changes them until the end."""

    def save(self, changed: Sequence[OpenFailure]) -> None:
        """Record failures that this transaction has locked."""


class PeopleChannels(ParkedChannels, Protocol):
    """Channels that are parked."""

    def unpark(self, channel: str, now: datetime) -> int:
        """Make the parked deliveries of a channel pending again, in order; return how many."""


class PeopleTx(DatabaseTime, Protocol):
    """The parts of a transaction that these functions use."""

    @property
    def queries(self) -> PeopleReads:
        """The reads that decide whether an act makes sense."""

    @property
    def people(self) -> PeopleRecords:
        """Acknowledgements, subscriptions, and the record of actions."""

    @property
    def deliveries(self) -> PeopleDeliveries:
        """Deliveries that did not arrive."""

    @property
    def storms(self) -> PeopleStorms:
        """The storms of failures."""

    @property
    def failures(self) -> PeopleFailures:
        """Open failures."""

    @property
    def channels(self) -> PeopleChannels:
        """Channels that are parked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StormAcknowledgement:
    """Who took charge of the failures of a storm."""

    acknowledged: Acknowledgement
    """The one in force: an earlier one counts."""
    count: int = 0
    """Number of failures that were acknowledged with it now."""


MOVE_BATCH = 500
"""Maximum number of deliveries that one transaction moves."""
_WAITING = (DeliveryState.PENDING, DeliveryState.PARKED)


# ---- tasks ----


def acknowledge(tx: PeopleTx, event: Event, by: Person, note: str = "") -> Acknowledgement:
    """Record that somebody takes care of an event. The first one counts: return the acknowledgement in force.

    The failure that it is an event of is acknowledged with it: nothing reminds of that any more. `note` is what they
    wrote about it.
    """
    concerned = _lock_failures(tx, event)
    mine = Acknowledgement(event_id=event.id, by=by.id, name=by.name, at=tx.now())
    in_force = tx.people.acknowledge(mine)
    if in_force == mine:
        _save_changed(tx, [one for one in concerned if failures.covers(one, event)], mine, note)
        _record(tx, by, Verb.ACKNOWLEDGE, event.subject, f"{event.type}: {note}" if note else str(event.type))
    return in_force


def _lock_failures(tx: PeopleTx, event: Event) -> Sequence[OpenFailure]:
    """Return the failures of an event's operation that are not resolved. They are locked before all else is."""
    operation = operation_of(event)
    return list(tx.failures.lock([operation]).values()) if operation else []


def _save_changed(tx: PeopleTx, found: Sequence[OpenFailure], mine: Acknowledgement, note: str) -> None:
    """Record an acknowledgement of failures, each by its own latest event."""
    taken = [failures.acknowledged(one, mine, note) for one in found if one.state is FailureState.OPEN]
    if taken:
        tx.failures.save(taken)


def acknowledge_if_latest(tx: PeopleTx, event: Event, by: Person, note: str = "") -> Acknowledgement | Event:
    """Acknowledge an event, unless its task has a later one: then record nothing and return that."""
    return _later_event(tx, event) or acknowledge(tx, event, by, note)


def acknowledge_task(tx: PeopleTx, task: Task, by: Person) -> Acknowledgement:
    """Acknowledge the latest event of a task; see `acknowledge`. Raises NotifierError where it needs no care."""
    latest = tx.queries.latest_event(task.source, task.job_id)
    if latest is None or not latest.event.type.traits.needs_care:
        why = f"its newest event is {latest.event.type}" if latest else "no event of it has been recorded"
        raise NotifierError(f"there is nothing to acknowledge about {task.job_id}: {why}")
    return acknowledge(tx, latest.event, by)


def acknowledge_storm(tx: PeopleTx, storm_id: str, by: Person) -> StormAcknowledgement | None:
    """Take charge of every failure of a storm that is still the latest event of its task and that nobody has taken.

    Return None where the storm is not recorded. Where somebody took charge of it and it has not grown since, nothing
    changes. It is one action, whatever the number of failures.
    """
    concerned = tx.failures.lock_storm(storm_id)
    storm = tx.storms.lock(storm_id)
    if storm is None:
        return None
    if storm.acknowledged is not None:
        return StormAcknowledgement(acknowledged=storm.acknowledged)
    subject, now = str(Subject(storm=storm.id)), tx.now()
    mine = Acknowledgement(event_id=subject, by=by.id, name=by.name, at=now)
    count = tx.people.acknowledge_latest(storm.id, mine)
    taken = [failures.acknowledged(one, replace(mine, event_id=one.latest.id)) for one in concerned]
    if taken:
        tx.failures.save(taken)
    tx.storms.save(replace(storm, acknowledged=mine), now)
    _record(tx, by, Verb.ACKNOWLEDGE, subject, f"{count} {'failure' if count == 1 else 'failures'}")
    return StormAcknowledgement(acknowledged=mine, count=count)


def unacknowledge(tx: PeopleTx, event: Event, by: Person) -> Acknowledgement | None:
    """Take back the acknowledgement of an event, whoever made it, and return it; None where it has none.

    The event can be acknowledged again, and what reminds of its failure begins again.
    """
    concerned = _lock_failures(tx, event)
    taken_back = tx.people.unacknowledge(event.id, tx.now())
    if taken_back is not None:
        mine = [one for one in concerned if one.acknowledged and one.acknowledged.event_id == event.id]
        if mine:
            tx.failures.save([failures.unacknowledged(one, by.name, tx.now()) for one in mine])
        _record(tx, by, Verb.UNACKNOWLEDGE, event.subject, f"acknowledged by {taken_back.name}")
    return taken_back


def unacknowledge_if_latest(tx: PeopleTx, event: Event, by: Person) -> Acknowledgement | Event | None:
    """Take back the acknowledgement of an event, unless its task has a later one: then change nothing, return that."""
    return _later_event(tx, event) or unacknowledge(tx, event, by)


def unacknowledge_task(tx: PeopleTx, task: Task, by: Person) -> Acknowledgement | None:
    """Take back the acknowledgement of the latest event of a task; see `unacknowledge`."""
    latest = tx.queries.latest_event(task.source, task.job_id)
    return unacknowledge(tx, latest.event, by) if latest else None


def _later_event(tx: PeopleTx, event: Event) -> Event | None:
    latest = tx.queries.latest_event(event.source, event.job_id) if event.job_id else None
    return latest.event if latest is not None and latest.event.id != event.id else None


# ---- open failures ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The result of resolving open failures."""

    failures: tuple[OpenFailure, ...] = ()
    """Those that are resolved now."""
    candidates: tuple[OpenFailure, ...] = ()
    """Those that were meant, perhaps, where several tasks begin like what was given: nothing was resolved."""


def resolve(tx: PeopleTx, wanted: str, by: Person, reason: str | None = None) -> Resolved:
    """Close open failures, acknowledged or not: that of a job id or its beginning, or all of an instance.

    Who resolves a failure has taken charge of it, and messages show that.
    """
    named = failures.named(tx.queries.open_failures(), wanted)
    if not failures.are_one(named, wanted):
        return Resolved(candidates=tuple(named))
    return Resolved(failures=_resolve(tx, named, by, reason))


def resolve_failure(tx: PeopleTx, failure: OpenFailure, by: Person, reason: str | None = None) -> OpenFailure | None:
    """Close one open failure, as `resolve` does; return it, or None where it is over by now."""
    return next(iter(_resolve(tx, [failure], by, reason)), None)


def _resolve(tx: PeopleTx, named: Sequence[OpenFailure], by: Person, reason: str | None) -> tuple[OpenFailure, ...]:
    locked = tx.failures.lock({one.operation for one in named})
    now, ids = tx.now(), {one.id for one in named}
    how = HistoryEntry(at=now, kind=HistoryKind.RESOLVED, name=by.name, reason=reason or "")
    over = [failures.resolved(one, how) for one in locked.values() if one.id in ids]
    if over:
        tx.failures.save(over)
    for one in over:
        tx.people.acknowledge(Acknowledgement(event_id=one.latest.id, by=by.id, name=by.name, at=now))
        _record(tx, by, Verb.RESOLVE, one.latest.subject, reason)
    return tuple(over)


def subscribe(tx: PeopleTx, task: Task, by: Person) -> bool:
    """Send somebody a direct message when a task ends. Return False where they had asked for that already."""
    new = tx.people.subscribe(
        TaskSubscription(source=task.source, job_id=task.job_id, person=by.id, created_at=tx.now())
    )
    if new:
        _record(tx, by, Verb.WATCH, task.subject)
    return new


# ---- subscriptions to events ----


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSubscription:
    """A subscription that somebody asked for."""

    subscription: EventSubscription
    """The one in force: an earlier one for the same events counts."""
    new: bool


def subscribe_to_events(tx: PeopleTx, receiver: DirectChannel, matchers: str, by: Person) -> MadeSubscription | None:
    """Send a person or a channel of the chat all events that fit from now on; None where they have too many already.

    Raises ValueError where the matchers cannot be read.
    """
    channel, every = str(receiver), tx.people.event_subscriptions()
    id_ = subscription_id(channel, read_filter(matchers))
    if existing := next((one for one in every if one.id == id_), None):
        return MadeSubscription(subscription=existing, new=False)
    own = sum(one.channel == channel for one in every)
    if own >= MAX_SUBSCRIPTIONS or len(every) >= MAX_ALL_SUBSCRIPTIONS:
        return None
    wanted = EventSubscription(id=id_, channel=channel, matchers=matchers, by=by.id, name=by.name, created_at=tx.now())
    new = tx.people.subscribe_to_events(wanted)
    if new:
        _record(tx, by, Verb.SUBSCRIBE, matchers, channel)
    return MadeSubscription(subscription=wanted, new=new)


def unsubscribe(tx: PeopleTx, receiver: DirectChannel, wanted: str, by: Person) -> Sequence[EventSubscription]:
    """End the subscription of a receiver with this id or these matchers; return it, or nothing where it has none."""
    id_ = _id_of(receiver, wanted)
    theirs = subscriptions_of(tx.people.event_subscriptions(), receiver)
    # By its text, too, for one that this version cannot read.
    ended = [one.id for one in theirs if one.id in (id_, wanted) or one.matchers == wanted]
    return _end_subscriptions(tx, ended, by)


def unsubscribe_all(tx: PeopleTx, receiver: DirectChannel, by: Person) -> Sequence[EventSubscription]:
    """End all subscriptions of a receiver to events; return them."""
    theirs = subscriptions_of(tx.people.event_subscriptions(), receiver)
    return _end_subscriptions(tx, [one.id for one in theirs], by)


def end_subscription(tx: PeopleTx, id_: str, by: Person) -> Sequence[EventSubscription]:
    """End the subscription with this id, whoever made it; return it, or nothing where there is none."""
    return _end_subscriptions(tx, [id_], by)


def subscriptions_of(every: Sequence[EventSubscription], receiver: DirectChannel) -> Sequence[EventSubscription]:
    """Return those of the subscriptions that are a receiver's."""
    return [one for one in every if one.channel == str(receiver)]


def _id_of(receiver: DirectChannel, matchers: str) -> str:
    try:
        return subscription_id(str(receiver), read_filter(matchers))
    except ValueError:  # an id, or nothing that was ever subscribed to
        return ""


def _end_subscriptions(tx: PeopleTx, ids: Collection[str], by: Person) -> Sequence[EventSubscription]:
    ended = tx.people.end_subscriptions(ids) if ids else ()
    for one in ended:
        _record(tx, by, Verb.UNSUBSCRIBE, one.matchers, one.channel)
    return ended


# ---- deliveries ----


def retry(tx: PeopleTx, delivery_ids: Collection[str], target: str, by: Person) -> int:
    """Send dead and parked deliveries again; return how many. `target` names them in the record."""
    return _record_count(tx, by, Verb.RETRY, target, tx.deliveries.retry(delivery_ids, tx.now()))


def retry_dead(tx: PeopleTx, channel: str | None, by: Person) -> int:
    """Send the dead deliveries of a channel again, or of all channels; return how many."""
    dead = tx.queries.delivery_ids(DeliveryFilter(state=DeliveryState.DEAD, channel=channel))
    return retry(tx, dead, channel or "every channel", by)


def release_parked(tx: PeopleTx, channel: str, by: Person) -> int:
    """Send the parked deliveries of a channel; return how many."""
    return _record_count(tx, by, Verb.RETRY, channel, tx.channels.unpark(channel, tx.now()))


def dismiss(tx: PeopleTx, delivery_ids: Collection[str], target: str, by: Person, *, why: str | None = None) -> int:
    """Accept that deliveries will not arrive; return how many. Dead ones no longer count against health.

    Waiting ones become dead, so that nothing sends them and retention can delete them. `why` is recorded with it.
    """
    reason = f"dismissed by {by.name}"
    count = tx.deliveries.dismiss(delivery_ids, tx.now(), reason)
    return _record_count(tx, by, Verb.DISMISS, target, count, why=why)


def dismiss_dead(tx: PeopleTx, channel: str | None, by: Person) -> int:
    """Dismiss the dead deliveries of a channel, or of all channels; return how many."""
    dead = tx.queries.delivery_ids(DeliveryFilter(state=DeliveryState.DEAD, channel=channel, dismissed=False))
    return dismiss(tx, dead, channel or "every channel", by)


def dismiss_waiting(tx: PeopleTx, channel: str, expected: Expected, by: Person) -> int:
    """Dismiss the waiting deliveries of a channel; return how many. Raises NotifierError while they are being sent."""
    if serves(expected, channel) and channel not in tx.channels.parked():
        raise NotifierError(
            f"channel {channel} is configured and not parked, so its messages are still sent; give ids, or --all-dead"
        )
    waiting = [
        id_ for state in _WAITING for id_ in tx.queries.delivery_ids(DeliveryFilter(state=state, channel=channel))
    ]
    return dismiss(tx, waiting, channel, by)


def move(tx: PeopleTx, channel: str, to: str, by: Person, *, tickets: bool = False) -> int:
    """Move up to MOVE_BATCH waiting deliveries to another channel, the oldest first; return how many.

    `tickets` is whether the other channel keeps tickets. The caller repeats it, each time in a transaction of its own,
    until it returns 0.
    """
    moved = tx.deliveries.move(channel, to, tx.now(), MOVE_BATCH, tickets=tickets)
    return _record_count(tx, by, Verb.MOVE, f"{channel} → {to}", moved)


# ---- the record ----


def _record_count(tx: PeopleTx, by: Person, verb: Verb, target: str, count: int, *, why: str | None = None) -> int:
    if count:
        number = f"{count} {'delivery' if count == 1 else 'deliveries'}"
        _record(tx, by, verb, target, f"{number}: {why}" if why else number)
    return count


def _record(tx: PeopleTx, by: Person, verb: Verb, target: str, detail: str | None = None) -> None:
    tx.people.record_action(Action(at=tx.now(), by=by.id, name=by.name, verb=verb, target=target, detail=detail))
