"""Open failures: from the first failure of an operation until it succeeds or a person resolves it. Pure.

A failure is open until somebody acknowledges or resolves it, or the same operation succeeds on its instance. While it
is open and nobody has acknowledged it, the clocks of its routes run: `notifier.core.reminders` decides what they send.

A task that stalls has an open failure of its own, which ends when the task goes on or ends: what another task of the
operation does says nothing about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from notifier.core.alarms import has_end
from notifier.core.causes import CauseCatalogue
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, fields_of
from notifier.core.identity import Subject
from notifier.core.matchers import Matcher, fits
from notifier.core.model import ClosedFailure, Event, Task, id_of
from notifier.core.outbox import ends
from notifier.core.people import Acknowledgement
from notifier.core.routing import Otherwise, Route, RoutedEvent, RoutingConfig
from notifier.core.rulings import Hold, Rule, Ruling
from notifier.core.severity import Severity
from notifier.core.tickets import happened, operation_of, solves_ticket
from notifier.core.windows import Window

MAX_FAILURE_ENTRIES = 100
"""Maximum number of entries in the recorded history of an open failure, the latest ones."""

MOMENT_OPEN_FOR = timedelta(days=1)
"""Time for which an alarm is open after which nothing follows: a switchover, a failed backup. Each repeat begins it
again."""

MAX_CHANGES = 4_000
"""Maximum number of openings and closings of a window that are examined for one due time: several years of days."""


class FailureState(StrEnum):
    """The state of an open failure. The values are stored."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Somebody takes care of it: nothing reminds of it."""
    RESOLVED = "resolved"
    """It is over: the operation succeeded, or a person said so."""


class ClockKind(StrEnum):
    """What a clock sends. The values are stored, and are in the ids of events."""

    REMIND = "reminded"
    ESCALATE = "escalated"


