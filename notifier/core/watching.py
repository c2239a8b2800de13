"""When the program is blind or mute: which sources and channels it has to speak of, and what it says.

Silence is loud: a source is failing when no poll of it has succeeded for too long, whether any failed or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core import outbox
from notifier.core.model import ChannelState, Event, EventType, Route, SourceState, event_id
from notifier.core.outbox import RoutedEvent

MISSED_POLLS = 5
"""A source is failing when so many of its polls might have been made since the last good one …"""

PATIENCE = timedelta(minutes=5)
"""… and this time has passed …"""

SLOW_LOOK = 2
"""… and so many times what its last full look took of its call budget: that paces how a long list is read."""

LATE_LOOK = 10
"""How many times what a full look takes of its call budget the last complete one may be old. Active looks leave at
least a quarter of the budget to full ones, so that one begins four times what it takes after the one before, and is
recorded another time that later."""

TOLD_EVERY = timedelta(hours=1)
"""What a channel gave up on is told no more often than this."""

TOLD_LATEST = timedelta(days=1)
"""Dead deliveries that died longer ago than this before any were told of are no news."""


ALERTS = frozenset(
    {
        EventType.SOURCE_FAILING,
        EventType.SOURCE_RECOVERED,
        EventType.CHANNEL_FAILING,
        EventType.CHANNEL_RECOVERED,
        EventType.CHANNEL_GAVE_UP,
        EventType.STORE_REPLACED,
    }
)
"""What is decided here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedSource:
    """A source as it is configured."""

    name: str
    region: str
    project_id: str
    poll_every: timedelta
    calls_per_minute: float = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """Dead deliveries of a channel that have not been told of."""

    count: int
    first: datetime
    """When the first of them died."""
    last: datetime
    reason: str | None
    """Why the last one was given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A source or a channel is said to fail, or to have recovered: a decision, before it becomes an event."""

    failing: bool
    since: datetime
    """Since when it is, or had been, failing. It tells one episode from another."""


def limit(state: SourceState, poll_every: timedelta, calls_per_minute: float, *, looks: int = SLOW_LOOK) -> timedelta:
    """Return how old the last good look may be, given how long a full one takes."""
    full_look = timedelta(minutes=state.last_full_calls / calls_per_minute)
    return max(MISSED_POLLS * poll_every, PATIENCE, looks * full_look)


def source_turn(source: WatchedSource, state: SourceState, now: datetime, began: datetime | None) -> Turn | None:
    """Decide whether there is anything to say of a source.

    `began` is when this program began to poll: what was not polled before that is not its failure, so each source is
    given its time anew. None gives no such time.
    """
    looks = [(state.failing_since or state.last_poll_at, limit(state, source.poll_every, source.calls_per_minute))]
    if state.failing_since is None:  # polls that fail show nothing whole either, and are what is to be told then
        looks.append((state.last_full_at, whole_limit(source, state)))
    if state.announced_since is not None:
        well = state.failing_since is None and all(at is not None and now - at < patience for at, patience in looks)
        return Turn(failing=False, since=state.announced_since) if well else None
    for at, patience in looks:
        quiet = max((moment for moment in (at, began) if moment), default=now)
        if now - quiet >= patience:
            return Turn(failing=True, since=at or quiet)
    return None


def whole_limit(source: WatchedSource, state: SourceState) -> timedelta:
    """Return how old the last look that saw the whole list may be."""
    return limit(state, source.poll_every, source.calls_per_minute, looks=LATE_LOOK)


def trouble_of(source: WatchedSource, state: SourceState, now: datetime) -> str | None:
    """Return what the last poll failed with; or that the polls that work do not show the whole list."""
    polled = state.last_poll_at is not None and now - state.last_poll_at < whole_limit(source, state)
    if state.last_error is not None or not polled:
        return state.last_error
    return "its list is read, but never whole: ends of tasks may be missing"


