"""The configuration as it is in effect: sources, channels, routes with what they take, and every setting. Read only.

It has names, addresses and ids of people and of systems, so it is for those who act. No secret is in it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier import lookup
from notifier.core.health_facts import ConfiguredSource
from notifier.core.model import ChannelState, SourceState
from notifier.core.routing import Route, RoutedEvent, explain_routes
from notifier.ports import EventFilter
from notifier.settings.effective import EffectiveValue, ValueOrigin
from notifier.web.access.viewer import AccessRole
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute

TRIED_DAYS = 7
"""Age of the events that routes are tried on, in days."""
MAX_TRIED = 2_000
"""Maximum number of events that routes are tried on, the latest ones."""
MAX_CONFIGURED_ROWS = 200
"""Maximum number of sources, channels, routes or settings that are listed."""
_OF_ADMINS = "web"
"""The section that only administrators see: it says who has access."""
_SHOWN_OF_ROUTES = frozenset({"name", "match", "channels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A source, as it is configured and as it was polled last."""

    source: ConfiguredSource
    last_poll_at: datetime | None
    failing_since: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """A channel, as it is configured and as it does."""

    name: str
    kind: str
    state: str
    """`delivers`, `parked`, `failing`, or `idle` where nothing was sent yet."""
    since: datetime | None
    reason: str | None
    routes: tuple[str, ...]
    """Names of the routes that lead there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRow:
    """A route in words."""

    name: str
    match: tuple[str, ...]
    channels: tuple[str, ...]
    more: tuple[tuple[str, str], ...]
    """What else is written about it: key and value."""
    takes: int | None
    """Number of recorded events that it would take now; None where it was not tried."""
    took: int | None
    """Number of them that a route of this name took when they were detected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRoutes:
    """What became of recorded events, and what would become of them now."""

    since: datetime
    """Time of the first event that was tried, or the beginning of the week."""
    events: int
    complete: bool
    """False where there are more in the week."""
    nobody_now: int
    """Number of events that no route would take now."""
    nobody_then: int
    """Number of events that went to no channel."""
    channels: tuple[tuple[str, int, int], ...]
    """By name of the channel: events that it would get now, and that it got then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRow:
    """A section of the configuration."""

    name: str
    written: int
    defaults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting."""

    key: str
    value: str
    hidden: bool
    origin: ValueOrigin
    line: int | None
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationView:
    """What the page shows."""

    store: str
    remarks: tuple[str, ...]
    sources: tuple[SourceRow, ...]
    other_sources: int
    channels: tuple[ChannelRow, ...]
    other_channels: int
    routes: tuple[RouteRow, ...]
    other_routes: int
    tried: TriedRoutes | None
    sections: tuple[SectionRow, ...]
    section: str
    """Name of the section whose settings are listed; empty for none."""
    written: tuple[SettingRow, ...]
    defaults: tuple[SettingRow, ...]
    other_settings: int


def read_configuration(request: PageRequest, q: WebReads) -> Page:
    """Return the page. Routes are tried on the events of a week only where that is asked for: it reads many."""
    rules, now = request.rules, q.now()
    shown = rules.configuration
    routes = rules.routing.routes
    tried = _try_routes(request, q, now) if "try" in request.query else None
    allowed = [one for one in shown.values if one.path[0] != _OF_ADMINS or request.viewer.role >= AccessRole.ADMIN]
    section = request.query.get("section", "")
    written, defaults, others = _settings([one for one in allowed if one.path[0] == section])
    view = ConfigurationView(
        store=shown.store,
        remarks=tuple(shown.remarks(now)),
        sources=tuple(_source_rows(rules.expected.sources[:MAX_CONFIGURED_ROWS], q.source_states())),
        other_sources=max(len(rules.expected.sources) - MAX_CONFIGURED_ROWS, 0),
        channels=tuple(_channel_rows(rules.expected.channels[:MAX_CONFIGURED_ROWS], request, q, now)),
        other_channels=max(len(rules.expected.channels) - MAX_CONFIGURED_ROWS, 0),
        routes=tuple(_route_rows(routes[:MAX_CONFIGURED_ROWS], shown.values, tried[1] if tried else None)),
        other_routes=max(len(routes) - MAX_CONFIGURED_ROWS, 0),
        tried=tried[0] if tried else None,
        sections=tuple(_sections(allowed)),
        section=section,
        written=written,
        defaults=defaults,
        other_settings=others,
    )
    return Page(template="configuration.html", view=view, poll=0 if tried else 60)


def _source_rows(sources: Iterable[ConfiguredSource], states: Iterable[SourceState]) -> Iterator[SourceRow]:
    known = {state.name: state for state in states}
    for source in sources:
        state = known.get(source.name, SourceState(name=source.name))
        yield SourceRow(
            source=source,
            last_poll_at=state.last_poll_at,
            failing_since=state.failing_since,
            last_error=state.last_error,
        )


