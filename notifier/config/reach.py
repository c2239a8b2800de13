"""What events reach at which hour of the week, as far as their type and their source decide."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import IntEnum
from functools import reduce
from itertools import pairwise
from zoneinfo import ZoneInfo

from notifier.config.config import Config
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, LABEL_PREFIX, label_fields
from notifier.core.matcher_logic import fits_everything, includes
from notifier.core.matchers import Matcher, first_misfit
from notifier.core.model import TaskStatus
from notifier.core.routing import Otherwise, Route
from notifier.core.severity import Severity
from notifier.core.windows import Window
from notifier.sources.base import SourceSettings
from notifier.wording.states import EVENT_ROWS

MAX_NAMED_SOURCES = 3
"""Maximum number of sources that a warning names."""
MAX_NAMED_HOURS = 7
"""Maximum number of times of the week that a warning names."""

_TYPE_FIELDS = frozenset({"type", "status", "raw_status", "late"})
_SOURCE_FIELDS = frozenset({"source", "region", "project_id", "environment"})
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY, _WEEK = timedelta(days=1), timedelta(weeks=1)


def typical_fields(kind: EventType, source: SourceSettings | None = None) -> Mapping[str, str]:
    """Return the fields of an event of this type for matchers; what type and source do not determine is empty."""
    return dict.fromkeys(FIELDS, "") | _type_fields(kind) | _severity(kind, source) | _source_fields(source)


def _type_fields(kind: EventType) -> dict[str, str]:
    status = EVENT_ROWS[kind].state.status
    raw = "" if status in (None, TaskStatus.UNKNOWN) else status.value.capitalize()
    return {"type": kind.value, "status": status.value if status else "", "raw_status": raw, "late": "false"}


def _severity(kind: EventType, source: SourceSettings | None) -> dict[str, str]:
    return {"severity": kind.traits.severity_in(source.environment if source else "").value}


def _source_fields(source: SourceSettings | None) -> dict[str, str]:
    if source is None:
        return dict.fromkeys(_SOURCE_FIELDS, "")
    known = {name: getattr(source, name) for name in ("region", "project_id", "environment")}
    return known | {"source": source.name} | label_fields(source.sorted_labels)


# ---- what a route takes ----


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteScope:
    """What a route takes, as far as types and sources decide."""

    route: Route
    kinds: frozenset[EventType]
    sources: frozenset[str]
    """Names; the empty string is for events about no source."""
    environments: frozenset[str]
    """Those of the sources."""
    severities: frozenset[Severity]
    """Severities that events have by default."""
    lists: frozenset[bool]
    """Whether sources of its list alarms; both where some do and others list tasks."""
    about_task: tuple[Matcher, ...]
    """Matchers that neither the type nor the source decides."""

    def takes(self, kind: EventType, source: SourceSettings | None) -> bool:
        """Return whether it takes some events of this type and source."""
        of = source if kind.about_source else None
        return (
            kind in self.kinds
            and (of is None or _lists(kind) in (None, of.lists_alarms))
            and (of.name if of else "") in self.sources
            and kind.traits.severity_in(of.environment if of else "") in self.severities
        )

    def severities_of(self, kind: EventType) -> Collection[Severity]:
        """Return the default severities that events of this type have which it takes; none where it takes none."""
        if kind not in self.kinds or not (self.lists >= {_lists(kind)} - {None}):
            return ()
        if kind is EventType.ALARM_RAISED:
            return self.severities  # the level of the alarm decides
        environments = self.environments if kind.about_source else [""] if "" in self.sources else []
        return self.severities.intersection(map(kind.traits.severity_in, environments))


def _lists(kind: EventType) -> bool | None:
    """Return whether events of a type are of sources that list alarms, or of those that list tasks; None for both."""
    if kind.startswith("alarm."):
        return True
    return False if kind.about_task and not kind.traits.follows_up else None


def route_scopes(config: Config, type_fields: Collection[str] = _TYPE_FIELDS) -> Sequence[RouteScope]:
    """Return what each route takes. `type_fields` are those that the type of an event is taken to decide."""
    return [_scope(route, config.sources, frozenset(type_fields)) for route in config.routes]


def _scope(route: Route, sources: Sequence[SourceSettings], type_fields: frozenset[str]) -> RouteScope:
    by_type = [one for one in route.match if one.field in type_fields]
    by_source = [one for one in route.match if one.field in _SOURCE_FIELDS or one.field.startswith(LABEL_PREFIX)]
    by_severity = [one for one in route.match if one.field == "severity"]
    rest = (one for one in route.match if one not in (*by_type, *by_source, *by_severity))
    named = ((source.name if source else "", _source_fields(source)) for source in (*sources, None))
    taken = frozenset(name for name, fields in named if first_misfit(by_source, fields) is None)
    return RouteScope(
        route=route,
        kinds=frozenset(kind for kind in EventType if first_misfit(by_type, _type_fields(kind)) is None),
        sources=taken,
        environments=frozenset(source.environment for source in sources if source.name in taken),
        severities=frozenset(one for one in Severity if first_misfit(by_severity, {"severity": one}) is None),
        lists=frozenset(source.lists_alarms for source in sources if source.name in taken),
        about_task=tuple(one for one in rest if not fits_everything(one)),
    )


def types_reaching(
    config: Config, channel: str, scopes: Sequence[RouteScope] | None = None
) -> Mapping[EventType, bool]:
    """Return the types of events that may reach a channel at some hour, and for each whether a route leads there.

    Events about the program itself that no route matches are alerts, which go to the channels of `alerts`.
    """
    scopes = route_scopes(config) if scopes is None else scopes
    found: dict[EventType, bool] = {}
    for kind in (kind for kind in EventType if kind not in _never_made(config)):
        if kind.traits.follows_up or kind.traits.scheduled:
            leading = followed_up(config, kind) if kind.traits.follows_up else scheduled_channels(config, kind)
            if channel in leading:
                found[kind] = True
            continue
        taking = [scope.route for scope in scopes if scope.severities_of(kind)]
        if any(channel in route.all_channels for route in taking):
            found[kind] = True
        elif not taking and kind.traits.alert and channel in config.alert_channels:
            found[kind] = False
    return found


def _never_made(config: Config) -> Collection[EventType]:
    """Return the types of events that this configuration makes none of."""
    foresight = config.foresight
    made = {
        EventType.TASK_OVERDUE: foresight.overdue.enabled,
        EventType.TASK_MISSING: foresight.missing.enabled or bool(config.expect),
        **{kind: bool(config.maintenance_sources) for kind in EventType if kind.about_maintenance},
    }
    return [kind for kind, enabled in made.items() if not enabled]


def scheduled_channels(config: Config, kind: EventType) -> set[str]:
    """Return the channels that get reports, or that are told of hand-overs. Routes take none of them."""
    if kind is EventType.REPORT_DUE:
        return {name for one in config.reports for name in one.channels}
    return {name for one in config.rotas for name in one.announce}


def followed_up(config: Config, kind: EventType) -> set[str]:
    """Return the channels that reminders or escalations go to. What routes match says nothing about these."""
    if kind is EventType.TASK_REMINDED:
        return {name for route in config.routes if route.remind for name in route.all_channels}
    used = {route.escalate for route in config.routes}
    return {name for one in config.escalations if one.name in used for step in one.steps for name in step.channels}


# ---- what failed tasks reach ----


class ReachLevel(IntEnum):
    """What becomes of an event, the worst first."""

    NOBODY = 0
    LATE = 1
    """It waits for the window of a route."""
    NOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachGap:
    """Hours of the week at which failed tasks do not reach anybody at once."""

    level: ReachLevel
    """What becomes of the worst of them."""
    only_some: bool
    """True where some do better, depending on which task it is."""
    hours: str = ""
    """The hours and their time zone, for people to read; the empty string for the whole week."""
    holiday: bool = False
    """True where it is so on holidays alone."""
    late: timedelta = timedelta()
    """How long they wait at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReach:
    """Which channels the failed tasks of some sources reach. They reach the same ones."""

    sources: tuple[str, ...] = ()
    """Names of the sources; empty for all of them."""
    surely: tuple[str, ...]
    """Channels that every failed task reaches, at every hour, though it may wait for a window."""
    possibly: tuple[str, ...]
    """Channels that some may reach, depending on which task it is and on the hour."""
    gaps: tuple[ReachGap, ...] = ()
    """The hours at which they do not reach anybody at once."""

    @property
    def whose(self) -> str:
        """` of prod and staging`, to follow `task`; the empty string for all sources."""
        named = self.sources[:MAX_NAMED_SOURCES]
        more = len(self.sources) - len(named)
        return f" of {', '.join(named)}{f' and {more} more' if more else ''}" if named else ""

    @property
    def complete(self) -> bool:
        """True where every failed task reaches somebody, late or not."""
        return all(gap.level is not ReachLevel.NOBODY for gap in self.gaps)


