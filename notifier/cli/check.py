"""`notifier check`: the configuration as it was understood and, online, whether every service works."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from notifier.channels.kinds import missing_library
from notifier.cli.common import JsonOption, localizer, now
from notifier.cli.configured import lines_of, load_config
from notifier.cli.output import Column, TableRow, TextTable, block, cell, indented, print_json, show
from notifier.config.advice import warnings
from notifier.config.config import Config
from notifier.config.reach import FailureReach, reached_by_failure
from notifier.core.durations import format_duration
from notifier.core.events import EventType
from notifier.core.routing import Otherwise, Route
from notifier.ports import CheckResult
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.base import SourceSettings
from notifier.wording import documents
from notifier.wording.localizer import Localizer


def check(
    ctx: typer.Context,
    *,
    online: Annotated[bool, typer.Option("--online", help="Test every credential, channel and the database.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration and show how it was understood; --online tests every service without sending a message.

    Exits with 1 when a check fails.
    --json: {"ok", "sources": [{name, kind, environment, labels}], "accounts": [{name, sources}],
    "channels": [{name, kind}],
    "routes": [{name, match, channels, stop, severity, mention, template, active, otherwise}],
    "causes": {known, files: [{path, entries}]}, "warnings": […], "findings": [{ok, proven, what, detail, remedy}]}.
    """
    config = load_config(ctx)
    missing = _check_libraries(config)
    findings = missing or _check_templates(config)
    if online and not missing:
        from notifier.cli.checks import check_services  # noqa: PLC0415 - only --online pays for the network stack

        findings = [*findings, *check_services(config, lines_of(ctx))]
    if as_json:
        print_json(_document(config, findings))
    else:
        show(_summary(config), *(check_result(finding, localizer(config)) for finding in findings))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _check_libraries(config: Config) -> Sequence[CheckResult]:
    """Return a failed check for each channel whose kind needs a library that is not installed."""
    missing = ((channel.name, missing_library(type(channel))) for channel in config.channels)
    detail = "a library is missing"
    return [CheckResult(ok=False, what=f"channel {name}", detail=detail, remedy=what) for name, what in missing if what]


def _check_templates(config: Config) -> Sequence[CheckResult]:
    """Return a failed check for each sample message that a template of its channel cannot render."""
    templated = [channel for channel in config.channels if channel.has_template]
    if not templated:
        return ()
    from notifier.cli.checks import check_templates  # noqa: PLC0415 - only a template pays for the channels' code

    return check_templates(config, templated)


def _document(config: Config, findings: Sequence[CheckResult]) -> dict[str, Any]:
    return {
        "ok": all(finding.ok for finding in findings),
        "sources": [_source_document(source) for source in config.sources],
        "accounts": [
            {"name": account.name, "sources": list(config.found_sources.get(account.name, ()))}
            for account in config.accounts
        ],
        "channels": [{"name": channel.name, "kind": channel.kind} for channel in config.channels],
        "routes": [_route(route) for route in config.routes],
        "causes": {
            "known": len(config.cause_catalogue.causes),
            "files": [{"path": str(file.path), "entries": len(file.entries)} for file in config.causes],
        },
        "warnings": list(warnings(config, now())),
        "findings": [documents.finding(finding) for finding in findings],
    }


def _source_document(source: SourceSettings) -> dict[str, Any]:
    known = {"environment": source.environment, "labels": dict(source.labels)}
    return {"name": source.name, "kind": source.kind} | known


def _route(route: Route) -> dict[str, Any]:
    match = [str(matcher) for matcher in route.match]
    return {
        "name": route.name,
        "match": match,
        "channels": list(route.channels),
        "stop": route.stop,
        "severity": route.severity,
        "mention": list(route.mention),
        "template": route.template,
        "active": str(route.active) if route.active else None,
        "otherwise": _otherwise(route) if route.active else None,
    }


def _otherwise(route: Route) -> str | list[str]:
    return str(route.otherwise) if isinstance(route.otherwise, Otherwise) else list(route.otherwise)


