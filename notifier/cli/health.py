"""`notifier health`: problems, and the commands that fix them."""

from collections.abc import Iterable
from functools import partial

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier import lookup
from notifier.cli.common import JsonOption, now, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_writable_store
from notifier.cli.output import cell, paragraph, print_json, show
from notifier.cli.views import View
from notifier.config.outline import Outline
from notifier.core.errors import StoreError
from notifier.core.health import LIST_OPEN, HealthFinding, HealthReport, unavailable
from notifier.wording import documents
from notifier.wording.findings import HealthFormatter


def health(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Report problems, each with its cause and the commands that fix it. Exits with 0 when there are none, else with 1.

    Problems: a source has had no successful poll, or no complete scan, for five polls and at least
    `alerts.failing_after`, or the database refuses its rows; a channel is parked, has delivered nothing or keeps
    messages waiting for that long; messages failed permanently and were neither retried nor dismissed, or wait for a
    channel that is no longer configured; no process polls, delivers, or serves the chat or the doorbell; the database
    is not writable.
    --json: {"ok", "at", "findings": [{kind, about, red, since, count, reason, commands}],
    "sources": [{name, ok, last_poll_at, failing_since, limit_seconds, error}],
    "channels": [{name, ok, parked_since, waiting_since, failing_since, open_until, paused_until, waiting, dead,
    reason}], "open_failures": {unacknowledged, commands}}. Open failures are no problems. A kind is stable:
    database.unavailable, role.not_served, source.not_polled, source.not_whole, source.polled_in_future,
    source.rows_refused, source.removed, source.right_missing, source.projects_unread, channel.parked, channel.failing,
    channel.waiting, channel.dead, channel.removed, chat.disconnected, calendar.stale, doorbell.unsubscribed,
    doorbell.unconfirmed.
    """
    config = load_outline(ctx)
    found = _judge(ctx, config)
    if as_json:
        print_json(documents.health(found))
    else:
        show(health_report(view_for(config), found), fold=False)
    raise typer.Exit(0 if found.ok else 1)


def _judge(ctx: typer.Context, config: Outline) -> HealthReport:
    try:
        return read_writable_store(ctx, config, partial(lookup.health_report, expected=config.expected))
    except StoreError as error:
        return unavailable(now(), str(error))


def health_report(view: View, found: HealthReport) -> RenderableType:
    """Return the verdict; each problem with its cause and the commands that fix it; then what works.

    Sentences are folded, commands are not: print it with `fold=False`.
    """
    words = _formatter(view, found)
    failing = (channel for channel in found.channels if not channel.ok)
    delivering = (channel for channel in found.channels if channel.ok)
    held = (
        cell(view.phrase("held", name=channel.name, line=line)) for channel in failing for line in words.held(channel)
    )
    remarks = [finding for finding in found.findings if not finding.red]
    return Group(
        _marked(view, words.title(), ok=found.ok),
        *(line for finding in found.findings if finding.red for line in _finding(view, finding, words)),
        *(paragraph(line, view.width, indent=2) for line in held),
        *_open_failures(view, words),
        *(_marked(view, words.source(source), ok=True) for source in found.sources if source.ok),
        *(_marked(view, "; ".join([words.channel(one), *words.held(one)]), ok=True) for one in delivering),
        *(_remark(view, words.finding(remark), warns=remark.warns) for remark in remarks),
    )


def channel_findings(view: View, found: HealthReport) -> RenderableType:
    """Return the problems of channels alone, in the same form."""
    words = _formatter(view, found)
    about_channels = (finding for finding in found.findings if finding.kind.startswith("channel."))
    return Group(*(line for finding in about_channels for line in _finding(view, finding, words)))


def _formatter(view: View, found: HealthReport) -> HealthFormatter:
    return HealthFormatter(health=found, localizer=view.localizer)


def _marked(view: View, text: str, *, ok: bool) -> Text:
    style = "green" if ok else "bold red"
    return paragraph(cell(text, style), view.width, first="✓" if ok else "✗", indent=2)


def _remark(view: View, text: str, *, warns: bool) -> Text:
    return paragraph(cell(text, "yellow" if warns else "dim"), view.width, first="!" if warns else "–", indent=2)


def _open_failures(view: View, words: HealthFormatter) -> Iterable[Text]:
    if text := words.open_failures():
        yield paragraph(cell(text), view.width, first="–", indent=2)
        yield _command(LIST_OPEN)


def _finding(view: View, finding: HealthFinding, words: HealthFormatter) -> Iterable[Text]:
    yield _marked(view, words.finding(finding), ok=False)
    if finding.reason:
        yield paragraph(cell(view.localizer.reason(finding.reason)), view.width, indent=4)
    for command in finding.commands:
        yield _command(command)


def _command(command: str) -> Text:
    line = Text.assemble("    ", cell(command, "yellow"))
    line.no_wrap, line.overflow = True, "ignore"
    return line
