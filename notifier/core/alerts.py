"""Alerts: the moments at which a finding of `notifier.core.health` appears or disappears, and the events of them.

A source is failing when no poll of it has succeeded for too long, whether any failed or not.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.core.events import EventType
from notifier.core.health import FindingKind, HealthFinding, judge_channel, judge_source
from notifier.core.health_facts import (
    FAILING_AFTER,
    Backlog,
    ConfiguredSource,
    Expected,
    HealthFacts,
    known_channels,
    serves,
    sources_to_judge,
)
from notifier.core.model import ChannelState, Event, SourceState, own_event
from notifier.core.outbox import event_about_source
from notifier.core.routing import Route, RoutedEvent, route_events

DEAD_LETTERS_INTERVAL = timedelta(hours=1)
"""Minimum time between two reports of a channel's dead deliveries."""

DEAD_LETTERS_MAX_AGE = timedelta(days=1)
"""Age above which dead deliveries are no news when a channel's are reported for the first time."""


COUNTED_FAILURES_AGE = timedelta(hours=24)
"""Age up to which failed tasks count in the report that a source is monitored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Dead deliveries of a channel that have not been reported."""

    count: int
    first: datetime
    """Time at which the first of them died."""
    last: datetime
    reason: str | None
    """Why the last one was given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEdge:
    """A source or a channel starts or stops failing: a decision, before it becomes an event."""

    failing: bool
    since: datetime
    """Time since which it is, or had been, failing. It tells one episode from another."""
    why: str | None = None
    """The reason to show; None where none is known, and for a recovery."""


_SOURCE_KINDS = frozenset({FindingKind.SOURCE_NOT_POLLED, FindingKind.SOURCE_NOT_WHOLE})
_CHANNEL_KINDS = frozenset({FindingKind.CHANNEL_PARKED, FindingKind.CHANNEL_FAILING, FindingKind.CHANNEL_REMOVED})
"""Findings that are reported as an event when they appear and when they disappear."""


# ---- what to announce ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A source or a channel starts or stops failing, to be announced by the first replica that notes it."""

    name: str
    was: datetime | None
    """What was noted as announced when this was decided. Where that has changed, another replica was faster."""
    since: datetime | None
    """What to note as announced."""
    event: Event | None
    """None where only the note changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreportedDeadLetters:
    """A channel of which dead deliveries may have to be reported; the database knows them."""

    channel: str
    was: datetime | None
    """As `Announcement.was`."""
    since: datetime
    """Deliveries that died later than this have not been reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """A source has its baseline: from then on every change is notified, which people do not know yet."""

    source: ConfiguredSource
    baseline_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDecision:
    """Everything to announce, in the order of the configuration."""

    sources: tuple[Announcement, ...] = ()
    introduced: tuple[Introduction, ...] = ()
    channels: tuple[Announcement | UnreportedDeadLetters, ...] = ()

    def batches(self, size: int) -> Iterator["AlertDecision"]:
        """Yield all of it in parts, each with so many sources at most and the channels together at the end."""
        for start in range(0, len(self.sources), size):
            yield AlertDecision(sources=self.sources[start : start + size])
        for start in range(0, len(self.introduced), size):
            yield AlertDecision(introduced=self.introduced[start : start + size])
        if self.channels:
            yield AlertDecision(channels=self.channels)


def decide_alerts(expected: Expected, facts: HealthFacts, polling_since: datetime | None) -> AlertDecision:
    """Decide what to announce; see `source_edge` for `polling_since`."""
    return AlertDecision(
        sources=tuple(_announced_sources(expected, facts, polling_since)),
        introduced=tuple(_introduced_sources(expected, facts)),
        channels=tuple(_announced_channels(expected, facts)),
    )


def _introduced_sources(expected: Expected, facts: HealthFacts) -> Iterator[Introduction]:
    for source, state in sources_to_judge(expected, facts):
        if state.baseline_at and state.introduced_at is None:
            yield Introduction(source=source, baseline_at=state.baseline_at)


def _announced_sources(
    expected: Expected, facts: HealthFacts, polling_since: datetime | None
) -> Iterator[Announcement]:
    for source, state in sources_to_judge(expected, facts):
        if edge := source_edge(source, state, facts.at, polling_since, expected.failing_after):
            yield _announcement(state, edge, source_event(source, edge, facts.at))


def _announced_channels(expected: Expected, facts: HealthFacts) -> Iterator[Announcement | UnreportedDeadLetters]:
    for state, backlog in known_channels(expected, facts):
        if edge := channel_edge(state, backlog, expected, facts.at):
            # Moving or dismissing the last delivery of a channel that was removed is no recovery to report.
            reported = edge.failing or serves(expected, state.name)
            yield _announcement(state, edge, channel_event(state.name, edge, facts.at) if reported else None)
        since = dead_letters_since(state, facts.at)
        if since and backlog.dead_until and backlog.dead_until > since:
            yield UnreportedDeadLetters(channel=state.name, was=state.given_up_until, since=since)


