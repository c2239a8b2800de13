"""Which reminders and escalations of open failures are due, and what is sent for them. Pure.

What is due together goes out together: on each channel one message, whatever the number of failures. It names the worst
and oldest of them and counts the others. So that the failures of a storm come to be due together, whatever is due
within the next fifth of its wait goes along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from notifier.core.escalations import PREFIX, Escalation
from notifier.core.events import EventType
from notifier.core.failures import (
    ClockKind,
    FailureClock,
    FailureState,
    HistoryEntry,
    HistoryKind,
    OpenFailure,
    due_after,
    order_of,
    start,
)
from notifier.core.model import Event, FollowUp, event_id
from notifier.core.routing import Route, RoutedEvent, RoutingConfig
from notifier.core.windows import Window

MAX_REMINDERS = 24
"""Maximum number of reminders of one failure for one route, and of repeats of an escalation's last step. The last one
says that no more follow; the failure stays open."""

MAX_REMINDED = 20
"""Maximum number of open failures that one message names."""

SHARE_AHEAD = 5
"""What is due within this part of its wait goes along with what is due."""

MUTES_ASKED_EVERY = timedelta(minutes=5)
"""Time after which it is asked again whether a mute still covers what is due: people may end one early."""
MAX_AHEAD = timedelta(minutes=15)
"""Maximum time that something goes out before it is due."""

LATE_AFTER = timedelta(minutes=5)
"""A message that is this late says so."""

MutedUntil: TypeAlias = Callable[[Event], datetime | None]
"""Returns until when an event about a task would be suppressed; None where nothing suppresses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDecision:
    """What is sent now, and what is recorded of the failures."""

    events: tuple[RoutedEvent, ...] = ()
    """Reminders and escalations, the escalations first."""
    changed: tuple[OpenFailure, ...] = ()


def decide_due(
    found: Sequence[OpenFailure], routing: RoutingConfig, muted_until: MutedUntil, now: datetime
) -> DueDecision:
    """Decide what is sent of open failures, of which some are due and others soon: one message of each clock at most.

    Args:
        found: failures that the transaction has locked.
        routing: the configuration by now, with its routes as they are now; what it no longer has is not sent.
        muted_until: a mute postpones what is due.
        now: the present time.
    """
    muted = {one.id: until for one in found if (until := muted_until(one.latest))}
    current = {one.id: _postponed(one, routing, muted.get(one.id), now) for one in found}
    notified: set[tuple[str, str]] = set()
    events: list[RoutedEvent] = []
    for message in _messages((one for one in current.values() if one.id not in muted), routing, now):
        group = [current[id_] for id_ in message.failures]
        sent = message.events_about(group, notified, now)
        events += sent.values()
        for one in group:
            current[one.id] = message.after(one, sent, now)
    changed = tuple(after for one in found if (after := current[one.id]) != one)
    return DueDecision(events=tuple(events), changed=changed)


def with_steps(routing: RoutingConfig) -> RoutingConfig:
    """Return a configuration in which each step of an escalation is a route, for planning what steps send."""
    steps = [
        Route(
            name=_routed_name(one.name, position),
            channels=step.channels,
            severity=step.severity,
            mention=step.mention,
        )
        for one in routing.escalations.values()
        for position, step in enumerate(one.steps)
    ]
    return replace(routing, routes=(*routing.routes, *steps))


def _routed_name(escalation: str, position: int) -> str:
    return f"{PREFIX}{escalation}:{position + 1}"


# ---- what is due ----


def _postponed(one: OpenFailure, routing: RoutingConfig, muted: datetime | None, now: datetime) -> OpenFailure:
    """Return a failure whose clocks are started, and due later where a mute or a window keeps them back now.

    `muted` is the end of the mute that covers it; None without one.
    """
    kept = (clock for each in one.clocks if (clock := _kept(each, routing, now)))
    clocks = tuple(_not_before(clock, muted, now) for clock in kept)
    return one if clocks == one.clocks else replace(one, clocks=clocks, changed_at=now)


def _not_before(clock: FailureClock, muted: datetime | None, now: datetime) -> FailureClock:
    if muted is None or clock.due_at is None:
        return replace(clock, muted_until=None)
    return replace(clock, due_at=max(clock.due_at, min(muted, now + MUTES_ASKED_EVERY)), muted_until=muted)


