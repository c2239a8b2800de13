"""Advice about a valid configuration: what a failed task reaches, and settings that are probably not intended."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import SecretStr

from notifier.channels.templates import DIGEST, named_key, template_key
from notifier.config.config import Config
from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, LABEL_PREFIX, OPERATION_KINDS, label_fields
from notifier.core.matchers import Matcher, fits, is_glob
from notifier.core.model import TaskStatus
from notifier.core.rota import rota_named
from notifier.core.routing import Route, channels_of, explain_fields
from notifier.settings.words import closest_match
from notifier.sources.base import SourceSettings
from notifier.wording.states import EVENT_ROWS

MAX_NAMED_SOURCES = 3
"""Maximum number of sources that a warning names."""

_OUTCOME_FIELDS = frozenset({"type", "status", "raw_status", "late", "previous_status"})
_SOURCE_FIELDS = frozenset({"source", "region", "project_id", "environment", "severity"})


def _about_task(matcher: Matcher) -> bool:
    """Return whether a matcher depends on which task of a source it is, not only on what happened."""
    return matcher.field not in _OUTCOME_FIELDS | _SOURCE_FIELDS and not matcher.field.startswith(LABEL_PREFIX)


def typical_fields(kind: EventType, source: SourceSettings | None = None) -> Mapping[str, str]:
    """Return the fields of an event of this type for matchers; what type and source do not determine is empty."""
    status = EVENT_ROWS[kind].state.status
    raw = "" if status in (None, TaskStatus.UNKNOWN) else status.value.capitalize()
    known = {"type": kind.value, "status": status.value if status else "", "raw_status": raw, "late": "false"}
    return dict.fromkeys(FIELDS, "") | known | _source_fields(kind, source)


def _source_fields(kind: EventType, source: SourceSettings | None) -> dict[str, str]:
    severity = {"severity": kind.traits.severity_in(source.environment if source else "").value}
    if source is None:
        return severity
    known = {name: getattr(source, name) for name in ("region", "project_id", "environment")}
    return severity | known | {"source": source.name} | label_fields(source.sorted_labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReach:
    """Which channels the failed tasks of some sources reach. They reach the same ones."""

    sources: tuple[str, ...] = ()
    """Names of the sources; empty for all of them."""
    surely: tuple[str, ...]
    """Channels that every failed task reaches."""
    possibly: tuple[str, ...]
    """Channels that some may reach, depending on which task it is."""

    @property
    def whose(self) -> str:
        """` of prod and staging`, to follow `task`; the empty string for all sources."""
        named = self.sources[:MAX_NAMED_SOURCES]
        more = len(self.sources) - len(named)
        return f" of {', '.join(named)}{f' and {more} more' if more else ''}" if named else ""


def reached_by_failure(config: Config) -> Sequence[FailureReach]:
    """Return which channels failed tasks reach; sources whose tasks reach the same ones are together."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for source in config.sources:
        found.setdefault(_reached(config.routes, source), []).append(source.name)
    return [
        FailureReach(sources=tuple(names) if len(found) > 1 else (), surely=surely, possibly=possibly)
        for (surely, possibly), names in found.items()
    ]


