"""`notifier mutes`."""

from collections.abc import Sequence
from functools import partial

import typer
from rich.console import Group

from notifier import lookup
from notifier.cli.common import JsonOption, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, print_json, show
from notifier.cli.views import View
from notifier.core.maintenance_mutes import MaintenanceMute, MaintenanceMuteNow
from notifier.core.mutes import Mute
from notifier.lookup import Lookup
from notifier.wording import documents
from notifier.wording.maintenance import maintenance_mute_line
from notifier.wording.marks import without_marks


def mutes(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """List mutes: those in force, and those that are planned with their next window. Exits with 1 when there are none.

    Mutes of the configuration that are in force during maintenance are listed below, with the instances that they cover
    now.

    --json: {"mutes": [{id, covers, instance, label, match, except_failures, since, until, by, reason, cron, timezone,
    last, configured}], "during_maintenance": [{name, match, except_failures, reason, instances}]}.
    """
    config = load_outline(ctx)
    found, during = read_store(ctx, config, partial(_mutes, configured=config.maintenance_mutes))
    if as_json:
        listed = [documents.maintenance_mute(one) for one in during]
        print_json({"mutes": [documents.mute(mute) for mute in found], "during_maintenance": listed})
    else:
        view = view_for(config)
        shown = [mutes_table(view, found)] if found else []
        lines = [cell(without_marks(maintenance_mute_line(one, view.localizer))) for one in during]
        show(Group(*shown, *lines) if shown or lines else view.localizer.text("mutes.none"))
    raise typer.Exit(0 if found or during else 1)


def _mutes(q: Lookup, *, configured: Sequence[MaintenanceMute]) -> tuple[Sequence[Mute], Sequence[MaintenanceMuteNow]]:
    return q.known_mutes(), lookup.mutes_during_maintenance(q, configured)


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
