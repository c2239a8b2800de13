"""`notifier tasks` and `notifier task`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from notifier import lookup, people
from notifier.cli import documents
from notifier.cli.common import (
    JsonOption,
    LimitOption,
    SinceOption,
    SourceOption,
    current_user,
    load_config,
    read_store,
    require_source,
    time_before_now,
    truncation_note,
    view_for,
    without_extra_row,
    write_store,
)
from notifier.cli.output import cell, print_json, show
from notifier.cli.views import View
from notifier.core.errors import NotifierError
from notifier.core.events import NEEDS_CARE
from notifier.core.model import TaskStatus
from notifier.core.people import Acknowledgement
from notifier.core.routing import RoutedEvent
from notifier.lookup import StoredListing
from notifier.ports import EventFilter, Queries, StoredTask, TaskFilter, Transaction


def tasks(
    ctx: typer.Context,
    *,
    status: Annotated[TaskStatus | None, typer.Option("--status", help="Only this status.")] = None,
    since: SinceOption = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="TEXT", help="Instance id, or part of its name.")
    ] = None,
    source: SourceOption = None,
    unacked: Annotated[
        bool,
        typer.Option("--unacked", help="Only those that failed, are stuck or vanished and that nobody acknowledged."),
    ] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List tasks, the most recently changed first. Exits with 1 when there are none.

    --json: {"tasks": […], "sources": […]}; see `notifier task --json` for the keys of a task.
    """
    config = load_config(ctx)
    wanted = TaskFilter(status=status, since=time_before_now(since), instance=instance, source=source, limit=limit + 1)
    wanted = replace(wanted, unacknowledged=unacked)
    listed = read_store(config, partial(lookup.list_tasks, wanted=wanted))
    found = without_extra_row(listed, limit)
    if not found.rows:  # a source that is configured no more may still have some
        require_source(config, source)
    if as_json:
        print_json(_document(found))
    else:
        _show(found, view_for(config))
        show(*truncation_note(listed, limit))
    raise typer.Exit(0 if found.rows else 1)


def _document(found: StoredListing[StoredTask]) -> documents.Document:
    return {
        "tasks": [documents.stored_task(row) for row in found.rows],
        "sources": [documents.source_state(source) for source in found.sources],
    }


def _show(found: StoredListing[StoredTask], shown: View) -> None:
    if found.rows:
        show(shown.tasks(found.rows))
    else:
        show("No task fits. " + shown.freshness(found.sources))


def task(
    ctx: typer.Context,
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="A job id or its beginning.")],
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one task and what was seen of it.

    --json: the task's source, job_id, name, status, raw_status, progress, instance {id, name, status}, created_at,
    ended_at, fail_reason, first_seen_at, changed_at, listed, acknowledged {by, name, at}, muted {instance, label,
    until, by, reason}; and its events.
    """
    config = load_config(ctx)
    shown = view_for(config)
    stored, history = read_store(config, partial(_task_and_history, job_id=job_id, source=source, shown=shown))
    if as_json:
        print_json(documents.stored_task(stored) | {"events": [documents.routed_event(event) for event in history]})
    else:
        show(shown.task(stored, history))


def _task_and_history(
    q: Queries, job_id: str, source: str | None, shown: View
) -> tuple[StoredTask, tuple[RoutedEvent, ...]]:
    stored = require_task(q, job_id, source, shown)
    wanted = EventFilter(source=stored.task.source, job_id=stored.task.job_id)
    return stored, lookup.list_events(q, wanted).rows


def ack(
    ctx: typer.Context,
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="A job id or its beginning.")],
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that you take care of a task: its newest event is acknowledged, and live messages show by whom.

    Exits with 1 where somebody else does already. --json: {"acknowledged": {by, name, at}, "yours": true | false}.
    """
    config = load_config(ctx)
    shown = view_for(config)
    acknowledged = write_store(config, partial(_acknowledge, job_id=job_id, source=source, shown=shown))
    yours = acknowledged.by == current_user().id
    if as_json:
        print_json({"acknowledged": documents.acknowledgement(acknowledged), "yours": yours})
    elif yours:
        show(cell(f"✓ {job_id} is acknowledged by you", "green"))
    else:
        show(cell(f"{acknowledged.name} acknowledged {job_id} at {shown.when(acknowledged.at)}"))
    raise typer.Exit(0 if yours else 1)


def _acknowledge(tx: Transaction, job_id: str, source: str | None, shown: View) -> Acknowledgement:
    task = require_task(tx, job_id, source, shown).task
    latest = tx.latest_event(task.source, task.job_id)
    if latest is None or latest.event.type not in NEEDS_CARE:
        why = f"its newest event is {latest.event.type}" if latest else "nothing has been reported of it"
        raise NotifierError(f"there is nothing to acknowledge about {task.job_id}: {why}")
    return people.acknowledge(tx, latest.event, current_user())


def require_task(q: Queries, job_id: str, source: str | None, shown: View) -> StoredTask:
    """Return the task that is asked for. Raises NotifierError that lists the candidates or says where to look."""
    found = lookup.find_task(q, job_id, source=source)
    if found.task is not None:
        return found.task
    if not found.candidates:
        raise NotifierError(f"no task has a job id that begins with {job_id!r}; `notifier tasks` lists them")
    lines = "\n".join(shown.candidates(found.candidates))
    raise NotifierError(f"{job_id!r} fits several tasks; give more of the job id, or --source:\n{lines}")