def _announcement(state: SourceState | ChannelState, edge: AlertEdge, event: Event | None) -> Announcement:
    since = edge.since if edge.failing else None
    return Announcement(name=state.name, was=state.announced_since, since=since, event=event)


def source_edge(
    source: ConfiguredSource,
    state: SourceState,
    now: datetime,
    polling_since: datetime | None,
    failing_after: timedelta = FAILING_AFTER,
) -> AlertEdge | None:
    """Decide whether a source starts or stops failing.

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
    return AlertEdge(failing=True, since=found.since, why=_source_detail(found))


def _source_detail(found: HealthFinding) -> str | None:
    if found.kind is FindingKind.SOURCE_NOT_WHOLE:
        return "its list is read, but never whole: ends of tasks may be missing"
    return found.reason


def channel_edge(state: ChannelState, backlog: Backlog, expected: Expected, now: datetime) -> AlertEdge | None:
    """Decide whether a channel starts or stops failing: at once when it is parked, else after a while.

    Only a message that the receiver has accepted since then ends the failure: a parked channel is tried from time to
    time, and is not parked during that.
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
    return AlertEdge(failing=True, since=found.since or now, why=_channel_detail(found))


def _channel_detail(found: HealthFinding) -> str | None:
    if found.kind is FindingKind.CHANNEL_REMOVED:
        return f"it is configured no more, and messages wait for it ({found.count}): {', or '.join(found.commands)}"
    return found.reason


def dead_letters_since(state: ChannelState, now: datetime) -> datetime | None:
    """Return the time after which deaths of deliveries are to be reported; None while it is too early to report any."""
    if state.given_up_until is None:
        return now - DEAD_LETTERS_MAX_AGE
    return state.given_up_until if now - state.given_up_until >= DEAD_LETTERS_INTERVAL else None


# ---- the events ----


def source_event(source: ConfiguredSource, edge: AlertEdge, now: datetime) -> Event:
    """Return the event that reports that a source fails, or no longer does."""
    kind = EventType.SOURCE_FAILING if edge.failing else EventType.SOURCE_RECOVERED
    event = event_about_source(source.origin, kind, _occurrence(edge), now)
    return replace(event, detail=edge.why, since=edge.since)


def monitored_event(found: Introduction, counts: Mapping[str, int], now: datetime) -> Event:
    """Return the event that reports that a source is monitored; `counts` are those of `Event.counts`."""
    occurrence = f"monitored@{found.baseline_at.isoformat()}"
    event = event_about_source(found.source.origin, EventType.SOURCE_MONITORED, occurrence, now)
    return replace(event, counts=tuple(sorted(counts.items())))


def channel_event(channel: str, edge: AlertEdge, now: datetime) -> Event:
    """Return the event that reports a channel."""
    kind = EventType.CHANNEL_FAILING if edge.failing else EventType.CHANNEL_RECOVERED
    event = _about_channel(channel, kind, _occurrence(edge), now)
    return replace(event, detail=edge.why, since=edge.since)


def dead_letters_event(channel: str, found: DeadLetters, now: datetime) -> Event:
    """Return the event that reports the deliveries that a channel gave up on."""
    event = _about_channel(channel, EventType.CHANNEL_GAVE_UP, f"gave_up@{found.last.isoformat()}", now)
    return replace(event, detail=found.reason, since=found.first, count=found.count)


def store_event(detail: str, now: datetime) -> Event:
    """Return the event that reports that the database's file was taken from under the service."""
    event = _about_channel("", EventType.STORE_REPLACED, f"replaced@{now.isoformat()}", now)
    return replace(event, detail=detail, since=now)


def _occurrence(edge: AlertEdge) -> str:
    return f"{'failing' if edge.failing else 'recovered'}@{edge.since.isoformat()}"


def _about_channel(channel: str, kind: EventType, what: str, now: datetime) -> Event:
    return replace(own_event(kind, f"{channel}:{what}", now), channel=channel)


def route_alerts(
    events: Iterable[Event], routes: Sequence[Route], fallback: Collection[str]
) -> tuple[RoutedEvent, ...]:
    """Return each event with its channels, or `fallback` where no route takes it, but never the one it is about."""
    return tuple(
        replace(item, channels=alert_channels(item.channels, item.event.channel, fallback))
        for item in route_events(events, routes)
    )


def alert_channels(routed: Iterable[str], about: str, fallback: Iterable[str]) -> tuple[str, ...]:
    """Return the channels of an event about a source or a channel, given those that routes lead to."""
    channels = tuple(name for name in routed if name != about)
    return channels or tuple(name for name in fallback if name != about)