def _summary(config: Config) -> RenderableType:
    at = now()
    return Group(
        cell("✓ the configuration is valid", "green"),
        _listing(config),
        *(cell(line, "bold") for found in reached_by_failure(config.with_stand_ins(), at) if (line := _reach(found))),
        *(cell(f"! {warning}", "yellow") for warning in warnings(config, at)),
    )


def _reach(found: FailureReach) -> str | None:
    """Return what every failed task of some sources reaches; None where some reach nobody."""
    if found.surely:
        some = f", some also {', '.join(found.possibly)}" if found.possibly else ""
        return f"Every failed task{found.whose} reaches {', '.join(found.surely)}{some}."
    if found.complete:
        return f"Every failed task{found.whose} reaches somebody, by the hour: {', '.join(found.possibly)}."
    return None


def _listing(config: Config) -> RenderableType:
    sources = (("source", source.name, _source(source)) for source in config.sources)
    accounts = (("account", account.name, _account(account, config)) for account in config.accounts)
    channels = (("channel", channel.name, channel.kind) for channel in config.channels)
    routes = (("route", route.name, _route_settings(route)) for route in config.routes)
    rows = (*accounts, *sources, *channels, *routes, ("causes", "known", _known_causes(config)))
    columns = [Column("Kind", rigid=True), Column("Name"), Column("Settings")]
    return TextTable(columns, [TableRow([cell(text) for text in row]) for row in rows])


def _source(source: SourceSettings) -> str:
    parts = (
        f"{source.kind} in {source.region}, polled every {format_duration(source.poll_every)}{_busy(source)}",
        _environment(source) if source.environment else "",
        *(f"{name} {text}" for name, text in source.sorted_labels),
    )
    return ", ".join(filter(None, parts))


def _busy(source: SourceSettings) -> str:
    return f", while busy every {format_duration(source.poll_busy_every)}" if source.poll_busy_every else ""


def _account(account: GaussDBAccountSettings, config: Config) -> str:
    """Return where projects are looked for, and how many there are."""
    found = len(config.found_sources.get(account.name, ()))
    chosen = ", ".join(f"{word} {', '.join(globs)}" for word, globs in account.choice)
    known = f"{found} sources found" if found else "none found yet: notifier poll or notifier run looks for them"
    return f"projects{' ' if chosen else ''}{chosen}, asked every {format_duration(account.discover_every)}; {known}"


def _environment(source: SourceSettings) -> str:
    """Return an environment with the severity that failed tasks have there unless a route sets it."""
    name, what = source.environment, "major alarms" if source.lists_alarms else "failed tasks"
    return f"environment {name} ({what}: {EventType.TASK_FAILED.traits.severity_in(name)})"


def _route_settings(route: Route) -> str:
    severity = f" as {route.severity}" if route.severity else ""
    mention = f", mentions {', '.join(route.mention)}" if route.mention else ""
    template = f", template {route.template}" if route.template else ""
    taken = " and ".join(map(str, route.match)) or "everything"
    return f"{taken} → {', '.join(route.channels)}{severity}{mention}{template}{_hours(route)}"


def _hours(route: Route) -> str:
    """Return when a route leads to its channels, and what becomes of its events at other hours."""
    if route.active is None:
        return ""
    then = "held" if route.otherwise is Otherwise.HOLD else "dropped"
    otherwise = then if isinstance(route.otherwise, Otherwise) else f"→ {', '.join(route.otherwise)}"
    return f", at {route.active}, else {otherwise}"


def _known_causes(config: Config) -> str:
    """Return how many causes of failures are known, and how many of them each file has."""
    known = f"{len(config.cause_catalogue.causes)} causes of failures"
    own = (f"{len(file.entries)} of them from {file.path}" for file in config.causes)
    return ", ".join((known, *own))


def check_result(found: CheckResult, words: Localizer) -> RenderableType:
    """Return the subject of a check, its result, and the remedy."""
    text = f"{found.what}: {words.reason(found.detail)}" if found.detail else found.what
    mark, style = ("✗", "bold red") if not found.ok else ("✓", "green") if found.proven else ("!", "yellow")
    line = cell(f"{mark} {text}", style)
    return Group(line, indented(block(words.reason(found.remedy), "yellow"))) if found.remedy else line