def channel_turn(state: ChannelState, now: datetime, failing_after: timedelta) -> Turn | None:
    """Decide whether there is anything to say of a channel: at once when it is parked, else after a while.

    Only a message that the receiver took since then makes it well again: a parked channel is tried from time to time,
    and is not parked meanwhile.
    """
    failing_since = state.health.failing_since
    if state.announced_since is not None:
        good = state.health.good_at is not None and state.health.good_at > state.announced_since
        well = good and state.parked_since is None and failing_since is None
        return Turn(failing=False, since=state.announced_since) if well else None
    if state.parked_since is not None:
        return Turn(failing=True, since=min(failing_since or state.parked_since, state.parked_since))
    failing = failing_since is not None and now - failing_since >= failing_after
    return Turn(failing=True, since=failing_since) if failing and failing_since else None


def given_up_since(state: ChannelState, now: datetime) -> datetime | None:
    """Return from when on the dead deliveries of a channel are to be told of; None while it is too early to."""
    if state.given_up_until is None:
        return now - TOLD_LATEST
    return state.given_up_until if now - state.given_up_until >= TOLD_EVERY else None


# ---- what is said ----


def source_event(source: WatchedSource, turn: Turn, error: str | None, now: datetime) -> Event:
    """Return the event that tells of a source."""
    occurrence = _occurrence(turn)
    return Event(
        id=event_id(source.name, "", occurrence),
        type=EventType.SOURCE_FAILING if turn.failing else EventType.SOURCE_RECOVERED,
        source=source.name,
        region=source.region,
        project_id=source.project_id,
        occurrence=occurrence,
        observed_at=now,
        occurred_at=None,
        detail=error if turn.failing else None,
        since=turn.since,
    )


def channel_event(channel: str, turn: Turn, reason: str | None, now: datetime) -> Event:
    """Return the event that tells of a channel."""
    kind = EventType.CHANNEL_FAILING if turn.failing else EventType.CHANNEL_RECOVERED
    event = _about_channel(channel, kind, _occurrence(turn), now)
    return replace(event, detail=reason if turn.failing else None, since=turn.since)


def given_up_event(channel: str, found: GivenUp, now: datetime) -> Event:
    """Return the event that tells of messages that a channel gave up on."""
    event = _about_channel(channel, EventType.CHANNEL_GAVE_UP, f"gave_up@{found.last.isoformat()}", now)
    return replace(event, detail=found.reason, since=found.first, count=found.count)


def store_event(detail: str, now: datetime) -> Event:
    """Return the event that reports that the database's file was taken from under the service."""
    return _about_channel("", EventType.STORE_REPLACED, f"replaced@{now.isoformat()}", now, detail=detail, since=now)


def _occurrence(turn: Turn) -> str:
    return f"{'failing' if turn.failing else 'recovered'}@{turn.since.isoformat()}"


def _about_channel(
    channel: str,
    kind: EventType,
    what: str,
    now: datetime,
    *,
    detail: str | None = None,
    since: datetime | None = None,
) -> Event:
    # Events are unique by source, job and occurrence, and here the first two are empty.
    occurrence = f"{channel}:{what}"
    return Event(
        id=event_id("", "", occurrence),
        type=kind,
        source="",
        region="",
        project_id="",
        occurrence=occurrence,
        observed_at=now,
        occurred_at=None,
        channel=channel,
        detail=detail,
        since=since,
    )


def route(events: Iterable[Event], routes: Sequence[Route], fallback: Collection[str]) -> tuple[RoutedEvent, ...]:
    """Return each event with the channels it goes to: never to the one it is about.

    What no route leads anywhere goes to the channels of `fallback`.
    """
    return tuple(_routed(item, fallback) for item in outbox.route(events, routes))


def _routed(item: RoutedEvent, fallback: Collection[str]) -> RoutedEvent:
    return replace(item, channels=told(item.channels, item.event.channel, fallback))


def told(routed: Iterable[str], about: str, fallback: Iterable[str]) -> tuple[str, ...]:
    """Return the channels that are told of an event about a source or a channel, given those that routes lead to."""
    channels = tuple(name for name in routed if name != about)
    return channels or tuple(name for name in fallback if name != about)
