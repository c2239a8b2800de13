"""`notifier route`: which routes and channels an event would take, and why not the others. Nothing is sent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from notifier.cli.common import JsonOption, moment_of, view_for
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.cli.stores import read_routes, read_whole_store
from notifier.cli.tasks import require_task
from notifier.cli.verdicts import verdict_lines
from notifier.cli.views import View
from notifier.config.config import Config
from notifier.config.reach import typical_fields
from notifier.core import alerts
from notifier.core.causes import CauseCatalogue
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.events import EventType
from notifier.core.fields import FIELDS, derived_fields, fields_of
from notifier.core.matchers import parse_matcher
from notifier.core.routing import RouteVerdict, channels_of, explain_fields
from notifier.core.rulings import Hold, Suppress, window_ruling
from notifier.lookup import Lookup
from notifier.ports import EventFilter
from notifier.sources.base import SourceSettings
from notifier.wording import documents


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
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Time of the event, such as 2026-12-24T03:00. Default: now."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which routes and channels an event would take, and why not the others. Nothing is sent.

    For example: notifier route type=task.failed source=prod. Fields that are not given are empty, but what follows
    from the type and from the configuration of the source. Exits with 1 when the event would reach no channel.
    --json: {"event": {field: value}, "at", "routes": [{route, matched, channels, severity, mention, stop, template,
    wait, group_by, repeats, remind, escalate, ticket: {priority, assignee, project, labels, fields},
    window: {active, open, otherwise, opens_at}, failed_matcher, actual, skipped_by}], "channels": […],
    "held": {channel: until}, "dropped": […]}. Times to wait are in seconds.
    """
    if bool(fields) == bool(task):
        raise typer.BadParameter("give the event's fields, for example type=task.failed, or --task JOB_ID")
    config = load_config(ctx)
    view = view_for(config)
    moment = moment_of(at, config.timezone)
    event = (
        read_whole_store(config, partial(_latest, job_id=task, config=config, view=view))
        if task
        else parse_fields(fields or (), config.sources, config.cause_catalogue)
    )
    answer = _answer(event, explain_fields(event, read_routes(config), moment), config.alert_channels, moment)
    if as_json:
        print_json(_document(answer))
    else:
        show(_lines(view, answer, at_given=at is not None))
    raise typer.Exit(0 if answer.sent or answer.held else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What becomes of an event."""

    event: Mapping[str, str]
    at: datetime
    verdicts: Sequence[RouteVerdict]
    sent: Sequence[str]
    held: Mapping[str, datetime]
    """Channels that get it when a window opens."""
    dropped: Sequence[str]


def _answer(
    event: Mapping[str, str], verdicts: Sequence[RouteVerdict], fallback: Sequence[str], at: datetime
) -> _Answer:
    taking = [verdict.route for verdict in verdicts if verdict.matched]
    rulings = {
        channel: window_ruling([route for route in taking if channel in route.channels], at)
        for channel in _receiving_channels(event, verdicts, fallback)
    }
    return _Answer(
        event=event,
        at=at,
        verdicts=verdicts,
        sent=[channel for channel, ruling in rulings.items() if ruling is None],
        held={channel: ruling.until for channel, ruling in rulings.items() if isinstance(ruling, Hold)},
        dropped=[channel for channel, ruling in rulings.items() if isinstance(ruling, Suppress)],
    )


def parse_fields(
    texts: Sequence[str], sources: Sequence[SourceSettings], catalogue: CauseCatalogue
) -> Mapping[str, str]:
    """Return a value for every field that a matcher can name, from `field=value` texts. Raises ConfigurationError."""
    given = dict(map(_parse_field, texts))
    types = {kind.value: kind for kind in EventType}
    kind = types.get(given.get("type", ""))
    if kind is None:
        raise ConfigurationError(f"type must be one of {', '.join(types)}; write for example type=task.failed")
    source = next((one for one in sources if one.name == given.get("source")), None)
    severity = {"severity": kind.traits.severity_in(given["environment"]).value} if "environment" in given else {}
    return dict(typical_fields(kind, source)) | severity | derived_fields(given, catalogue) | given


def _parse_field(text: str) -> tuple[str, str]:
    try:
        matcher = parse_matcher(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if matcher.op != "=":
        raise ConfigurationError(f"{text!r}: an event has one value for a field; write {matcher.field}=VALUE")
    return matcher.field, matcher.value


def _latest(q: Lookup, job_id: str, config: Config, view: View) -> Mapping[str, str]:
    stored = require_task(q, job_id, None, view)
    events = q.events(EventFilter(source=stored.task.source, job_id=stored.task.job_id, limit=1))
    if not events:
        raise NotifierError(f"no event of {stored.task.job_id} has been recorded since the first poll of its source")
    return fields_of(events[0].event, catalogue=config.cause_catalogue)


def _document(answer: _Answer) -> documents.JsonDocument:
    return {
        "event": dict(answer.event),
        "at": documents.time(answer.at),
        "routes": [documents.verdict(verdict) for verdict in answer.verdicts],
        "channels": list(answer.sent),
        "held": {channel: documents.time(until) for channel, until in answer.held.items()},
        "dropped": list(answer.dropped),
    }


def _lines(view: View, answer: _Answer, *, at_given: bool) -> Group:
    given = "  ".join(f"{name}={value}" for name, value in answer.event.items() if value)
    when = [cell(view.phrase("route.at", at=view.when(answer.at)), "bold")] if at_given else []
    return Group(*when, cell(given, "bold"), verdict_lines(view, answer.verdicts), *_conclusion(view, answer))


def _conclusion(view: View, answer: _Answer) -> Iterator[Text]:
    if answer.sent:
        yield cell(view.phrase("route.sent", channels=", ".join(answer.sent)), "bold")
    for until in sorted({*answer.held.values()}):
        channels = ", ".join(channel for channel, ends in answer.held.items() if ends == until)
        yield cell(view.phrase("route.sent_later", channels=channels, until=view.when(until)), "bold")
    if answer.dropped:
        yield cell(view.phrase("route.dropped_on", channels=", ".join(answer.dropped)), "bold yellow")
    elif not answer.sent and not answer.held:
        yield cell(view.phrase("route.unsent"), "bold yellow")


def _receiving_channels(
    event: Mapping[str, str], verdicts: Sequence[RouteVerdict], fallback: Sequence[str]
) -> Sequence[str]:
    routed = channels_of(verdicts)
    return (
        alerts.alert_channels(routed, event["channel"], fallback) if EventType(event["type"]).traits.alert else routed
    )