def _reached(routes: Sequence[Route], source: SourceSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    failure = typical_fields(EventType.TASK_FAILED, source)
    surely = channels_of(explain_fields(failure, [route for route in routes if not any(map(_about_task, route.match))]))
    possibly = channels_of(explain_fields(failure, [_without_task(route) for route in routes]))
    return surely, tuple(channel for channel in possibly if channel not in surely)


def _without_task(route: Route) -> Route:
    """Return a route that takes what this one takes of some task at some hour."""
    kept = tuple(matcher for matcher in route.match if not _about_task(matcher))
    return replace(route, match=kept, stop=False, channels=route.all_channels, active=None)


def types_reaching(config: Config, channel: str) -> Mapping[EventType, bool]:
    """Return the types of events that may reach a channel, and for each whether a route leads there.

    Events about the program itself that no route matches are alerts, which go to the channels of `alerts`.
    """
    routes = [_without_task(route) for route in config.routes]
    found: dict[EventType, bool] = {}
    for kind in EventType:
        if kind.traits.follows_up:
            if channel in _followed_up(config, kind):
                found[kind] = True
            continue
        sources = config.sources if kind.about_source else (None,)
        routed = {name for of in sources for name in channels_of(explain_fields(typical_fields(kind, of), routes))}
        if channel in routed:
            found[kind] = True
        elif not routed and not kind.about_task and channel in config.alert_channels:
            found[kind] = False
    return found


def _followed_up(config: Config, kind: EventType) -> set[str]:
    """Return the channels that reminders or escalations go to. What routes match says nothing about these."""
    if kind is EventType.TASK_REMINDED:
        return {name for route in config.routes if route.remind for name in route.all_channels}
    used = {route.escalate for route in config.routes}
    return {name for one in config.escalations if one.name in used for step in one.steps for name in step.channels}


def warnings(config: Config) -> Iterable[str]:
    """Return remarks about settings that are valid and probably not intended."""
    for reach in reached_by_failure(config):
        if not reach.surely and not reach.possibly:
            yield f'A failed task{reach.whose} would reach no channel: add a route with match: ["type=task.failed"].'
        elif not reach.surely:
            some = f"({', '.join(reach.possibly)}): no route takes all of them."
            yield f"Only some failed tasks{reach.whose} would reach a channel {some}"
    routed = {channel for route in config.routes for channel in route.all_channels}
    routed |= _followed_up(config, EventType.TASK_ESCALATED)
    for channel in config.channels:
        if channel.name not in routed:
            yield f"No route leads to the channel {channel.name}."
        elif channel.keeps_tickets and not any(kind.traits.needs_care for kind in types_reaching(config, channel.name)):
            yield (
                f"The channel {channel.name} will never open a ticket: no route sends failures there."
                ' Add one with match: ["type=~task.(failed|stalled|unlisted)"].'
            )
    yield from _unacknowledged(config)
    yield from _long_waits(config)
    yield from _held_one_by_one(config)
    yield from _unused_templates(config)
    yield from _chats_by_webhook(config)
    yield from _silent_mentions(config)
    yield from suspicious_values(config)
    yield from _overbooked_credentials(config)
    yield from _silent_people(config)
    if config.store.left_behind_note:
        yield config.store.left_behind_note
    for section in config.unused_sections:
        yield f"{section} is valid, and this version does not use it."


def _unused_templates(config: Config) -> Iterable[str]:
    for channel in config.channels:
        used = {template_key(channel.templates, kind) for kind in types_reaching(config, channel.name)}
        used |= {DIGEST} if channel.digest_above is not None else set()
        leading = (route for route in config.routes if channel.name in route.all_channels)
        used |= {named_key(route.template) for route in leading if route.template}
        for key in channel.templates:
            if key not in used:
                yield f"The template {key} of the channel {channel.name} is never used: no such message goes there."


_CHAT_HOSTS: Mapping[str, str] = {
    "qyapi.weixin.qq.com": "wecom",
    "oapi.dingtalk.com": "dingtalk",
    "open.feishu.cn": "feishu",
    "open.larksuite.com": "feishu",
    "hooks.slack.com": "slack",
}
"""Kinds of channels for chats, by the hosts of their webhooks."""


def _chats_by_webhook(config: Config) -> Iterable[str]:
    """Return warnings about webhooks that send the standard body to a chat, which refuses it."""
    for channel in config.channels:
        url = getattr(channel, "url", None)
        if channel.kind != "webhook" or channel.has_template or not isinstance(url, SecretStr):
            continue
        host = urlsplit(url.get_secret_value()).hostname or ""
        if host in _CHAT_HOSTS:
            yield (
                f"The channel {channel.name} would send JSON for programs to {host}, which refuses it. Channels of"
                f" kind: {_CHAT_HOSTS[host]} send messages for people; give them the address as webhook_url."
            )


def _silent_mentions(config: Config) -> Iterable[str]:
    """Return warnings about routes that mention people for nothing that is loud."""
    for route in config.routes:
        if route.mention and not any(_calls(route, kind, source) for kind in EventType for source in config.sources):
            yield (
                f"Route {route.name} mentions nobody: none of the failures that it takes is critical or an error."
                " Give it severity: error, or remove mention."
            )


def _unacknowledged(config: Config) -> Iterable[str]:
    """Return warnings about reminders and escalations that never come, or that nobody can stop from a chat."""
    used = {route.escalate for route in config.routes}
    for escalation in config.escalations:
        if escalation.name not in used:
            yield (
                f"No route uses the escalation {escalation.name}: give one escalate: {escalation.name}, or remove it."
            )
    for route in config.routes:
        types = _types_of(route)
        if types and all(kind.traits.follows_up for kind in types):
            yield (
                f"Route {route.name} takes no event: reminders and escalations are not matched by routes, but go where"
                " remind and escalate of a route lead."
            )
    following = [route for route in config.routes if route.remind or route.escalate]
    for route in following:
        if not any(_takes_failures(route, kind, source) for kind in EventType for source in config.sources):
            what = "remind" if route.remind else "escalate"
            yield f"Route {route.name} takes no failures, so its {what} has no effect. Remove it."
    if following and not config.expected.chat:
        yield (
            f"Route {following[0].name} reminds of failures until somebody acknowledges them, which only"
            " `notifier ack` can do: there is no section chat."
        )


def _types_of(route: Route) -> Sequence[EventType]:
    """Return the types of events that the matchers of a route for types let through."""
    matchers = [matcher for matcher in route.match if matcher.field == "type"]
    return [kind for kind in EventType if all(fits(matcher, {"type": kind.value}) for matcher in matchers)]


def _takes_failures(route: Route, kind: EventType, source: SourceSettings) -> bool:
    """Return whether a route may take an event of this type that opens a failure."""
    (verdict,) = explain_fields(typical_fields(kind, source), [_without_task(route)])
    return kind.traits.needs_care and verdict.matched


LONG_WAIT = timedelta(minutes=15)
"""Time for which failures may be collected without a warning."""


def _long_waits(config: Config) -> Iterable[str]:
    """Return warnings about routes that keep failures back for long."""
    for route in config.routes:
        loud = route.wait is not None and route.wait > LONG_WAIT
        if loud and any(_calls(route, kind, source) for kind in EventType for source in config.sources):
            yield (
                f"Route {route.name} collects failures for {format_duration(route.wait or LONG_WAIT)} before anybody is"
                f" notified. Give it wait: {format_duration(LONG_WAIT)} or less, or give failures a route of their own."
            )


def _held_one_by_one(config: Config) -> Iterable[str]:
    """Return warnings about channels that hold events and send them one by one all the same."""
    holding = [route for route in config.routes if route.wait is not None or route.may_hold]
    waiting = {name for route in holding for name in route.channels}
    for channel in config.channels:
        if channel.digest_above is None and not channel.keeps_tickets and (channel.budget or channel.name in waiting):
            what = f"budget: {channel.budget}" if channel.budget else "a route"
            yield (
                f"The channel {channel.name} never sends digests (digest_above: null), so what {what} holds is sent"
                " event by event afterwards. Give it a digest_above."
            )


def _calls(route: Route, kind: EventType, source: SourceSettings) -> bool:
    """Return whether a route may take a loud event of this type, for which a message mentions people."""
    of = source if kind.about_source else None
    severity = route.severity or kind.traits.severity_in(of.environment if of else "")
    (verdict,) = explain_fields(typical_fields(kind, of), [_without_task(route)])
    return kind.traits.calls_somebody and severity.loud and verdict.matched


def _silent_people(config: Config) -> Iterable[str]:
    """Return warnings about people of rotas whom no channel of a route that mentions the rota can mention."""
    channels = {channel.name: channel for channel in config.channels}
    for route in config.routes:
        leading = [channels[name] for name in route.channels if name in channels]
        for name in filter(None, map(rota_named, route.mention)):
            rota = config.rotas_by_name.get(name)
            for person in rota.people if rota else ():
                if not any(channel.accepts_mention(who) for who in person.mention for channel in leading):
                    yield (
                        f"Route {route.name} cannot mention {person.name} of the rota {name}: none of its channels"
                        " understands any of the entries."
                    )


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
            if meant := _mistyped_operation(matcher):
                yield f"{matcher} of route {route.name}: did you mean {meant}?"


def _mistyped_operation(matcher: Matcher) -> str | None:
    """Return the kind of operation that was probably meant: the set is open, so that an unknown one is no error."""
    if matcher.field != "operation" or matcher.op in ("=~", "!~"):
        return None
    unknown = [name for name in matcher.members if not is_glob(name) and name not in OPERATION_KINDS]
    return next(filter(None, (closest_match(name, OPERATION_KINDS, likeness=0.8) for name in unknown)), None)


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
