"""`notifier route`: which routes and channels an event would take, and why not the others. Nothing is sent."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.console import Group

from notifier.cli import documents
from notifier.cli.common import JsonOption, view_for
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.cli.stores import read_whole_store
from notifier.cli.tasks import require_task
from notifier.cli.verdicts import verdict_lines
from notifier.cli.views import View
from notifier.config.advice import typical_fields
from notifier.core import alerts
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, fields_of
from notifier.core.matchers import parse_matcher
from notifier.core.routing import RouteVerdict, channels_of, explain_fields
from notifier.lookup import Lookup
from notifier.ports import EventFilter
from notifier.sources.base import SourceSettings


def route(
    ctx: typer.Context,
    *,
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE...", help=f"Fields of the event: {', '.join(FIELDS)}, label.NAME."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="JOB_ID", help="Use the latest event of this task.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which routes and channels an event would take, and why not the others. Nothing is sent.

    For example: notifier route type=task.failed source=prod. Fields that are not given are empty, but what follows
    from the type and from the configuration of the source. Exits with 1 when the event would reach no channel.
    --json: {"event": {field: value}, "routes": [{route, matched,
    channels, severity, mention, failed_matcher, actual, skipped_by}], "channels": […]}.
    """
    if bool(fields) == bool(task):
        raise typer.BadParameter("give the event's fields, for example type=task.failed, or --task JOB_ID")
    config = load_config(ctx)
    event = (
        read_whole_store(config, partial(_latest, job_id=task, view=view_for(config)))
        if task
        else parse_fields(fields or (), config.sources)
    )
    verdicts = explain_fields(event, config.routes)
    channels = _receiving_channels(event, verdicts, config.alert_channels)
    if as_json:
        routes = [documents.verdict(verdict) for verdict in verdicts]
        print_json({"event": dict(event), "routes": routes, "channels": list(channels)})
    else:
        show(_answer(view_for(config), event, verdicts, channels))
    raise typer.Exit(0 if channels else 1)


def parse_fields(texts: Sequence[str], sources: Sequence[SourceSettings]) -> Mapping[str, str]:
    """Return a value for every field that a matcher can name, from `field=value` texts. Raises ConfigurationError."""
    given = dict(map(_parse_field, texts))
    types = {kind.value: kind for kind in EventType}
    kind = types.get(given.get("type", ""))
    if kind is None:
        raise ConfigurationError(f"type must be one of {', '.join(types)}; write for example type=task.failed")
    source = next((one for one in sources if one.name == given.get("source")), None)
    severity = {"severity": kind.traits.severity_in(given["environment"]).value} if "environment" in given else {}
    return dict(typical_fields(kind, source)) | severity | given


def _parse_field(text: str) -> tuple[str, str]:
    try:
        matcher = parse_matcher(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if matcher.op != "=":
        raise ConfigurationError(f"{text!r}: an event has one value for a field; write {matcher.field}=VALUE")
    return matcher.field, matcher.value


def _latest(q: Lookup, job_id: str, view: View) -> Mapping[str, str]:
    stored = require_task(q, job_id, None, view)
    events = q.events(EventFilter(source=stored.task.source, job_id=stored.task.job_id, limit=1))
    if not events:
        raise NotifierError(f"no event of {stored.task.job_id} has been recorded since the first poll of its source")
    return fields_of(events[0].event)


def _answer(view: View, event: Mapping[str, str], verdicts: Sequence[RouteVerdict], channels: Sequence[str]) -> Group:
    given = "  ".join(f"{name}={value}" for name, value in event.items() if value)
    sent = view.phrase("route.sent", channels=", ".join(channels)) if channels else view.phrase("route.unsent")
    conclusion = cell(sent, "bold" if channels else "bold yellow")
    return Group(cell(given, "bold"), verdict_lines(view, verdicts), conclusion)


def _receiving_channels(
    event: Mapping[str, str], verdicts: Sequence[RouteVerdict], fallback: Sequence[str]
) -> Sequence[str]:
    routed = channels_of(verdicts)
    return (
        alerts.alert_channels(routed, event["channel"], fallback) if EventType(event["type"]).traits.alert else routed
    )
