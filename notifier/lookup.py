"""Answers from the store: pure functions over its reads, for the command line, the chat and the page alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from notifier.core import watching
from notifier.core.model import Attempt, ChannelState, Delivery, DeliveryState, Event, Route, SourceState, Task
from notifier.core.outbox import RoutedEvent
from notifier.core.routing import RouteVerdict, explain_routes
from notifier.core.watching import PATIENCE
from notifier.durations import format_duration
from notifier.ports import (
    DeliveryFilter,
    EventFilter,
    Ledger,
    Queries,
    StoredTask,
    TaskFilter,
)

T = TypeVar("T")

CANDIDATES = 10
"""Tasks shown at most when the beginning of a job id fits several."""

NAMESAKES = 5
"""Instances of one name, or that resemble it, that are looked for."""

HISTORY = 500
"""Events of one task that an explanation covers, newest first."""

CLOCK_TOLERANCE = timedelta(minutes=1)
"""How far in the future a poll may lie: clocks of two machines that share a database differ."""

BACKLOG = 1000
"""Pending deliveries of a channel, the newest first, that are looked at to tell whether any has waited for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """Rows, and how fresh what they come from is: an empty answer means little without that."""

    rows: tuple[T, ...]
    sources: tuple[SourceState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnswer:
    """The task that was asked for; or the candidates, when the beginning of a job id fits several; or nothing."""

    task: StoredTask | None = None
    candidates: tuple[StoredTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance, as the tasks about it name it: at least one of both is known."""

    id: str | None
    name: str | None

    @property
    def key(self) -> str:
        """What a mute of it is recorded under."""
        return self.id or self.name or ""

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.name or self.id or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAnswer:
    """The instance that was asked for; or the ids of all that share its name; or the names that resemble it."""

    instance: Instance | None = None
    namesakes: tuple[str, ...] = ()
    resembling: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelAccount:
    """What became of one event on one channel."""

    channel: str
    planned: bool
    """True when routing asked for it at the time the event was detected."""
    delivery: Delivery | None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAccount:
    """One event: how each route judges it now, and what became of it on each channel then."""

    routed: RoutedEvent
    verdicts: tuple[RouteVerdict, ...]
    channels: tuple[ChannelAccount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why each channel was or was not told about a task. No events: nothing has changed since the baseline."""

    task: StoredTask
    events: tuple[EventAccount, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The ledger of every (event, channel) pair, and when it was drawn."""

    at: datetime
    ledger: Ledger

    @property
    def ok(self) -> bool:
        """True when every pair has exactly one account."""
        return not self.ledger.unaccounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a source is polled, as configured."""

    poll_every: timedelta
    calls_per_minute: float = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHealth:
    """Whether one source is being polled."""

    name: str
    ok: bool
    last_poll_at: datetime | None
    limit: timedelta
    """The age of its last good poll up to which it counts as polled."""
    error: str | None
    """What is wrong apart from that age, and what the last poll failed with."""
    failing_since: datetime | None = None
    """Since when all its polls have failed; None while they succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """Whether one channel delivers."""

    name: str
    parked_since: datetime | None
    """Since when nothing of it is sent, because it is misconfigured; None while it is not parked."""
    waiting_since: datetime | None
    """Since when a delivery has been pending for longer than `PATIENCE`; None when there is no such delivery."""
    reason: str | None
    """What the receiver, or the way to it, said last."""
    failing_since: datetime | None = None
    """Since when the receiver has taken nothing that was sent."""
    open_until: datetime | None = None
    """Until when nothing is sent because too much has failed; None when that is not so."""
    paused_until: datetime | None = None
    """Until when nothing is sent because the receiver asked for a pause; None when that is not so."""
    failing: bool = False
    """True when it has been failing for longer than `PATIENCE`."""

    @property
    def ok(self) -> bool:
        """True when it is not parked, has not been failing for long, and nothing waits for long."""
        return self.parked_since is None and self.waiting_since is None and not self.failing


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether every source is being polled."""

    at: datetime
    sources: tuple[SourceHealth, ...]

    @property
    def ok(self) -> bool:
        """True when all of them are."""
        return all(source.ok for source in self.sources)


LEFT_BEHIND = (
    "Nobody polls them: their tasks count as running no more, and what is recorded is deleted after retention.tasks. "
    "A new name for the same region and project takes over the history of the old one."
)
"""What becomes of sources that are recorded and not configured."""


def left_behind(states: Sequence[SourceState], configured: Mapping[str, tuple[str, str]]) -> Sequence[SourceState]:
    """Return what is recorded of sources that are configured under no name: nobody polls them any more.

    A renamed one is not among them: its history moves to the new name at the next poll.

    Args:
        states: what is recorded.
        configured: region and project of each configured source, by name.
    """
    known = {state.name for state in states}
    moving = {place for name, place in configured.items() if name not in known}
    return [
        state for state in states if state.name not in configured and (state.region, state.project_id) not in moving
    ]


def list_tasks(q: Queries, wanted: TaskFilter) -> Listing[StoredTask]:
    """Return the tasks that fit, the most recently changed first."""
    return Listing(rows=tuple(q.tasks(wanted)), sources=tuple(q.sources()))


def list_events(q: Queries, wanted: EventFilter) -> Listing[RoutedEvent]:
    """Return the events that fit, the newest first."""
    return Listing(rows=tuple(q.events(wanted)), sources=tuple(q.sources()))


def list_deliveries(q: Queries, wanted: DeliveryFilter) -> Listing[Delivery]:
    """Return the deliveries that fit, the newest first."""
    return Listing(rows=tuple(q.deliveries(wanted)), sources=tuple(q.sources()))


def find_task(q: Queries, wanted: str, *, source: str | None = None) -> TaskAnswer:
    """Return the task with this job id, or the only one whose job id begins like it."""
    found = tuple(q.tasks(TaskFilter(job_id=wanted, source=source, limit=CANDIDATES)))
    exact = tuple(stored for stored in found if stored.task.job_id == wanted)
    fitting = exact or found
    return TaskAnswer(task=fitting[0]) if len(fitting) == 1 else TaskAnswer(candidates=fitting)


def find_instance(q: Queries, wanted: str) -> InstanceAnswer:
    """Return the instance with this id, or the only one of this name."""
    found = q.instances(wanted, NAMESAKES)
    exact = [Instance(id=id_, name=name) for id_, name in found if wanted in (id_, name)]
    if not exact:
        return InstanceAnswer(resembling=tuple(name or id_ or "" for id_, name in found))
    if len({instance.id for instance in exact}) > 1:
        return InstanceAnswer(namesakes=tuple(instance.id or "" for instance in exact))
    return InstanceAnswer(instance=exact[0])


def history(q: Queries, task: Task) -> tuple[Event, ...]:
    """Return what happened to a task, the oldest first."""
    wanted = EventFilter(source=task.source, job_id=task.job_id, exact=True, limit=HISTORY)
    return tuple(routed.event for routed in q.events(wanted))[::-1]


def explain(q: Queries, stored: StoredTask, routes: Sequence[Route], channels: Collection[str]) -> Explanation:
    """Return why each channel was or was not told of each change of the task.

    `channels` are the configured ones; those that were planned for at the time are covered too.
    """
    task = stored.task
    events = tuple(q.events(EventFilter(source=task.source, job_id=task.job_id, exact=True, limit=HISTORY)))[::-1]
    deliveries = _deliveries_by_pair(q, [found.event.id for found in events])
    return Explanation(
        task=stored, events=tuple(_event_account(q, found, routes, channels, deliveries) for found in events)
    )


def audit(q: Queries, now: datetime) -> Audit:
    """Return the account of every (event, channel) pair that routing asked for."""
    return Audit(at=now, ledger=q.ledger())


def health(states: Iterable[SourceState], paces: Mapping[str, Pace], now: datetime) -> Health:
    """Judge every configured source, by name: is it polled, and is its list seen whole as often as it should be?"""
    known = {state.name: state for state in states}
    return Health(
        at=now,
        sources=tuple(
            _source_health(known.get(name, SourceState(name=name)), pace, now) for name, pace in paces.items()
        ),
    )


def channel_health(q: Queries, names: Iterable[str], now: datetime) -> tuple[ChannelHealth, ...]:
    """Judge every channel that is named: is it parked, or does it fail or a delivery wait for more than `PATIENCE`?"""
    known = {state.name: state for state in q.channels()}
    return tuple(_channel_health(q, known.get(name, ChannelState(name=name)), now) for name in names)


def _channel_health(q: Queries, state: ChannelState, now: datetime) -> ChannelHealth:
    pending = q.deliveries(DeliveryFilter(channel=state.name, state=DeliveryState.PENDING, limit=BACKLOG))
    late = [delivery for delivery in pending if now - _waits_since(delivery) > PATIENCE]
    reasons = (delivery.reason for delivery in reversed(late) if delivery.reason)
    known = state.health
    return ChannelHealth(
        name=state.name,
        parked_since=state.parked_since,
        waiting_since=min(map(_waits_since, late), default=None),
        reason=state.reason or next(reasons, None),
        failing_since=known.failing_since,
        open_until=_ahead(known.open_until, now),
        paused_until=_ahead(known.paused_until, now),
        failing=known.failing_since is not None and now - known.failing_since > PATIENCE,
    )


def _ahead(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment and moment > now else None


def _waits_since(delivery: Delivery) -> datetime:
    sent_again = delivery.attempt and delivery.attempt == delivery.earlier_attempts
    return delivery.available_at if sent_again else delivery.created_at


_Pairs = Mapping[tuple[str, str], Delivery]


def _deliveries_by_pair(q: Queries, event_ids: Sequence[str]) -> _Pairs:
    if not event_ids:
        return {}
    found = q.deliveries(DeliveryFilter(event_ids=event_ids, limit=HISTORY * CANDIDATES))
    return {(event.id, delivery.channel): delivery for delivery in found for event in delivery.events}


def _event_account(
    q: Queries, routed: RoutedEvent, routes: Sequence[Route], channels: Collection[str], deliveries: _Pairs
) -> EventAccount:
    names = sorted({*channels, *routed.channels})
    return EventAccount(
        routed=routed,
        verdicts=tuple(explain_routes(routed.event, routes)),
        channels=tuple(
            _channel_account(q, name, name in routed.channels, deliveries.get((routed.event.id, name)))
            for name in names
        ),
    )


def _channel_account(q: Queries, channel: str, planned: bool, delivery: Delivery | None) -> ChannelAccount:  # noqa: FBT001 - private, always by position
    attempts = tuple(q.attempts(delivery.id)) if delivery else ()
    return ChannelAccount(channel=channel, planned=planned, delivery=delivery, attempts=attempts)


def _source_health(state: SourceState, pace: Pace, now: datetime) -> SourceHealth:
    limit = watching.limit(state, pace.poll_every, pace.calls_per_minute)
    recent = state.last_poll_at is not None and now - state.last_poll_at <= limit
    flaw = _flaw(state, watching.limit(state, pace.poll_every, pace.calls_per_minute, looks=watching.LATE_LOOK), now)
    return SourceHealth(
        name=state.name,
        ok=recent and flaw is None,
        last_poll_at=state.last_poll_at,
        limit=limit,
        error="; ".join(filter(None, (flaw, state.last_error))) or None,
        failing_since=state.failing_since,
    )


def _flaw(state: SourceState, limit: timedelta, now: datetime) -> str | None:
    """Say why what is recorded of a source that was polled does not show that it is watched; None if it does."""
    looks = [look for look in (state.last_poll_at, state.last_full_at) if look]
    if not looks:
        return None
    if (ahead := max(looks) - now) > CLOCK_TOLERANCE:
        return f"it was last polled {_minutes(ahead)} in the future: the clock of this machine is, or was, wrong"
    if state.baseline_at is None or state.last_full_at is None:
        return "its list has not been seen whole yet, so there is no baseline to compare with"
    if (age := now - state.last_full_at) > limit:
        return (
            f"its list was last seen whole {_minutes(age)} ago (limit {_minutes(limit)}): "
            "ends of tasks may be missing since"
        )
    return None


def _minutes(length: timedelta) -> str:
    return format_duration(length - length % timedelta(minutes=1))