def reached_by_failure(
    config: Config, at: datetime, scopes: Sequence[RouteScope] | None = None
) -> Sequence[FailureReach]:
    """Return which channels failed tasks reach in the week of a time.

    Sources whose tasks reach the same ones are together.
    """
    scopes = route_scopes(config) if scopes is None else scopes
    week = _Week(config.routes, at, config.timezone)
    found: dict[tuple[int, ...], list[str]] = {}
    for source in (one for one in config.sources if not one.lists_alarms):
        taking = tuple(n for n, scope in enumerate(scopes) if scope.takes(EventType.TASK_FAILED, source))
        found.setdefault(taking, []).append(source.name)
    reaches: dict[FailureReach, list[str]] = {}
    for taking, names in found.items():
        reaches.setdefault(week.reach([scopes[n] for n in taking]), []).extend(names)
    return [replace(reach, sources=tuple(names) if len(reaches) > 1 else ()) for reach, names in reaches.items()]


@dataclass(frozen=True, slots=True)
class _Lead:
    """What a route makes of an event at some hour."""

    level: ReachLevel
    channels: frozenset[str]
    late: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class _Hours:
    """Hours during which no window opens or closes."""

    start: datetime
    end: datetime
    leads: Mapping[str, _Lead]
    """By name of the route."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What becomes of the failures of a source at some hours."""

    start: datetime
    end: datetime
    worst: ReachLevel
    best: ReachLevel
    late: timedelta
    surely: frozenset[str]
    possibly: frozenset[str]

    @property
    def gap(self) -> tuple[ReachLevel, bool] | None:
        """The level of a gap, and whether only some are in it; None for no gap."""
        return None if self.worst is ReachLevel.NOW else (self.worst, self.worst is not self.best)


