"""`notifier stats`: how tasks ended, and how long they took."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier.cli.common import JsonOption, SinceOption, time_before_now, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, paragraph, print_json, show
from notifier.cli.views import View
from notifier.core.origins import OriginFigures
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
    p90, longest, bins}}], "origins": {searched, explained, lag_p50, lag_p99}}, in seconds. The origins are those of all
    operations: whether it was found in Cloud Trace who started tasks, and how long its rows took to appear.
    """
    config = load_outline(ctx)
    view = view_for(config)
    found, origins = read_store(ctx, config, partial(_read, since=time_before_now(since), instance=instance))
    shown = [one for one in found if operation is None or _is_called(one, operation, view)]
    if as_json:
        operations = [_document(one, view) for one in shown]
        print_json({"operations": operations, "origins": documents.origin_figures(origins)})
    else:
        show(Group(*_lines(shown, origins, view)) if shown else Text(view.phrase("no_statistics")))
    raise typer.Exit(0 if shown else 1)


def _read(q: Lookup, *, since: datetime | None, instance: str | None) -> tuple[Sequence[TaskStatistics], OriginFigures]:
    return q.statistics(since, instance=instance), q.origin_figures(since)


def _lines(shown: Sequence[TaskStatistics], origins: OriginFigures, view: View) -> Iterator[RenderableType]:
    yield _table(shown, view)
    if origins.searched:
        yield Text("")
        yield paragraph(cell(view.phrase("origins", **_numbers(origins))), view.width)
    if origins.lag_p50 is not None and origins.lag_p99 is not None:
        half, nearly_all = (
            view.localizer.duration(timedelta(seconds=round(lag))) for lag in (origins.lag_p50, origins.lag_p99)
        )
        yield paragraph(cell(view.phrase("origins_lag", half=half, most=nearly_all)), view.width)


def _numbers(origins: OriginFigures) -> dict[str, str]:
    return {"explained": f"{origins.explained:,}", "searched": f"{origins.searched:,}"}


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
