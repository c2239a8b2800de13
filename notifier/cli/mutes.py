"""`notifier mutes`."""

from collections.abc import Sequence

import typer

from notifier.cli import documents
from notifier.cli.common import JsonOption, now, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, print_json, show
from notifier.cli.views import View
from notifier.core.people import Mute


def mutes(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List muted instances, in the order in which their mutes end. Exits with 1 when there are none.

    --json: {"mutes": [{instance, label, until, by, reason}]}.
    """
    config = load_outline(ctx)
    found = read_store(ctx, config, lambda q: q.mutes(now()))
    if as_json:
        print_json({"mutes": [documents.mute(mute) for mute in found]})
    else:
        view = view_for(config)
        show(mutes_table(view, found) if found else view.localizer.text("mutes.none"))
    raise typer.Exit(0 if found else 1)


def mutes_table(view: View, found: Sequence[Mute]) -> TextTable:
    """Return a table of muted instances."""
    return view.table(("instance", "until", "by"), (_row(view, mute) for mute in found))


def _row(view: View, found: Mute) -> TableRow:
    cells = (cell(found.shown), cell(view.when(found.until)), cell(found.name))
    return TableRow(cells, [cell(found.reason)] if found.reason else ())
