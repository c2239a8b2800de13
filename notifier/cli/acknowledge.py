"""`notifier ack` and `unack`."""

import typer

from notifier import lookup, people
from notifier.cli.common import JsonOption, SourceOption, current_user, view_for
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.cli.stores import write_store
from notifier.cli.tasks import JobArgument, require_task
from notifier.core.people import Acknowledgement
from notifier.wiring.stores import Transaction
from notifier.wording import documents


def ack(ctx: typer.Context, *, job_id: JobArgument, source: SourceOption = None, as_json: JsonOption = False) -> None:
    """Acknowledge the newest event of a task: you take care of it, and live messages show your name.

    For a run that is missing give the id that `notifier open` shows. Exits with 1 where another person acknowledged it
    earlier.
    --json: {"acknowledged": {by, name, at}, "yours": true | false}.
    """
    config = load_config(ctx)
    view = view_for(config)
    user = current_user()

    def acknowledge(tx: Transaction) -> Acknowledgement:
        if run := lookup.missing_run(tx.queries, job_id, source):
            return people.acknowledge(tx, run, user)
        return people.acknowledge_task(tx, require_task(tx.queries, job_id, source, view).task, user)

    acknowledged = write_store(config, acknowledge)
    yours = acknowledged.by == user.id
    if as_json:
        print_json({"acknowledged": documents.acknowledgement(acknowledged), "yours": yours})
    elif yours:
        show(cell(view.phrase("acknowledged", job=job_id), "green"))
    else:
        at = view.when(acknowledged.at)
        show(cell(view.phrase("acknowledged_by", who=acknowledged.name, job=job_id, at=at)))
    raise typer.Exit(0 if yours else 1)


def unack(ctx: typer.Context, *, job_id: JobArgument, source: SourceOption = None, as_json: JsonOption = False) -> None:
    """Take back the acknowledgement of the newest event of a task, whoever made it. Live messages show it.

    Exits with 1 when it was not acknowledged.
    --json: {"acknowledged": the one that was taken back {by, name, at}, or null}.
    """
    config = load_config(ctx)
    view = view_for(config)
    user = current_user()

    def take_back(tx: Transaction) -> Acknowledgement | None:
        if run := lookup.missing_run(tx.queries, job_id, source):
            return people.unacknowledge(tx, run, user)
        return people.unacknowledge_task(tx, require_task(tx.queries, job_id, source, view).task, user)

    taken_back = write_store(config, take_back)
    if as_json:
        print_json({"acknowledged": documents.acknowledgement(taken_back) if taken_back else None})
    elif taken_back:
        show(cell(view.phrase("taken_back", job=job_id, who=taken_back.name), "green"))
    else:
        show(cell(view.phrase("not_acknowledged", job=job_id)))
    raise typer.Exit(0 if taken_back else 1)
