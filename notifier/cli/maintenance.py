"""`notifier maintenance`."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from notifier.cli.common import JsonOption, SourceOption, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, print_json, show
from notifier.cli.views import View
from notifier.core.maintenance_values import MaintenanceRecord
from notifier.lookup import planned_maintenance
from notifier.wording import documents
from notifier.wording.maintenance import impact_words, maintenance_label, maintenance_reason, maintenance_status
from notifier.wording.marks import without_marks


def maintenance(
    ctx: typer.Context,
    instance: Annotated[str, typer.Argument(help="Only that of an instance: its ID, or a part of its name.")] = "",
    *,
    source: SourceOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also that which is over, for 30 days.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the maintenance that the cloud plans, what begins first first. Exits with 1 when there is none.

    --json: {"maintenances": [{source, id, name, status, raw_status, level, instance_id, instance_name, impact, reason,
    starts_at, ends_at, planned_at, latest_at, executed_at, created_at, updated_at, job_id, vanished, open, over,
    first_seen_at, changed_at, reminder_at}]}.
    """
    config = load_outline(ctx)
    found = read_store(ctx, config, partial(planned_maintenance, source=source, instance=instance, over=every))
    view = view_for(config)
    if as_json:
        print_json({"maintenances": [documents.maintenance(one, view.now) for one in found]})
    else:
        show(maintenance_table(view, found) if found else view.localizer.text("maintenance.none"))
    raise typer.Exit(0 if found else 1)


def maintenance_table(view: View, found: Sequence[MaintenanceRecord]) -> TextTable:
    """Return a table of maintenance."""
    titles = ("from", "until", "latest", "status", "maintenance", "instance", "source")
    return view.table(titles, (_row(view, one) for one in found))


def _row(view: View, one: MaintenanceRecord) -> TableRow:
    planned, localizer = one.planned, view.localizer
    cells = (
        cell(view.when(planned.begins_at)),
        cell(view.when(planned.ends_at)),
        cell(view.when(planned.latest_at)),
        cell(maintenance_status(one, localizer)),
        cell(maintenance_label(planned, localizer)),
        cell(planned.instance_name or planned.instance_id),
        cell(one.source),
    )
    about = (maintenance_reason(planned, localizer), without_marks(impact_words(planned, localizer)))
    line = " · ".join(filter(None, about))
    return TableRow(cells, [cell(line)] if line else ())
