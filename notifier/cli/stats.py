"""`notifier stats`: how tasks ended, and how long they took."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

import typer
from rich.text import Text

from notifier.cli.common import JsonOption, SinceOption, time_before_now, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, print_json, show
from notifier.cli.views import View
from notifier.lookup import Lookup
from notifier.ports import TaskStatistics
from notifier.wording import documents


def stats(
    ctx: typer.Context,
    *,
    operation: Annotated[
        str | None,
        typer.Option("--operation", metavar="TEXT", help="Show operations with this text in their name."),
    ] = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="TEXT", help="Instance id, or part of the instance name.")
    ] = None,
    since: SinceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show for each operation how its tasks ended and how their durations are distributed.

    A tenth of the completed tasks took at most p10, half of them p50, nine tenths p90. Each bar of the histogram is one
    of eight ranges, equal factors apart, from the shortest to the longest. Exits with 1 when there are no tasks.

    --json: {"operations": [{name, label, running, completed, failed, other, failure_rate, durations: {runs, p10, p50,
    p90, longest, bins}}]}, in seconds.
    """
    config = load_outline(ctx)
    view = view_for(config)
    found = read_store(ctx, config, partial(_read, since=time_before_now(since), instance=instance))
    shown = [one for one in found if operation is None or _is_called(one, operation, view)]
    if as_json:
        print_json({"operations": [_document(one, view) for one in shown]})
    else:
        show(_table(shown, view) if shown else Text(view.phrase("no_statistics")))
    raise typer.Exit(0 if shown else 1)


def _read(q: Lookup, *, since: datetime | None, instance: str | None) -> Sequence[TaskStatistics]:
    return q.statistics(since, instance=instance)


def _is_called(one: TaskStatistics, wanted: str, view: View) -> bool:
    return any(wanted.casefold() in name.casefold() for name in (one.name, view.localizer.task_label(one.name)))


def _table(shown: Sequence[TaskStatistics], view: View) -> TextTable:
    columns = ("task", "tasks", "failures", "p10", "p50", "p90", "longest", "histogram")
    return view.table(columns, (_row(one, view) for one in shown))


def _row(one: TaskStatistics, view: View) -> TableRow:
    spread, word = one.durations, view.localizer
    quantiles = (spread.p10, spread.p50, spread.p90, spread.longest) if spread else (None,) * 4
    return TableRow(
        (
            cell(word.task_label(one.name)),
            cell(f"{one.count:,}"),
            cell(_failures(one, view), "red" if one.failed else ""),
            *(cell(None if seconds is None else word.duration(timedelta(seconds=seconds))) for seconds in quantiles),
            Text(spread.bars) if spread else cell(None),
        )
    )


def _failures(one: TaskStatistics, view: View) -> str:
    ended = one.completed + one.failed
    return f"{one.failed:,} ({view.localizer.share(one.failed, ended)})" if ended else "0"


def _document(one: TaskStatistics, view: View) -> documents.JsonDocument:
    return documents.task_statistics(one, view.localizer.task_label(one.name))
