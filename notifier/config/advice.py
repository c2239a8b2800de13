"""Advice about a valid configuration: what a failed task reaches, and settings that are probably not intended."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from pydantic import SecretStr

from notifier.channels.templates import DIGEST, named_key, template_key
from notifier.config.config import Config
from notifier.config.problems import unknown_name
from notifier.config.reach import (
    MAX_NAMED_SOURCES,
    FailureReach,
    ReachGap,
    ReachLevel,
    RouteScope,
    followed_up,
    reached_by_failure,
    route_scopes,
    types_reaching,
)
from notifier.config.web import WebSettings
from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.fields import OPERATION_KINDS, ORIGIN_FIELDS
from notifier.core.matcher_logic import exclusion, includes
from notifier.core.matchers import Matcher, fits, is_glob, parse_matcher
from notifier.core.rota import rota_named
from notifier.settings.types import is_loopback
from notifier.settings.words import closest_match
from notifier.sources.base import SourceSettings
from notifier.web.access.passwords import is_hashed


def warnings(config: Config, at: datetime) -> Iterable[str]:
    """Return remarks about settings that are valid and probably not intended. Hours are those of the week of a time."""
    config = config.with_stand_ins()
    scopes = route_scopes(config)
    for reach in reached_by_failure(config, at, scopes):
        for gap in reach.gaps:
            yield _unreached(reach, gap)
    led_to = _channels_led_to(config)
    for channel in config.channels:
        if channel.name not in led_to:
            yield f"No route leads to the channel {channel.name}."
        elif channel.keeps_tickets and not any(map(_opens_ticket, types_reaching(config, channel.name, scopes))):
            yield (
                f"The channel {channel.name} will never open a ticket: no route sends failures there."
                ' Add one with match: ["type in [task.failed, task.stalled, task.unlisted]"].'
            )
    yield from _unacknowledged(config, scopes)
    yield from _foreseen_for_nobody(config, scopes)
    yield from _misnamed_in_foresight(config)
    yield from _unreachable_routes(config)
    yield from _windows_that_never_open(config, at)
    yield from _unknown_causes(config)
    yield from _unknown_origins(config)
    yield from _displaced_alarms(config)
    yield from _long_waits(scopes)
    yield from _held_one_by_one(config)
    yield from _unused_templates(config, scopes)
    yield from _chats_by_webhook(config)
    yield from _silent_mentions(scopes)
    yield from suspicious_values(config)
    yield from _overbooked_credentials(config)
    yield from _silent_people(config)
    if config.store.left_behind_note:
        yield config.store.left_behind_note


def _unreached(reach: FailureReach, gap: ReachGap) -> str:
    """Return what becomes of failures that reach nobody at once."""
    whose, when = reach.whose, f" on {gap.hours}" if gap.hours else ""
    if gap.holiday:
        return (
            f"On holidays failed tasks{whose} reach nobody at {gap.hours}: give a route otherwise: hold, or a channel."
        )
    if gap.level is ReachLevel.LATE:
        which = "Some failed tasks" if gap.only_some else "Failed tasks"
        waits = format_duration(timedelta(minutes=round(gap.late / timedelta(minutes=1))))
        return f"{which}{whose} wait for the window of a route{when}, up to {waits}."
    if gap.only_some and not when:
        some = f"({', '.join((*reach.surely, *reach.possibly))}): no route takes all of them."
        return f"Only some failed tasks{whose} would reach a channel {some}"
    if gap.only_some:
        return f"Only some failed tasks{whose} reach anybody{when}: no route takes all of them then."
    if not when:
        return f'A failed task{whose} would reach no channel: add a route with match: ["type=task.failed"].'
    return f"Failed tasks{whose} reach nobody{when}: give a route for them otherwise: hold, or a channel."


def _channels_led_to(config: Config) -> set[str]:
    """Return the channels that something is configured to be sent to."""
    routed = (route.all_channels for route in config.routes)
    announced = (*(rota.announce for rota in config.rotas), *(report.channels for report in config.reports))
    escalated = followed_up(config, EventType.TASK_ESCALATED)
    return {name for names in (*routed, *announced, escalated, config.alerts.channels or ()) for name in names}


def _unreachable_routes(config: Config) -> Iterable[str]:
    """Return warnings about routes that take no event."""
    # What is typical of a type is not enough here: only the type itself is certain.
    scopes = route_scopes(config, {"type"})
    for position, scope in enumerate(scopes):
        name, match = scope.route.name, scope.route.match
        if found := exclusion(match):
            yield f"Route {name} takes no event: {' and '.join(map(str, found))} exclude each other."
        elif not any(map(scope.severities_of, EventType)):
            yield f"Route {name} takes no event: no source and no type of event fits all of its matchers."
        elif stops := _taken_before(scope, scopes[:position], config.sources):
            others = "route {}, which comes before it and has stop, takes" if len(stops) == 1 else _SEVERAL_STOPS
            yield f"Route {name} takes no event: {others.format(' and '.join(stops))} all of them. Move {name} up."


_SEVERAL_STOPS = "routes {}, which come before it and have stop, take"


def _taken_before(scope: RouteScope, earlier: Sequence[RouteScope], sources: Sequence[SourceSettings]) -> Sequence[str]:
    """Return the routes with `stop` that take every event that a later route would take; none where one gets there."""
    stops = [
        one
        for one in earlier
        if one.route.stop and all(includes(matcher, scope.route.match) for matcher in one.about_task)
    ]
    found: dict[str, None] = {}
    for kind in scope.kinds if stops else ():
        for of in sources if kind.about_source else (None,):
            if scope.takes(kind, of):
                stop = next((one for one in stops if one.takes(kind, of)), None)
                if stop is None:
                    return ()
                found[stop.route.name] = None
    return tuple(found)


def _windows_that_never_open(config: Config, at: datetime) -> Iterable[str]:
    """Return warnings about windows that will not open any more. A calendar that is read later may open one."""
    read_later = {calendar.name for calendar in config.calendars if calendar.origin}
    windows = [(f"route {route.name}", route.active) for route in config.routes]
    for escalation in config.escalations_by_name.values():
        windows.append((f"escalation {escalation.name}", escalation.active))
        steps = enumerate(escalation.steps, start=1)
        windows += [(f"step {number} of escalation {escalation.name}", step.active) for number, step in steps]
    for name, window in windows:
        if window and window.calendar not in read_later and window.next_opening(at) is None:
            yield f"The window of {name} never opens: no holiday is to come. Give it days, or other hours."


def _unused_templates(config: Config, scopes: Sequence[RouteScope]) -> Iterable[str]:
    for channel in config.channels:
        if not channel.templates:
            continue
        used = {template_key(channel.templates, kind) for kind in types_reaching(config, channel.name, scopes)}
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


def _silent_mentions(scopes: Sequence[RouteScope]) -> Iterable[str]:
    """Return warnings about routes that mention people for nothing that is loud."""
    for scope in scopes:
        if scope.route.mention and not _calls(scope):
            yield (
                f"Route {scope.route.name} mentions nobody: none of the failures that it takes is critical or an error."
                " Give it severity: error, or remove mention."
            )


def _opens_ticket(kind: EventType) -> bool:
    return kind.traits.needs_care or kind is EventType.TASK_ESCALATED


def _unacknowledged(config: Config, scopes: Sequence[RouteScope]) -> Iterable[str]:
    """Return warnings about reminders and escalations that never come, or that nobody can stop from a chat."""
    used = {route.escalate for route in config.routes}
    for escalation in config.escalations:
        if escalation.name not in used:
            yield (
                f"No route uses the escalation {escalation.name}: give one escalate: {escalation.name}, or remove it."
            )
    for scope in scopes:
        if scope.kinds and all(kind.traits.follows_up for kind in scope.kinds):
            yield (
                f"Route {scope.route.name} takes no event: reminders and escalations are not matched by routes, but go"
                " where remind and escalate of a route lead."
            )
    following = [scope for scope in scopes if scope.route.remind or scope.route.escalate]
    for scope in following:
        if not any(scope.severities_of(kind) for kind in EventType if kind.traits.needs_care):
            what = "remind" if scope.route.remind else "escalate"
            yield f"Route {scope.route.name} takes no failures, so its {what} has no effect. Remove it."
    if following and not config.expected.chat:
        yield (
            f"Route {following[0].route.name} reminds of failures until somebody acknowledges them, which only"
            " `notifier ack` can do: there is no section chat."
        )


def _foreseen_for_nobody(config: Config, scopes: Sequence[RouteScope]) -> Iterable[str]:
    """Return warnings about judgements that are made and that no route takes."""
    foresight = config.foresight
    settings = {
        EventType.TASK_OVERDUE: "foresight.overdue" if foresight.overdue.enabled else "",
        EventType.TASK_MISSING: "expect" if config.expect else "foresight.missing" if foresight.missing.enabled else "",
    }
    planned = ((EventType.MAINTENANCE_AWAITING, "maintenance"),) if config.maintenance_sources else ()
    alarms = next((source.name for source in config.sources if source.lists_alarms), None)
    raised = ((EventType.ALARM_RAISED, f"The source {alarms}"),) if alarms else ()
    for kind, setting in (*settings.items(), *planned, *raised):
        if setting and not any(scope.severities_of(kind) for scope in scopes):
            yield (
                f"{setting} reports {kind}, and no route takes it: nobody is told. Name it in the match of a route:"
                f' match: ["type in [task.failed, {kind}]"].'
            )


LONG_WAIT = timedelta(minutes=15)
"""Time for which failures may be collected without a warning."""


def _long_waits(scopes: Sequence[RouteScope]) -> Iterable[str]:
    """Return warnings about routes that keep failures back for long."""
    for scope in scopes:
        wait = scope.route.wait
        if wait is not None and wait > LONG_WAIT and _calls(scope):
            yield (
                f"Route {scope.route.name} collects failures for {format_duration(wait)} before anybody is"
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


def _calls(scope: RouteScope) -> bool:
    """Return whether a route may take loud events for which a message mentions people."""
    own = scope.route.severity
    return any(
        severity.loud
        for kind in EventType
        if kind.traits.calls_somebody
        for found in [scope.severities_of(kind)]
        for severity in ([own] if own and found else found)
    )


def _silent_people(config: Config) -> Iterable[str]:
    """Return warnings about people of rotas whom no channel of a route that mentions the rota can mention."""
    channels = {channel.name: channel for channel in config.channels}
    for route in config.routes:
        leading = [channels[name] for name in route.all_channels if name in channels]
        for name in filter(None, map(rota_named, route.mention)):
            rota = config.rotas_by_name.get(name)
            for person in rota.people if rota else ():
                if not any(channel.accepts_mention(who) for who in person.mention for channel in leading):
                    yield (
                        f"Route {route.name} cannot mention {person.name} of the rota {name}: none of its channels"
                        " understands any of the entries."
                    )


_USUAL_PROJECT = re.compile(r"[0-9a-f]{32}")


MIN_WEB_PASSWORD = 12
"""Length of a password from which on nobody is told that it is short, in characters."""


def _open_to_listeners(web: WebSettings) -> Iterable[str]:
    """Return remarks about a page that others could listen to, or sign in to."""
    if web.guarded and not web.loopback and not (web.url or "").startswith("https://"):
        yield (
            "web: what people type and their sessions can be read on the way. Put TLS in front of it, and set web.url"
            " to its address with https."
        )
    if not web.guarded and web.url and not is_loopback(urlsplit(web.url).hostname or ""):
        yield (
            "web: web.url is no address of this machine, and nothing asks people who they are: set web.password,"
            " web.users, web.proxy or web.oidc. Until then requests through a proxy are refused."
        )
    password = web.password.get_secret_value() if web.password else None
    if password is not None and not is_hashed(password) and len(password) < MIN_WEB_PASSWORD:
        yield f"web.password has fewer than {MIN_WEB_PASSWORD} characters; it is all that keeps others out."


def suspicious_values(config: Config) -> Iterable[str]:
    """Return remarks about values that look like mistakes: `check` shows them, and `run` logs them when it starts."""
    if config.web:
        yield from _open_to_listeners(config.web)
    for source in config.as_written.sources:
        if source.project_id and not _USUAL_PROJECT.fullmatch(source.project_id):
            yield (
                f"The project_id of {source.name} is {source.project_id!r}; a project id usually is 32 hexadecimal"
                " digits. The console shows it under My Credentials."
            )
    for place, matcher in _written_matchers(config):
        if meant := _mistyped_operation(matcher):
            yield f"{matcher} of {place}: did you mean {meant}?"


def _written_matchers(config: Config) -> Iterable[tuple[str, Matcher]]:
    """Yield all matchers of the configuration, each with where it stands."""
    named = (("route", config.routes), ("the mute", config.mutes), ("the report", config.reports))
    for kind, entries in named:
        for entry in entries:
            yield from ((f"{kind} {entry.name}", one) for one in entry.match)
    yield from _foresight_matchers(config)


def _foresight_matchers(config: Config) -> Iterable[tuple[str, Matcher]]:
    overdue, missing = config.foresight.overdue, config.foresight.missing
    yield from (("expect", one) for runs in config.expect for one in runs.match)
    yield from (("foresight.overdue.limits", parse_matcher(text)) for text in overdue.limits)
    yield from (("foresight.overdue.ignore", one) for one in overdue.ignore)
    yield from (("foresight.missing.ignore", one) for one in missing.ignore)


def misnamed(config: Config, matcher: Matcher) -> str | None:
    """Return what a matcher names that the configuration does not have, so that it fits nothing."""
    data = {
        "sources": [
            one.model_dump(include={"name", "kind", "environment", "labels"})
            for one in (*config.sources, *config.accounts)
        ],
        "channels": [{"name": one.name} for one in config.channels],
    }
    return unknown_name(data, matcher)


def _misnamed_in_foresight(config: Config) -> Iterable[str]:
    """Return warnings about matchers of judgements that fit nothing. In routes, mutes and reports these are errors."""
    for place, matcher in _foresight_matchers(config):
        if problem := misnamed(config, matcher):
            yield f"{matcher} of {place} fits nothing: {problem}"


def _unknown_causes(config: Config) -> Iterable[str]:
    """Return warnings about matchers for causes that the catalogue does not have."""
    matchers = [(place, one) for place, one in _written_matchers(config) if one.field == "cause"]
    known = [cause.id for cause in config.cause_catalogue.causes] if matchers else []
    for place, matcher in matchers:
        for value in matcher.members if matcher.op not in ("=~", "!~") else ():
            one = Matcher(field="cause", op="=", value=value)
            if value and not any(fits(one, {"cause": id_}) for id_ in known):
                guess = closest_match(value, known)
                hint = f"Did you mean {guess}?" if guess else "A failed task shows its id in notifier explain --json."
                yield f"{matcher} of {place}: no cause is called {value!r}. {hint}"


def _unknown_origins(config: Config) -> Iterable[str]:
    """Return warnings about matchers of who started a task where that is never known."""
    if any(source.finds_origins for source in config.sources):
        return
    for place, matcher in _written_matchers(config):
        if matcher.field in ORIGIN_FIELDS:
            yield f"{matcher} of {place} fits nothing that is known: no source has started_by: true."


def _displaced_alarms(config: Config) -> Iterable[str]:
    """Return warnings about alarms of found projects that are not read."""
    for name, project_id in config.displaced_alarms.items():
        yield (
            f"The alarms of the project {project_id} are not read: the source {name} has the name that theirs would"
            " have. Give that source another name."
        )


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
        wanted = sum(source.promised_per_minute for source in sources)
        budget = config.call_budgets[credential].calls_per_minute
        if len(sources) > 1 and wanted > budget:
            yield (
                f"{len(sources)} sources ({_few([source.name for source in sources])}) share a credential and would"
                f" make {wanted:.0f} calls a minute; its budget is {budget}. Give them a longer poll_every, or a larger"
                " calls_per_minute where the cloud allows it."
            )
        busy = [source.name for source in sources if source.poll_busy_every]
        if busy and wanted >= budget:
            yield (
                f"poll_busy_every of {_few(busy)} has no effect: polls at poll_every would take {wanted:.0f} calls a"
                f" minute, and the budget of the credential is {budget}. Give its sources a longer poll_every, or a"
                " larger calls_per_minute where the cloud allows it."
            )


def _few(names: Sequence[str]) -> str:
    return ", ".join([*names[:MAX_NAMED_SOURCES], *["…"] * (len(names) > MAX_NAMED_SOURCES)])
