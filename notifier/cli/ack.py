"""`notifier ack`: acknowledge a task."""

from __future__ import annotations

from functools import partial

import typer

from notifier import people
from notifier.cli import documents
from notifier.cli.common import JsonOption, SourceOption, current_user, load_config, view_for, write_store
from notifier.cli.output import cell, print_json, show
from notifier.cli.tasks import JobArgument, require_task
from notifier.cli.views import View
from notifier.core.people import Acknowledgement
from notifier.wiring.stores import Transaction


def ack(ctx: typer.Context, *, job_id: JobArgument, source: SourceOption = None, as_json: JsonOption = False) -> None:
    """Acknowledge the newest event of a task: you take care of it, and live messages show your name.

    Exits with 1 where another person acknowledged it earlier.
    --json: {"acknowledged": {by, name, at}, "yours": true | false}.
    """
    config = load_config(ctx)
    view = view_for(config)
    acknowledged = write_store(config, partial(_acknowledge, job_id=job_id, source=source, view=view))
    yours = acknowledged.by == current_user().id
    if as_json:
        print_json({"acknowledged": documents.acknowledgement(acknowledged), "yours": yours})
    elif yours:
        show(cell(f"✓ {job_id} is acknowledged by you", "green"))
    else:
        show(cell(f"{acknowledged.name} acknowledged {job_id} at {view.when(acknowledged.at)}"))
    raise typer.Exit(0 if yours else 1)


def _acknowledge(tx: Transaction, job_id: str, source: str | None, view: View) -> Acknowledgement:
    return people.acknowledge_task(tx, require_task(tx.queries, job_id, source, view).task, current_user())