def _channel_rows(channels: Iterable[str], request: PageRequest, q: WebReads, now: datetime) -> Iterator[ChannelRow]:
    rules = request.rules
    states = {state.name: state for state in q.channels()}
    leading: dict[str, list[str]] = {}
    for route in rules.routing.routes:
        for channel in route.all_channels:
            leading.setdefault(channel, []).append(route.name)
    for name in channels:
        state, since, reason = channel_state(states.get(name, ChannelState(name=name)), now)
        yield ChannelRow(
            name=name,
            kind=rules.configuration.kinds.get(name, ""),
            state=state,
            since=since,
            reason=reason,
            routes=tuple(leading.get(name, ())),
        )


def channel_state(state: ChannelState, now: datetime) -> tuple[str, datetime | None, str | None]:
    """Return how a channel does, since when, and why."""
    health = state.health
    if state.parked_since:
        return "parked", state.stopped_since, state.reason
    if health.failing_since:
        return "failing", health.failing_since, None
    return ("delivers", health.good_at, None) if health.good_at and health.good_at <= now else ("idle", None, None)


# ---- routes ----


def _route_rows(
    routes: Sequence[Route], values: Sequence[EffectiveValue], counts: tuple[Counter[int], Counter[str]] | None
) -> Iterator[RouteRow]:
    written: dict[object, list[tuple[str, str]]] = {}
    for one in values:
        if one.path[0] == "routes" and one.origin is not ValueOrigin.DEFAULT and one.path[2] not in _SHOWN_OF_ROUTES:
            key = one.key.partition("].")[2]
            written.setdefault(one.path[1], []).append((key, "" if one.hidden else one.value))
    for number, route in enumerate(routes):
        yield RouteRow(
            name=route.name,
            match=tuple(map(str, route.match)),
            channels=route.channels,
            more=tuple(written.get(number, ())),
            takes=counts[0][number] if counts else None,
            took=counts[1][route.name] if counts else None,
        )


def _try_routes(
    request: PageRequest, q: WebReads, now: datetime
) -> tuple[TriedRoutes, tuple[Counter[int], Counter[str]]]:
    routing = request.rules.routing
    week = now - timedelta(days=TRIED_DAYS)
    found = q.events(EventFilter(since=week, limit=MAX_TRIED + 1))
    return try_routes(found, lookup.known_routes(q, routing.routes), request, week)


def try_routes(
    events: Sequence[RoutedEvent], routes: Sequence[Route], request: PageRequest, since: datetime
) -> tuple[TriedRoutes, tuple[Counter[int], Counter[str]]]:
    """Return what routes would do with recorded events, the newest first, and what was done; counts are by route.

    Only events about tasks are tried: others go to the channels of `alerts` where no route takes them.
    """
    tried = [one for one in events[:MAX_TRIED] if _is_routed(one)]
    takes, took = Counter[int](), Counter[str]()
    now_at, then_at = Counter[str](), Counter[str]()
    nobody = 0
    for one in tried:
        verdicts = explain_routes(one.event, routes, request.rules.causes)
        matching = [number for number, verdict in enumerate(verdicts) if verdict.matched]
        takes.update(matching)
        took.update(one.routes)
        now_at.update({channel for number in matching for channel in verdicts[number].route.channels})
        then_at.update(one.channels)
        nobody += not matching
    complete = len(events) <= MAX_TRIED
    first = since if complete or not tried else tried[-1].event.observed_at
    result = TriedRoutes(
        since=first,
        events=len(tried),
        complete=complete,
        nobody_now=nobody,
        nobody_then=sum(not one.channels for one in tried),
        channels=tuple((name, now_at[name], then_at[name]) for name in sorted(now_at | then_at)),
    )
    return result, (takes, took)


def _is_routed(one: RoutedEvent) -> bool:
    """Return whether routes alone decide where an event goes: it is about a task, and does not follow up another."""
    kind = one.event.type
    return kind.about_task and not kind.traits.follows_up


# ---- settings ----


def _sections(values: Iterable[EffectiveValue]) -> Iterator[SectionRow]:
    written, defaults = Counter[str](), Counter[str]()
    for one in values:
        (defaults if one.origin is ValueOrigin.DEFAULT else written)[str(one.path[0])] += 1
    for name in dict.fromkeys((*written, *defaults)):
        yield SectionRow(name=name, written=written[name], defaults=defaults[name])


def _settings(
    values: Sequence[EffectiveValue],
) -> tuple[tuple[SettingRow, ...], tuple[SettingRow, ...], int]:
    written = sorted((one for one in values if one.origin is not ValueOrigin.DEFAULT), key=lambda one: one.line or 0)
    defaults = [one for one in values if one.origin is ValueOrigin.DEFAULT]
    shown = (written[:MAX_CONFIGURED_ROWS], defaults[:MAX_CONFIGURED_ROWS])
    others = len(values) - sum(map(len, shown))
    first, second = (tuple(map(_setting_row, some)) for some in shown)
    return first, second, others


def _setting_row(one: EffectiveValue) -> SettingRow:
    return SettingRow(
        key=one.key, value=one.value, hidden=one.hidden, origin=one.origin, line=one.line, variables=one.variables
    )


routes = (PageRoute(path="/configuration", read=read_configuration, tab="configuration", role=AccessRole.ACT),)
