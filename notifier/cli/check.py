"""`notifier check`: the configuration as it was understood and, online, whether every service works."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from notifier.cli import documents, event_loop
from notifier.cli.common import JsonOption, load_config, now
from notifier.cli.output import Column, Row, TextTable, block, cell, indented, print_json, show, spinner
from notifier.cli.route import parse_fields
from notifier.cli.samples import sample_event
from notifier.config import Config
from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.routing import Matcher, Route, channels_of, explain_fields, looks_like_glob
from notifier.ports import CheckResult
from notifier.sources.base import SourceSettings

MAX_NAMED_SOURCES = 3
"""Maximum number of sources that a warning names."""

_FIELDS_OF_OUTCOME = frozenset({"type", "status", "raw_status", "late", "previous_status"})
"""Fields about what happened, as opposed to which task it happened to."""


def check(
    ctx: typer.Context,
    *,
    online: Annotated[bool, typer.Option("--online", help="Test every credential, channel and the database.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration and show how it was understood; --online tests every service without sending a message.

    Exits with 1 when a check fails.
    --json: {"ok", "sources": [{name, kind}], "channels": [{name, kind}],
    "routes": [{name, match, channels, stop}], "warnings": […], "findings": [{ok, proven, what, detail, remedy}]}.
    """
    config = load_config(ctx)
    findings = event_loop.run(_check_templates(config))
    if online:
        from notifier.wiring.checks import check_online  # noqa: PLC0415 - only --online pays for the network stack

        with spinner("Checking credentials, channels and the store …"):
            findings = [*findings, *event_loop.run(check_online(config))]
    if as_json:
        print_json(_document(config, findings))
    else:
        show(_summary(config), *(check_result(finding) for finding in findings))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def reached_by_failure(routes: Sequence[Route]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the channels that every failed task reaches, and those that some may, depending on which task it is."""
    failure = parse_fields(["type=task.failed"])
    surely = channels_of(explain_fields(failure, [route for route in routes if _ignores_the_task(route)]))
    possibly = channels_of(explain_fields(failure, [_without_task(route) for route in routes]))
    return surely, [channel for channel in possibly if channel not in surely]


def _ignores_the_task(route: Route) -> bool:
    return all(matcher.field in _FIELDS_OF_OUTCOME for matcher in route.match)


def _without_task(route: Route) -> Route:
    kept = tuple(matcher for matcher in route.match if matcher.field in _FIELDS_OF_OUTCOME)
    return replace(route, match=kept, stop=False)


def types_reaching(config: Config, channel: str) -> Mapping[EventType, bool]:
    """Return the types of events that may reach a channel, and for each whether a route leads there.

    Events about the program itself that no route matches are alerts, which go to the channels of `alerts`.
    """
    routes = [_without_task(route) for route in config.routes]
    found: dict[EventType, bool] = {}
    for kind in EventType:
        routed = channels_of(explain_fields(parse_fields([f"type={kind}"]), routes))
        if channel in routed:
            found[kind] = True
        elif not routed and not kind.about_task and channel in config.alert_channels:
            found[kind] = False
    return found


async def _check_templates(config: Config) -> Sequence[CheckResult]:
    """Return a failed check for each sample event that the template of a channel cannot render."""
    reaching = {
        channel.name: types_reaching(config, channel.name) for channel in config.channels if channel.has_template
    }
    if not reaching:
        return ()
    from notifier.wiring.checks import check_rendering  # noqa: PLC0415 - only a template pays for the channels' code

    samples = {name: [sample_event(kind, now()) for kind in kinds] for name, kinds in reaching.items()}
    return [
        CheckResult(
            ok=not reaching[name][event.type],
            proven=False,
            what=f"channel {name}",
            detail=f"{event.type}: {flaw}",
            remedy=f"notifier preview {name} --event {event.type}",
        )
        for name, flaws in (await check_rendering(config, samples)).items()
        for event, flaw in zip(samples[name], flaws, strict=True)
        if flaw
    ]


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
                yield f"{_matcher_text(matcher)} of route {route.name} compares with an asterisk. Did you mean {meant}?"


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


def _document(config: Config, findings: Sequence[CheckResult]) -> dict[str, Any]:
    return {
        "ok": all(finding.ok for finding in findings),
        "sources": [{"name": source.name, "kind": source.kind} for source in config.sources],
        "channels": [{"name": channel.name, "kind": channel.kind} for channel in config.channels],
        "routes": [_route(route) for route in config.routes],
        "warnings": list(warnings(config)),
        "findings": [documents.finding(finding) for finding in findings],
    }


def _route(route: Route) -> dict[str, Any]:
    match = [_matcher_text(matcher) for matcher in route.match]
    return {"name": route.name, "match": match, "channels": list(route.channels), "stop": route.stop}


def _matcher_text(matcher: Matcher) -> str:
    return f"{matcher.field}{matcher.op}{matcher.value}"


def _summary(config: Config) -> RenderableType:
    surely, possibly = reached_by_failure(config.routes)
    some = f", some also {', '.join(possibly)}" if possibly else ""
    reach = [cell(f"Every failed task reaches {', '.join(surely)}{some}.", "bold")] if surely else []
    return Group(
        cell("✓ the configuration is valid", "green"),
        _listing(config),
        *reach,
        *(cell(f"! {warning}", "yellow") for warning in warnings(config)),
    )


def _listing(config: Config) -> RenderableType:
    sources = (("source", source.name, _source_summary(source)) for source in config.sources)
    channels = (("channel", channel.name, channel.kind) for channel in config.channels)
    routes = (("route", route.name, f"{_conditions(route)} → {', '.join(route.channels)}") for route in config.routes)
    rows = (*sources, *channels, *routes)
    columns = [Column("Kind", rigid=True), Column("Name"), Column("Settings")]
    return TextTable(columns, [Row([cell(text) for text in row]) for row in rows])


def _source_summary(source: SourceSettings) -> str:
    return f"{source.kind} in {source.region}, polled every {format_duration(source.poll_every)}"


def _conditions(route: Route) -> str:
    return " and ".join(map(_matcher_text, route.match)) or "everything"


def check_result(found: CheckResult) -> RenderableType:
    """Return the subject of a check, its result, and the remedy."""
    text = f"{found.what}: {found.detail}" if found.detail else found.what
    mark, style = ("✗", "bold red") if not found.ok else ("✓", "green") if found.proven else ("!", "yellow")
    line = cell(f"{mark} {text}", style)
    return Group(line, indented(block(found.remedy, "yellow"))) if found.remedy else line
