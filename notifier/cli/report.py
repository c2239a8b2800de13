"""`notifier report`: a configured report, now."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from notifier.cli import event_loop
from notifier.cli.common import JsonOption, duration, localizer, now
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.config.config import Config
from notifier.core.errors import ConfigurationError
from notifier.core.report_values import Report
from notifier.core.schedules import MAX_PERIOD_OF_REPORT, ScheduledReport
from notifier.schedules import report_event
from notifier.settings.words import did_you_mean
from notifier.wiring.reports import make_report
from notifier.wording import documents
from notifier.wording.events import EventFormatter
from notifier.wording.marks import without_marks


def report(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a configured report.")],
    since: Annotated[
        timedelta | None,
        typer.Option(
            "--since", parser=duration, metavar="TIME", help="How far back it reaches: 24h, 7d (default: as scheduled)."
        ),
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Send it to its channels too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a report of the time up to now. It is sent only with --send, and the scheduled ones stay as they are.

    --json: the member `report` of the body of a webhook; see docs/reports.md.
    """
    config = load_config(ctx)
    if since is not None and not timedelta() < since <= MAX_PERIOD_OF_REPORT:
        raise ConfigurationError(f"a report reaches back at most {MAX_PERIOD_OF_REPORT.days}d")
    wanted = _named(config, name)
    found, sent = event_loop.run(make_report(config, wanted, since, send=send))
    if as_json:
        print_json({"report": _document(asdict(found)), "deliveries": len(sent.deliveries) if sent else 0})
        return
    words = localizer(config)
    show(*_shown(config, found))
    if sent:
        channels = ", ".join(wanted.rules.channels)
        show(cell(words.text("cli.report_planned", channels=channels), "green"))


def _named(config: Config, name: str) -> ScheduledReport:
    reports = {one.name: one for one in config.reports}
    if name not in reports:
        hint = did_you_mean(name, reports, otherwise="Reports") if reports else "Add one to the section reports."
        raise ConfigurationError(f"there is no report {name!r}. {hint}")
    return reports[name].scheduled(config.timezone)


def _shown(config: Config, found: Report) -> Iterator[RenderableType]:
    message = EventFormatter(localizer(config), config.cause_catalogue).describe(report_event(found, now()))
    yield cell(without_marks(message.sentence), "bold")
    for section in message.sections:
        if section.heading:
            yield Text()
            yield cell(section.heading, "bold")
        bullet = "• " if section.items else ""
        yield from (cell(f"{bullet}{without_marks(line)}") for line in section.lines)


def _document(value: Any) -> Any:  # noqa: ANN401 - a value of any shape
    match value:
        case dict():
            return {key: _document(one) for key, one in value.items()}
        case tuple() | list():
            return [_document(one) for one in value]
        case datetime():
            return documents.time(value)
    return value
