"""Alerts: the moments at which a finding of `notifier.core.health` appears or disappears, and what is said of them.

Silence is loud: a source is failing when no poll of it has succeeded for too long, whether any failed or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core.events import EventType
from notifier.core.health import (
    FAILING_AFTER,
    Backlog,
    ConfiguredSource,
    Expected,
    FindingKind,
    HealthFinding,
    judge_channel,
    judge_source,
    serves,
)
from notifier.core.model import ChannelState, Event, SourceState, event_id
from notifier.core.routing import Route, RoutedEvent, route_events

DEAD_LETTERS_INTERVAL = timedelta(hours=1)
"""What a channel gave up on is told no more often than this."""

DEAD_LETTERS_MAX_AGE = timedelta(days=1)
"""Dead deliveries that died longer ago than this before any were told of are no news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Dead deliveries of a channel that have not been told of."""

    count: int
    first: datetime
    """When the first of them died."""
    last: datetime
    reason: str | None
    """Why the last one was given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEdge:
    """A source or a channel is said to fail, or to have recovered: a decision, before it becomes an event."""

    failing: bool
    since: datetime
    """Since when it is, or had been, failing. It tells one episode from another."""
    why: str | None = None
    """What is said of it; None where nothing is known, and of a recovery."""


_SOURCE_KINDS = frozenset({FindingKind.SOURCE_NOT_POLLED, FindingKind.SOURCE_NOT_WHOLE})
_CHANNEL_KINDS = frozenset({FindingKind.CHANNEL_PARKED, FindingKind.CHANNEL_FAILING, FindingKind.CHANNEL_REMOVED})
"""Findings that are reported as an event when they appear, and when they are gone."""


def source_edge(
    source: ConfiguredSource,
    state: SourceState,
    now: datetime,
    polling_since: datetime | None,
    failing_after: timedelta = FAILING_AFTER,
) -> AlertEdge | None:
    """Decide whether there is anything to say of a source.

    `polling_since` is when this program began to poll: what was not polled before that is not its failure, so each
    source is given its time again. None gives no such time.
    """
    # A first failure is given the same time as a first silence.
    starts = [moment for moment in (polling_since, state.failing_since) if moment and state.announced_since is None]
    grace = max(starts, default=None)
    found = next(
        (one for one in judge_source(source, state, now, failing_after, grace) if one.kind in _SOURCE_KINDS), None
    )
    if state.announced_since is not None:
        well = found is None and state.failing_since is None
        return AlertEdge(failing=False, since=state.announced_since) if well else None
    if found is None or found.since is None:
        return None
    return AlertEdge(failing=True, since=found.since, why=source_detail(found))


def source_detail(found: HealthFinding) -> str | None:
    """Return what is said of a source that is not watched: what its last poll failed with, where it did."""
    if found.kind is FindingKind.SOURCE_NOT_WHOLE:
        return "its list is read, but never whole: ends of tasks may be missing"
    return found.reason


def channel_edge(state: ChannelState, backlog: Backlog, expected: Expected, now: datetime) -> AlertEdge | None:
    """Decide whether there is anything to say of a channel: at once when it is parked, else after a while.

    Only a message that the receiver took since then makes it well again: a parked channel is tried from time to time,
    and is not parked meanwhile.
    """
    found = next((one for one in judge_channel((state, backlog), expected, now) if one.kind in _CHANNEL_KINDS), None)
    if state.announced_since is not None and not serves(expected, state.name):
        return None if found else AlertEdge(failing=False, since=state.announced_since)
    if state.announced_since is not None:
        good = state.health.good_at is not None and state.health.good_at > state.announced_since
        well = good and state.parked_since is None and state.health.failing_since is None
        return AlertEdge(failing=False, since=state.announced_since) if well else None
    if found is None:
        return None
    return AlertEdge(failing=True, since=found.since or now, why=channel_detail(found))


def channel_detail(found: HealthFinding) -> str | None:
    """Return what is said of a channel that does not deliver."""
    if found.kind is FindingKind.CHANNEL_REMOVED:
        return f"it is configured no more, and messages wait for it ({found.count}): {', or '.join(found.commands)}"
    return found.reason


def dead_letters_since(state: ChannelState, now: datetime) -> datetime | None:
    """Return from when on the dead deliveries of a channel are to be told of; None while it is too early to."""
    if state.given_up_until is None:
        return now - DEAD_LETTERS_MAX_AGE
    return state.given_up_until if now - state.given_up_until >= DEAD_LETTERS_INTERVAL else None


# ---- what is said ----


def source_event(source: ConfiguredSource, edge: AlertEdge, now: datetime) -> Event:
    """Return the event that tells of a source."""
    occurrence = _occurrence(edge)
    return Event(
        id=event_id(source.name, "", occurrence),
        type=EventType.SOURCE_FAILING if edge.failing else EventType.SOURCE_RECOVERED,
        source=source.name,
        region=source.region,
        project_id=source.project_id,
        occurrence=occurrence,
        observed_at=now,
        occurred_at=None,
        detail=edge.why,
        since=edge.since,
    )


def channel_event(channel: str, edge: AlertEdge, now: datetime) -> Event:
    """Return the event that tells of a channel."""
    kind = EventType.CHANNEL_FAILING if edge.failing else EventType.CHANNEL_RECOVERED
    event = _about_channel(channel, kind, _occurrence(edge), now)
    return replace(event, detail=edge.why, since=edge.since)


def dead_letters_event(channel: str, found: DeadLetters, now: datetime) -> Event:
    """Return the event that tells of messages that a channel gave up on."""
    event = _about_channel(channel, EventType.CHANNEL_GAVE_UP, f"gave_up@{found.last.isoformat()}", now)
    return replace(event, detail=found.reason, since=found.first, count=found.count)


def store_event(detail: str, now: datetime) -> Event:
    """Return the event that reports that the database's file was taken from under the service."""
    return _about_channel("", EventType.STORE_REPLACED, f"replaced@{now.isoformat()}", now, detail=detail, since=now)


def _occurrence(edge: AlertEdge) -> str:
    return f"{'failing' if edge.failing else 'recovered'}@{edge.since.isoformat()}"


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


def route_alerts(
    events: Iterable[Event], routes: Sequence[Route], fallback: Collection[str]
) -> tuple[RoutedEvent, ...]:
    """Return each event with the channels it goes to: never to the one it is about.

    What no route leads anywhere goes to the channels of `fallback`.
    """
    return tuple(_routed(item, fallback) for item in route_events(events, routes))


def _routed(item: RoutedEvent, fallback: Collection[str]) -> RoutedEvent:
    return replace(item, channels=told(item.channels, item.event.channel, fallback))


def told(routed: Iterable[str], about: str, fallback: Iterable[str]) -> tuple[str, ...]:
    """Return the channels that are told of an event about a source or a channel, given those that routes lead to."""
    channels = tuple(name for name in routed if name != about)
    return channels or tuple(name for name in fallback if name != about)
