"""`notifier tasks` and `notifier task`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from notifier import lookup, people
from notifier.cli import documents
from notifier.cli.common import (
    AsJson,
    Limit,
    Since,
    Source,
    ago,
    ask,
    change,
    configured,
    first,
    more,
    person,
    require_source,
    view,
)
from notifier.cli.output import cell, emit, show
from notifier.cli.views import View
from notifier.core.errors import NotifierError
from notifier.core.events import NEEDS_CARE
from notifier.core.model import Acknowledgement, TaskStatus
from notifier.core.outbox import RoutedEvent
from notifier.lookup import Listing
from notifier.ports import EventFilter, Queries, StoredTask, TaskFilter, Transaction


def tasks(
    ctx: typer.Context,
    *,
    status: Annotated[TaskStatus | None, typer.Option("--status", help="Only this status.")] = None,
    since: Since = None,
    instance: Annotated[
        str | None, typer.Option("--instance", metavar="TEXT", help="Instance id, or part of its name.")
    ] = None,
    source: Source = None,
    unacked: Annotated[
        bool,
        typer.Option("--unacked", help="Only those that failed, are stuck or vanished and that nobody acknowledged."),
    ] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List tasks, the most recently changed first. Exits with 1 when there are none.

    --json: {"tasks": […], "sources": […]}; see `notifier task --json` for the keys of a task.
    """
    config = configured(ctx)
    wanted = TaskFilter(status=status, since=ago(since), instance=instance, source=source, limit=limit + 1)
    wanted = replace(wanted, unacknowledged=unacked)
    listed = ask(config, partial(lookup.list_tasks, wanted=wanted))
    found = first(listed, limit)
    if not found.rows:  # a source that is configured no more may still have some
        require_source(config, source)
    if as_json:
        emit(_document(found))
    else:
        _show(found, view(config))
        show(*more(listed, limit))
    raise typer.Exit(0 if found.rows else 1)


def _document(found: Listing[StoredTask]) -> documents.Document:
    return {
        "tasks": [documents.stored_task(row) for row in found.rows],
        "sources": [documents.source_state(source) for source in found.sources],
    }


def _show(found: Listing[StoredTask], shown: View) -> None:
    if found.rows:
        show(shown.tasks(found.rows))
    else:
        show("No task fits. " + shown.freshness(found.sources))


def task(
    ctx: typer.Context,
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="A job id or its beginning.")],
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Show one task and what was seen of it.

    --json: the task's source, job_id, name, status, raw_status, progress, instance {id, name, status}, created_at,
    ended_at, fail_reason, first_seen_at, changed_at, listed, acknowledged {by, name, at}, muted {instance, label,
    until, by, reason}; and its events.
    """
    config = configured(ctx)
    shown = view(config)
    stored, history = ask(config, partial(_task_and_history, job_id=job_id, source=source, shown=shown))
    if as_json:
        emit(documents.stored_task(stored) | {"events": [documents.routed_event(event) for event in history]})
    else:
        show(shown.task(stored, history))


def _task_and_history(
    q: Queries, job_id: str, source: str | None, shown: View
) -> tuple[StoredTask, tuple[RoutedEvent, ...]]:
    stored = one(q, job_id, source, shown)
    wanted = EventFilter(source=stored.task.source, job_id=stored.task.job_id)
    return stored, lookup.list_events(q, wanted).rows


def ack(
    ctx: typer.Context,
    *,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="A job id or its beginning.")],
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Say that you take care of a task: its newest event is acknowledged, and live messages show by whom.

    Exits with 1 where somebody else does already. --json: {"acknowledged": {by, name, at}, "yours": true | false}.
    """
    config = configured(ctx)
    shown = view(config)
    standing = change(config, partial(_acknowledge, job_id=job_id, source=source, shown=shown))
    yours = standing.by == person().id
    if as_json:
        emit({"acknowledged": documents.acknowledgement(standing), "yours": yours})
    elif yours:
        show(cell(f"✓ {job_id} is acknowledged by you", "green"))
    else:
        show(cell(f"{standing.name} acknowledged {job_id} at {shown.when(standing.at)}"))
    raise typer.Exit(0 if yours else 1)


def _acknowledge(tx: Transaction, job_id: str, source: str | None, shown: View) -> Acknowledgement:
    task = one(tx, job_id, source, shown).task
    latest = tx.latest_event(task.source, task.job_id)
    if latest is None or latest.event.type not in NEEDS_CARE:
        said = f"its newest event is {latest.event.type}" if latest else "nothing has been reported of it"
        raise NotifierError(f"there is nothing to acknowledge about {task.job_id}: {said}")
    return people.acknowledge(tx, latest.event, person())


def one(q: Queries, job_id: str, source: str | None, shown: View) -> StoredTask:
    """Return the task that is asked for. Raises NotifierError that lists the candidates or says where to look."""
    found = lookup.find_task(q, job_id, source=source)
    if found.task is not None:
        return found.task
    if not found.candidates:
        raise NotifierError(f"no task has a job id that begins with {job_id!r}; `notifier tasks` lists them")
    lines = "\n".join(shown.candidates(found.candidates))
    raise NotifierError(f"{job_id!r} fits several tasks; give more of the job id, or --source:\n{lines}")
