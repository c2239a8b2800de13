"""Advice about a valid configuration: what a failed task reaches, and settings that are probably not intended."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from notifier.config.config import Config
from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.core.routing import FIELDS, Route, channels_of, explain_fields, looks_like_glob
from notifier.sources.base import SourceSettings
from notifier.wording.states import EVENT_ROWS

MAX_NAMED_SOURCES = 3
"""Maximum number of sources that a warning names."""

_OUTCOME_FIELDS = frozenset({"type", "status", "raw_status", "late", "previous_status"})
"""Fields about what happened, as opposed to which task it happened to."""


def typical_fields(kind: EventType) -> Mapping[str, str]:
    """Return the fields of an event of this type for matchers; those that the type does not determine are empty."""
    status = EVENT_ROWS[kind].state.status
    raw = "" if status in (None, TaskStatus.UNKNOWN) else status.value.capitalize()
    known = {"type": kind.value, "status": status.value if status else "", "raw_status": raw, "late": "false"}
    return dict.fromkeys(FIELDS, "") | known


def reached_by_failure(routes: Sequence[Route]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the channels that every failed task reaches, and those that some may, depending on which task it is."""
    failure = typical_fields(EventType.TASK_FAILED)
    whatever_the_task = [route for route in routes if all(one.field in _OUTCOME_FIELDS for one in route.match)]
    surely = channels_of(explain_fields(failure, whatever_the_task))
    possibly = channels_of(explain_fields(failure, [_without_task(route) for route in routes]))
    return surely, [channel for channel in possibly if channel not in surely]


def _without_task(route: Route) -> Route:
    kept = tuple(matcher for matcher in route.match if matcher.field in _OUTCOME_FIELDS)
    return replace(route, match=kept, stop=False)


def types_reaching(config: Config, channel: str) -> Mapping[EventType, bool]:
    """Return the types of events that may reach a channel, and for each whether a route leads there.

    Events about the program itself that no route matches are alerts, which go to the channels of `alerts`.
    """
    routes = [_without_task(route) for route in config.routes]
    found: dict[EventType, bool] = {}
    for kind in EventType:
        routed = channels_of(explain_fields(typical_fields(kind), routes))
        if channel in routed:
            found[kind] = True
        elif not routed and not kind.about_task and channel in config.alert_channels:
            found[kind] = False
    return found


def warnings(config: Config) -> Iterable[str]:
    """Return remarks about settings that are valid and probably not intended."""
    surely, possibly = reached_by_failure(config.routes)
    if not surely and not possibly:
        yield 'A failed task would reach no channel: add a route with match: ["type=task.failed"].'
    elif not surely:
        yield f"Only some failed tasks would reach a channel ({', '.join(possibly)}): no route takes all of them."
    routed = {channel for route in config.routes for channel in route.channels}
    for channel in config.channels:
        if channel.name not in routed:
            yield f"No route leads to the channel {channel.name}."
    yield from suspicious_values(config)
    yield from _overbooked_credentials(config)
    if config.store.left_behind_note:
        yield config.store.left_behind_note
    for section in config.unused_sections:
        yield f"{section} is valid, and this version does not use it."


_USUAL_PROJECT = re.compile(r"[0-9a-f]{32}")


def suspicious_values(config: Config) -> Iterable[str]:
    """Return remarks about values that look like mistakes: `check` shows them, and `run` logs them when it starts."""
    for source in config.sources:
        if not _USUAL_PROJECT.fullmatch(source.project_id):
            yield (
                f"The project_id of {source.name} is {source.project_id!r}; a project id usually is 32 hexadecimal"
                " digits. The console shows it under My Credentials."
            )
    for route in config.routes:
        for matcher in route.match:
            if meant := looks_like_glob(matcher):
                yield f"{matcher} of route {route.name} compares with an asterisk. Did you mean {meant}?"


def _overbooked_credentials(config: Config) -> Iterable[str]:
    """Return warnings about sources that share a credential and are polled more often than its budget allows."""
    sharing: dict[str, list[SourceSettings]] = {}
    for source in config.sources:
        sharing.setdefault(source.credential, []).append(source)
    for credential, sources in sharing.items():
        wanted = sum(timedelta(minutes=1) / source.poll_every for source in sources)
        budget = config.call_budgets[credential].calls_per_minute
        if len(sources) > 1 and wanted > budget:
            names = [source.name for source in sources[:MAX_NAMED_SOURCES]] + ["…"] * (len(sources) > MAX_NAMED_SOURCES)
            yield (
                f"{len(sources)} sources ({', '.join(names)}) share a credential and would make {wanted:.0f} calls a"
                f" minute; its budget is {budget}. Give them a longer poll_every, or a larger calls_per_minute where"
                " the cloud allows it."
            )