@dataclass(frozen=True, slots=True)
class _Paths:
    """Which routes may take a failure together."""

    ends: Sequence[Sequence[str]]
    """Names of the routes that take it, in each of the cases of which one is the worst."""
    any: Sequence[str]
    """Names of all routes that may take one."""


class _Week:
    """The hours of one week, from its Monday on, and what each route makes of events at each of them."""

    def __init__(self, routes: Sequence[Route], at: datetime, timezone: str) -> None:
        self._zone, self._name = ZoneInfo(timezone), timezone
        monday = at.astimezone(self._zone).date() - at.astimezone(self._zone).weekday() * _DAY
        self._start, self._end = self._midnight(monday), self._midnight(monday + _WEEK)
        usual = [_with_holidays(route, ()) for route in routes]
        self._usual = self._hours(usual, self._start, self._end)
        self._holiday: Sequence[_Hours] = ()
        self._same_day: Sequence[_Hours] = ()
        if any(route.active and (route.active.holidays or route.active.calendar) for route in routes):
            day = monday + 2 * _DAY
            begins, ends = self._midnight(day), self._midnight(day + _DAY)
            self._holiday = self._hours([_with_holidays(route, [day]) for route in routes], begins, ends)
            self._same_day = self._hours(usual, begins, ends)

    def reach(self, scopes: Sequence[RouteScope]) -> FailureReach:
        """Return what failures reach that these routes take."""
        paths = _paths(scopes)
        found = [_reached(paths, hours) for hours in self._usual]
        surely = frozenset[str].intersection(*(one.surely for one in found))
        possibly = frozenset[str]().union(*(one.possibly for one in found)) - surely
        order = dict.fromkeys(channel for scope in scopes for channel in scope.route.all_channels)
        return FailureReach(
            surely=tuple(channel for channel in order if channel in surely),
            possibly=tuple(channel for channel in order if channel in possibly),
            gaps=(*self._gaps(found), *self._holiday_gaps(paths)),
        )

    def _gaps(self, found: Sequence[_Found]) -> Iterator[ReachGap]:
        kinds = dict.fromkeys(one.gap for one in found if one.gap)
        for kind in sorted(kinds):
            spans = [*_joined((one.start, one.end) for one in found if one.gap == kind)]
            late = _longest(one for one in found if one.gap == kind)
            hours = "" if spans == [(self._start, self._end)] else self._spoken(spans)
            yield ReachGap(level=kind[0], only_some=kind[1], hours=hours, late=late)

    def _holiday_gaps(self, paths: _Paths) -> Iterator[ReachGap]:
        """Yield the hours at which failures reach nobody on holidays, though they do on the same day of the week."""
        usual = [_reached(paths, hours) for hours in self._same_day]
        missing = [
            (one.start, one.end)
            for one in (_reached(paths, hours) for hours in self._holiday)
            if one.worst is ReachLevel.NOBODY
            and all(other.worst > one.worst for other in usual if other.start < one.end and one.start < other.end)
        ]
        if missing:
            hours = ", ".join(f"{self._clock(start)}-{self._clock(end, 24)}" for start, end in _joined(missing))
            yield ReachGap(level=ReachLevel.NOBODY, only_some=False, hours=f"{hours} ({self._name})", holiday=True)

    def _hours(self, routes: Sequence[Route], start: datetime, end: datetime) -> Sequence[_Hours]:
        windows = {route.active for route in routes if route.active}
        edges = sorted({start, end, *(edge for window in windows for edge in _changes(window, start, end))})
        return [
            _Hours(begins, ends, {route.name: _lead(route.at(begins), begins) for route in routes})
            for begins, ends in pairwise(edges)
        ]

    def _spoken(self, spans: Sequence[tuple[datetime, datetime]]) -> str:
        # What lasts over the end of the week is one span.
        if len(spans) > 1 and spans[0][0] == self._start and spans[-1][1] == self._end:
            spans = [*spans[1:-1], (spans[-1][0], spans[0][1])]
        named = [f"{self._moment(start)}-{self._moment(end)}" for start, end in spans[:MAX_NAMED_HOURS]]
        more = f" and {len(spans) - len(named)} times more" if len(spans) > len(named) else ""
        return f"{', '.join(named)}{more} ({self._name})"

    def _moment(self, at: datetime) -> str:
        local = at.astimezone(self._zone)
        return f"{_DAYS[local.weekday()]} {local:%H:%M}"

    def _clock(self, at: datetime, midnight: int = 0) -> str:
        text = f"{at.astimezone(self._zone):%H:%M}"
        return f"{midnight:02}:00" if text == "00:00" else text

    def _midnight(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone)