class HistoryKind(StrEnum):
    """What happened to an open failure. The values are stored."""

    REMINDED = "reminded"
    ESCALATED = "escalated"
    ACKNOWLEDGED = "acknowledged"
    REOPENED = "reopened"
    """Its acknowledgement was taken back, or it failed again after that and people were notified."""
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureClock:
    """What reminds of an open failure, or escalates it, for one route."""

    kind: ClockKind
    name: str
    """Name of the route that reminds, or of the escalation."""
    position: int = 0
    """Number of messages since the clock was started."""
    started_at: datetime | None = None
    """Time from which its waits are counted. None after an acknowledgement was taken back, until it is started."""
    due_at: datetime | None = None
    """Time of the next message, or of asking again whether a mute is over. None while the failure is acknowledged."""
    muted_until: datetime | None = None
    """End of the mute that covered the failure when the clock was last due; None without one."""

    @property
    def sends_at(self) -> datetime | None:
        """When the next message is sent, as far as is known: not before the end of the mute."""
        return None if self.due_at is None else max(self.due_at, self.muted_until or self.due_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that happened to an open failure after it was opened."""

    at: datetime
    kind: HistoryKind
    name: str = ""
    """Name of the route, the escalation or the person; the empty string for the operation's success."""
    number: int = 0
    """Number of the reminder or of the step of the escalation, from 1."""
    event_id: str = ""
    """The event of a reminder, of an escalation, or of the success; the empty string where none was recorded."""
    channels: tuple[str, ...] = ()
    """Where it was sent."""
    together: int = 1
    """Number of open failures that the message was about."""
    reason: str = ""
    """What the person wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFailure:
    """One episode of an operation, or of a task that does not go on, as recorded."""

    id: str
    operation: str
    """See `tickets.operation_of`."""
    job_id: str = ""
    """The task that it is about alone; the empty string where it is about the operation."""
    state: FailureState = FailureState.OPEN
    first_event_id: str
    latest: Event
    """The latest of its events."""
    opened_at: datetime
    """When the first of its events happened."""
    count: int = 1
    """Number of its events: failures of the operation, or how often the task stalled."""
    severity: Severity
    """How bad its latest event is: what the routes set, else the default."""
    told: tuple[str, ...] = ()
    """Channels that got a message about it, reminders included."""
    stormy: tuple[str, ...] = ()
    """Those of them on which it was part of a storm."""
    clocks: tuple[FailureClock, ...] = ()
    number: int = 0
    """Number of reminders and escalations so far. It never begins again, for it is in the ids of their events."""
    acknowledged: Acknowledgement | None = None
    """Who takes care of it. None again when it was taken back or the operation failed again."""
    history: tuple[HistoryEntry, ...] = ()
    """The oldest entry first."""
    changed_at: datetime
    """Time of the last change of the record."""
    ends_at: datetime | None = None
    """When it ends by itself, whether or not somebody takes care of it; None where an event has to end it."""

    @property
    def shown_id(self) -> str:
        """How people name it: the job id of its latest task, or the id of the event about a missing run."""
        return self.latest.job_id or self.latest.id

    @property
    def due_at(self) -> datetime | None:
        """When its clocks are to be asked next, or it ends by itself; None where neither will be."""
        if self.over:
            return None
        clocks = [clock.due_at for clock in self.clocks if self.state is FailureState.OPEN]
        return min((at for at in (*clocks, self.ends_at) if at is not None), default=None)

    @property
    def next_at(self) -> datetime | None:
        """When the next reminder or escalation is sent, as far as is known; None where there is none."""
        if self.state is not FailureState.OPEN:
            return None
        return min((clock.sends_at for clock in self.clocks if clock.sends_at is not None), default=None)

    @property
    def over(self) -> bool:
        """Whether it is resolved."""
        return self.state is FailureState.RESOLVED

    def noted(self, entry: HistoryEntry) -> OpenFailure:
        """Return it with one more entry in its history, at whose time it changed."""
        return replace(self, history=(*self.history, entry)[-MAX_FAILURE_ENTRIES:], changed_at=entry.at)


FailureKey: TypeAlias = "tuple[str, str]"
"""The operation, and the task or the empty string."""
OpenFailures: TypeAlias = Mapping[FailureKey, OpenFailure]
"""The failures that are not resolved. There is at most one of each key."""


def failure_id(first_event_id: str) -> str:
    """Return the id of the open failure that begins with this event."""
    return id_of(f"failure\x1f{first_event_id}")


_OF_ONE_TASK = frozenset({EventType.TASK_STALLED, EventType.TASK_OVERDUE})
"""Events that open a failure of their task alone."""


def key_opened_by(event: Event) -> FailureKey | None:
    """Return which failure an event opens, or counts on if it is open; None for an event that needs no care."""
    operation = operation_of(event)
    if operation is None or not event.type.traits.needs_care or _is_past(event):
        return None
    return operation, event.job_id if event.type in _OF_ONE_TASK else ""


def _is_past(event: Event) -> bool:
    """Return whether an event reports an alarm that was over when it was found."""
    if event.type is not EventType.ALARM_RAISED or event.task is None:
        return False
    ends_at = ends_by_itself_at(event)
    return event.task.ended_at is not None or (ends_at is not None and ends_at <= event.observed_at)


def ends_by_itself_at(event: Event) -> datetime | None:
    """Return when a failure that ends by itself does so after an event; None for one that an event has to end."""
    task = event.task
    if event.type is not EventType.ALARM_RAISED or task is None or task.alarm is None:
        return None
    return None if has_end(task.name, task.alarm) else happened(event) + MOMENT_OPEN_FOR


def keys_closed_by(event: Event) -> Sequence[FailureKey]:
    """Return which failures an event may end, if they are open; see `is_ended`."""
    operation = operation_of(event)
    if operation is None or event.type in _OF_ONE_TASK or event.type.traits.follows_up:
        return ()
    of_task = (operation, event.job_id)
    return ((operation, ""), of_task) if succeeds(event) else (of_task,)


def is_ended(kind: EventType, failed_at: datetime, event: Event) -> bool:
    """Return whether an event ends a failure whose latest event is of this type and time.

    A success must not be older. A task that is overdue remains so until it ends; one that had stalled goes on.
    """
    if succeeds(event):
        return happened(event) >= failed_at
    return kind is EventType.TASK_STALLED or ends(event) or event.type is EventType.TASK_UNLISTED


def succeeds(event: Event) -> bool:
    """Return whether an event is the success of an operation, or settles a maintenance that needed somebody."""
    return solves_ticket(event)


def concerned_operations(routed: Iterable[RoutedEvent], stalled: Collection[str] = ()) -> Collection[str]:
    """Return the operations whose open failures these events may open, count on or end.

    `stalled` has the ids of the tasks that have stalled before: what else happens to a task ends no failure.
    """
    return {
        operation
        for item in routed
        if item.event.type.traits.needs_care or succeeds(item.event) or item.event.job_id in stalled
        if (operation := operation_of(item.event))
    }


# ---- what a success closes ----


def with_closings(
    routed: Sequence[RoutedEvent], known: OpenFailures, keeping: Collection[str] = ()
) -> tuple[RoutedEvent, ...]:
    """Add to each success what it closes, and send it to the channels that were notified of that.

    Args:
        routed: the events of one batch, in the order in which they happened; its failures may be what is closed.
        known: what is recorded of their operations.
        keeping: channels that keep tickets, which know for themselves what a success does.
    """
    if not any(succeeds(item.event) for item in routed):
        return tuple(routed)
    open_now: dict[FailureKey, _Closable] = {key: _closable(one) for key, one in known.items()}
    found: list[RoutedEvent] = []
    for item in routed:
        ended = {
            key: one
            for key in keys_closed_by(item.event)
            if (one := open_now.get(key)) and is_ended(one.facts.type, one.failed_at, item.event)
        }
        found.append(_closing(item, [*ended.values()], keeping) if ended and succeeds(item.event) else item)
        for key in ended:
            del open_now[key]
        if opened := key_opened_by(item.event):
            open_now[opened] = _reopened(open_now.get(opened), item)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Closable:
    """What a success needs to know of a failure."""

    facts: ClosedFailure
    failed_at: datetime
    """When it last failed."""
    told: tuple[str, ...]
    stormy: tuple[str, ...] = ()


def _closable(one: OpenFailure) -> _Closable:
    facts = ClosedFailure(
        type=one.latest.type,
        since=one.opened_at,
        failures=one.count,
        acknowledged_by=one.acknowledged.name if one.acknowledged else "",
    )
    return _Closable(facts=facts, failed_at=_failed_at(one.latest), told=one.told, stormy=one.stormy)


def _reopened(before: _Closable | None, item: RoutedEvent) -> _Closable:
    event = item.event
    if before is None:
        facts = ClosedFailure(type=event.type, since=happened(event), failures=1)
        return _Closable(facts=facts, failed_at=_failed_at(event), told=item.channels)
    return replace(
        before,
        facts=replace(before.facts, type=event.type, failures=before.facts.failures + 1, acknowledged_by=""),
        failed_at=max(before.failed_at, _failed_at(event)),
        told=tuple(dict.fromkeys((*before.told, *item.channels))),
    )


def _failed_at(event: Event) -> datetime:
    """Return the time that a success must not precede: when a task ended, or when it was last seen otherwise."""
    known = event.type.traits.ends_task or event.type is EventType.ALARM_RAISED
    return happened(event) if known else event.since or event.observed_at


def _closing(item: RoutedEvent, solved: Sequence[_Closable], keeping: Collection[str]) -> RoutedEvent:
    # That of the operation is the first, and counts before that of its task alone.
    told = dict.fromkeys(channel for one in solved for channel in one.told if channel not in keeping)
    return replace(
        item,
        event=replace(item.event, closes=solved[0].facts),
        channels=tuple(dict.fromkeys((*item.channels, *told))),
        solves=tuple(dict.fromkeys((*item.solves, *(channel for channel in told if channel not in solved[0].stormy)))),
    )


def closed_by(new: Iterable[RoutedEvent], known: OpenFailures) -> Mapping[str, OpenFailure]:
    """Return the recorded failure that each success closes, by the id of the success."""
    return {
        item.event.id: known[key]
        for item in new
        if item.event.closes
        for key in list(keys_closed_by(item.event))[::-1]  # that of the operation counts before that of its task
        if key in known
    }


CLOSING_WAIT = timedelta(minutes=10)
"""Time for which successes are collected that close failures of a storm."""


def storm_closing_rule(known: OpenFailures, routing: RoutingConfig, now: datetime) -> Rule | None:
    """Return the rule by which successes that close failures of a storm go out together; None without any.

    It concerns channels on which these failures were part of a storm, and to which no route leads the success.
    """
    stormy = {key: one.stormy for key, one in known.items() if one.stormy}
    if not stormy:
        return None
    channels = {route.name: route.channels for route in routing.routes}

    def rule(item: RoutedEvent, channel: str) -> Ruling | None:
        key = (operation_of(item.event) or "", "")
        if item.event.closes is None or channel not in stormy.get(key, ()):
            return None
        if any(channel in channels.get(name, ()) for name in item.routes):
            return None
        return Hold(
            rule=f"closing:{item.event.source}",
            until=now + CLOSING_WAIT,
            reason="it closes a failure of a storm, and goes out with others that do",
        )

    return rule


# ---- what is recorded ----

_NOWHERE: Mapping[str, Collection[str]] = MappingProxyType({})


def told_by(planned: Iterable[Delivery], *, storms: bool = False) -> Mapping[str, Collection[str]]:
    """Return the channels that deliveries send each event to, by event id, without those that do not get it.

    With `storms`, only those that get it as a part of a storm.
    """
    told: dict[str, dict[str, None]] = {}
    for delivery in planned:
        if delivery.state is not DeliveryState.SUPPRESSED and (
            not storms or delivery.subject.startswith(Subject.STORM_PREFIX)
        ):
            for event in delivery.events:
                told.setdefault(event.id, {})[delivery.channel] = None
    return told


def after_events(
    new: Sequence[RoutedEvent],
    known: OpenFailures,
    told: Mapping[str, Collection[str]],
    routing: RoutingConfig,
    now: datetime,
    *,
    stormy: Mapping[str, Collection[str]] = _NOWHERE,
) -> Sequence[OpenFailure]:
    """Return what is recorded of open failures after events that turned out to be new: those that changed.

    Args:
        new: in the order in which they happened.
        known: what is recorded of their operations.
        told: the channels that each event is sent to, by event id.
        routing: whose routes start clocks.
        now: the present time.
        stormy: those of the channels on which each event is part of a storm.
    """
    open_now = dict(known)
    changed: dict[str, OpenFailure] = {}
    for item in new:
        for key in keys_closed_by(item.event):
            one = open_now.get(key)
            if one is not None and is_ended(one.latest.type, _failed_at(one.latest), item.event):
                changed[one.id] = resolved(one, HistoryEntry(at=now, kind=HistoryKind.RESOLVED, event_id=item.event.id))
                del open_now[key]
        if opened := key_opened_by(item.event):
            channels = told.get(item.event.id, ())
            one = open_now.get(opened)
            after = _opened(opened, item, now) if one is None else _counted(one, item, now)
            after = _again(after, now) if one is not None and one.acknowledged and channels else after
            after = _with_channels(after, channels, stormy.get(item.event.id, ()))
            open_now[opened] = changed[after.id] = _with_clocks(after, item, routing, now)
    return list(changed.values())


def _opened(key: FailureKey, item: RoutedEvent, now: datetime) -> OpenFailure:
    return OpenFailure(
        id=failure_id(item.event.id),
        operation=key[0],
        job_id=key[1],
        first_event_id=item.event.id,
        latest=item.event,
        opened_at=happened(item.event),
        severity=item.event.severity,
        changed_at=now,
        ends_at=ends_by_itself_at(item.event),
    )


def _counted(one: OpenFailure, item: RoutedEvent, now: datetime) -> OpenFailure:
    later = happened(item.event) >= happened(one.latest)
    return replace(
        one,
        latest=item.event if later else one.latest,
        opened_at=min(one.opened_at, happened(item.event)),
        count=one.count + 1,
        severity=item.event.severity if later else one.severity,
        changed_at=now,
        ends_at=ends_by_itself_at(item.event) if later else one.ends_at,
    )


def _again(one: OpenFailure, now: datetime) -> OpenFailure:
    """Return a failure that somebody had acknowledged, and of which people are notified once more."""
    name = one.acknowledged.name if one.acknowledged else ""
    open_again = replace(one, state=FailureState.OPEN, acknowledged=None, clocks=())
    return open_again.noted(HistoryEntry(at=now, kind=HistoryKind.REOPENED, name=name))


def _with_channels(one: OpenFailure, channels: Iterable[str], stormy: Iterable[str]) -> OpenFailure:
    return replace(
        one,
        told=tuple(dict.fromkeys((*one.told, *channels))),
        stormy=tuple(dict.fromkeys((*one.stormy, *stormy))),
    )


def _with_clocks(one: OpenFailure, item: RoutedEvent, routing: RoutingConfig, now: datetime) -> OpenFailure:
    """Return a failure with the clocks of the routes that took an event, and with the severity that they set."""
    routes = [route for route in routing.routes if route.name in item.routes]
    set_by = [route.severity for route in routes if route.severity]
    if set_by and one.latest.id == item.event.id:
        one = replace(one, severity=min(set_by, key=list(Severity).index))
    running = {(clock.kind, clock.name) for clock in one.clocks}
    if one.state is not FailureState.OPEN:
        return one
    started = [clock for route in routes for clock in _clocks_of(route) if (clock.kind, clock.name) not in running]
    fresh = {(clock.kind, clock.name): start(clock, routing, now) for clock in started}
    return replace(one, clocks=(*one.clocks, *(clock for clock in fresh.values() if clock is not None)))


def _clocks_of(route: Route) -> Iterator[FailureClock]:
    if route.withholds is Otherwise.DROP:
        return
    if route.remind:
        yield FailureClock(kind=ClockKind.REMIND, name=route.name)
    if route.escalate:
        yield FailureClock(kind=ClockKind.ESCALATE, name=route.escalate)


def resolved(one: OpenFailure, how: HistoryEntry) -> OpenFailure:
    """Return a failure that is over: `how` says who or what ended it, and when."""
    return replace(one.noted(how), state=FailureState.RESOLVED, clocks=())


def acknowledged(one: OpenFailure, by: Acknowledgement, note: str = "") -> OpenFailure:
    """Return a failure that somebody takes care of: its clocks stop. The first acknowledgement counts."""
    if one.state is not FailureState.OPEN:
        return one
    stopped = tuple(replace(clock, started_at=None, due_at=None, muted_until=None, position=0) for clock in one.clocks)
    taken = replace(one, state=FailureState.ACKNOWLEDGED, acknowledged=by, clocks=stopped)
    kind = HistoryKind.ACKNOWLEDGED
    return taken.noted(HistoryEntry(at=by.at, kind=kind, name=by.name, event_id=by.event_id, reason=note))


def unacknowledged(one: OpenFailure, name: str, now: datetime) -> OpenFailure:
    """Return a failure whose acknowledgement a person takes back: its clocks begin again."""
    if one.state is not FailureState.ACKNOWLEDGED:
        return one
    waiting = tuple(replace(clock, due_at=now) for clock in one.clocks)
    open_again = replace(one, state=FailureState.OPEN, acknowledged=None, clocks=waiting)
    return open_again.noted(HistoryEntry(at=now, kind=HistoryKind.REOPENED, name=name))


def goes_on(one: OpenFailure, task: Task | None) -> bool:
    """Return whether a failure of one task is over because of what is recorded of the task by now."""
    was = one.latest.task
    if not one.job_id or was is None or task is None:
        return False
    progressed = one.latest.type is EventType.TASK_STALLED and task.progress != was.progress
    return task.status is not was.status or progressed


def lapses(one: OpenFailure, now: datetime) -> bool:
    """Return whether a failure has ended by itself."""
    return one.ends_at is not None and one.ends_at <= now


def how_resolved(one: OpenFailure, entry: HistoryEntry) -> str:
    """Return how a failure was resolved that no person has resolved: `succeeded`, `went_on`, `cleared` or `lapsed`."""
    if one.latest.type is EventType.ALARM_RAISED:
        return "cleared" if entry.event_id else "lapsed"
    return "succeeded" if entry.event_id else "went_on"


def renamed(one: OpenFailure, source: str) -> OpenFailure:
    """Return a failure of a source that has another name from now on. The ids of its events stay."""
    task = replace(one.latest.task, source=source) if one.latest.task else None
    latest = replace(one.latest, source=source, task=task)
    return replace(one, latest=latest, operation=operation_of(latest) or one.operation)


def covers(one: OpenFailure, event: Event) -> bool:
    """Return whether an event that needs care is one of a failure's."""
    return key_opened_by(event) == (one.operation, one.job_id) and happened(event) >= one.opened_at


def episodes_of(found: Iterable[OpenFailure], events: Sequence[Event]) -> Sequence[OpenFailure]:
    """Return the failures of an operation that have one of a task's events among theirs."""
    return [one for one in found if any(covers(one, event) and _lasted_until(one, event) for event in events)]


def _lasted_until(one: OpenFailure, event: Event) -> bool:
    return not one.over or happened(event) <= happened(one.latest)


MIN_ID_PREFIX = 4
"""Minimum length of the beginning of an id that names an open failure."""


def named(found: Iterable[OpenFailure], wanted: str) -> Sequence[OpenFailure]:
    """Return the failures that an id, its beginning, or an instance names."""
    listed = list(found)
    jobs = [one for one in listed if one.shown_id == wanted]
    instances = [one for one in listed if wanted in _names(one)]
    begins = [one for one in listed if len(wanted) >= MIN_ID_PREFIX and one.shown_id.startswith(wanted)]
    return jobs or instances or begins


def are_one(found: Sequence[OpenFailure], wanted: str) -> bool:
    """Return whether failures were named beyond doubt: by an instance, or by what begins one id alone."""
    by_instance = all(wanted in _names(one) for one in found)
    return by_instance or len({one.shown_id for one in found}) == 1


def chosen(
    found: Iterable[OpenFailure],
    *,
    source: str | None = None,
    instance: str | None = None,
    match: Sequence[Matcher] = (),
    catalogue: CauseCatalogue | None = None,
) -> Sequence[OpenFailure]:
    """Return the failures of a source and of an instance, by its id or a part of its name, that fit all matchers."""
    fields = {matcher.field for matcher in match}.intersection(FIELDS)
    part = (instance or "").casefold()
    return [
        one
        for one in found
        if (source is None or one.latest.source == source)
        and any(part in name.casefold() for name in _names(one) or [""])
        and all(fits(matcher, fields_of(one.latest, fields, catalogue)) for matcher in match)
    ]


def _names(one: OpenFailure) -> Collection[str]:
    about = one.latest.matter
    return {name for name in (about.instance_id, about.instance_name) if name} if about else ()


def order_of(one: OpenFailure) -> tuple[int, datetime, str]:
    """Return a key that sorts the worst first, then the oldest."""
    return list(Severity).index(one.severity), one.opened_at, one.id


# ---- clocks ----


def start(clock: FailureClock, routing: RoutingConfig, now: datetime) -> FailureClock | None:
    """Return a clock that counts from now on; None where the configuration has none of its name any more."""
    due_at: datetime | None = None
    if clock.kind is ClockKind.REMIND:
        waits = next((one.remind for one in routing.routes if one.name == clock.name), ())
        due_at = now + waits[0] if waits else None
    elif (escalation := routing.escalations.get(clock.name)) and escalation.steps:
        due_at = due_after(now, escalation.step(0).after, escalation.window(0))
    return None if due_at is None else replace(clock, position=0, started_at=now, due_at=due_at)


def due_after(start_at: datetime, wait: timedelta, window: Window | None) -> datetime | None:
    """Return when a wait ends that runs only while a window is open; None where it never ends.

    Without a window it always runs. A wait that ends as the window closes ends when it opens again.
    """
    if window is None:
        return start_at + wait
    at, left = start_at, wait
    for _ in range(MAX_CHANGES):
        change = window.next_change(at)
        if window.is_open(at):
            if change is None or at + left < change:
                return at + left
            left -= change - at
        if change is None:
            return None
        at = change
    return None
