"""`notifier mutes`."""

from collections.abc import Sequence

import typer

from notifier.cli.common import JsonOption, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, print_json, show
from notifier.cli.views import View
from notifier.core.mutes import Mute
from notifier.wording import documents


def mutes(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List mutes: those in force, and those that are planned with their next window. Exits with 1 when there are none.

    --json: {"mutes": [{id, covers, instance, label, match, except_failures, since, until, by, reason, cron, timezone,
    last, configured}]}.
    """
    config = load_outline(ctx)
    found = read_store(ctx, config, lambda q: q.known_mutes())
    if as_json:
        print_json({"mutes": [documents.mute(mute) for mute in found]})
    else:
        view = view_for(config)
        show(mutes_table(view, found) if found else view.localizer.text("mutes.none"))
    raise typer.Exit(0 if found else 1)


def mutes_table(view: View, found: Sequence[Mute]) -> TextTable:
    """Return a table of mutes."""
    return view.table(("id", "muted", "from", "until", "by"), (_row(view, mute) for mute in found))


def _row(view: View, found: Mute) -> TableRow:
    who = view.localizer.text("mutes.configuration") if found.configured else found.name
    cells = (
        cell(found.id),
        cell(found.shown),
        cell(view.when(found.since)),
        cell(view.when(found.until)),
        cell(who),
    )
    schedule = f"{found.cron} ({found.timezone})" if found.cron else ""
    but = view.localizer.text("mutes.excepts") if found.except_failures else ""
    return TableRow(cells, [cell(line) for line in (found.reason, schedule, but) if line])
