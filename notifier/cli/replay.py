"""`notifier replay`: what another configuration would have sent. Nothing is sent, and the history is only read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier.cli import event_loop
from notifier.cli.common import JsonOption, duration, view_for
from notifier.cli.configured import load_config, load_outline_of
from notifier.cli.lookups import note_left_behind
from notifier.cli.output import TableRow, cell, print_json, print_note, show
from notifier.cli.views import View
from notifier.config.config import Config
from notifier.core.errors import ConfigurationError
from notifier.core.events import EventType
from notifier.core.replays import (
    NIGHT_HOURS,
    ChannelFigures,
    FailureFate,
    FailureRecord,
    HistoryFigures,
    SentMessage,
    rule_of,
)
from notifier.replay import ReplayNotes, ReplayResult
from notifier.wiring import replays
from notifier.wording import documents

MAX_FAILURES_SHOWN = 20
"""Maximum number of failures of each kind that are listed. `--json` has all."""

DEFAULT_AGE = timedelta(days=30)
"""How far back a replay begins."""

_SQLITE_HEADER = b"SQLite format 3\x00"


class Detail(StrEnum):
    """What is shown in detail."""

    CHANNELS = "channels"
    DAYS = "days"
    NIGHTS = "nights"
    MESSAGES = "messages"


class FailOn(StrEnum):
    """What makes the command exit with 1."""

    UNREACHED = "unreached"
    LATE = "late"
    NEVER = "never"


def replay(
    ctx: typer.Context,
    *,
    since: Annotated[
        timedelta | None,
        typer.Option(
            "--since", parser=duration, metavar="TIME", help="Replay events newer than this age (default: 30d)."
        ),
    ] = None,
    until: Annotated[
        timedelta | None,
        typer.Option("--until", parser=duration, metavar="TIME", help="Replay events older than this age."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            metavar="FILE",
            help="Configuration of the database that has the history, or a copy of `notifier db backup`"
            " (default: the database of the configuration that is tried).",
        ),
    ] = None,
    detail: Annotated[Detail, typer.Option("--show", help="What to show in detail.")] = Detail.CHANNELS,
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Exit with 1 for failures that reach nobody, or also for late ones.")
    ] = FailOn.UNREACHED,
    as_json: JsonOption = False,
) -> None:
    """Show what a configuration would have sent in the past, beside what was sent. Nothing is sent.

    Recorded events run through the configuration (-c) in virtual time: its routes, windows, mutes, groups and limits
    decide, with what people acknowledged and muted at the time. The history is only read, also beside a running
    service. Exits with 1 when a failed task would have reached nobody.
    --json: {since, until, events, ok, notes, channels: {name: {now, then}}, mentioned: {name: {now, then}},
    total: {now, then}, types, tickets, unreached, late, muted, messages}.
    """
    config = load_config(ctx)
    found = replays.read_history(_history_url(config, history), since or DEFAULT_AGE, until or timedelta())
    result = event_loop.run(replays.replay_history(config, found))
    if as_json:
        print_json(_document(result))
    else:
        show(_report(view_for(config), result, detail))
    raise typer.Exit(1 if _fails(result, fail_on) else 0)


def _fails(result: ReplayResult, fail_on: FailOn) -> bool:
    late = fail_on is FailOn.LATE and bool(result.now.late)
    return late or (fail_on is not FailOn.NEVER and not result.ok)


def _history_url(config: Config, history: Path | None) -> str:
    """Return the URL of the database that has the history."""
    if history is None:
        if config.store.left_behind_note:
            print_note(f"warning: {config.store.left_behind_note}")
        return config.store.url
    if _is_database(history):
        return f"sqlite:///{history.absolute()}"
    if history.suffix in (".db", ".sqlite", ".sqlite3") and history.is_file():
        raise ConfigurationError(f"{history} is not an SQLite database, although it is called {history.suffix}")
    outline = load_outline_of(history)
    note_left_behind(outline)
    return outline.database.url


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
    except OSError:
        return False  # reading it as a configuration says why


# ---- the report ----


def _report(view: View, result: ReplayResult, detail: Detail) -> RenderableType:
    """Return what was replayed, the figures, the failures to look at, and the verdict last."""
    parts = {
        Detail.CHANNELS: _channels,
        Detail.DAYS: _days,
        Detail.NIGHTS: _nights,
        Detail.MESSAGES: _messages,
    }
    period = view.phrase(
        "replay.period",
        since=view.when(result.since),
        until=view.when(result.until),
        events=f"{result.events:,}",
        failures=f"{len(result.now.failures):,}",
    )
    return Group(
        cell(period, "bold"),
        *(cell(note, "yellow") for note in _notes(view, result.notes)),
        Text(""),
        *parts[detail](view, result),
        *_failures(view, result),
        Text(""),
        *(cell(line, "bold green" if result.ok else "bold red") for line in _verdict(view, result)),
    )


def _notes(view: View, notes: ReplayNotes) -> Iterable[str]:
    if notes.begins:
        yield view.phrase("replay.begins", at=view.when(notes.begins))
    for source, count in notes.left_out.items():
        yield view.phrase("replay.left_out", source=source, n=count)
    if notes.changed_sources:
        yield view.phrase("replay.changed", names=view.phrase("separator").join(notes.changed_sources))
    if notes.channel_alerts:
        yield view.phrase("replay.channel_alerts", n=notes.channel_alerts)
    if notes.still_held:
        yield view.localizer.counted("cli.replay.still_held", notes.still_held)


def _both(now: int, then: int) -> str:
    """Return a figure with that of the record in parentheses, where either is something."""
    return f"{now:,} ({then:,})" if now or then else "–"


_NONE = ChannelFigures()


def _channels(view: View, result: ReplayResult) -> Iterable[RenderableType]:
    """Return a table of channels, and one of those who are mentioned. Figures of the record are in parentheses."""
    names = sorted({*result.now.by_channel, *result.then.by_channel})
    rows = [
        _channel_row(name, result.now.by_channel.get(name, _NONE), result.then.by_channel.get(name, _NONE))
        for name in names
    ]
    total = _channel_row(view.word("all"), result.now.total, result.then.total, "bold")
    columns = ("channel", "messages", "events", "digests", "held", "muted", "suppressed", "at_night", "busiest_day")
    yield view.table(columns, [*rows, *([total] if len(rows) > 1 else [])])
    yield cell(view.phrase("replay.parentheses"), "dim")
    mentioned = sorted({*result.now.mentioned, *result.then.mentioned})
    if mentioned:
        yield Text("")
        yield view.table(
            ("mentioned", "messages"),
            (
                TableRow((cell(who), cell(_both(result.now.mentioned.get(who, 0), result.then.mentioned.get(who, 0)))))
                for who in mentioned
            ),
        )
    more = [*_rules(view, result.now), *_others(view, result)]
    if more:
        yield Text("")
        yield from more


def _channel_row(name: str, now: ChannelFigures, then: ChannelFigures, style: str = "") -> TableRow:
    def suppressed(of: ChannelFigures) -> int:
        return sum(of.suppressed.values()) - of.muted

    figures = (
        (now.messages, then.messages),
        (now.events, then.events),
        (now.digests, then.digests),
        (now.held, then.held),
        (now.muted, then.muted),
        (suppressed(now), suppressed(then)),
        (now.at_night, then.at_night),
        (now.busiest_day, then.busiest_day),
    )
    return TableRow((cell(name, style), *(cell(_both(*pair), style) for pair in figures)))


def _rules(view: View, now: HistoryFigures) -> Iterable[Text]:
    """Return a line that names the rules that suppressed events."""
    suppressed = {family: count for family, count in now.total.suppressed.items() if family}
    if suppressed:
        rules = view.phrase("separator").join(f"{family} {count:,}" for family, count in sorted(suppressed.items()))
        yield cell(view.phrase("replay.rules", rules=rules))


def _others(view: View, result: ReplayResult) -> Iterable[Text]:
    """Return a line about reminders, escalations, reports, hand-overs and tickets, where there are any."""
    kinds = [kind.value for kind in EventType if kind.traits.follows_up or kind.traits.scheduled]
    counts = [
        view.phrase(f"replay.{kind}", n=_both(result.now.by_type.get(kind, 0), result.then.by_type.get(kind, 0)))
        for kind in kinds
        if result.now.by_type.get(kind) or result.then.by_type.get(kind)
    ]
    if result.now.tickets:
        counts.append(view.phrase("replay.tickets", n=f"{result.now.tickets:,}"))
    if counts:
        yield cell(view.phrase("separator").join(counts))


def _days(view: View, result: ReplayResult) -> Iterable[RenderableType]:
    """Return the messages of each day by channel."""
    now, then = result.now.by_channel, result.then.by_channel
    names = sorted({*now, *then})
    days = sorted({day for side in (now, then) for figures in side.values() for day in figures.by_day})
    rows = (
        (
            day.isoformat(),
            [(now.get(name, _NONE).by_day.get(day, 0), then.get(name, _NONE).by_day.get(day, 0)) for name in names],
        )
        for day in days
    )
    yield _matrix(view, "day", names, rows)
    yield cell(view.phrase("replay.parentheses"), "dim")


def _nights(view: View, result: ReplayResult) -> Iterable[RenderableType]:
    """Return the messages of each hour of all nights together, by channel."""
    now, then = result.now.by_channel, result.then.by_channel
    names = sorted({*now, *then})
    rows = (
        (
            f"{hour:02}:00",
            [
                (now.get(name, _NONE).by_night_hour.get(hour, 0), then.get(name, _NONE).by_night_hour.get(hour, 0))
                for name in names
            ],
        )
        for hour in NIGHT_HOURS
    )
    yield _matrix(view, "hour", names, rows)
    yield cell(view.phrase("replay.parentheses"), "dim")


def _matrix(
    view: View, first: str, names: Sequence[str], rows: Iterable[tuple[str, Sequence[tuple[int, int]]]]
) -> RenderableType:
    table = view.table((first,), ())
    columns = [*table.columns, *(type(table.columns[0])(name) for name in names)]
    filled = [TableRow((cell(title), *(cell(_both(*pair)) for pair in pairs))) for title, pairs in rows]
    return type(table)(columns, filled)


def _messages(view: View, result: ReplayResult) -> Iterable[RenderableType]:
    """Return every message that would have been sent."""
    yield view.table(("when", "channel", "about", "held"), (_message_row(view, one) for one in result.now.messages))


def _message_row(view: View, message: SentMessage) -> TableRow:
    delivery = message.delivery
    return TableRow(
        (
            cell(view.when(message.at)),
            cell(delivery.channel),
            cell(view.about(delivery)),
            cell(rule_of(delivery)),
        )
    )


def _failures(view: View, result: ReplayResult) -> Iterable[RenderableType]:
    """Return the failures that would have reached nobody, and those that would have been late."""
    for key, found in (("unreached", result.now.unreached), ("late", result.now.late), ("muted", result.now.muted)):
        if found:
            yield Text("")
            yield cell(view.localizer.counted(f"cli.replay.{key}", len(found)), "bold")
            yield view.table(
                ("when", "task", "instance", "job", "source", "why"),
                (_failure_row(view, one) for one in found[:MAX_FAILURES_SHOWN]),
            )
        if len(found) > MAX_FAILURES_SHOWN:
            yield cell(view.phrase("replay.more", n=f"{len(found) - MAX_FAILURES_SHOWN:,}"), "dim")


def _failure_row(view: View, record: FailureRecord) -> TableRow:
    task = record.event.task
    return TableRow(
        (
            cell(view.when(record.event.observed_at)),
            cell(view.localizer.task_label(task.name) if task else None),
            cell((task.instance_name or task.instance_id) if task else None),
            cell(record.event.job_id),
            cell(record.event.source),
            cell(_why(view, record)),
        )
    )


def _why(view: View, record: FailureRecord) -> str:
    if record.fate is FailureFate.TOLD:
        return view.phrase("replay.late_by", length=view.localizer.duration(record.delay), channel=record.channel)
    if record.fate is FailureFate.UNROUTED:
        return view.phrase("replay.unrouted")
    return view.phrase("separator").join(map(view.localizer.reason, record.reasons))


def _verdict(view: View, result: ReplayResult) -> Iterable[str]:
    now, then = result.now.total.messages, result.then.total.messages
    length = view.localizer.window(result.until - (result.notes.begins or result.since))
    yield view.localizer.counted("cli.replay.verdict", now, length=length, shown=f"{now:,}", then=f"{then:,}")
    yield view.localizer.counted("cli.replay.verdict_unreached", len(result.now.unreached))


# ---- the document ----


def _document(result: ReplayResult) -> documents.JsonDocument:
    now, then = result.now, result.then
    return {
        "since": documents.time(result.since),
        "until": documents.time(result.until),
        "events": result.events,
        "ok": result.ok,
        "notes": {
            "begins": documents.time(result.notes.begins),
            "left_out": dict(result.notes.left_out),
            "changed_sources": list(result.notes.changed_sources),
            "channel_alerts": result.notes.channel_alerts,
            "still_held": result.notes.still_held,
        },
        "channels": {
            name: {
                "now": _figures(now.by_channel.get(name, _NONE)),
                "then": _figures(then.by_channel.get(name, _NONE)),
            }
            for name in sorted({*now.by_channel, *then.by_channel})
        },
        "total": {"now": _figures(now.total), "then": _figures(then.total)},
        "mentioned": {
            who: {"now": now.mentioned.get(who, 0), "then": then.mentioned.get(who, 0)}
            for who in sorted({*now.mentioned, *then.mentioned})
        },
        "types": {"now": dict(now.by_type), "then": dict(then.by_type)},
        "tickets": now.tickets,
        "unreached": [_failure(one) for one in now.unreached],
        "late": [_failure(one) for one in now.late],
        "muted": [_failure(one) for one in now.muted],
        "messages": [_message(one) for one in now.messages],
    }


def _figures(value: ChannelFigures) -> documents.JsonDocument:
    return {
        "messages": value.messages,
        "events": value.events,
        "digests": value.digests,
        "held": value.held,
        "muted": value.muted,
        "suppressed": _counts(value.suppressed),
        "superseded": value.superseded,
        "undelivered": value.undelivered,
        "at_night": value.at_night,
        "by_day": {day.isoformat(): count for day, count in sorted(value.by_day.items())},
        "by_night_hour": {f"{hour:02}": value.by_night_hour.get(hour, 0) for hour in NIGHT_HOURS},
    }


def _counts(value: Mapping[str, int]) -> documents.JsonDocument:
    return {name or "other": count for name, count in sorted(value.items())}


def _failure(value: FailureRecord) -> documents.JsonDocument:
    task = value.event.task
    return {
        "event_id": value.event.id,
        "observed_at": documents.time(value.event.observed_at),
        "source": value.event.source,
        "job_id": value.event.job_id,
        "task": task and task.name,
        "instance": task and (task.instance_name or task.instance_id),
        "fate": value.fate.value,
        "sent_at": documents.time(value.told_at),
        "delay_seconds": value.delay.total_seconds(),
        "channel": value.channel or None,
        "reasons": list(value.reasons),
    }


def _message(value: SentMessage) -> documents.JsonDocument:
    delivery = value.delivery
    return {
        "at": documents.time(value.at),
        "channel": delivery.channel,
        "events": [event.id for event in delivery.events],
        "type": delivery.events[0].type.value,
        "digest": delivery.digest,
        "rule": rule_of(delivery),
        "mention": list(value.mention),
    }