def _kept(clock: FailureClock, routing: RoutingConfig, now: datetime) -> FailureClock | None:
    """Return a clock as the configuration has it by now; None where it has none of its name."""
    if clock.started_at is None:
        return start(clock, routing, now)
    timing = _Timing.of(clock, routing)
    if timing is None:
        return None
    if clock.due_at is None or clock.due_at > now:
        return clock
    due_at = timing.possible_at(now)
    if due_at is None:
        return None
    return clock if due_at <= now else replace(clock, due_at=due_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    """When the present message of a clock may be sent, and when the next one is due."""

    window: Window | None
    """When it may be sent; None always."""
    wait: timedelta
    """The wait before it."""

    @classmethod
    def of(cls, clock: FailureClock, routing: RoutingConfig) -> _Timing | None:
        """Return that of a clock; None where the configuration has none of its name any more."""
        if clock.kind is ClockKind.REMIND:
            route = _route(routing, clock.name)
            if route is None:
                return None
            wait = route.remind[min(clock.position, len(route.remind) - 1)]
            return cls(window=route.active if route.withholds else None, wait=wait)
        escalation = routing.escalations.get(clock.name)
        if escalation is None or (clock.position >= len(escalation.steps) and escalation.repeat is None):
            return None
        return cls(window=escalation.window(clock.position), wait=_wait_before(escalation, clock.position))

    def possible_at(self, now: datetime) -> datetime | None:
        """Return the first time from now on at which the message may be sent; None where there is none."""
        return now if self.window is None else self.window.next_opening(now)

    @property
    def ahead(self) -> timedelta:
        """How long before it is due the message may go along with others."""
        return min(self.wait / SHARE_AHEAD, MAX_AHEAD)


def _route(routing: RoutingConfig, name: str) -> Route | None:
    """Return the route of this name if it reminds of failures."""
    return next((route for route in routing.routes if route.name == name and route.remind), None)


def _wait_before(escalation: Escalation, position: int) -> timedelta:
    if position >= len(escalation.steps):
        return escalation.repeat or timedelta()
    before = escalation.steps[position - 1].after if position else timedelta()
    return escalation.steps[position].after - before


_Group: TypeAlias = "tuple[bool, str, int]"
"""What is sent together: whether it is a reminder, the name of its clock, and the step of an escalation."""


def _group_of(clock: FailureClock) -> _Group:
    reminds = clock.kind is ClockKind.REMIND
    return reminds, clock.name, 0 if reminds else clock.position


def _messages(failures: Iterable[OpenFailure], routing: RoutingConfig, now: datetime) -> Iterator[_Message]:
    """Yield what is due, escalations first, each with the failures that it is about."""
    due: set[_Group] = set()
    members: dict[_Group, list[str]] = {}
    for one in failures:
        if one.state is not FailureState.OPEN:
            continue
        for clock in one.clocks:
            timing = _Timing.of(clock, routing)
            if timing is None or clock.due_at is None or clock.due_at - timing.ahead > now:
                continue
            members.setdefault(_group_of(clock), []).append(one.id)
            if clock.due_at <= now:
                due.add(_group_of(clock))
    for group in sorted(due):
        reminds, name, position = group
        kind = ClockKind.REMIND if reminds else ClockKind.ESCALATE
        yield _Message(kind=kind, name=name, position=position, failures=tuple(members[group]), routing=routing)


# ---- what is sent ----

_TYPES = {ClockKind.REMIND: EventType.TASK_REMINDED, ClockKind.ESCALATE: EventType.TASK_ESCALATED}
_NOTED = {ClockKind.REMIND: HistoryKind.REMINDED, ClockKind.ESCALATE: HistoryKind.ESCALATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """What one route reminds of, or one step of an escalation."""

    kind: ClockKind
    name: str
    position: int
    failures: tuple[str, ...]
    """Ids of the failures that it is about."""
    routing: RoutingConfig

    def events_about(
        self, group: Sequence[OpenFailure], notified: set[tuple[str, str]], now: datetime
    ) -> Mapping[str, RoutedEvent]:
        """Return the events about those that the message names, by id of the failure.

        No channel gets two about one failure: `notified` has the pairs that got one, and is extended.
        """
        channels = self._channels()
        sent: dict[str, RoutedEvent] = {}
        for one in sorted(group, key=order_of)[:MAX_REMINDED]:
            left = tuple(channel for channel in channels if (one.id, channel) not in notified)
            notified.update((one.id, channel) for channel in left)
            if left:
                sent[one.id] = RoutedEvent(
                    event=self._event(one, len(group), now), routes=(self._routed_name,), channels=left
                )
        return sent

    @property
    def _routed_name(self) -> str:
        if self.kind is ClockKind.REMIND:
            return self.name
        return _routed_name(self.name, min(self.position, len(self.routing.escalations[self.name].steps) - 1))

    def _channels(self) -> Sequence[str]:
        """Return where it is sent. A ticket needs no reminder: it is one. A step may open one."""
        if self.kind is ClockKind.ESCALATE:
            return self.routing.escalations[self.name].step(self.position).channels
        route, keeping = _route(self.routing, self.name), self.routing.ticket_channels
        return [channel for channel in (route.channels if route else ()) if channel not in keeping]

    def _clock(self, one: OpenFailure) -> FailureClock:
        return next(clock for clock in one.clocks if clock.kind is self.kind and clock.name == self.name)

    def _event(self, one: OpenFailure, together: int, now: datetime) -> Event:
        latest, clock = one.latest, self._clock(one)
        late = now - (clock.due_at or now)
        occurrence = f"{self.kind}:{one.id}:{one.number + 1}"
        return Event(
            id=event_id(latest.source, "", occurrence),
            type=_TYPES[self.kind],
            source=latest.source,
            region=latest.region,
            project_id=latest.project_id,
            environment=latest.environment,
            labels=latest.labels,
            occurrence=occurrence,
            observed_at=now,
            occurred_at=None,
            task=latest.task,
            usual=latest.usual,
            overdue=latest.overdue,
            expectation=latest.expectation,
            maintenance=latest.maintenance,
            since=one.opened_at,
            follow_up=FollowUp(
                failure_id=one.id,
                type=latest.type,
                event_id=latest.id,
                failures=one.count,
                number=clock.position + 1,
                told=one.told,
                together=together,
                last=self._is_last(clock),
                delay_seconds=late.total_seconds() if late > LATE_AFTER else 0,
            ),
        )

    def _is_last(self, clock: FailureClock) -> bool:
        """Return whether a message is the last of a clock, because of MAX_REMINDERS."""
        if self.kind is ClockKind.REMIND:
            return clock.position + 1 >= MAX_REMINDERS
        escalation = self.routing.escalations[self.name]
        return escalation.repeat is not None and clock.position + 1 >= len(escalation.steps) + MAX_REMINDERS

    def after(self, one: OpenFailure, sent: Mapping[str, RoutedEvent], now: datetime) -> OpenFailure:
        """Return what is recorded of a failure of the group: it was named, or counted with those that were."""
        clock, item = self._clock(one), sent.get(one.id)
        following = self._next(clock, now)
        clocks = tuple(following if each is clock else each for each in one.clocks)
        after = replace(one, clocks=tuple(each for each in clocks if each is not None), changed_at=now)
        first = item or next(iter(sent.values()), None)
        if first is None:
            return after
        entry = HistoryEntry(
            at=now,
            kind=_NOTED[self.kind],
            name=self.name,
            number=clock.position + 1,
            event_id=first.event.id,
            channels=first.channels,
            together=len(self.failures),
        )
        if item is not None:
            told = tuple(dict.fromkeys((*one.told, *item.channels)))
            after = replace(after, told=told, number=one.number + 1)
        return after.noted(entry)

    def _next(self, clock: FailureClock, now: datetime) -> FailureClock | None:
        """Return a clock after its present message; None where no other follows."""
        if self._is_last(clock):
            return None
        following = replace(clock, position=clock.position + 1)
        timing = _Timing.of(following, self.routing)
        if timing is None:
            return None
        due_at: datetime | None
        if self.kind is ClockKind.REMIND:
            due_at = now + timing.wait
        else:
            escalation = self.routing.escalations[self.name]
            if following.position < len(escalation.steps):
                step = escalation.steps[following.position]
                due_at = due_after(clock.started_at or now, step.after, timing.window)
            else:
                due_at = due_after(now, escalation.repeat, timing.window) if escalation.repeat else None
        return None if due_at is None else replace(following, due_at=due_at)