def _with_holidays(route: Route, days: Collection[date]) -> Route:
    if route.active is None:
        return route
    observes = bool(route.active.holidays or route.active.calendar)
    return replace(route, active=replace(route.active, holidays=frozenset(days if observes else ()), text=""))


def _changes(window: Window, start: datetime, end: datetime) -> Iterator[datetime]:
    edge = window.next_change(start)
    while edge and edge < end:
        yield edge
        edge = window.next_change(edge)


def _lead(route: Route, at: datetime) -> _Lead:
    """Return what a route makes of events; `route` is as it is at this time."""
    if route.withholds is Otherwise.DROP:
        return _Lead(ReachLevel.NOBODY, frozenset())
    opens = route.active.next_opening(at) if route.withholds and route.active else None
    if opens:
        return _Lead(ReachLevel.LATE, frozenset(route.channels), opens - at)
    return _Lead(ReachLevel.NOW, frozenset(route.channels))


def _paths(scopes: Sequence[RouteScope]) -> _Paths:
    """Return which of the routes that take failures of a source may take one together.

    Whether the routes that depend on the task apply is not known. So the worst failure is either taken by none of them,
    or by one with `stop`, and by those before it that include it.
    """
    sure: list[str] = []
    doubtful: list[RouteScope] = []
    ends: list[Sequence[str]] = []
    names: list[str] = []
    for scope in scopes:
        name = scope.route.name
        names.append(name)
        if not scope.about_task:
            sure.append(name)
            if scope.route.stop:
                break
            continue
        if scope.route.stop:
            too = [one for one in doubtful if all(includes(matcher, scope.route.match) for matcher in one.about_task)]
            if not any(one.route.stop for one in too):
                ends.append([*sure, *(one.route.name for one in too), name])
        doubtful.append(scope)
    return _Paths(ends=[*ends, sure], any=names)


def _reached(paths: _Paths, hours: _Hours) -> _Found:
    """Return what becomes of the best and of the worst of the failures at some hours."""
    nothing = _Lead(ReachLevel.NOBODY, frozenset())
    ends = [reduce(_together, map(hours.leads.__getitem__, names), nothing) for names in paths.ends]
    leads = [hours.leads[name] for name in paths.any]
    worst = min(end.level for end in ends)
    return _Found(
        start=hours.start,
        end=hours.end,
        worst=worst,
        best=max((lead.level for lead in leads), default=ReachLevel.NOBODY),
        late=max(end.late for end in ends if end.level is worst),
        surely=frozenset[str].intersection(*(end.channels for end in ends)),
        possibly=frozenset[str]().union(*(lead.channels for lead in leads)),
    )


def _together(one: _Lead, other: _Lead) -> _Lead:
    """Return what becomes of an event that two routes take: the better, and the earlier of two that wait."""
    level = max(one.level, other.level)
    late = min((lead.late for lead in (one, other) if lead.level is level), default=timedelta())
    return _Lead(level, one.channels | other.channels, late if level is ReachLevel.LATE else timedelta())


def _longest(found: Iterable[_Found]) -> timedelta:
    return max((one.late for one in found), default=timedelta())


def _joined(spans: Iterable[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    """Yield spans, those that adjoin as one."""
    ordered = list(spans)
    breaks = [0, *(n for n, (one, other) in enumerate(pairwise(ordered), start=1) if one[1] != other[0])]
    for first, after in pairwise([*breaks, len(ordered)]):
        if first < after:
            yield ordered[first][0], ordered[after - 1][1]
